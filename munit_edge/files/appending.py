"""Appending lines to files, such as a log: never through a link, and one call for each line."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, cast

from munit_edge.errors import OutputError
from munit_edge.files.system_errors import output_errors


def open_to_append(path: Path) -> BinaryIO:
    """Open a file for reading and appending; it is created if it is missing.

    Raises:
        OutputError: it is a link, which may lead anywhere, is not a regular file, or cannot be
            opened.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    # Links fail, and a pipe does not wait for a reader. Not every system has these flags.
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    # For the better message; a link that appears after this fails in `os.open`.
    if path.is_symlink():
        raise OutputError(f"{path} is a link, which is not followed: remove it")
    with output_errors(path):
        descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OutputError(f"{path} is not a regular file: remove it")
    return cast("BinaryIO", os.fdopen(descriptor, "a+b"))


def append_line(file: BinaryIO, line: str, *, on_disk: bool = False) -> None:
    """Append a line and hand it to the system, so that a killed program loses none.

    Args:
        file: opened by `open_to_append`.
        line: without its line break.
        on_disk: wait until it is on the disk, so that a power failure does not lose it either.

    Raises:
        OSError: it cannot be written.
    """
    file.write(line.encode() + b"\n")
    file.flush()
    if on_disk:
        os.fsync(file.fileno())
