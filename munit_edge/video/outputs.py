"""Names of the results of one video, decided before any work."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from munit_edge.errors import OutputError
from munit_edge.files.atomic import make_folder
from munit_edge.files.replacing import same_file
from munit_edge.video.codecs import CONTAINERS
from munit_edge.video.join import COMMENT_PREFIX, comment_of
from munit_edge.video.options import VideoOptions, is_live
from munit_edge.video.parts import Parts

DEFAULT_SUFFIX = ".mp4"


def result_paths(source: str, output: Path, num_styles: int, *, to_file: bool) -> list[Path]:
    """The files that results go to.

    Those in a folder are called after the input, and of several styles each gets its number added
    (clip_00.mp4, clip_01.mp4).

    Args:
        source: path or address of the input.
        output: what the user named.
        num_styles: how many results there are.
        to_file: `output` is the file of the only result; else a folder.

    Raises:
        OutputError: there are several results and one file.
    """
    if to_file:
        if num_styles > 1:
            raise OutputError(
                f"-o {output} is one file and takes one result, but there are {num_styles} styles: "
                f"name a folder (-o {output.with_suffix('')}/), or ask for one style"
            )
        return [output]
    name = _name(source)
    stem = output / name.stem
    suffix = name.suffix if name.suffix.lower() in CONTAINERS else DEFAULT_SUFFIX
    if num_styles == 1:
        return [stem.with_name(stem.name + suffix)]
    return [stem.with_name(f"{stem.name}_{index:02d}{suffix}") for index in range(num_styles)]


def earlier_results(paths: Sequence[Path]) -> list[Path]:
    """Complete results of earlier runs with other styles that lie beside those in a folder.

    Args:
        paths: the results of this run: clip.mp4, or clip_00.mp4, clip_01.mp4, ...
    """
    stem = paths[0].stem if len(paths) == 1 else paths[0].stem.rpartition("_")[0]
    names = re.compile(rf"{re.escape(stem)}(_\d{{2,}})?({'|'.join(map(re.escape, CONTAINERS))})")
    folder = paths[0].parent
    return sorted(
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if names.fullmatch(path.name)
        and not any(same_file(path, each) for each in paths)
        and not path.is_symlink()
        and (comment_of(path) or "").startswith(COMMENT_PREFIX)
    )


def check_outputs(outputs: Sequence[Path], read: Sequence[Path], options: VideoOptions) -> None:
    """Check that nothing is replaced that should stay, and make the results' folder.

    Args:
        outputs: the results.
        read: files that the run reads.
        options: whether results may be replaced, and parts of an interrupted run resumed.

    Raises:
        OutputError: something is in the way, or the folder cannot be made.
    """
    for path in outputs:
        if any(same_file(path, each) for each in read):
            raise OutputError(f"{path} is an input and would be replaced: name another output")
        may_be_there = options.overwrite or options.resume
        Parts(path).check_removable()
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
