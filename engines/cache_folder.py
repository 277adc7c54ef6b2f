"""The folder of compiled graphs in the user's cache, which several engines share.

    <cache>/engines/              mode 0700: what lies there is run, or trusted like code
        *.plan, *.json, *.cache   TensorRT's: `munit_edge.engines.tensorrt.cache`
        *.blob                    OpenVINO's: `munit_edge.engines.openvino.blobs`
        locks/                    one file for each graph that only one process may build

<cache> is $MUNIT_EDGE_CACHE, or the platform's cache folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from munit_edge.errors import EngineError, OutputError
from munit_edge.files.system_errors import output_errors

CACHE_ENVIRONMENT = "MUNIT_EDGE_CACHE"

GRAPH_DIGITS = 16
"""Digits of a graph's hash in file names; the whole hash is beside the contents."""
KEY_DIGITS = 16
"""Digits of a key's digest in file names."""

Say = Callable[[str], None]
"""Shows one line to the user."""


def engines_folder() -> Path:
    """The folder of compiled graphs, whether or not it exists.

    Raises:
        OutputError: the user has no home folder and `$MUNIT_EDGE_CACHE` is not set.
    """
    return _cache_folder() / "engines"


def make_engines_folder() -> Path:
    """The folder of compiled graphs, made private to this user.

    Raises:
        OutputError: it cannot be made.
        EngineError: it belongs to another user.
    """
    folder = engines_folder()
    with output_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.getuid():
            raise EngineError(
                f"{folder} belongs to another user, and engines are executable code: set "
                f"${CACHE_ENVIRONMENT} to a folder of your own"
            )
        # `mkdir` leaves the mode of an existing folder as it is.
        if stat.S_IMODE(status.st_mode) != 0o700:
            folder.chmod(0o700)
    return folder


def file_stem(graph: str, sha256: str) -> str:
    """Beginning of the names of a graph's files, up to the key."""
    return f"{graph}-{sha256[:GRAPH_DIGITS]}"


@contextlib.contextmanager
def locked(folder: Path, stem: str, say: Say) -> Iterator[None]:
    """Only one process at a time finds, builds or removes the plans of a graph.

    Args:
        folder: the folder of plans.
        stem: beginning of the graph's file names, up to the key.
        say: called before waiting for another process.
    """
    locks = folder / "locks"
    with output_errors(locks):
        locks.mkdir(mode=0o700, exist_ok=True)
        # The file stays: if it were removed, two processes could hold locks on different files.
        file = (locks / f"{stem}.lock").open("a")
    with file:
        try:
            # Without blocking first, so that a wait can be announced.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process uses the engines of {stem.partition('-')[0]}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file releases the lock, and so does the end of the process


def _cache_folder() -> Path:
    """Where munit-edge keeps files that it can make again."""
    if named := os.environ.get(CACHE_ENVIRONMENT):
        return Path(named).expanduser()
    try:
        home = Path.home()
    except RuntimeError as exc:
        raise OutputError(
            f"there is no home folder to cache engines in: set ${CACHE_ENVIRONMENT} to a folder"
        ) from exc
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "munit-edge"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "munit-edge"
