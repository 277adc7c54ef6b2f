"""Locks on outputs: one process at a time writes them.

    results/.munit-edge-lock           for a folder that is filled in place: results, a training run
    .munit-edge-lock-<hash of name>    beside a file or folder that appears when it is complete

On file systems without `flock` (some network and FUSE mounts) the lock file's record of its holder
decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path

from munit_edge.errors import OutputError
from munit_edge.files.held_locks import HIDDEN_PREFIX, HeldLock, flock, held, is_at, let_go
from munit_edge.files.system_errors import output_errors
from munit_edge.files.unfinished import sweep
from munit_edge.interrupts import uninterrupted

LOCK_NAME = f"{HIDDEN_PREFIX}lock"

_MAX_COMMAND = 200  # characters
# Tries to create a lock file in a folder that other processes remove again.
_ATTEMPTS = 100

# A ContextVar: another thread of this process is refused like another process.
_mine: ContextVar[frozenset[Path]] = ContextVar("_mine", default=frozenset())
"""Locks that the running code is within, so that it may take one again."""


@contextlib.contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Within the block no other process may write into `folder`.

    The folder is created if it is missing, and removed again if it is empty at the end.

    Raises:
        OutputError: another process writes into it, or it cannot be created or written.
    """
    with _in_use(Path(os.path.realpath(folder)) / LOCK_NAME, folder):
        yield


@contextlib.contextmanager
def writing_to(*paths: Path | None) -> Iterator[None]:
    """Within the block no other process may write `paths`: files or folders that appear complete.

    None is skipped. Missing parent folders are created, and removed again if they are empty at the
    end.

    Raises:
        OutputError: another process writes one, or its folder cannot be created or written.
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
    # The missing parents, nearest first: they are removed in this order if they stay empty.
    made = [path for path in lock.parents if not os.path.lexists(path)]
    taken = False
    try:
        with output_errors(target):
            taken = _take(lock)
        if not taken:
            raise OutputError(
                f"{target} is in use by {_holder(lock)}: wait until it ends, or name another output"
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
    """Create the lock file, or take over that of a dead process; False: a living one holds it."""
    for attempt in itertools.count():
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _open(lock)
        except FileNotFoundError:
            if attempt < _ATTEMPTS:
                continue  # the folder has just been removed
            raise
        with uninterrupted():
            granted = flock(descriptor)
            if granted is None:  # the file system has no locks
                granted = not _is_alive(_facts(lock))
            if not granted:
                os.close(descriptor)
                return False
            # A holder removes its file before it unlocks: this may be the lock of a file without a
            # name, while another process locks a new one of that name.
            if is_at(descriptor, lock):
                _write_facts(descriptor)
                held[lock] = HeldLock(descriptor, lock, None)
                return True
            os.close(descriptor)  # its holder has just removed the file
    raise AssertionError


def _open(lock: Path) -> int:
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(lock, os.O_RDWR | flags, 0o666)
    except PermissionError:
        if not lock.exists():
            raise
        # Another user's file can be locked all the same, unless its holder is alive.
        return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _write_facts(descriptor: int) -> None:
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    facts = {
        "process": os.getpid(),
        "host": platform.node(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        # Hides the passwords in addresses of cameras.
        "command": re.sub(r"//[^/@\s]*@", "//***@", shlex.join(words))[:_MAX_COMMAND],
    }
    with contextlib.suppress(OSError):  # the lock works without them
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(facts).encode())


def _facts(lock: Path) -> dict[str, object]:
    try:
        facts = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _holder(lock: Path) -> str:
    """A description of the holder of a lock."""
    facts = _facts(lock)
    if not facts:
        return "another process"
    known = {name: str(value) for name, value in facts.items()}
    return (
        f"process {known.get('process')} on host {known.get('host')} "
        f"(since {known.get('since')}, command {known.get('command')})"
    )


def _is_alive(facts: dict[str, object]) -> bool:
    """Whether the holder of a lock file is running, as far as this machine can tell."""
    process = facts.get("process")
    # A process on another machine cannot be asked. Its lock counts as left.
    if facts.get("host") != platform.node() or not isinstance(process, int):
        return False
    # An earlier process with our number, as containers give out again and again.
    if process == os.getpid():
        return False
    try:
        # Signal 0 only asks whether the process exists.
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True
