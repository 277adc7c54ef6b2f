"""Files that are whole or absent: atomic writing, and hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from munit_edge.errors import OutputError
from munit_edge.files.locks import let_go, new_partial_file, new_partial_folder, writing_to
from munit_edge.files.paths import open_file
from munit_edge.files.system_errors import output_errors
from munit_edge.interrupts import uninterrupted

BeforeReplacing = Callable[[Path, Path], None]
"""Called with an earlier folder and the complete one that is about to replace it. It raises
OutputError if the earlier one has to stay, and copies what is to be kept of it."""

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def make_folder(path: Path) -> Path:
    """Create `path` and its parents unless they exist.

    Raises:
        OutputError: the folder cannot be made.
    """
    with output_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    Parents are made. After an error or Ctrl-C nothing is left and an earlier `path` is untouched.

    Args:
        path: the file to write.
        replace: take the place of an earlier file; else one that appeared meanwhile stays.

    Raises:
        OutputError: the file cannot be written (disk full, read-only, no permission), or `path`
            exists and `replace` is false.
    """
    make_folder(path.parent)
    with output_errors(path):
        # The suffix stays: libraries choose a format by it.
        partial = new_partial_file(path.parent, path.suffix)
        try:
            yield partial
            _sync(partial)
            if replace:
                partial.replace(path)
            else:
                _rename_file_to_new(partial, path)
            _sync_names(path.parent)
        finally:
            let_go(partial)


@contextlib.contextmanager
def atomic_folder(path: Path, *, replacing: BeforeReplacing | None = None) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends without an error.

    Args:
        path: the folder to make; an empty one may be there.
        replacing: called before an earlier folder is replaced, which is removed only after the new
            one is complete; see `munit_edge.files.replacing`. None: nothing is replaced.

    Raises:
        OutputError: `path` exists, or has come into being meanwhile, and may not be replaced;
            another process makes it; or writing failed.
    """
    with output_errors(path):
        is_there = not is_free(path)
    if replacing is None and is_there:
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
                _swap(partial, path, replacing)
            _sync_names(path.parent)
        finally:
            let_go(partial)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_free(path: Path) -> bool:
    """Whether nothing is at `path`, or an empty folder, which a rename replaces without loss."""
    if not os.path.lexists(path):
        return True
    return not path.is_symlink() and path.is_dir() and not any(path.iterdir())


def _swap(partial: Path, path: Path, replacing: BeforeReplacing | None) -> None:
    """Rename `partial` to `path`; what was there is removed if it may be."""
    if replacing is None or is_free(path):
        _rename_folder_to_new(partial, path)
        return
    replacing(path, partial)
    for file in partial.rglob("*"):  # what it has kept
        _sync(file)
    if _exchange(partial, path):
        _sync_names(path.parent)
        shutil.rmtree(partial, ignore_errors=True)
        return
    aside = new_partial_folder(path.parent)
    earlier = path.rename(aside / path.name)
    try:
        partial.rename(path)
    except OSError:
        earlier.rename(path)
        raise
    finally:
        let_go(aside)


def _rename_folder_to_new(partial: Path, path: Path) -> None:
    """Rename a folder, unless something is there: the system replaces empty folders only."""
    try:
        partial.rename(path)
    except OSError as exc:
        if os.path.lexists(path) and exc.errno != errno.EBUSY:
            raise OutputError(
                f"{path} has been made by another program meanwhile and stays as it is: name "
                "another folder, or pass --overwrite"
            ) from exc
        raise


def _rename_file_to_new(partial: Path, path: Path) -> None:
    """Rename a file, unless something is there: a second name is never given over a first."""
    try:
        os.link(partial, path)
    except FileExistsError as exc:
        raise OutputError(
            f"{path} has been made by another program meanwhile and stays as it is: name another "
            "file, or pass --overwrite"
        ) from exc
    except OSError:  # a file system without second names
        if os.path.lexists(path):
            raise
        partial.replace(path)
    else:
        partial.unlink()


def _exchange(path: Path, other: Path) -> bool:
    """Let two folders change places in one step; False: not possible here, nothing has changed."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:  # an old C library
        return False
    names = os.fsencode(path), os.fsencode(other)
    return int(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)) == 0


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
