"""Which picture files are meant, and what their results are called."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePath

from munit_edge.errors import InputError

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
"""Files of a folder with one of these suffixes (in any case of letters) are taken as pictures."""


@dataclass(frozen=True)
class ImageFile:
    """One picture file."""

    path: Path
    """Where it is."""
    stem: PurePath
    """Path of its results below the output folder, without number and suffix; no two are equal."""


def find_images(
    inputs: Sequence[Path], *, recursive: bool = False, exclude: Path | None = None
) -> list[ImageFile]:
    """The picture files that `inputs` stand for, each once.

    A file stands for itself, whatever its suffix. A folder stands for the files in it with one of
    `IMAGE_SUFFIXES`, in the order of their names; hidden and unfinished files are left out.

    A file's stem is its name without the suffix, below a folder its path from there. Where two
    files would get the same stem, or stems that differ in the case of letters only, each of them
    gets its suffix added (x.jpg and x.png: x_jpg and x_png), and what is still the same a number
    in the order given (x_jpg-2).

    Args:
        inputs: files and folders.
        recursive: folders below the folders count too.
        exclude: a folder that is not searched, such as that of the results.

    Raises:
        InputError: a path does not exist, or a folder holds no picture.
    """
    found: dict[str, tuple[Path, PurePath]] = {}
    for path in inputs:
        for file, relative in _below(path, recursive, exclude):
            found.setdefault(os.path.abspath(file), (file, relative))  # noqa: PTH100
    files, relatives = zip(*found.values(), strict=True) if found else ((), ())
    stems = unique_stems(relatives)
    return [ImageFile(file, stem) for file, stem in zip(files, stems, strict=True)]


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
    path: Path, *, recursive: bool = False, exclude: Path | None = None
) -> list[Path]:
    """The picture files that are in a folder now, by the rule of `find_images`."""
    return sorted(_walk(path, recursive, exclude), key=lambda file: file.parts)


def _below(path: Path, recursive: bool, exclude: Path | None) -> Iterator[tuple[Path, PurePath]]:
    """Picture files that one input stands for, each with its path from there."""
    if not path.exists():
        raise InputError(f"{path} does not exist: name a picture or a folder of pictures")
    if not path.is_dir():
        yield path, PurePath(path.name)
        return
    files = picture_files(path, recursive=recursive, exclude=exclude)
    if not files:
        hint = "" if recursive else "; -r looks in the folders below it too"
        raise InputError(
            f"{path} holds no pictures: name a folder with PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, "
            f"JPEG 2000, AVIF or TGA files{hint}"
        )
    for file in files:
        yield file, file.relative_to(path)


def _walk(folder: Path, recursive: bool, exclude: Path | None) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith("."):  # hidden, or unfinished (files.PARTIAL_PREFIX)
            continue
        if entry.is_dir():
            if recursive and not entry.is_symlink() and not _same(entry, exclude):
                yield from _walk(entry, recursive, exclude)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            yield entry


def _same(folder: Path, other: Path | None) -> bool:
    return other is not None and other.exists() and folder.samefile(other)


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
