"""Files and folders that appear complete or not at all, and hashes."""

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
from munit_edge.files.held_locks import let_go
from munit_edge.files.locks import writing_to
from munit_edge.files.paths import open_file
from munit_edge.files.system_errors import output_errors
from munit_edge.files.unfinished import new_partial_file, new_partial_folder, remove_folder
from munit_edge.interrupts import uninterrupted

BeforeReplacing = Callable[[Path, Path], None]
"""Called with an earlier folder and the complete one that is about to replace it. It raises
OutputError if the earlier one must stay, and copies what is to be kept from it."""

# From <linux/fs.h> and <fcntl.h>: Python has no `renameat2`.
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def make_folder(path: Path) -> Path:
    """Create `path` and its parents unless they exist.

    Raises:
        OutputError: the folder cannot be created.
    """
    with output_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A temporary file beside `path` that replaces it when the block ends without an error.

    Parents are created. After an error or Ctrl-C nothing is left and an earlier `path` is
    unchanged.

    Args:
        path: the file to write.
        replace: replace an earlier file; else one that has appeared in the meantime stays.

    Raises:
        OutputError: the file cannot be written (disk full, read-only, no permission), or `path`
            exists and `replace` is false.
    """
    make_folder(path.parent)
    with output_errors(path):
        # With the suffix of `path`: libraries choose a format by it.
        partial = new_partial_file(path.parent, path.suffix)
        try:
            yield partial
            # Contents before names: after a power cut the new name must not lead to an empty file.
            _sync(partial)
            if replace:
                partial.replace(path)
            else:
                _rename_file_to_new(partial, path)
            # A rename lasts only once the folder that holds the name is flushed.
            _sync_names(path.parent)
        finally:
            # Removes the file after an error; after the rename nothing of that name is left.
            let_go(partial)


@contextlib.contextmanager
def atomic_folder(path: Path, *, replacing: BeforeReplacing | None = None) -> Iterator[Path]:
    """A temporary folder beside `path` that replaces it when the block ends without an error.

    Args:
        path: the folder to create; an empty one may exist.
        replacing: called before an earlier folder is replaced, which is removed only after the new
            one is complete; see `munit_edge.files.replacing`. None: nothing is replaced.

    Raises:
        OutputError: `path` exists, or has appeared in the meantime, and may not be replaced;
            another process writes it; or writing failed.
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
            # An interrupt between two renames would leave no folder at `path`.
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
    """Whether `path` does not exist or is an empty folder, which a rename replaces."""
    if not os.path.lexists(path):
        return True
    return not path.is_symlink() and path.is_dir() and not any(path.iterdir())


def _swap(partial: Path, path: Path, replacing: BeforeReplacing | None) -> None:
    """Rename `partial` to `path`; an earlier folder is removed if it may be replaced."""
    # Asked again: the check at the beginning may be hours old.
    if replacing is None or is_free(path):
        _rename_folder_to_new(partial, path)
        return
    replacing(path, partial)
    for file in partial.rglob("*"):  # copied by `replacing`
        _sync(file)
    # `path` is complete at every moment; afterwards `partial` is the earlier folder.
    if _exchange(partial, path):
        # The new name must be on the disk before the earlier folder is removed from it.
        _sync_names(path.parent)
        shutil.rmtree(partial, ignore_errors=True)
        return
    # Two renames instead, between which there is no `path`. A process killed there leaves the
    # earlier folder under a name that nothing sweeps.
    earlier = path.rename(_unused(path.with_name(f"{path.name}.earlier")))
    try:
        partial.rename(path)
    except OSError:
        earlier.rename(path)
        raise
    _sync_names(path.parent)
    remove_folder(earlier)


def _unused(path: Path) -> Path:
    """`path`, with a number if it exists."""
    names = (path, *(path.with_name(f"{path.name}{number}") for number in range(2, 1000)))
    return next(name for name in names if not os.path.lexists(name))


def _rename_folder_to_new(partial: Path, path: Path) -> None:
    """Rename a folder unless `path` exists: the system replaces empty folders only."""
    try:
        partial.rename(path)
    except OSError as exc:
        # EBUSY: a mount point, which the system cannot replace and which nobody has just created.
        if os.path.lexists(path) and exc.errno != errno.EBUSY:
            raise OutputError(
                f"another program has created {path} in the meantime, and it stays: name another "
                "folder, or pass --overwrite"
            ) from exc
        raise


def _rename_file_to_new(partial: Path, path: Path) -> None:
    """Rename a file unless `path` exists: a hard link never replaces a file."""
    try:
        os.link(partial, path)
    except FileExistsError as exc:
        raise OutputError(
            f"another program has created {path} in the meantime, and it stays: name another file, "
            "or pass --overwrite"
        ) from exc
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise
        # The second choice: a program that creates `path` just now loses its file.
        partial.replace(path)
    else:
        partial.unlink()


def _exchange(path: Path, other: Path) -> bool:
    """Exchange two folders atomically; False: not possible here, and nothing has changed."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:  # an old C library
        return False
    names = os.fsencode(path), os.fsencode(other)
    # -1 where the file system cannot exchange (EINVAL) or the kernel is too old (ENOSYS).
    return int(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)) == 0


def _sync(path: Path) -> None:
    if path.is_file():
        # Linux flushes a file through a descriptor that only reads, too.
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _sync_names(folder: Path) -> None:
    """Flush the names in a folder to the disk, if the file system supports that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
