"""What lies at a path that a user named; whatever the system answers is told in one line."""

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
from munit_edge.names import storable

_ABSENT = (errno.ENOENT, errno.ENOTDIR)
WRITER_WAIT_S = 10.0
"""Seconds until a named pipe that nobody writes into is given up."""
_SHOWN_NAME = 80
"""Characters of a path in a message about its length."""

_MENDS = {
    errno.EACCES: "permission denied: ask for the right to read it, or name another path",
    errno.EPERM: "not permitted: ask for the right to read it, or name another path",
    errno.ENAMETOOLONG: "the name is too long: file systems take 255 bytes for each part of a path",
    errno.ELOOP: "its links lead in a circle: name the file itself",
    errno.ESTALE: "the network file system has lost it: mount it again",
    errno.ENOTCONN: "its file system is not connected: mount it again",
    errno.EHOSTDOWN: "its file system is not connected: mount it again",
    errno.ETIMEDOUT: "its file system does not answer: try again, or name another path",
    errno.EIO: "input/output error: the disk or the network fails, so copy it from elsewhere",
    errno.ENOENT: "it does not exist: correct the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder: correct the path",
    errno.EISDIR: "it is a folder: name a file",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENODATA: "nobody writes into this pipe: start the program that does first",
    errno.ENXIO: "it is no file that can be read: name another",
}

_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def fault(exc: OSError | ValueError) -> str:
    """Why the system refuses a path, and what to do: the end of a message."""
    if isinstance(exc, ValueError):  # NUL, or characters that the file system's encoding lacks
        return "no file can have such a name: correct it"
    return _MENDS.get(exc.errno or 0, exc.strerror or str(exc))


def unusable(path: str | Path, exc: OSError | ValueError) -> InputError:
    """The error for a path that the system refuses."""
    text = str(path)
    if len(text) > 2 * _SHOWN_NAME:
        text = f"{text[:_SHOWN_NAME]}... ({len(text)} characters)"
    return InputError(f"{text} cannot be used: {fault(exc)}")


@contextlib.contextmanager
def input_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors while reading `path` into an `InputError`."""
    try:
        yield
    except (OSError, UnicodeEncodeError) as exc:
        raise unusable(path, exc) from exc


def open_file(path: Path) -> BinaryIO:
    """Open a file to read, without waiting for ever for somebody to write it.

    A pipe has `WRITER_WAIT_S` to find a writer. What has one is read to its end, as usual.

    Raises:
        OSError: the system refuses, it is a device, or a pipe without a writer.
    """
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.ENXIO, "it is a device, and no file", str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if stat.S_ISFIFO(mode) and not _has_writer(descriptor):
            raise OSError(errno.ENODATA, "nobody writes into this pipe", str(path))
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _has_writer(descriptor: int) -> bool:
    """Whether a pipe holds data, or had a writer, within the time that it is given."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(waiting.poll(WRITER_WAIT_S * 1000))


@contextlib.contextmanager
def utf8_name(path: Path) -> Iterator[str]:
    """A name of a file or folder for libraries that take UTF-8 only, good within the block.

    Most paths are UTF-8. Others are reached through a descriptor: that of the folder where it can
    be, so that what lies beside a file is found there.

    Raises:
        OSError: there is nothing of that name, or it cannot be read.
    """
    if storable(path) == str(path):
        yield str(path)
        return
    through_folder = storable(path.name) == path.name
    descriptor = os.open(path.parent if through_folder else path, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}" + (f"/{path.name}" if through_folder else "")
    finally:
        os.close(descriptor)


def exists(path: Path) -> bool:
    """Whether something is at `path`, links followed.

    Unlike `Path.exists`, whose answer depends on the version of Python where the system refuses.

    Raises:
        InputError: the system refuses to say (name too long, no permission, disk or network).
    """
    return _status(path) is not None


def is_folder(path: Path) -> bool:
    """Whether a folder is at `path`; see `exists`.

    Raises:
        InputError: the system refuses to say.
    """
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def is_file(path: Path) -> bool:
    """Whether a regular file is at `path`; see `exists`.

    Raises:
        InputError: the system refuses to say.
    """
    status = _status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def require_folder(path: Path, called: str, mend: str) -> None:
    """Check that `path` is a folder.

    Args:
        path: the folder.
        called: what it is for, the start of the message, such as "data folder".
        mend: what to do, its end.

    Raises:
        InputError: it is none, or the system refuses to say.
    """
    if not is_folder(path):
        kind = "is not a folder" if exists(path) else "does not exist"
        raise InputError(f"{called} {path} {kind}: {mend}")


def held_by(folder: Path) -> str:
    """The first few names in a folder, for a message that says what it holds instead.

    Raises:
        InputError: the system refuses to say.
    """
    with input_errors(folder):
        return ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"


def special_kind(mode: int) -> str | None:
    """What a file is that waits for others when it is opened ("a pipe"); None: it does not wait."""
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
