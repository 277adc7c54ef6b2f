"""Files that are whole or absent: atomic writing, and hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from munit_edge.errors import OutputError
from munit_edge.interrupts import uninterrupted
from munit_edge.locks import PARTIAL_PREFIX as PARTIAL_PREFIX
from munit_edge.locks import (
    let_go,
    new_partial_file,
    new_partial_folder,
    writing_to,
)

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
        partial = new_partial_file(path.parent, path.suffix)
        try:
            yield partial
            _sync(partial)
            partial.replace(path)
            _sync_names(path.parent)
        finally:
            let_go(partial)


@contextlib.contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends without an error.

    Args:
        path: the folder to make.
        overwrite: replace an earlier folder; it is removed only after the new one is complete.

    Raises:
        OutputError: `path` exists and `overwrite` is false, another process makes it, or writing
            failed.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: name another folder or pass --overwrite")
    make_folder(path.parent)
    with writing_to(path), output_errors(path):
        partial = new_partial_folder(path.parent)
        try:
            yield partial
            for file in partial.rglob("*"):
                _sync(file)
            _sync_names(partial)
            with uninterrupted():
                _swap(partial, path)
            _sync_names(path.parent)
        finally:
            let_go(partial)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
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
