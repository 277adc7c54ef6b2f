"""Which picture files are meant, and what their results are called."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from munit_edge.errors import InputError
from munit_edge.files.paths import exists, is_folder
from munit_edge.files.system_errors import input_errors
from munit_edge.images.heif import HEIF_SUFFIXES, can_read_heif
from munit_edge.images.left_out import LINKED_FOLDER, LeftOut, kind_of

IMAGE_SUFFIXES = frozenset(
    [
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".pfm",
        ".jp2",
        ".j2k",
        ".avif",
        ".tga",
    ]
)
"""Files of a folder with one of these suffixes are taken as pictures; see `is_picture`."""


@dataclass(frozen=True)
class ImageFile:
    """One picture file."""

    path: Path
    """Where it is."""
    stem: PurePath
    """Path of its results below the output folder, without number and suffix; no two are equal."""


def find_images(
    inputs: Sequence[Path],
    *,
    recursive: bool = False,
    exclude: Path | None = None,
    left_out: LeftOut | None = None,
) -> list[ImageFile]:
    """The picture files that `inputs` stand for, each once.

    A file stands for itself, whatever its suffix. A folder stands for the files in it that
    `is_picture` takes, in the order of their names; hidden and unfinished files are left out.

    A file's stem is its name without the suffix, below a folder its path from there. Where two
    files would get the same stem, or stems that differ in the case of letters only, each of them
    gets its suffix added (x.jpg and x.png: x_jpg and x_png), and what is still the same a number
    in the order given (x_jpg-2).

    Args:
        inputs: files and folders.
        recursive: folders below the folders count too.
        exclude: a folder that is not searched, such as that of the results.
        left_out: takes what is passed over in the folders.

    Raises:
        InputError: a path does not exist or cannot be used, or a folder holds no picture.
    """
    left_out = LeftOut() if left_out is None else left_out
    found: dict[str, tuple[Path, PurePath]] = {}
    for path in inputs:
        for file, relative in _below(path, recursive, exclude, left_out):
            found.setdefault(os.path.abspath(file), (file, relative))  # noqa: PTH100
    files, relatives = zip(*found.values(), strict=True) if found else ((), ())
    stems = unique_stems(relatives)
    return [ImageFile(file, stem) for file, stem in zip(files, stems, strict=True)]


def is_picture(path: PurePath) -> bool:
    """Whether a file of a folder is taken as a picture, by its suffix in any case of letters."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix in HEIF_SUFFIXES and can_read_heif())


def unique_stems(paths: Iterable[PurePath]) -> list[PurePath]:
    """One stem for each relative path, by the rule of `find_images`."""
    paths = list(paths)
    plain = Counter(_key(path.with_suffix("")) for path in paths)
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem = path.with_suffix("")
        if plain[_key(stem)] > 1:
            stem = _free(_suffixed(path), taken | plain.keys())
        taken.add(_key(stem))
        stems.append(stem)
    return stems


def later_stem(path: PurePath, taken: set[str]) -> PurePath:
    """The stem of a relative path that came after others, and never changes theirs.

    It is the path without its suffix; where that is taken, by the rule of `find_images`.

    Args:
        path: relative path of the file.
        taken: what earlier calls have given out; this one is added.
    """
    stem = path.with_suffix("")
    if _key(stem) in taken:
        stem = _free(_suffixed(path), taken)
    taken.add(_key(stem))
    return stem


def picture_files(
    path: Path,
    *,
    recursive: bool = False,
    exclude: Path | None = None,
    left_out: LeftOut | None = None,
) -> list[Path]:
    """The picture files that are in a folder now, by the rule of `find_images`.

    What is in the folder and cannot be read is noted in `left_out`: no file in it, and no folder
    below, ends the search.

    Raises:
        InputError: the folder itself cannot be read.
    """
    left_out = LeftOut() if left_out is None else left_out
    with input_errors(path):
        return sorted(_walk(path, recursive, exclude, left_out), key=lambda file: file.parts)


def _below(
    path: Path, recursive: bool, exclude: Path | None, left_out: LeftOut
) -> Iterator[tuple[Path, PurePath]]:
    """Picture files that one input stands for, each with its path from there."""
    if not exists(path):
        raise InputError(f"{path} does not exist: name a picture or a folder of pictures")
    if not is_folder(path):
        yield path, PurePath(path.name)
        return
    here = LeftOut()
    files = picture_files(path, recursive=recursive, exclude=exclude, left_out=here)
    left_out.add(here)
    if not files:
        raise InputError(f"{path} holds no pictures{_instead(here, recursive)}")
    for file in files:
        yield file, file.relative_to(path)


def _instead(left_out: LeftOut, recursive: bool) -> str:
    """What a folder without pictures holds, and what to do: the end of a message."""
    hint = "" if recursive else "; -r looks in the folders below it too"
    held = [text for text in (str(left_out), *left_out.faults.values()) if text]
    return (
        f"{', only ' if held else ''}{'; '.join(held)}: name a folder with PNG, JPEG, WebP, TIFF, "
        f"BMP, GIF, PPM, JPEG 2000, AVIF or TGA files{hint}"
    )


def _walk(folder: Path, recursive: bool, exclude: Path | None, left_out: LeftOut) -> Iterator[Path]:
    below = [folder]
    while below:
        here = below.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name.startswith("."):  # hidden, or unfinished (files.PARTIAL_PREFIX)
                        continue
                    path = Path(entry.path)
                    kind = _kind_of(entry, path, recursive, exclude, left_out)
                    if kind == "picture":
                        yield path
                    elif kind == "folder":
                        below.append(path)
        except OSError as exc:
            if here == folder:
                raise
            left_out.refused(here, exc)


def _kind_of(
    entry: os.DirEntry[str], path: Path, recursive: bool, exclude: Path | None, left_out: LeftOut
) -> Literal["picture", "folder"] | None:
    """What is to be done with an entry of a folder; None: it is passed over."""
    try:
        if entry.is_dir():
            if not recursive or is_same_folder(path, exclude):
                return None
            if not entry.is_symlink():
                return "folder"
            left_out.kinds[path] = LINKED_FOLDER
        elif is_picture(path):
            return "picture" if _is_readable(entry, left_out) else None
        elif (kind := kind_of(path.suffix.lower())) is not None:
            left_out.kinds[path] = kind
    except OSError as exc:
        if recursive or is_picture(path):
            left_out.refused(path, exc)
    return None


def _is_readable(entry: os.DirEntry[str], left_out: LeftOut) -> bool:
    """Whether a file is one, and not a pipe that would be waited for, or a link to nothing."""
    if entry.is_file():
        return True
    try:
        left_out.special(Path(entry.path), entry.stat().st_mode)
    except FileNotFoundError:
        if entry.is_symlink():  # else it was removed meanwhile
            left_out.broken_link(Path(entry.path))
    return False


def is_same_folder(folder: Path, other: Path | None) -> bool:
    """Whether two paths lead to one folder, by whatever links and mounts; `other` may be absent."""
    if other is None:
        return False
    try:
        return os.path.samefile(folder, other)  # noqa: PTH121 - neither need be readable
    except OSError:
        return False


def _suffixed(path: PurePath) -> PurePath:
    return path.with_name(f"{path.stem}_{path.suffix[1:]}".rstrip("_"))


def _free(stem: PurePath, taken: Set[str]) -> PurePath:
    """`stem`, or the first of stem-2, stem-3, ... that is not taken."""
    candidate, number = stem, 1
    while _key(candidate) in taken:
        number += 1
        candidate = stem.with_name(f"{stem.name}-{number}")
    return candidate


def _key(path: PurePath) -> str:
    """Equal for paths that some file system takes for the same."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()
