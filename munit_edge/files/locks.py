"""Locks on what is being written, and the removal of what dead processes left.

A lock is the system's `flock` on a small hidden file. It ends with the process, however that ended,
so a file that was left behind locks nothing: the next process takes it over.

    results/.munit-edge-lock           a folder that is filled in place: results, a training run
    .munit-edge-lock-<hash of name>    beside a file or folder that appears when it is complete
    .munit-edge-partial-<random>.png   an unfinished file; the lock is on the file itself
    .munit-edge-partial-<random>       an unfinished folder, locked by the file beside it:
    .munit-edge-partial-<random>.lock

File systems without `flock` (some network and FUSE mounts) are told by what a lock file says of its
holder; unfinished files of others are left alone there, since nobody knows whether they are dead.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import functools
import hashlib
import itertools
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from munit_edge.errors import OutputError
from munit_edge.files.system_errors import output_errors
from munit_edge.interrupts import uninterrupted

HIDDEN_PREFIX = ".munit-edge-"
"""Names of everything that is not a result start like this."""
PARTIAL_PREFIX = f"{HIDDEN_PREFIX}partial-"
"""Names of unfinished files and folders start like this; they are never read."""
LOCK_NAME = f"{HIDDEN_PREFIX}lock"
SCRATCH_PREFIX = "munit-edge-scratch-"
"""Names in the system's folder for temporary files start like this."""

_FOLDER_LOCK_SUFFIX = ".lock"
_MAX_COMMAND = 200  # characters
_ATTEMPTS = 100
_NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF}


@dataclass(frozen=True)
class _Held:
    """A lock of this process."""

    descriptor: int
    lock: Path
    contents: Path | None
    """A folder that goes with it."""


_held: dict[Path, _Held] = {}
"""By lock file, or by unfinished folder."""
_mine: ContextVar[frozenset[Path]] = ContextVar("_mine", default=frozenset())
"""Locks that the running code is within, so that it may ask for one again."""
_swept: set[Path] = set()
"""Folders in which this process has removed what dead ones left."""


# ----------------------------------------------------------------------------------------------
# Targets: one process at a time


@contextlib.contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Within the block no other process may fill `folder`.

    It is made where it is missing. If it is empty at the end it is removed again.

    Raises:
        OutputError: another process fills it, or it cannot be made or written.
    """
    with _in_use(Path(os.path.realpath(folder)) / LOCK_NAME, folder):
        yield


@contextlib.contextmanager
def writing_to(*paths: Path | None) -> Iterator[None]:
    """Within the block no other process may make `paths`: files or folders that appear complete.

    None stands for nothing. Their folders are made where they are missing, and removed again if
    they are empty at the end.

    Raises:
        OutputError: another process makes one, or its folder cannot be made or written.
    """
    with contextlib.ExitStack() as stack:
        for path in paths:
            if path is not None:
                real = Path(os.path.realpath(path))
                key = hashlib.sha256(os.fsencode(real.name)).hexdigest()[:16]
                stack.enter_context(_in_use(real.with_name(f"{LOCK_NAME}-{key}"), path))
        yield


@contextlib.contextmanager
def _in_use(lock: Path, target: Path) -> Iterator[None]:
    if lock in _mine.get():
        yield
        return
    made = [path for path in lock.parents if not os.path.lexists(path)]
    taken = False
    try:
        with output_errors(target):
            taken = _take(lock)
        if not taken:
            raise OutputError(
                f"{target} is in use by {_holder(lock)}: wait until it has ended, or name another "
                "output"
            )
        _mine.set(_mine.get() | {lock})
        sweep(lock.parent)
        yield
    finally:
        _mine.set(_mine.get() - {lock})
        if taken:
            let_go(lock)
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _take(lock: Path) -> bool:
    """Make the lock file, or take over that of a dead process; False: a living one has it."""
    for attempt in itertools.count():
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _open(lock)
        except FileNotFoundError:
            if attempt < _ATTEMPTS:
                continue  # the folder has been removed since
            raise
        with uninterrupted():
            granted = _flock(descriptor)
            if granted is None:  # no locks on this file system
                granted = not _is_alive(_facts(lock))
            if not granted:
                os.close(descriptor)
                return False
            if _is_at(descriptor, lock):
                _write_facts(descriptor)
                _held[lock] = _Held(descriptor, lock, None)
                return True
            os.close(descriptor)  # its holder has removed the file since
    raise AssertionError


def _open(lock: Path) -> int:
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(lock, os.O_RDWR | flags, 0o666)
    except PermissionError:
        if not lock.exists():
            raise
        # Another user's: it can be locked all the same, unless its holder is alive.
        return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _write_facts(descriptor: int) -> None:
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    facts = {
        "process": os.getpid(),
        "host": platform.node(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        # Passwords in the addresses of cameras are nobody's business.
        "command": re.sub(r"//[^/@\s]*@", "//***@", shlex.join(words))[:_MAX_COMMAND],
    }
    with contextlib.suppress(OSError):  # the lock holds without them
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(facts).encode())


def _facts(lock: Path) -> dict[str, object]:
    try:
        facts = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _holder(lock: Path) -> str:
    """Who has a lock, in words."""
    facts = _facts(lock)
    if not facts:
        return "another process"
    known = {name: str(value) for name, value in facts.items()}
    return (
        f"process {known.get('process')} on host {known.get('host')} "
        f"(since {known.get('since')}, command {known.get('command')})"
    )


def _is_alive(facts: dict[str, object]) -> bool:
    """Whether the process of a lock file is there, as far as this machine can tell."""
    process = facts.get("process")
    if facts.get("host") != platform.node() or not isinstance(process, int):
        return False
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


# ----------------------------------------------------------------------------------------------
# Unfinished files and folders


def new_partial_file(folder: Path, suffix: str) -> Path:
    """An empty file with a partial name, locked until `let_go`.

    Raises:
        OSError: it cannot be made.
    """
    _sweep_once(folder)
    while True:
        path = folder / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{suffix}"
        if _create(path, path, None):
            return path


def new_partial_folder(folder: Path) -> Path:
    """An empty folder with a partial name, locked until `let_go`.

    Raises:
        OSError: it cannot be made.
    """
    _sweep_once(folder)
    return _new_folder(folder, PARTIAL_PREFIX, 0o777)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A private folder for temporary files; removed at the end, or by the next process after that.

    Raises:
        OutputError: it cannot be made.
    """
    path = _new_scratch()
    try:
        yield path
    finally:
        let_go(path)


@functools.cache
def process_scratch() -> Path:
    """A folder like `scratch_folder`'s that lasts as long as this process, always the same.

    Raises:
        OutputError: it cannot be made.
    """
    from multiprocessing import util

    path = _new_scratch()
    # After multiprocessing, at -100, has removed what it has there.
    util.Finalize(None, _release, args=(_held.pop(path),), exitpriority=-200)
    return path


def let_go(path: Path) -> None:
    """Give a lock back; what still has the partial name is removed."""
    with uninterrupted():
        held = _held.pop(path, None)
        if held is not None:
            _release(held)


def _release(held: _Held) -> None:
    _remove(held.contents)
    with contextlib.suppress(OSError):
        held.lock.unlink(missing_ok=True)
    os.close(held.descriptor)


def remove_folder(path: Path) -> None:
    """Remove a folder so that there is never half of it under its name.

    Some file systems keep files that another program has open: those wait for the next process.

    Raises:
        OSError: it cannot be renamed.
    """
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


def _new_scratch() -> Path:
    folder = Path(tempfile.gettempdir())
    with output_errors(folder):
        sweep(folder, SCRATCH_PREFIX)
        return _new_folder(folder, SCRATCH_PREFIX, 0o700)


def _sweep_once(folder: Path) -> None:
    if folder not in _swept:
        sweep(folder)


def _new_folder(folder: Path, prefix: str, mode: int) -> Path:
    while True:
        path = folder / f"{prefix}{secrets.token_hex(8)}"
        # The lock is there before its folder and after it: a folder without one is dead.
        if _create(path, path.with_name(path.name + _FOLDER_LOCK_SUFFIX), path):
            try:
                path.mkdir(mode)
            except BaseException:
                let_go(path)
                raise
            return path


def _create(key: Path, lock: Path, contents: Path | None) -> bool:
    """Make a file and lock it; whether it is still there, and was not taken for a dead one's."""
    with uninterrupted():
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(lock, flags, 0o666)
        if _flock(descriptor) is not False and _is_at(descriptor, lock):
            _held[key] = _Held(descriptor, lock, contents)
            return True
        os.close(descriptor)
        return False


def _clear(path: Path) -> None:
    """Remove one file or folder, if nobody alive has it."""
    status = path.lstat()
    if status.st_uid != os.getuid():
        return
    if stat.S_ISDIR(status.st_mode):
        if not path.with_name(path.name + _FOLDER_LOCK_SUFFIX).exists():
            shutil.rmtree(path, ignore_errors=True)
        return
    if not stat.S_ISREG(status.st_mode):
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if _flock(descriptor):
            if path.name.endswith(_FOLDER_LOCK_SUFFIX):
                _remove(path.with_name(path.name.removesuffix(_FOLDER_LOCK_SUFFIX)))
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _remove(path: Path | None) -> None:
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)


# ----------------------------------------------------------------------------------------------
# The system


def _flock(descriptor: int) -> bool | None:
    """Whether the lock was granted; None: this file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno in _NO_FLOCK:
            return None
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


@atexit.register
def let_go_of_all() -> None:
    """Remove what is unfinished when the process ends, whatever ended it."""
    for path in list(_held):
        let_go(path)


def _forget() -> None:
    """In a process that was forked: the locks are its parent's and must not outlive that."""
    for held in _held.values():
        os.close(held.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
