"""What `translate -o` names: a folder of results, or the file of the only one."""

from __future__ import annotations

import os
from pathlib import Path

_NOT_READ = frozenset([".heic", ".heif", ".jxl", ".svg", ".pdf", ".psd", ".ico", ".exr", ".dng"])
"""Suffixes by which a file is meant although no input has them."""


def names_file(output: str) -> bool:
    """Whether `output` names a file: by the suffix of a picture or video.

    A slash at its end, or a folder that is there, makes it a folder. Whether such a file can be
    written is another question, which the options answer.
    """
    from munit_edge.images.folders import IMAGE_SUFFIXES
    from munit_edge.images.left_out import VIDEO_SUFFIXES

    path = Path(output)
    if output.endswith(("/", os.sep)) or path.is_dir():
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES | _NOT_READ
