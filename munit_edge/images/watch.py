"""Folders that fill: which picture files have come, and are complete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from munit_edge.errors import InputError
from munit_edge.files.paths import is_folder
from munit_edge.images.folders import ImageFile, is_same_folder, later_stem, picture_files
from munit_edge.images.left_out import LeftOut

POLL_S = 1.0
"""Seconds between two looks. Asking works on every file system, those of networks too."""

_Signature = tuple[int, int]


class FolderWatch:
    """Finds the pictures that come into folders, each once, and again when it has changed.

    A file is complete when two looks after each other find it with the same size and time of
    change, and it is not empty. A file keeps the stem that it was given first.

    Args:
        folders: where pictures come.
        output: of the results: not searched, and never one of `folders`.
        recursive: folders below them count too.

    Raises:
        InputError: one of them is no folder, or that of the results.
    """

    def __init__(
        self, folders: Sequence[Path], output: Path | None = None, *, recursive: bool = False
    ) -> None:
        for folder in folders:
            if not is_folder(folder):
                raise InputError(f"{folder} is no folder: --watch takes folders to look into")
            if is_same_folder(folder, output):
                raise InputError(
                    f"-o {output} is the watched folder {folder}: results would come in as new "
                    "pictures without end, so name another folder"
                )
        self._folders = folders
        self._output = output
        self._recursive = recursive
        self._last_look: dict[Path, _Signature] = {}
        self._given: dict[Path, _Signature] = {}
        self._stems: dict[Path, ImageFile] = {}
        self._taken: set[str] = set()
        self._passed_over = LeftOut()
        self._returning: dict[PurePath, bool] = {}

    def look(self) -> list[ImageFile]:
        """The files that are complete and were not given before as they are now."""
        return self.look_around()[0]

    def look_around(self) -> tuple[list[ImageFile], LeftOut]:
        """The same, and what was passed over that was not so at the look before."""
        seen: dict[Path, _Signature] = {}
        ready = []
        passed_over = LeftOut()
        for folder in self._folders:
            for path in _listed(folder, self._recursive, self._output, passed_over):
                signature = _signature(path)
                if signature is None:
                    continue
                seen[path] = signature
                if self._last_look.get(path) != signature:
                    continue
                file = self._image_file(path, folder)
                if self._comes_back(file):
                    passed_over.faults[path] = (
                        f"{path} is not translated: its results would come into a watched folder, "
                        "as new pictures; name an output folder beside the watched ones"
                    )
                elif signature != self._given.get(path):
                    ready.append(file)
                    self._given[path] = signature
        self._last_look = seen
        new, self._passed_over = passed_over.without(self._passed_over), passed_over
        return ready, new

    def _image_file(self, path: Path, folder: Path) -> ImageFile:
        if path not in self._stems:
            stem = later_stem(path.relative_to(folder), self._taken)
            self._stems[path] = ImageFile(path, stem)
        return self._stems[path]

    def _comes_back(self, file: ImageFile) -> bool:
        """Whether the results of a file lie where they are found as new pictures."""
        below = file.stem.parent
        if below not in self._returning:
            self._returning[below] = self._output is not None and self._is_searched(
                Path(os.path.realpath(self._output / below)), Path(os.path.realpath(self._output))
            )
        return self._returning[below]

    def _is_searched(self, folder: Path, output: Path) -> bool:
        """Whether a look finds what is in `folder`; `output` is not searched.

        Folders are compared by what they are, not by name: links and mounts lead anywhere.
        """
        for place in (folder, *folder.parents) if self._recursive else (folder,):
            if any(is_same_folder(place, watched) for watched in self._folders):
                return True
            if place == output or is_same_folder(place, output):
                return False
        return False


def _listed(folder: Path, recursive: bool, exclude: Path | None, left_out: LeftOut) -> list[Path]:
    try:
        return picture_files(folder, recursive=recursive, exclude=exclude, left_out=left_out)
    except InputError as exc:  # moved away, or a network that will be back
        left_out.faults[folder] = str(exc)
        return []


def _signature(path: Path) -> _Signature | None:
    """Size and time of change; None: gone again, or empty so far."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns) if facts.st_size else None
