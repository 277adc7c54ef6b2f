"""Which image files the inputs name, and the names of their results."""

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
"""Suffixes of image files in folders; see `is_image`."""


@dataclass(frozen=True)
class ImageFile:
    """One image file."""

    path: Path
    """Path of the file."""
    stem: PurePath
    """Unique path of its results below the output folder, without number and suffix."""


def find_images(
    inputs: Sequence[Path],
    *,
    recursive: bool = False,
    exclude: Path | None = None,
    left_out: LeftOut | None = None,
) -> list[ImageFile]:
    """The image files that `inputs` name, each once.

    A file is taken with any suffix. A folder gives the files in it that `is_image` accepts,
    sorted by name, without hidden and unfinished files.

    The stem of a file is its name without the suffix; in a folder, its path from there. If two
    files would have the same stem, ignoring case, the suffix is added to each (x.jpg and x.png:
    x_jpg and x_png), and to stems that are still equal a number, in the given order (x_jpg-2).

    Args:
        inputs: files and folders.
        recursive: also search the folders below the folders.
        exclude: a folder that is not searched, such as that of the results.
        left_out: receives what is skipped in the folders.

    Raises:
        InputError: a path does not exist or cannot be used, or a folder has no image.
    """
    left_out = LeftOut() if left_out is None else left_out
    found: dict[str, tuple[Path, PurePath]] = {}
    for path in inputs:
        for file, relative in _below(path, recursive, exclude, left_out):
            # By name, not by identity: two links to one file are two inputs.
            found.setdefault(os.path.abspath(file), (file, relative))  # noqa: PTH100
    files, relatives = zip(*found.values(), strict=True) if found else ((), ())
    stems = unique_stems(relatives)
    return [ImageFile(file, stem) for file, stem in zip(files, stems, strict=True)]


def is_image(path: PurePath) -> bool:
    """Whether a file in a folder counts as an image, by its suffix (case-insensitive)."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix in HEIF_SUFFIXES and can_read_heif())


def unique_stems(paths: Iterable[PurePath]) -> list[PurePath]:
    """A stem for each relative path, by the rule of `find_images`."""
    paths = list(paths)
    plain = Counter(_key(path.with_suffix("")) for path in paths)
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem = path.with_suffix("")
        if plain[_key(stem)] > 1:
            # The plain stem of a later file is not free, either.
            stem = _free(_suffixed(path), taken | plain.keys())
        taken.add(_key(stem))
        stems.append(stem)
    return stems


def later_stem(path: PurePath, taken: set[str]) -> PurePath:
    """The stem of a relative path that arrives after others and does not change theirs.

    It is the path without its suffix; if that is taken, the rule of `find_images` applies.

    Args:
        path: relative path of the file.
        taken: stems returned by earlier calls; this one is added.
    """
    stem = path.with_suffix("")
    if _key(stem) in taken:
        stem = _free(_suffixed(path), taken)
    taken.add(_key(stem))
    return stem


def image_files(
    path: Path,
    *,
    recursive: bool = False,
    exclude: Path | None = None,
    left_out: LeftOut | None = None,
) -> list[Path]:
    """The image files that are in a folder now, by the rule of `find_images`.

    Unreadable files and folders below are noted in `left_out` and do not end the search.

    Raises:
        InputError: the folder itself cannot be read.
    """
    left_out = LeftOut() if left_out is None else left_out
    with input_errors(path):
        return sorted(_walk(path, recursive, exclude, left_out), key=lambda file: file.parts)


def _below(
    path: Path, recursive: bool, exclude: Path | None, left_out: LeftOut
) -> Iterator[tuple[Path, PurePath]]:
    """Image files that one input names, each with its path relative to the input."""
    if not exists(path):
        raise InputError(f"{path} does not exist: name an image or a folder of images")
    if not is_folder(path):
        yield path, PurePath(path.name)
        return
    here = LeftOut()
    files = image_files(path, recursive=recursive, exclude=exclude, left_out=here)
    left_out.add(here)
    if not files:
        raise InputError(f"{path} holds no images{_instead(here, recursive)}")
    for file in files:
        yield file, file.relative_to(path)


def _instead(left_out: LeftOut, recursive: bool) -> str:
    """End of a message: what a folder without images holds instead, and what to do."""
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
                    if entry.name.startswith("."):  # hidden, or unfinished (PARTIAL_PREFIX)
                        continue
                    path = Path(entry.path)
                    kind = _kind_of(entry, path, recursive, exclude, left_out)
                    if kind == "image":
                        yield path
                    elif kind == "folder":
                        below.append(path)
        except OSError as exc:
            if here == folder:
                raise
            left_out.refused(here, exc)


def _kind_of(
    entry: os.DirEntry[str], path: Path, recursive: bool, exclude: Path | None, left_out: LeftOut
) -> Literal["image", "folder"] | None:
    """How to treat an entry of a folder; None: skip it."""
    try:
        if entry.is_dir():
            if not recursive or is_same_folder(path, exclude):
                return None
            if not entry.is_symlink():
                return "folder"
            left_out.kinds[path] = LINKED_FOLDER
        elif is_image(path):
            return "image" if _is_readable(entry, left_out) else None
        elif (kind := kind_of(path.suffix.lower())) is not None:
            left_out.kinds[path] = kind
    except OSError as exc:
        if recursive or is_image(path):
            left_out.refused(path, exc)
    return None


def _is_readable(entry: os.DirEntry[str], left_out: LeftOut) -> bool:
    """Whether an entry is a regular file, not a pipe, which would block, or a broken link."""
    if entry.is_file():
        return True
    try:
        left_out.special(Path(entry.path), entry.stat().st_mode)
    except FileNotFoundError:
        if entry.is_symlink():  # else it has just been removed
            left_out.broken_link(Path(entry.path))
    return False


def is_same_folder(folder: Path, other: Path | None) -> bool:
    """Whether two paths are the same folder, through any links and mounts; None is no folder."""
    if other is None:
        return False
    try:
        return os.path.samefile(folder, other)  # noqa: PTH121 - neither has to be readable
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
    """A key that is equal for paths that some file systems consider the same."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()
