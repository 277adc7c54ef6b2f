"""Names of the results of one video, decided before any work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from munit_edge.errors import OutputError
from munit_edge.files import make_folder
from munit_edge.video.codecs import CONTAINERS
from munit_edge.video.options import VideoOptions, is_live
from munit_edge.video.parts import Parts

DEFAULT_SUFFIX = ".mp4"


def result_paths(source: str, output: Path, num_styles: int) -> list[Path]:
    """The files that results go to.

    A path with the suffix of a video file is one, and each of several styles gets its number added
    (out_00.mp4, out_01.mp4). Any other path is a folder: its files are called after the input.

    Args:
        source: path or address of the input.
        output: what the user named.
        num_styles: how many results there are.
    """
    if output.suffix.lower() in CONTAINERS and not output.is_dir():
        stem, suffix = output.with_suffix(""), output.suffix
    else:
        name = _name(source)
        stem = output / name.stem
        suffix = name.suffix if name.suffix.lower() in CONTAINERS else DEFAULT_SUFFIX
    if num_styles == 1:
        return [stem.with_name(stem.name + suffix)]
    return [stem.with_name(f"{stem.name}_{index:02d}{suffix}") for index in range(num_styles)]


def check_outputs(outputs: Sequence[Path], read: Sequence[Path], options: VideoOptions) -> None:
    """Check that nothing is replaced that should stay, and make the results' folder.

    Args:
        outputs: the results.
        read: files that the run reads.
        options: whether results may be replaced, and parts of an interrupted run resumed.

    Raises:
        OutputError: something is in the way, or the folder cannot be made.
    """
    kept = {os.path.realpath(path) for path in read}
    for path in outputs:
        if os.path.realpath(path) in kept:
            raise OutputError(f"{path} is an input and would be replaced: name another output")
        may_be_there = options.overwrite or options.resume
        if os.path.lexists(path) and not may_be_there:
            raise OutputError(f"{path} exists already: name another output or pass --overwrite")
        if Parts(path).exist and not may_be_there:
            mend = "--resume goes on with it" if options.is_file else "its files play one by one"
            raise OutputError(
                f"{Parts(path).folder} is left from an interrupted run: {mend}, --overwrite "
                "removes it and starts anew"
            )
        make_folder(path.parent)


def _name(source: str) -> Path:
    """What results are called in a folder: after the file, the camera or the address."""
    if source == "-":
        return Path("stdin")
    if not is_live(source):
        return Path(Path(source).name)
    address = source.partition("?")[0].rstrip("/")
    words = "".join(char if char.isalnum() or char in "-_" else "_" for char in address)
    return Path(f"{words.strip('_')}{DEFAULT_SUFFIX}")
