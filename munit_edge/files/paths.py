"""Paths that a user names: what is there, with every answer of the system as a one-line error."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from munit_edge.errors import InputError
from munit_edge.files.names import storable
from munit_edge.files.system_errors import input_errors, unusable

_ABSENT = (errno.ENOENT, errno.ENOTDIR)
WRITER_WAIT_S = 10.0
"""Seconds to wait for a writer of a named pipe."""

_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: Path) -> BinaryIO:
    """Open a file to read, without waiting forever for a writer.

    A pipe without a writer is given up after `WRITER_WAIT_S`; one with a writer is read to its end.

    Raises:
        OSError: the system refuses, or the file is a device or a pipe without a writer.
    """
    # Before opening, which on a device may do something, such as rewinding a tape.
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.ENXIO, "it is a device, not a file", str(path))
    # Opening a pipe without a writer would block; on regular files the flag has no effect.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if stat.S_ISFIFO(mode) and not _has_writer(descriptor):
            raise OSError(errno.ENODATA, "nobody writes into this pipe", str(path))
        # From here on reading waits for the writer's data.
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _has_writer(descriptor: int) -> bool:
    """Whether a pipe holds data, or had a writer, within `WRITER_WAIT_S`."""
    # Before its first writer a pipe is silent; POLLHUP means that one has come and gone.
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(waiting.poll(WRITER_WAIT_S * 1000))


@contextlib.contextmanager
def utf8_name(path: Path) -> Iterator[str]:
    """A name of a file or folder for libraries that only take UTF-8, valid within the block.

    Most paths are UTF-8. Others are reached through a descriptor: that of the parent folder if
    possible, so that files beside the named one are found too.

    Raises:
        OSError: the path does not exist or cannot be read.
    """
    if storable(path) == str(path):
        yield str(path)
        return
    through_folder = storable(path.name) == path.name
    # Linux shows every open descriptor as a name below /proc.
    descriptor = os.open(path.parent if through_folder else path, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}" + (f"/{path.name}" if through_folder else "")
    finally:
        os.close(descriptor)


def exists(path: Path) -> bool:
    """Whether `path` exists, following links.

    `Path.exists` differs between versions of Python when the system refuses to answer; this raises.

    Raises:
        InputError: the system refuses (name too long, no permission, disk or network).
    """
    return _status(path) is not None


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder; see `exists`.

    Raises:
        InputError: the system refuses to answer.
    """
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def is_file(path: Path) -> bool:
    """Whether `path` is a regular file; see `exists`.

    Raises:
        InputError: the system refuses to answer.
    """
    status = _status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def require_folder(path: Path, called: str, fix: str) -> None:
    """Check that `path` is a folder.

    Args:
        path: the folder.
        called: its purpose, the start of the message, such as "data folder".
        fix: what to do, the end of the message.

    Raises:
        InputError: it is not a folder, or the system refuses to answer.
    """
    if not is_folder(path):
        kind = "is not a folder" if exists(path) else "does not exist"
        raise InputError(f"{called} {path} {kind}: {fix}")


def held_by(folder: Path) -> str:
    """The first few names in a folder, for a message about its contents.

    Raises:
        InputError: the system refuses to answer.
    """
    with input_errors(folder):
        return ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"


def special_kind(mode: int) -> str | None:
    """The kind of a file whose opening may block, such as "a pipe"; None: it does not block."""
    return next((name for is_kind, name in _SPECIAL if is_kind(mode)), None)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError as exc:
        if exc.errno in _ABSENT:
            return None
        raise unusable(path, exc) from exc
    except ValueError as exc:
        raise unusable(path, exc) from exc
