"""The user's cache of graphs that OpenVINO has compiled: a new process imports them.

    <cache>/engines/                                     see `munit_edge.engines.cache_folder`
        decoder_b-<ONNX hash>-<key>-1x256x64x64_1x8.blob     compiled for these sizes
        decoder_b-<ONNX hash>-<key>-any.blob                 compiled for all others

An entry is a page with one line of JSON (`BlobHeader`), and the blob as OpenVINO wrote it. It
appears complete and is never changed, so processes that write it at once need no lock: they write
the same. OpenVINO trusts the contents of a blob, and leaves weights where they are. So an entry is
used only if its key is exactly the one that this process would give it and its bytes have the
header's hash. While it is in use its file is mapped, which takes less memory than reading it, and
locked, so that nobody removes it: a network file system would take the pages away.

A cache that cannot be used costs time, never a run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import mmap
import os
import platform
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import ValidationError

from munit_edge.engines.cache_folder import (
    CACHE_ENVIRONMENT,
    KEY_DIGITS,
    Say,
    engines_folder,
    file_stem,
    make_engines_folder,
)
from munit_edge.engines.openvino.api import OpenVino
from munit_edge.engines.openvino.arithmetic import Hint
from munit_edge.errors import EngineError, OutputError
from munit_edge.files.atomic import atomic_file
from munit_edge.files.held_locks import flock, let_go
from munit_edge.files.system_errors import output_errors
from munit_edge.files.unfinished import new_partial_folder
from munit_edge.settings import StrictModel
from munit_edge.system.cpu_features import cpu_features
from munit_edge.system.limits import usable_cores
from munit_edge.version import __version__

SUFFIX = ".blob"
MAX_CACHE_BYTES = 1 << 30
"""Total size of all entries. Beyond it those that were not used for longest are removed. With width
64 all six graphs take 130 MB in one type and for one size."""

HEADER_BYTES = 4096
"""Size of the header: a page, so that the blob lies in memory as OpenVINO aligned it."""

_CHUNK = 1 << 20  # bytes that are copied and hashed while they are in the processor's cache


class Machine(StrictModel):
    """What a compiled graph depends on apart from the graph."""

    openvino: str
    """Version that compiled it, with its build."""
    processor: str
    """Name of the processor."""
    instructions: str
    """Hash of its instruction sets, as the kernel and OpenVINO name them."""
    threads: int
    """Number of threads that it computes with."""
    platform: str
    """Operating system and processor family."""


class BlobSetting(StrictModel):
    """Everything but the sizes that a compiled graph depends on."""

    onnx_sha256: str
    """Of the graph and its weights: `GraphEntry.content_sha256`."""
    precision: str
    """Of the graph's weights and arithmetic."""
    computes_in: Hint
    """What OpenVINO was told to compute in."""
    machine: Machine
    """Where it was compiled."""

    def digest(self) -> str:
        """SHA-256, hexadecimal."""
        return _digest(self.model_dump(mode="json"))


class BlobKey(StrictModel):
    """Everything that a compiled graph depends on."""

    setting: BlobSetting
    """All but the sizes."""
    sizes: dict[str, tuple[int, ...]] | None
    """The shape of each input, by name; None: any."""

    @property
    def sizes_text(self) -> str:
        """Sizes as in file names, such as "1x256x64x64_1x8" or "any"."""
        if self.sizes is None:
            return "any"
        return "_".join("x".join(map(str, shape)) for shape in self.sizes.values())

    def digest(self) -> str:
        """SHA-256, hexadecimal."""
        return _digest(self.model_dump(mode="json"))


class BlobHeader(StrictModel):
    """What is known about an entry."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    graph: str
    """Name of the graph, such as "decoder_b"."""
    key: BlobKey
    """What it depends on."""
    sha256: str
    """Of the key's digest and the blob."""
    blob_bytes: int
    """Size of the blob."""
    written_at: str
    """UTC, ISO 8601."""
    munit_edge: str
    """Version of munit-edge that wrote it."""


class BlobError(ValueError):
    """An entry cannot be used; the message is the reason."""


class BlobCache:
    """Finds compiled graphs, and keeps new ones, until the folder turns out to be unusable.

    Args:
        machine: this one; see `machine_of`.
        say: called once with the reason why nothing can be kept, and for each entry with the
            reason why it is not used; default: a log warning.
    """

    def __init__(self, machine: Machine, say: Say | None = None) -> None:
        self.machine = machine
        self.say: Say = say or logging.getLogger(__name__).warning
        self._usable = True

    def has_any(self, graph: str, setting: BlobSetting) -> bool:
        """Whether there are entries of a graph, for whatever sizes; they may be damaged."""
        with contextlib.suppress(OSError, OutputError):
            start = f"{_start(graph, setting)}-"
            with os.scandir(engines_folder()) as entries:
                return any(
                    entry.name.startswith(start) and entry.name.endswith(SUFFIX)
                    for entry in entries
                )
        return False

    def find(self, graph: str, key: BlobKey) -> Blob | None:
        """The blob of this key; None if there is none to be used."""
        if not self._usable:
            return None
        try:
            path = _path(engines_folder(), graph, key)
            with path.open("rb") as file:
                # OpenVINO trusts a blob. Where somebody else may write, theirs are not ours.
                if os.fstat(file.fileno()).st_uid != os.getuid():
                    self._give_up(f"{path} belongs to another user")
                    return None
                blob = Blob(file, key)
            # How long it was not used: access times are not kept everywhere.
            with contextlib.suppress(OSError):
                os.utime(path)
        except (FileNotFoundError, NotADirectoryError, OutputError):
            return None  # `scratch` says what is wrong with the folder
        except (BlobError, OSError) as exc:
            self.refuse(graph, str((isinstance(exc, OSError) and exc.strerror) or exc))
            return None
        return blob

    def refuse(self, graph: str, why: str) -> None:
        """Say that an entry is not used."""
        self.say(f"the compiled {graph} in the cache is not used: {why}; it is compiled again")

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path | None]:
        """A folder for OpenVINO to write a blob to, removed at the end; None: nothing is kept."""
        folder = None
        if self._usable:
            with self._said(), output_errors(engines_folder()):
                folder = new_partial_folder(make_engines_folder())
        try:
            yield folder
        finally:
            if folder is not None:
                let_go(folder)

    def keep(self, graph: str, key: BlobKey, written: tuple[Path, int] | None) -> None:
        """Make an entry, and remove those that were not used for longest if there are too many.

        Args:
            graph: name of the graph.
            key: what it depends on.
            written: file in which OpenVINO wrote the blob, and where it begins there; None: it
                could not write it.
        """
        with self._said():
            if written is None:
                raise OutputError("OpenVINO could not write them: is the disk full?")
            source, start = written
            path = _path(make_engines_folder(), graph, key)
            with atomic_file(path) as partial, source.open("rb") as blob, partial.open("wb") as out:
                blob.seek(start)
                out.seek(HEADER_BYTES)
                digest = _begin(key)
                while chunk := blob.read(_CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
                header = BlobHeader(
                    graph=graph,
                    key=key,
                    sha256=digest.hexdigest(),
                    blob_bytes=out.tell() - HEADER_BYTES,
                    written_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    munit_edge=__version__,
                )
                out.seek(0)
                out.write(header.model_dump_json().encode().ljust(HEADER_BYTES - 1) + b"\n")
            _trim(path)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """Where the folder cannot be used, say so once and keep nothing from then on."""
        try:
            yield
        except (OutputError, EngineError) as exc:
            # The advice on outputs, such as "name another output path", does not fit.
            cause = exc.__cause__
            why = (cause.strerror if isinstance(cause, OSError) else None) or str(exc)
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        self._usable = False
        self.say(
            f"compiled graphs cannot be kept ({why}), and every start takes longer: set "
            f"${CACHE_ENVIRONMENT} to a folder of your own with free space"
        )


class Blob:
    """An entry in memory, compared with its header; locked as long as this object lives.

    Args:
        file: the entry.
        key: the key that it has to have; None: any.

    Attributes:
        header: what is known about it.
        memory: the blob. It must not be used after this object is gone.

    Raises:
        BlobError: it is damaged, or has another key.
        OSError: it cannot be read, or is just being removed.
    """

    def __init__(self, file: BinaryIO, key: BlobKey | None = None) -> None:
        self.header = read_header(file)
        if key is not None and self.header.key != key:
            raise BlobError("it belongs to another graph")
        size = os.fstat(file.fileno()).st_size - HEADER_BYTES
        # The size first: it shows a file that was cut off without reading it.
        if size != self.header.blob_bytes:
            raise BlobError(f"its blob has {size} bytes instead of {self.header.blob_bytes}")
        # Some file systems have no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        # The mapping keeps the file open, and with it the lock. A private one, as OpenVINO takes
        # no memory that cannot be written; it writes nothing there.
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.memory = memoryview(self._map)[HEADER_BYTES:]
        digest = _begin(self.header.key)
        digest.update(self.memory)
        if digest.hexdigest() != self.header.sha256:
            raise BlobError("its bytes were changed")

    def give_back(self) -> None:
        """Give its pages back to the system; those that are still needed are read again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def machine_of(openvino: OpenVino, device_name: str) -> Machine:
    """The facts about this machine and process that a compiled graph depends on."""
    names = [*cpu_features(), *openvino.capabilities(device_name)]
    return Machine(
        openvino=openvino.build,
        processor=openvino.full_name(device_name),
        instructions=hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()[:KEY_DIGITS],
        threads=usable_cores(),
        platform=f"{sys.platform}-{platform.machine()}",
    )


def read_header(file: BinaryIO) -> BlobHeader:
    """The header of an entry.

    Raises:
        BlobError: it is damaged, or of another version.
    """
    try:
        return BlobHeader.model_validate_json(file.read(HEADER_BYTES))
    except ValidationError as exc:
        raise BlobError(
            "its header is damaged or was written by another version of munit-edge"
        ) from exc


def remove(path: Path) -> bool:
    """Remove an entry, unless a process uses it; whether it is gone.

    Raises:
        OSError: it cannot be removed.
    """
    # For writing: some file systems lock nothing else.
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        if flock(file.fileno()) is False:
            return False
        path.unlink()
    return True


def entry_paths(folder: Path) -> list[Path]:
    """All entries, by name; none if the folder cannot be read."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def belongs_at(path: Path, header: BlobHeader) -> bool:
    """Whether an entry has the name that its header asks for."""
    return path == _path(path.parent, header.graph, header.key)


def _begin(key: BlobKey) -> Any:
    """The beginning of an entry's hash: its key, so that a changed header is noticed."""
    return hashlib.sha256(key.digest().encode())


def _trim(newest: Path) -> None:
    """Remove what was not used for longest, until the rest fits; never the newest."""
    known = []
    for path in entry_paths(newest.parent):
        with contextlib.suppress(OSError):  # another process has just removed it
            status = path.stat()
            known.append((path == newest, status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, _, size, _ in known)
    for is_newest, _, size, path in sorted(known):
        if total <= MAX_CACHE_BYTES or is_newest:
            return
        with contextlib.suppress(OSError):
            total -= size if remove(path) else 0


def _start(graph: str, setting: BlobSetting) -> str:
    return f"{file_stem(graph, setting.onnx_sha256)}-{setting.digest()[:KEY_DIGITS]}"


def _path(folder: Path, graph: str, key: BlobKey) -> Path:
    return folder / f"{_start(graph, key.setting)}-{key.sizes_text}{SUFFIX}"


def _digest(data: dict[str, Any]) -> str:
    # Sorted keys: the digest does not depend on the order of the fields.
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
