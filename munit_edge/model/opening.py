"""The graphs of a model directory, compared with the manifest before an engine reads them.

An engine gets a path, so that a file's bytes are not held twice, and may map weights files into
memory. A model directory in use is to be replaced by another one, as `export` does: overwriting its
files in place would change or end what runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path

from munit_edge.errors import ModelError
from munit_edge.files.atomic import sha256
from munit_edge.files.plain_data import shown
from munit_edge.model.graph_files import WeightsFile, check_other_files
from munit_edge.model.manifest import GraphEntry

MAX_NAME = 255
"""Characters of a file name."""

_Version = tuple[int, ...]
"""What changes when a file is written or replaced."""


class FileHashes:
    """SHA-256 of files; that of an unchanged file is computed once.

    For the graphs of one graph set, of which two may share a weights file.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Version, str]] = {}

    def of(self, path: Path) -> str:
        """The hash of a file, in hexadecimal.

        Raises:
            OSError: the file cannot be read.
        """
        version = _version(path)
        known = self._known.get(path)
        if known is None or known[0] != version:
            known = self._known[path] = version, sha256(path)
        return known[1]


def read_graph(directory: Path, entry: GraphEntry) -> bytes:
    """The bytes of a graph file, after its files were compared with the manifest.

    Raises:
        ModelError: a file is missing, not the one that was exported, or would load another file.
    """
    path = _path(directory, entry.file)
    with graph_read_errors(path):
        data = path.read_bytes()
    _check_hash(path, entry.sha256, hashlib.sha256(data).hexdigest())
    check_other_files(data, str(path), _checked_weights(directory, entry, FileHashes()))
    return data


def checked_graph(directory: Path, entry: GraphEntry, hashes: FileHashes | None = None) -> Path:
    """The path of a graph file, after its files were compared with the manifest.

    Args:
        directory: the model directory.
        entry: the graph's entry in the manifest.
        hashes: those of files that were compared before.

    Raises:
        ModelError: a file is missing, not the one that was exported, or would load another file.
    """
    hashes = hashes or FileHashes()
    path = _path(directory, entry.file)
    with graph_read_errors(path):
        found = hashes.of(path)
    _check_hash(path, entry.sha256, found)
    weights = _checked_weights(directory, entry, hashes)
    with graph_read_errors(path), path.open("rb") as file:
        # An empty file cannot be mapped.
        if not file.read(1):
            check_other_files(b"", str(path))
        # What is skipped over is not read, and nothing is copied.
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            check_other_files(view, str(path), weights)
    return path


def _checked_weights(directory: Path, entry: GraphEntry, hashes: FileHashes) -> WeightsFile | None:
    """The weights file that a graph may load, after it was compared with the manifest."""
    weights = entry.weights
    if weights is None:
        return None
    path = _path(directory, weights.file)
    fix = f", and {entry.file} needs it: copy the whole model directory again, or"
    with graph_read_errors(path, fix):
        size = path.stat().st_size
        # Beside a graph that is a link, an engine could look for weights in either folder.
        for file in (path, directory / entry.file):
            _check_place(file, directory)
    # The size first: it shows a copy that was cut off without reading it.
    if size != weights.bytes:
        raise ModelError(
            f"{path} is not the file that was exported: it has {size} bytes, the manifest says "
            f"{weights.bytes}; copy the model directory again or export it"
        )
    with graph_read_errors(path, fix):
        found = hashes.of(path)
    _check_hash(path, weights.sha256, found)
    return WeightsFile(weights.file, weights.bytes)


def _check_place(path: Path, directory: Path) -> None:
    real = path.resolve()
    if real.parent != directory.resolve():
        raise ModelError(
            f"{path} is a link to a file elsewhere ({real}): copy that file in place of the link"
        )


def _path(directory: Path, name: str) -> Path:
    # The manifest may come from anybody: a name with a folder in it could point at any file.
    if name in ("", "..") or Path(name).name != name or len(name) > MAX_NAME or "\0" in name:
        raise ModelError(
            f"the manifest names {shown(name)}, which is no file in {directory}: "
            "export the model again"
        )
    return directory / name


def _version(path: Path) -> _Version:
    status = path.stat()
    return (
        *(status.st_dev, status.st_ino, status.st_size),
        *(status.st_mtime_ns, status.st_ctime_ns),
    )


@contextlib.contextmanager
def graph_read_errors(path: Path, fix: str = ":") -> Iterator[None]:
    """Turn an `OSError` in reading a file of a graph into a `ModelError`.

    Args:
        path: the file.
        fix: what comes before "export the model again".
    """
    try:
        yield
    except OSError as exc:
        raise ModelError(
            f"{path} cannot be read ({exc.strerror}){fix} export the model again"
        ) from exc


def _check_hash(path: Path, wanted: str, found: str) -> None:
    if found != wanted:
        raise ModelError(
            f"{path} is not the file that was exported: its SHA-256 is {found[:12]}..., the "
            f"manifest says {wanted[:12]}...; copy the model directory again or export it"
        )
