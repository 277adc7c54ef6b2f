"""What the operating system's errors mean for a path, in one line that says what to do."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from munit_edge.errors import InputError, OutputError

_SHOWN_NAME = 80
"""Characters of a path in a message about its length."""

_BOTH = {
    errno.ESTALE: "the network file system has lost it: mount it again",
    errno.ENOTCONN: "its file system is not connected: mount it again",
    errno.EHOSTDOWN: "its file system is not connected: mount it again",
}
_READING = {
    **_BOTH,
    errno.EACCES: "permission denied: ask for the right to read it, or name another path",
    errno.EPERM: "not permitted: ask for the right to read it, or name another path",
    errno.ENAMETOOLONG: "the name is too long: file systems take 255 bytes for each part of a path",
    errno.ELOOP: "its links lead in a circle: name the file itself",
    errno.ETIMEDOUT: "its file system does not answer: try again, or name another path",
    errno.EIO: "input/output error: the disk or the network fails, so copy it from elsewhere",
    errno.ENOENT: "it does not exist: correct the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder: correct the path",
    errno.EISDIR: "it is a folder: name a file",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENODATA: "nobody writes into this pipe: start the program that does first",
    errno.ENXIO: "it is no file that can be read: name another",
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
    errno.EEXIST: "something else is there already: name another output path",
    errno.ENAMETOOLONG: "the name is too long: name a shorter output path",
    errno.ELOOP: "its links lead in a circle: name another output path",
    errno.ETIMEDOUT: "its file system does not answer: try again, or name another output path",
    errno.EIO: "input/output error: the disk or the network fails, so name another output path",
    errno.EISDIR: "a folder of that name is there already: name another output path",
    errno.EBUSY: "it is a mount point or in use: name another output path",
}


def fault(exc: OSError | ValueError) -> str:
    """Why the system refuses a path, and what to do: the end of a message."""
    if isinstance(exc, ValueError):  # NUL, or characters that the file system's encoding lacks
        return "no file can have such a name: correct it"
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
    """Turn the system's errors while writing `path` into an `OutputError` that says the fix."""
    try:
        yield
    except OSError as exc:
        raise OutputError(
            f"cannot write {path}: {_WRITING.get(exc.errno or 0, exc.strerror or str(exc))}"
        ) from exc
