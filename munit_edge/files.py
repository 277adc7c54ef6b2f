"""Files that are whole or absent: atomic writing, and hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from munit_edge.errors import OutputError
from munit_edge.paths import open_file

PARTIAL_PREFIX = ".munit-edge-partial-"
"""Names of unfinished files and folders start like this; they are never read."""

_MENDS = {
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
    errno.ESTALE: "the network file system has lost it: mount it again",
    errno.ENOTCONN: "its file system is not connected: mount it again",
    errno.EIO: "input/output error: the disk or the network fails, so name another output path",
    errno.EISDIR: "a folder of that name is there already: name another output path",
}


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing `path` into an `OutputError` that says the mend."""
    try:
        yield
    except OSError as exc:
        mend = _MENDS.get(exc.errno or 0, exc.strerror or str(exc))
        raise OutputError(f"cannot write {path}: {mend}") from exc


def make_folder(path: Path) -> Path:
    """Create `path` and its parents unless they exist.

    Raises:
        OutputError: the folder cannot be made.
    """
    with output_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    Parents are made. After an error or Ctrl-C nothing is left and an earlier `path` is untouched.

    Raises:
        OutputError: the file cannot be written (disk full, read-only, no permission).
    """
    make_folder(path.parent)
    with output_errors(path):
        # The suffix stays: libraries choose a format by it.
        partial = _partial_path(path.parent, path.suffix)
        partial.touch(exist_ok=False)  # with the permissions of any new file
        try:
            yield partial
            _sync(partial)
            partial.replace(path)
            _sync_names(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends without an error.

    Args:
        path: the folder to make.
        overwrite: replace an earlier folder; it is removed only after the new one is complete.

    Raises:
        OutputError: `path` exists and `overwrite` is false, or writing failed.
    """
    with output_errors(path):
        is_there = path.exists()
    if is_there and not overwrite:
        raise OutputError(f"{path} exists already: name another folder or pass --overwrite")
    make_folder(path.parent)
    with output_errors(path):
        partial = _partial_path(path.parent)
        partial.mkdir()
        try:
            yield partial
            for file in partial.rglob("*"):
                _sync(file)
            _sync_names(partial)
            _swap(partial, path)
            _sync_names(path.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _swap(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`; what was there is moved aside first and then removed."""
    if not path.exists():
        partial.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=path.parent)) / path.name
    path.rename(aside)
    try:
        partial.rename(path)
    except OSError:
        aside.rename(path)
        raise
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)


def _sync(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _sync_names(folder: Path) -> None:
    """Wait until renamed files of a folder are on the disk, where the file system can tell."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _partial_path(folder: Path, suffix: str = "") -> Path:
    return folder / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{suffix}"
