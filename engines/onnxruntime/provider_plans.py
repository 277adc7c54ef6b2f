"""Plans of ONNX Runtime's TensorRT provider: a folder for each graph and all that ties its plans.

    <cache>/engines/onnxruntime/
        decoder_b-<ONNX hash>-<key>/
            built-for.json     our sidecar: graph, versions, GPU
            *.engine           plans and their profiles, as the provider names and writes them
            *.timing           what TensorRT measured
            in-use.lock        one process at a time

The provider checks of a plan what TensorRT checks and no hash: the folder is private to the user.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from pathlib import Path
from typing import IO, Literal

from pydantic import ValidationError

from munit_edge.engines.tensorrt.cache import plans_folder
from munit_edge.files.atomic import atomic_file, make_folder
from munit_edge.files.system_errors import output_errors
from munit_edge.model.manifest import Precision
from munit_edge.settings import StrictModel

FOLDER = "onnxruntime"
"""Below the folder of plans."""
SIDECAR_FILE = "built-for.json"

_ONNX_DIGITS, _KEY_DIGITS = 16, 16  # in names; the whole hash of the graph is in the sidecar


class ProviderKey(StrictModel):
    """Everything that ties the provider's plans of one graph; its sidecar."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    graph: str
    """Name of the graph, such as "decoder_b"."""
    onnx_sha256: str
    """Of the graph."""
    precision: Precision
    """Of the graph's weights and arithmetic."""
    onnxruntime: str
    """Its version."""
    tensorrt: str
    """Version of the library that the provider loads, such as "10.13.3"."""
    gpu: str
    """Name of the GPU."""
    compute_capability: str
    """Of that GPU, such as "8.7"."""
    cuda_major: int
    """CUDA that is used."""
    tf32: bool
    """Whether float32 is rounded to TF32 in convolutions."""

    def folder(self) -> Path:
        """The folder of these plans, made private, with its sidecar.

        Raises:
            OutputError: it cannot be made.
            EngineError: the cache belongs to somebody else.
        """
        text = self.model_dump_json(indent=2) + "\n"
        key = hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
        name = f"{self.graph}-{self.onnx_sha256[:_ONNX_DIGITS]}-{key}"
        folder = make_folder(plans_folder() / FOLDER / name)
        if not (folder / SIDECAR_FILE).is_file():
            with atomic_file(folder / SIDECAR_FILE) as partial:
                partial.write_text(text, encoding="utf-8")
        return folder


class CacheClaim:
    """One process at a time uses a graph's folder: the provider does not write plans in one piece.

    Args:
        folder: the graph's.
    """

    def __init__(self, folder: Path) -> None:
        with output_errors(folder):
            self._file: IO[str] = (folder / "in-use.lock").open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.granted = True
        except BlockingIOError:
            self.granted = False

    def release(self) -> None:
        """Let others use the folder."""
        self._file.close()


def read_key(folder: Path) -> ProviderKey | str:
    """The sidecar of a folder of plans, or what is wrong with it."""
    try:
        return ProviderKey.model_validate_json((folder / SIDECAR_FILE).read_bytes())
    except OSError as exc:
        return f"its {SIDECAR_FILE} cannot be read ({exc.strerror})"
    except ValidationError:
        return f"its {SIDECAR_FILE} is damaged or of another munit-edge"


def has_plans(folder: Path) -> bool:
    """Whether the provider has written a plan there."""
    return any(folder.glob("*.engine"))


def remove_plans(folder: Path) -> bool:
    """Remove a folder of plans; False where another process uses it.

    Raises:
        OutputError: a file cannot be removed.
    """
    claim = CacheClaim(folder)
    try:
        if claim.granted:
            with output_errors(folder):
                shutil.rmtree(folder)
        return claim.granted
    finally:
        claim.release()
