"""The locks that this process holds, by the system's `flock`.

A lock on an open file ends with the process, however that ended, so a lock file that was left
behind locks nothing. `munit_edge.files.locks` locks outputs, `munit_edge.files.unfinished` the
files and folders that are not complete yet.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from munit_edge.interrupts import uninterrupted

HIDDEN_PREFIX = ".munit-edge-"
"""Start of the names of everything that is not a result."""

# EBADF: NFS turns `flock` into locks that need a descriptor open for writing.
_NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF}


@dataclass(frozen=True)
class HeldLock:
    """A lock of this process."""

    descriptor: int
    lock: Path
    contents: Path | None
    """A folder that is removed with the lock."""


held: dict[Path, HeldLock] = {}
"""By lock file, or by unfinished folder."""


def flock(descriptor: int) -> bool | None:
    """Try to lock an open file: whether that succeeded; None: the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno in _NO_FLOCK:
            return None
        raise
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether `path` is still the name of an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def let_go(path: Path) -> None:
    """Release a lock and remove its contents; an unfinished file is removed too."""
    with uninterrupted():
        # Both or neither: a lock that is popped and not released would last as long as the process.
        lock = held.pop(path, None)
        if lock is not None:
            release(lock)


def release(lock: HeldLock) -> None:
    """Remove the contents and the file of a lock, then unlock it."""
    if lock.contents is not None:
        shutil.rmtree(lock.contents, ignore_errors=True)
    # The name goes while the lock is held: a process that has opened the file and locks it next
    # sees that it has lost its name (`is_at`), and tries again.
    with contextlib.suppress(OSError):
        lock.lock.unlink(missing_ok=True)
    # Closing is what unlocks.
    os.close(lock.descriptor)


@atexit.register
def let_go_of_all() -> None:
    """Release all locks and remove what is unfinished, when the process ends for any reason."""
    for path in list(held):
        let_go(path)


def _forget() -> None:
    """After a fork, in the child: the locks are the parent's and must not outlive it."""
    for lock in held.values():
        # Parent and child share the open file: it stays locked until the parent closes it as well.
        os.close(lock.descriptor)
    held.clear()


os.register_at_fork(after_in_child=_forget)
