"""Unfinished files and folders, and the removal of those that dead processes left.

    .munit-edge-partial-<random>.png   an unfinished file; the lock is on the file itself
    .munit-edge-partial-<random>       an unfinished folder, locked by the file beside it:
    .munit-edge-partial-<random>.lock
    munit-edge-scratch-<random>        in the system's folder for temporary files, locked likewise

On file systems without `flock`, unfinished files of others stay: whether their processes are alive
is unknown.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from munit_edge.files.held_locks import (
    HIDDEN_PREFIX,
    HeldLock,
    flock,
    held,
    is_at,
    let_go,
    release,
)
from munit_edge.files.system_errors import output_errors
from munit_edge.interrupts import uninterrupted

PARTIAL_PREFIX = f"{HIDDEN_PREFIX}partial-"
"""Start of the names of unfinished files and folders; they are never read."""
SCRATCH_PREFIX = "munit-edge-scratch-"
"""Start of names in the system's folder for temporary files."""

_LOCK_SUFFIX = ".lock"
"""A folder's lock file is named like the folder, with this suffix."""

_swept: set[Path] = set()
"""Folders in which this process has removed what dead ones left."""


def new_partial_file(folder: Path, suffix: str) -> Path:
    """An empty file with a partial name, locked until `let_go`.

    Raises:
        OSError: it cannot be created.
    """
    _sweep_once(folder)
    while True:
        path = folder / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{suffix}"
        if _create(path, path, None):
            return path


def new_partial_folder(folder: Path) -> Path:
    """An empty folder with a partial name, locked until `let_go`.

    Raises:
        OSError: it cannot be created.
    """
    _sweep_once(folder)
    return _new_folder(folder, PARTIAL_PREFIX, 0o777)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private temporary folder, removed at the end; if that fails, by the next process.

    Raises:
        OutputError: it cannot be created.
    """
    path = _new_scratch()
    try:
        yield path
    finally:
        let_go(path)


@functools.cache
def process_scratch() -> Path:
    """A private temporary folder that lasts as long as this process, the same at every call.

    Raises:
        OutputError: it cannot be created.
    """
    from multiprocessing import util

    path = _new_scratch()
    # After multiprocessing, at -100, has removed its own files there. `let_go_of_all` might come
    # earlier, so the lock is taken away from it.
    util.Finalize(None, release, args=(held.pop(path),), exitpriority=-200)
    return path


def remove_folder(path: Path) -> None:
    """Remove a folder in such a way that its name never holds half of it.

    Some file systems keep files that another program has open; the next process removes those.

    Raises:
        OSError: it cannot be renamed.
    """
    # Removing takes time; a rename does not. If it is cut short, a sweep finishes it.
    old = path.rename(path.with_name(f"{PARTIAL_PREFIX}{secrets.token_hex(8)}"))
    shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path, prefix: str = HIDDEN_PREFIX) -> None:
    """Remove unfinished files, folders and locks in `folder` that dead processes have left."""
    _swept.add(folder)
    left: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(prefix)]
    for path in left:
        with contextlib.suppress(OSError):
            _clear(path)


def _sweep_once(folder: Path) -> None:
    if folder not in _swept:
        sweep(folder)


def _new_scratch() -> Path:
    folder = Path(tempfile.gettempdir())
    with output_errors(folder):
        sweep(folder, SCRATCH_PREFIX)
        return _new_folder(folder, SCRATCH_PREFIX, 0o700)


def _new_folder(folder: Path, prefix: str, mode: int) -> Path:
    while True:
        path = folder / f"{prefix}{secrets.token_hex(8)}"
        # The lock exists before its folder and after it: a folder without a lock is dead.
        if _create(path, path.with_name(path.name + _LOCK_SUFFIX), path):
            try:
                path.mkdir(mode)
            except BaseException:
                let_go(path)
                raise
            return path


def _create(key: Path, lock: Path, contents: Path | None) -> bool:
    """Create a file and lock it; False: another process took it for a dead one's and removed it."""
    with uninterrupted():
        # Between creating and locking, a sweep may take the file for a dead process's.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(lock, flags, 0o666)
        # Without locks on this file system (None) nothing is swept, so the file is safe.
        if flock(descriptor) is not False and is_at(descriptor, lock):
            held[key] = HeldLock(descriptor, lock, contents)
            return True
        os.close(descriptor)
        return False


def _clear(path: Path) -> None:
    """Remove one file or folder, unless a living process holds it."""
    status = path.lstat()
    # In a shared folder such as /tmp, other users' files are theirs to remove.
    if status.st_uid != os.getuid():
        return
    if stat.S_ISDIR(status.st_mode):
        # See `_new_folder`. Where the lock file exists, it decides instead.
        if not path.with_name(path.name + _LOCK_SUFFIX).exists():
            shutil.rmtree(path, ignore_errors=True)
        return
    if not stat.S_ISREG(status.st_mode):
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # False: a living process holds it. None: nobody can tell.
        if flock(descriptor):
            if path.name.endswith(_LOCK_SUFFIX):
                contents = path.with_name(path.name.removesuffix(_LOCK_SUFFIX))
                shutil.rmtree(contents, ignore_errors=True)
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
