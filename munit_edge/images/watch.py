"""Watching folders for image files that arrive and are complete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from munit_edge.errors import InputError
from munit_edge.files.paths import is_folder
from munit_edge.images.folders import ImageFile, image_files, is_same_folder, later_stem
from munit_edge.images.left_out import LeftOut

POLL_S = 1.0
"""Seconds between two looks. Polling works on every file system, including network ones."""

_Signature = tuple[int, int]


class FolderWatch:
    """Finds image files that arrive in folders, each once, and again after it has changed.

    A file is complete if two successive looks find the same size and modification time, and it is
    not empty. A file keeps its first stem.

    Args:
        folders: the watched folders.
        output: folder of the results: not searched, and never one of `folders`.
        recursive: also watch the folders below.

    Raises:
        InputError: one of them is not a folder, or is the folder of the results.
    """

    def __init__(
        self, folders: Sequence[Path], output: Path | None = None, *, recursive: bool = False
    ) -> None:
        for folder in folders:
            if not is_folder(folder):
                raise InputError(f"{folder} is not a folder: --watch takes folders")
            if is_same_folder(folder, output):
                raise InputError(
                    f"-o {output} is the watched folder {folder}: results would be translated "
                    "again without end, so name another folder"
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
        """The files that are complete and new or changed since they were returned."""
        return self.look_around()[0]

    def look_around(self) -> tuple[list[ImageFile], LeftOut]:
        """The same, and what was skipped now and not at the previous look."""
        seen: dict[Path, _Signature] = {}
        ready = []
        passed_over = LeftOut()
        for folder in self._folders:
            for path in _listed(folder, self._recursive, self._output, passed_over):
                signature = _signature(path)
                if signature is None:
                    continue
                seen[path] = signature
                # It may still be growing: wait for the next look.
                if self._last_look.get(path) != signature:
                    continue
                file = self._image_file(path, folder)
                if self._comes_back(file):
                    passed_over.faults[path] = (
                        f"{path} is not translated: its results would be in a watched folder, and "
                        "be translated again; name an output folder outside the watched ones"
                    )
                # New, or changed since it was returned.
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
        """Whether the results of a file would be found as new images."""
        below = file.stem.parent
        if below not in self._returning:
            self._returning[below] = self._output is not None and self._is_searched(
                Path(os.path.realpath(self._output / below)), Path(os.path.realpath(self._output))
            )
        return self._returning[below]

    def _is_searched(self, folder: Path, output: Path) -> bool:
        """Whether files in `folder` are found by a look; `output` is not searched.

        Folders are compared by identity, not by name, because of links and mounts.
        """
        for place in (folder, *folder.parents) if self._recursive else (folder,):
            if any(is_same_folder(place, watched) for watched in self._folders):
                return True
            if place == output or is_same_folder(place, output):
                return False
        return False


def _listed(folder: Path, recursive: bool, exclude: Path | None, left_out: LeftOut) -> list[Path]:
    try:
        return image_files(folder, recursive=recursive, exclude=exclude, left_out=left_out)
    except InputError as exc:  # moved away, or a network share that may come back
        left_out.faults[folder] = str(exc)
        return []


def _signature(path: Path) -> _Signature | None:
    """Size and modification time; None: it has been removed, or is still empty."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns) if facts.st_size else None
