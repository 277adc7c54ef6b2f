"""OpenVINO on a CPU, or on an Intel GPU or NPU that is asked for by name."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from munit_edge.engines.base import MEMORY_FIX, AnyArray, GraphSet, Runner, check_feeds, failed_run
from munit_edge.engines.devices import Device, DeviceKind
from munit_edge.engines.openvino.api import OpenVino, reason
from munit_edge.engines.openvino.arithmetic import CpuPrecision, Hint, check_cpu_precision, choose
from munit_edge.engines.openvino.blobs import Blob, BlobCache, BlobKey, BlobSetting, machine_of
from munit_edge.engines.openvino.shapes import CompiledSizes, Sizes, check_sizes
from munit_edge.errors import UnsupportedGraphError
from munit_edge.model.config import Domain, GraphKind
from munit_edge.model.manifest import GraphEntry, Manifest, read_manifest
from munit_edge.model.opening import FileHashes, checked_graph, graph_read_errors
from munit_edge.system.heap import give_back_freed_memory
from munit_edge.system.limits import usable_cores

DEVICE_KINDS: tuple[DeviceKind, ...] = ("cpu", "gpu", "npu")


class OpenVinoRunner(Runner):
    """One graph in OpenVINO.

    Args:
        directory: the model directory.
        entry: the graph's entry in the manifest.
        openvino: reads and compiles it.
        device_name: OpenVINO's name of the device.
        hint: the type to compute in.
        hashes: those of files that were compared with the manifest before.
        cache: where it is kept when it is compiled; None: nowhere.

    Raises:
        ModelError: a file is damaged, or cannot be read. Where compiled graphs are in the cache,
            none is read.
        UnsupportedGraphError: this OpenVINO does not read the graph.
    """

    def __init__(
        self,
        directory: Path,
        entry: GraphEntry,
        openvino: OpenVino,
        device_name: str,
        hint: Hint,
        hashes: FileHashes,
        cache: BlobCache | None = None,
    ) -> None:
        super().__init__(entry.name, entry.inputs, entry.outputs)
        self._directory = directory
        self._entry = entry
        self._hashes = hashes
        self._openvino = openvino
        self._device_name = device_name
        self._hint: Hint = hint
        # Freed after an encoder's run: it is not held while the decoder runs. A decoder runs for
        # each style, where that cost about 5 % of the time.
        decodes = entry.kind in ("decoder", "decoder_stats")
        self._frees_memory = device_name == "CPU" and not decodes
        # A graph computes with all threads: two runs at a time would gain nothing.
        self._lock = threading.Lock()
        self._cache = cache
        self._setting = cache and BlobSetting(
            onnx_sha256=entry.content_sha256,
            precision=entry.precision,
            computes_in=hint,
            machine=cache.machine,
        )
        # Read now, so that opening fails if this does; compiled when the first sizes are known.
        self._model: Any = None
        if not (cache and self._setting and cache.has_any(self.name, self._setting)):
            self._model = self._read()
        self._compiled = CompiledSizes(self._compile)
        # What `_compiled` uses the memory of, so it is freed later.
        self._blobs: list[Blob] = []

    def run(self, feeds: Mapping[str, AnyArray], *, keep_on_device: bool = False) -> dict[str, Any]:
        """See `Runner.run`; outputs are always on the host.

        Raises:
            ModelError: the file was changed after it was opened.
            UnsupportedGraphError: OpenVINO does not run the graph, or not in the type it was told.
        """
        check_feeds(self, feeds)
        check_sizes(self, feeds)
        arrays = {spec.name: np.ascontiguousarray(feeds[spec.name]) for spec in self.inputs}
        with self._lock:
            compiled = self._compiled.get({name: array.shape for name, array in arrays.items()})
            with self._errors(feeds):
                # A new request each time: a kept one would hold the arrays of its last run.
                results = compiled.create_infer_request().infer(arrays, share_inputs=True)
                outputs = {spec.name: results[spec.name] for spec in self.outputs}
            if self._frees_memory:
                compiled.release_memory()
            return outputs

    def close(self) -> None:
        """Free the compiled graphs; not while a run is in progress."""
        with self._lock:
            self._model = None
            self._compiled = CompiledSizes(self._compile)
            self._blobs.clear()
        give_back_freed_memory()

    def _read(self) -> Any:
        path = checked_graph(self._directory, self._entry, self._hashes)
        with graph_read_errors(path), self._refusals():
            return self._openvino.read(path)

    def _compile(self, sizes: Sizes | None) -> Any:
        """The graph in exactly the type that was chosen, for some sizes or for any."""
        if self._cache is None or self._setting is None:
            compiled = self._compile_anew(sizes)
        else:
            key = BlobKey(setting=self._setting, sizes=None if sizes is None else dict(sizes))
            compiled = self._cached(self._cache, key)
            if compiled is None:
                with self._cache.scratch() as folder:
                    compiled = self._compile_anew(sizes, folder)
                    if folder is not None:
                        self._cache.keep(self.name, key, self._openvino.written(folder))
        give_back_freed_memory()
        return compiled

    def _compile_anew(self, sizes: Sizes | None, folder: Path | None = None) -> Any:
        # Kept for the first time only: it takes as much memory as the weights.
        model, self._model = self._model or self._read(), None
        with self._refusals():
            if sizes is not None:
                model.reshape({name: list(shape) for name, shape in sizes.items()})
            properties = self._properties()
            compiled = self._openvino.compile(model, self._device_name, properties, folder)
            return self._checked(compiled)

    def _cached(self, cache: BlobCache, key: BlobKey) -> Any | None:
        """The compiled graph of the cache, or None."""
        blob = cache.find(self.name, key)
        if blob is None:
            return None
        try:
            compiled = self._openvino.load(blob.memory, self._device_name, self._properties())
        except RuntimeError as exc:
            cache.refuse(self.name, reason(exc))
            return None
        self._blobs.append(blob)
        # Most weights were copied into the order that the instructions want.
        blob.give_back()
        self._model = None
        return self._checked(compiled)

    def _checked(self, compiled: Any) -> Any:
        """A compiled graph, if it computes in the type that it was told."""
        computes_in = self._openvino.arithmetic_of(compiled)
        if computes_in != self._hint:
            raise UnsupportedGraphError(
                f"OpenVINO {self._openvino.version} computes graph {self.name} in {computes_in} "
                f"instead of {self._hint} on {self._device_name}: export the model in another "
                "--precision, or use another engine"
            )
        return compiled

    def _properties(self) -> dict[str, Any]:
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self._hint,
            # All threads work on one image, as in the other engines.
            "PERFORMANCE_HINT": "LATENCY",
        }
        if self._device_name == "CPU":
            properties |= {
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": usable_cores(),
                # Two programs would pin their threads to the same cores.
                "ENABLE_CPU_PINNING": False,
            }
        return properties

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Errors in reading or compiling."""
        try:
            yield
        except RuntimeError as exc:
            raise UnsupportedGraphError(
                f"OpenVINO {self._openvino.version} cannot run graph {self.name} on "
                f"{self._device_name} ({reason(exc)}): update it with `pip install -U openvino`, "
                "export the model in another --precision, or use another engine"
            ) from exc

    @contextlib.contextmanager
    def _errors(self, feeds: Mapping[str, AnyArray]) -> Iterator[None]:
        """Errors in a run."""
        try:
            yield
        except (RuntimeError, MemoryError) as exc:
            raise failed_run("OpenVINO", self, feeds, f"{reason(exc)}; {MEMORY_FIX}") from exc


class OpenVinoGraphs(GraphSet):
    """The graphs of one model directory in OpenVINO.

    Args:
        directory: the model directory.
        manifest: its manifest.
        openvino: reads and compiles the graphs.
        device: where to run.
        cpu_precision: what a CPU computes in; None: what the export promises.

    Raises:
        ConfigError: `cpu_precision` is unknown, or the device is no CPU.
        EngineError: the device is not there.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        openvino: OpenVino,
        device: Device,
        *,
        cpu_precision: CpuPrecision | None = None,
    ) -> None:
        super().__init__(
            manifest.model,
            manifest.io,
            manifest.checkpoint_sha256,
            engine="openvino",
            device=str(device),
        )
        check_cpu_precision(cpu_precision, device.kind)
        # Compiling for a GPU or an NPU takes long, and is not to be done twice at the same time.
        self.opens_ahead = device.kind == "cpu"
        self._directory = directory
        self._hashes = FileHashes()
        self._manifest = manifest
        self._openvino = openvino
        self._on = device
        self._cpu_precision = cpu_precision
        self._device_name = openvino.device_name(device)
        self._capabilities = openvino.capabilities(self._device_name)
        # Compiled graphs of GPUs and NPUs depend on their drivers, too.
        self._cache: BlobCache | None = None
        if device.kind == "cpu":
            self._cache = BlobCache(machine_of(openvino, self._device_name))

    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        entry = self._manifest.graph(kind, domain)
        hint = choose(entry, self._on.kind, self._capabilities, self._cpu_precision)
        return OpenVinoRunner(
            self._directory,
            entry,
            self._openvino,
            self._device_name,
            hint,
            self._hashes,
            self._cache,
        )


def open_openvino(
    directory: Path,
    device: str,
    *,
    cpu_precision: CpuPrecision | None = None,
) -> OpenVinoGraphs:
    """Open a model directory in OpenVINO.

    Args:
        directory: the model directory.
        device: "cpu", "gpu", "gpu:N" (Intel's), "npu" or "auto" (the CPU).
        cpu_precision: what a CPU computes in; None: what the export promises.

    Raises:
        ConfigError: the device, or `cpu_precision`, is unknown.
        InputError, ModelError: see `munit_edge.model.manifest.read_manifest`.
        EngineError: OpenVINO is not installed, or finds no such device.
    """
    manifest = read_manifest(directory)
    name = "cpu" if device == "auto" else device
    chosen = Device.parse(name, kinds=DEVICE_KINDS)
    return OpenVinoGraphs(directory, manifest, OpenVino(), chosen, cpu_precision=cpu_precision)
