"""ONNX Runtime on the CPU or on CUDA, and never on one when the other was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from munit_edge.engines.base import MEMORY_FIX, AnyArray, GraphSet, Runner, check_feeds, failed_run
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.arrays import OrtMemory, picking_graph
from munit_edge.engines.onnxruntime.session import CUDA_PROVIDER, first_line, open_session
from munit_edge.errors import EngineError, UnsupportedGraphError
from munit_edge.extras import require
from munit_edge.model.config import Domain, GraphKind
from munit_edge.model.manifest import GraphEntry, Manifest, read_manifest
from munit_edge.model.opening import FileHashes, checked_graph


class OnnxRuntimeRunner(Runner):
    """One graph in an ONNX Runtime session.

    Args:
        model: the graph's file, or its bytes.
        entry: its entry in the manifest.
        device: where to run; a session on another one is an error.
        memory: of that device, shared by the runners of a graph set whose outputs may stay there;
            None: outputs go to the host.

    Raises:
        ModelError: it is not an ONNX graph.
        EngineError: the session did not get the device; the message has the loader's reason.
    """

    def __init__(
        self,
        model: bytes | Path,
        entry: GraphEntry,
        device: Device,
        memory: OrtMemory | None = None,
    ) -> None:
        name = entry.name
        super().__init__(name, entry.inputs, entry.outputs)
        self._memory = memory or OrtMemory(device)
        # A memory of its own still reads feeds on the device, and leaves nothing there.
        self._keeps = memory is not None
        self._session: Any = open_session(model, name, device)

    def run(self, feeds: Mapping[str, AnyArray], *, keep_on_device: bool = False) -> dict[str, Any]:
        """See `Runner.run`; feeds that are on the device are read there."""
        check_feeds(self, feeds)
        names = [spec.name for spec in self.outputs]
        values: Sequence[AnyArray]
        with self._errors(feeds):
            if keep_on_device and self._keeps:
                values = self._memory.run_and_keep(self._session, feeds, self.outputs)
            else:
                values = self._memory.run(self._session, feeds, names)
        return dict(zip(names, values, strict=True))

    @contextlib.contextmanager
    def _errors(self, feeds: Mapping[str, AnyArray]) -> Iterator[None]:
        try:
            yield
        except EngineError:
            raise
        except Exception as exc:  # the binding raises its own, undocumented classes
            why = f"{first_line(exc)}; {MEMORY_FIX}"
            raise failed_run("ONNX Runtime", self, feeds, why) from exc

    def close(self) -> None:
        """Free the session."""
        self._session = None


class OnnxRuntimeGraphs(GraphSet):
    """The graphs of one model in ONNX Runtime.

    Args:
        manifest: what the graphs are.
        device: where to run.
        model_of: the file of a graph, or its bytes; called when the graph is opened.
        keep_content: leave what `Runner.run` keeps on the device there; None: on a GPU, where
            copying costs.
    """

    def __init__(
        self,
        manifest: Manifest,
        device: Device,
        model_of: Callable[[GraphEntry], bytes | Path],
        *,
        keep_content: bool | None = None,
    ) -> None:
        super().__init__(
            manifest.model,
            manifest.io,
            manifest.checkpoint_sha256,
            engine="onnxruntime",
            device=str(device),
        )
        self._manifest = manifest
        self._on = device
        self._model_of = model_of
        # On a CPU the host's memory is the device's: nothing is gained there.
        keeps = device.kind != "cpu" if keep_content is None else keep_content
        self._memory = OrtMemory(device) if keeps else None

    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        entry = self._manifest.graph(kind, domain)
        return OnnxRuntimeRunner(self._model_of(entry), entry, self._on, self._memory)

    def close(self) -> None:
        """Close every runner and free the device's memory."""
        super().close()
        if self._memory:
            self._memory.close()


def directory_graphs(
    directory: Path, manifest: Manifest, device: Device, *, keep_content: bool | None = None
) -> OnnxRuntimeGraphs:
    """The graphs of a model directory, compared with the manifest's hashes when they are opened.

    Args:
        directory: the model directory.
        manifest: its manifest.
        device: where to run.
        keep_content: see `OnnxRuntimeGraphs`.
    """
    hashes = FileHashes()

    def model_of(entry: GraphEntry) -> Path:
        if entry.precision == "bf16" and device.kind == "cpu":
            raise UnsupportedGraphError(
                f"graph {entry.name} is in bf16, and ONNX Runtime has no bf16 convolutions on the "
                "CPU: use --engine openvino on a CPU that has them, --engine tensorrt on a machine "
                "with a GPU, or export the model with --precision fp16, int8 or fp32"
            )
        return checked_graph(directory, entry, hashes)

    return OnnxRuntimeGraphs(manifest, device, model_of, keep_content=keep_content)


def open_onnxruntime(directory: Path, device: str, *, tf32: bool = False) -> OnnxRuntimeGraphs:
    """Open a model directory in ONNX Runtime.

    Args:
        directory: the model directory.
        device: "cpu", "cuda", "cuda:N" or "auto" (CUDA where it really works, else the CPU).
        tf32: see `munit_edge.engines.devices.Device`.

    Raises:
        ConfigError: TF32 is asked for on a CPU.
        InputError, ModelError: see `munit_edge.model.manifest.read_manifest`.
        EngineError: ONNX Runtime is not installed, or has no such device.
    """
    manifest = read_manifest(directory)
    require("onnxruntime", "running ONNX graphs")
    if device == "auto":
        chosen = Device("cuda" if _cuda_works() else "cpu", tf32=tf32)
    else:
        chosen = Device.parse(device, tf32=tf32)
    return directory_graphs(directory, manifest, chosen)


def _cuda_works() -> bool:
    """Whether a graph really runs on the first GPU."""
    if CUDA_PROVIDER not in require("onnxruntime", "running ONNX graphs").get_available_providers():
        return False  # before the driver is asked why, which starts a process
    try:
        open_session(picking_graph(np.dtype(np.float32)), "take", Device("cuda", 0))
    except EngineError:
        return False
    return True
