"""What a command may overwrite: never an input, and with --overwrite only what this program wrote.

    FolderTarget    a folder that a command writes as a whole, such as a model directory
    check_file      a file that a command writes, such as a report or a chart

Both checks run before the work starts. A folder is checked again before it is replaced
(`munit_edge.files.atomic.atomic_folder`), and a file that has appeared in the meantime is not
replaced (`munit_edge.files.atomic.atomic_file`).
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from munit_edge.errors import OutputError
from munit_edge.files.atomic import BeforeReplacing, is_free
from munit_edge.files.held_locks import HIDDEN_PREFIX
from munit_edge.files.system_errors import output_errors

MAX_NAMED = 3
"""Files that a message lists; the rest are counted."""

_DROPPINGS = frozenset([".DS_Store", "Thumbs.db", "desktop.ini"])
"""Files that desktop environments create in every folder they show."""

_Identity = tuple[int, int]
"""Device and inode: equal for all paths of a file or folder, bind mounts included."""


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that this program writes."""

    name: str
    """Its name in messages, such as "model directory"."""
    marker: str
    """JSON file that every such folder holds."""
    keys: frozenset[str]
    """Keys of the marker that distinguish it from other programs' files of that name."""
    files: Callable[[Mapping[str, Any]], frozenset[str]]
    """Relative paths of what the program writes there, from the contents of the marker."""
    carried: frozenset[str] = frozenset()
    """Subfolders with the user's own work, copied into the folder that replaces it."""
    carries_others: bool = False
    """Whether other files are copied too; else a folder that holds any is not replaced."""


@dataclass(frozen=True)
class FolderTarget:
    """A folder that a command is to write."""

    path: Path
    """The folder."""
    kind: FolderKind
    """Its kind."""
    overwrite: bool = False
    """Whether an earlier folder of that kind may be replaced."""
    inputs: tuple[Path, ...] = ()
    """Files and folders that the command reads."""

    @property
    def replacing(self) -> BeforeReplacing | None:
        """The callback for `atomic_folder`; None: nothing is replaced."""
        return self._before_replacing if self.overwrite else None

    def check(self) -> None:
        """Check, before any work, that the folder may be written.

        Raises:
            OutputError: the path is an input, holds one or is inside one; is the current folder or
                above it; is a link, a file or a mount point; or exists and may not be replaced.
        """
        path = self.path
        _refuse_current_folder(path)
        if path.is_symlink():
            raise OutputError(f"{path} is a link: name the folder itself, or a new one")
        refuse_inputs(path, self.inputs)
        with output_errors(path):
            if path.exists() and not path.is_dir():
                raise OutputError(f"{path} is a file: name a new folder")
            # A mount point cannot be renamed.
            if os.path.ismount(path):
                raise OutputError(f"{path} is a mount point: name a folder in it")
            if is_free(path):
                return
            if not self.overwrite:
                self._refuse_existing()
            self._check_contents(path)

    def _refuse_existing(self) -> None:
        fix = "name a new or empty folder"
        if _marker(self.path, self.kind) is not None:
            fix = "name another folder or pass --overwrite"
        raise OutputError(f"{self.path} exists already: {fix}")

    def _before_replacing(self, old: Path, new: Path) -> None:
        """Check again, and copy the user's files."""
        if is_free(old):
            return
        if not self.kind.carries_others:
            # Minutes or hours after the first check.
            self.check()
        kept = [old / name for name in self.kind.carried if os.path.lexists(old / name)]
        if self.kind.carries_others:
            others = _others(old, self.kind, _marker(old, self.kind) or {})
            kept += [old / name for name in dict.fromkeys(other.parts[0] for other in others)]
        for path in kept:
            with output_errors(new / path.name):
                _copy(path, new / path.name)

    def _check_contents(self, path: Path) -> None:
        """Refuse to replace what this program did not write, or what holds an input."""
        data = _marker(path, self.kind)
        if data is None and not self.kind.carries_others:
            raise OutputError(
                f"{path} holds other files and is not a {self.kind.name}, so --overwrite does not "
                "replace it: name a new or empty folder"
            )
        if not self.kind.carries_others:
            others = sorted(map(str, _others(path, self.kind, data or {})))
            if others:
                more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
                raise OutputError(
                    f"{path} holds other files, which --overwrite does not replace "
                    f"({', '.join(others[:MAX_NAMED])}{more}): move them away, or name another "
                    "folder"
                )
        self._refuse_bound_inputs(path)

    def _refuse_bound_inputs(self, path: Path) -> None:
        """Refuse inputs that are in the folder although their paths do not show it."""
        # Bind mounts: an input, or a folder above it, may have a second name in here.
        chains = {identity: given for given in self.inputs for identity in _chain(given)}
        for entry in _walk(path):
            # No file has device and inode 0.
            given = chains.get(_identity(entry) or (0, 0)) if chains else None
            if given is not None:
                raise OutputError(
                    f"{path} holds {given}, which is an input: name another output folder"
                )


def check_file(path: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Check, before any work, that a file may be written.

    Args:
        path: the file.
        overwrite: whether an earlier file may be replaced.
        inputs: files and folders that the command reads; nothing in them is ever replaced.

    Raises:
        OutputError: it already exists, is an input or inside one, or is not a regular file.
    """
    with output_errors(path):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
    given = next((given for given in inputs if holds(given, path)), None)
    if given is not None:
        where = "is an input" if _identity(given) == _identity(path) else f"is a file of {given}"
        raise OutputError(f"{path} {where} and would be replaced: name another file")
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder: name a file")
    if not stat.S_ISREG(mode):
        what = "a link" if stat.S_ISLNK(mode) else "a device or pipe"
        raise OutputError(f"{path} is {what}: name a file")
    if not overwrite:
        raise OutputError(f"{path} exists already: name another file or pass --overwrite")


def refuse_inputs(path: Path, inputs: Iterable[Path]) -> None:
    """Raise OutputError if the folder `path` is, holds or is inside one of `inputs`."""
    mine, above = _identity(path), set(_chain(path))
    for given in inputs:
        known = _identity(given)
        if known is None:
            continue
        if known == mine:
            raise OutputError(f"{path} is an input: name another output folder")
        if known in above:
            raise OutputError(f"{path} lies in {given}, which is an input: name a folder elsewhere")
        if mine in _chain(given):
            raise OutputError(f"{path} holds {given}, which is an input: name another folder")


def same_file(path: Path, other: Path) -> bool:
    """Whether both paths exist and lead to the same file."""
    identity = _identity(path)
    return identity is not None and identity == _identity(other)


def holds(folder: Path, path: Path) -> bool:
    """Whether `path` is `folder` or inside it, through links and bind mounts too."""
    return _identity(folder) in _chain(path)  # which has no None


def _refuse_current_folder(path: Path) -> None:
    if path.name in ("", ".."):
        raise OutputError(
            f"{path} is not a name for a new folder: give one, such as {path / 'new'}"
        )
    # After the replacement the shell would be in the folder that is removed.
    here = _identity(Path())
    if here is not None and _identity(path) in _chain(Path()):
        raise OutputError(f"{path} is the current folder or holds it: name a new folder")


def _marker(path: Path, kind: FolderKind) -> dict[str, Any] | None:
    """The contents of a folder's marker; None: the folder is not of that kind."""
    marker = path / kind.marker
    # A link could make any folder look like ours.
    if marker.is_symlink() or not marker.is_file():
        return None
    try:
        data = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and kind.keys <= data.keys() else None


def _others(path: Path, kind: FolderKind, data: Mapping[str, Any]) -> Iterator[PurePath]:
    """Relative paths of what is neither the program's nor carried."""
    ours = kind.files(data)
    folders = {str(parent) for name in ours for parent in PurePath(name).parents}
    for entry in _walk(path):
        relative = entry.relative_to(path)
        if relative.parts[0] in kind.carried:
            continue
        if entry.name in _DROPPINGS or entry.name.startswith(HIDDEN_PREFIX):
            continue
        mode = entry.lstat().st_mode
        # A folder in the place of a file of ours, or a link, is not ours.
        known = folders if stat.S_ISDIR(mode) else ours if stat.S_ISREG(mode) else ()
        if relative.as_posix() not in known:
            yield relative


def _walk(path: Path) -> Iterator[Path]:
    """Everything below a folder; links are listed and not followed."""

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(path, onerror=fail):
        for name in (*folders, *files):
            yield Path(folder, name)


def _copy(path: Path, to: Path) -> None:
    """Copy with timestamps; links stay links."""
    if path.is_symlink():
        to.symlink_to(path.readlink())
    elif path.is_dir():
        shutil.copytree(path, to, symlinks=True, dirs_exist_ok=True)
    # What the command has written itself wins.
    elif not to.exists():
        shutil.copy2(path, to)


def _identity(path: Path) -> _Identity | None:
    """None: the path does not exist, or the system refuses to answer."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


def _chain(path: Path) -> list[_Identity]:
    """The identities of a path and all folders above it that exist."""
    real = Path(os.path.realpath(path))
    found = (_identity(each) for each in (real, *real.parents))
    return [identity for identity in found if identity is not None]
