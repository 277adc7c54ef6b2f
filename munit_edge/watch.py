"""Folders that fill: which picture files have come, and are complete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from munit_edge.errors import InputError
from munit_edge.image_files import ImageFile, later_stem, picture_files

POLL_S = 1.0
"""Seconds between two looks. Asking works on every file system, those of networks too."""

_Signature = tuple[int, int]


class FolderWatch:
    """Finds the pictures that come into folders, each once, and again when it has changed.

    A file is complete when two looks after each other find it with the same size and time of
    change, and it is not empty. A file keeps the stem that it was given first.

    Args:
        folders: where pictures come.
        recursive: folders below them count too.
        exclude: a folder that is not searched, such as that of the results.

    Raises:
        InputError: one of them is no folder.
    """

    def __init__(
        self, folders: Sequence[Path], *, recursive: bool = False, exclude: Path | None = None
    ) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise InputError(f"{folder} is no folder: --watch takes folders to look into")
        self._folders = folders
        self._recursive = recursive
        self._exclude = exclude
        self._last_look: dict[Path, _Signature] = {}
        self._given: dict[Path, _Signature] = {}
        self._stems: dict[Path, ImageFile] = {}
        self._taken: set[str] = set()

    def look(self) -> list[ImageFile]:
        """The files that are complete and were not given before as they are now."""
        seen: dict[Path, _Signature] = {}
        ready = []
        for folder in self._folders:
            for path in _listed(folder, self._recursive, self._exclude):
                signature = _signature(path)
                if signature is None:
                    continue
                seen[path] = signature
                if self._last_look.get(path) == signature != self._given.get(path):
                    ready.append(self._image_file(path, folder))
                    self._given[path] = signature
        self._last_look = seen
        return ready

    def _image_file(self, path: Path, folder: Path) -> ImageFile:
        if path not in self._stems:
            stem = later_stem(path.relative_to(folder), self._taken)
            self._stems[path] = ImageFile(path, stem)
        return self._stems[path]


def _listed(folder: Path, recursive: bool, exclude: Path | None) -> list[Path]:
    try:
        return picture_files(folder, recursive=recursive, exclude=exclude)
    except OSError:  # moved away, or a network that will be back
        return []


def _signature(path: Path) -> _Signature | None:
    """Size and time of change; None: gone again, or empty so far."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns) if facts.st_size else None
