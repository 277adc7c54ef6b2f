"""Errors of the operating system about a path, as one line that says what to do."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from munit_edge.errors import InputError, OutputError

_SHOWN_NAME = 80
"""Characters of a path in a message about its length."""

_BOTH = {
    errno.ESTALE: "the network file system lost it: mount it again",
    errno.ENOTCONN: "its file system is not connected: mount it again",
    errno.EHOSTDOWN: "its file system is not connected: mount it again",
}
_READING = {
    **_BOTH,
    errno.EACCES: "permission denied: get permission to read it, or name another path",
    errno.EPERM: "not permitted: get permission to read it, or name another path",
    errno.ENAMETOOLONG: "the name is too long: file systems allow 255 bytes per part of a path",
    errno.ELOOP: "its links form a loop: name the file itself",
    errno.ETIMEDOUT: "its file system does not answer: try again, or name another path",
    errno.EIO: "input/output error: the disk or the network fails, copy it from elsewhere",
    errno.ENOENT: "it does not exist: correct the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder: correct the path",
    errno.EISDIR: "it is a folder: name a file",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENODATA: "nobody writes into this pipe: start the program that does first",
    errno.ENXIO: "it is not a readable file: name another",
}
_WRITING = {
    **_BOTH,
    errno.ENOSPC: "the disk is full: free some space or name another output path",
    errno.EDQUOT: "the disk quota is used up: free some space or name another output path",
    errno.EFBIG: "the file is larger than this account or file system allows: raise the limit "
    "(ulimit -f) or name another output path",
    errno.EROFS: "the file system is read-only: name another output path",
    errno.EACCES: "permission denied: name an output path that you may write to",
    errno.EPERM: "not permitted: name an output path that you may write to",
    errno.ENOTDIR: "a part of the path is a file, not a folder: name another output path",
    errno.EEXIST: "something else already exists there: name another output path",
    errno.ENAMETOOLONG: "the name is too long: name a shorter output path",
    errno.ELOOP: "its links form a loop: name another output path",
    errno.ETIMEDOUT: "its file system does not answer: try again, or name another output path",
    errno.EIO: "input/output error: the disk or the network fails, name another output path",
    errno.EISDIR: "a folder of that name already exists: name another output path",
    errno.EBUSY: "it is a mount point or in use: name another output path",
}


def fault(exc: OSError | ValueError) -> str:
    """Why the system refuses a path, and the fix: the end of a message."""
    if isinstance(exc, ValueError):  # NUL, or characters outside the file system's encoding
        return "no file can have this name: correct it"
    return _READING.get(exc.errno or 0, exc.strerror or str(exc))


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


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing `path` into an `OutputError` with the fix."""
    try:
        yield
    except OSError as exc:
        raise OutputError(
            f"cannot write {path}: {_WRITING.get(exc.errno or 0, exc.strerror or str(exc))}"
        ) from exc
