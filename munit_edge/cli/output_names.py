"""Whether `translate -o` names a folder of results or the file of the only one."""

from __future__ import annotations

import os
from pathlib import Path

_NOT_READ = frozenset([".heic", ".heif", ".jxl", ".svg", ".pdf", ".psd", ".ico", ".exr", ".dng"])
"""Suffixes that mean a file although inputs cannot have them."""


def names_file(output: str) -> bool:
    """Whether `output` names a file: by the suffix of an image or video.

    A trailing slash, or an existing folder, makes it a folder. The options check whether such a
    file can be written.
    """
    from munit_edge.images.folders import IMAGE_SUFFIXES
    from munit_edge.images.left_out import VIDEO_SUFFIXES

    path = Path(output)
    if output.endswith(("/", os.sep)) or path.is_dir():
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES | _NOT_READ
