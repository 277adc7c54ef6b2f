"""Lists the compiled graphs in the cache, and removes those that are no longer usable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from munit_edge.engines.cache_folder import GRAPH_DIGITS, engines_folder
from munit_edge.engines.openvino.api import OpenVino
from munit_edge.engines.openvino.blobs import (
    Blob,
    BlobError,
    BlobHeader,
    Machine,
    belongs_at,
    entry_paths,
    machine_of,
    remove,
)
from munit_edge.errors import EngineError, MissingExtraError
from munit_edge.files.system_errors import output_errors
from munit_edge.model.manifest import Manifest


@dataclass(frozen=True)
class ListedBlob:
    """One entry of the cache, whole or not."""

    path: Path
    """Its file."""
    nbytes: int
    """Its size."""
    header: BlobHeader | None
    """What is known about it; None if it is damaged."""
    unusable: str | None
    """Why this machine cannot use it; None if it can."""


def list_blobs(manifest: Manifest | None = None) -> list[ListedBlob]:
    """All entries, or those of one model's graphs, sorted by name.

    Reads every one, to compare its hash.
    """
    paths = entry_paths(engines_folder())
    if manifest is not None:
        starts = {f"-{entry.content_sha256[:GRAPH_DIGITS]}-" for entry in manifest.graphs}
        paths = [path for path in paths if any(start in path.name for start in starts)]
    # Loads OpenVINO, which takes time.
    here = _here() if paths else None
    return [_look_at(path, here) for path in paths]


def prune_blobs(manifest: Manifest | None = None, *, everything: bool = False) -> list[ListedBlob]:
    """Remove entries that this machine cannot use; those that a process uses just now stay.

    Args:
        manifest: only entries of this model's graphs; None: of all models.
        everything: also those that could still be used.

    Returns:
        The removed entries.

    Raises:
        OutputError: a file cannot be removed.
    """
    removed = []
    for blob in list_blobs(manifest):
        if blob.unusable is not None or everything:
            with output_errors(blob.path):
                if remove(blob.path):
                    removed.append(blob)
    return removed


def _here() -> Machine | None:
    """This machine; None if OpenVINO is not there to tell: then no entry can be ruled out."""
    try:
        return machine_of(OpenVino(), "CPU")
    except (EngineError, MissingExtraError):
        return None


def _look_at(path: Path, here: Machine | None) -> ListedBlob:
    nbytes = 0
    try:
        nbytes = path.stat().st_size
        with path.open("rb") as file:
            header = Blob(file).header
    except BlobError as exc:
        return ListedBlob(path, nbytes, None, str(exc))
    except OSError as exc:
        return ListedBlob(path, nbytes, None, f"it cannot be read ({exc.strerror})")
    unusable = _misfit(header.key.setting.machine, here)
    if not belongs_at(path, header):
        unusable = "it belongs to another graph"
    return ListedBlob(path, nbytes, header, unusable)


def _misfit(then: Machine, here: Machine | None) -> str | None:
    """Why what was compiled on the machine `then` is not used here, or None."""
    if here is None:
        return None
    if then.openvino != here.openvino:
        return f"compiled by openvino {then.openvino}, installed is {here.openvino}"
    if (then.processor, then.instructions, then.platform) != (
        here.processor,
        here.instructions,
        here.platform,
    ):
        return f"compiled for {then.processor}, this is {here.processor} or has other instructions"
    # With other threads it is used again, when a process may use as many cores as then.
    return None
