"""ONNX Runtime: CPU and CUDA, and never one when the other was asked for."""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munit_edge.config import Domain, GraphKind
from munit_edge.engines.base import Array, GraphSet, Runner
from munit_edge.engines.devices import Device
from munit_edge.errors import EngineError, ModelError
from munit_edge.extras import require
from munit_edge.manifest import GraphEntry, Manifest, read_graph, read_manifest

CUDA_PROVIDER = "CUDAExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"

_LOG_FATAL_ONLY = 4


class OnnxRuntimeRunner(Runner):
    """One graph in an ONNX Runtime session.

    Args:
        model: the graph's bytes.
        entry: what the manifest says of it.
        device: where to run; a session that lands elsewhere is an error.

    Raises:
        ModelError: the bytes are not an ONNX graph.
        EngineError: the session did not get the asked device; the message has the loader's reason.
    """

    def __init__(self, model: bytes, entry: GraphEntry, device: Device) -> None:
        name = f"{entry.kind}_{entry.domain}"
        super().__init__(name, entry.inputs, entry.outputs)
        self._session: Any = open_session(model, name, device)

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        names = [spec.name for spec in self.outputs]
        try:
            values = self._session.run(names, dict(feeds))
        except Exception as exc:  # the binding raises its own, undocumented classes
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            raise EngineError(
                f"ONNX Runtime failed in graph {self.name} on {shapes}: {_first_line(exc)}; "
                "if memory ran out, use a smaller image (--size) or fewer styles at once"
            ) from exc
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Free the session."""
        self._session = None


class OnnxRuntimeGraphs(GraphSet):
    """The graphs of a model directory in ONNX Runtime."""

    def __init__(self, directory: Path, manifest: Manifest, device: Device) -> None:
        super().__init__(
            manifest.model,
            manifest.io,
            manifest.checkpoint_sha256,
            engine="onnxruntime",
            device=str(device),
        )
        self._directory = directory
        self._manifest = manifest
        self._on = device

    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        entry = self._manifest.graph(kind, domain)
        return OnnxRuntimeRunner(read_graph(self._directory, entry), entry, self._on)


def open_onnxruntime(directory: Path, device: str) -> OnnxRuntimeGraphs:
    """Open a model directory in ONNX Runtime.

    Args:
        directory: the model directory.
        device: "cpu", "cuda", "cuda:N" or "auto" (CUDA where it really works, else the CPU).

    Raises:
        InputError, ModelError: see `munit_edge.manifest.read_manifest`.
        EngineError: ONNX Runtime is not installed, or has no such device.
    """
    manifest = read_manifest(directory)
    onnxruntime = require("onnxruntime", "running ONNX graphs")
    if device == "auto":
        has_cuda = CUDA_PROVIDER in onnxruntime.get_available_providers() and not _cuda_fault()
        chosen = Device("cuda", 0) if has_cuda else Device("cpu")
    else:
        chosen = Device.parse(device)
    return OnnxRuntimeGraphs(directory, manifest, chosen)


def open_session(model: bytes, name: str, device: Device) -> Any:
    """An `onnxruntime.InferenceSession` on exactly `device`.

    Raises:
        ModelError: the bytes are not an ONNX graph.
        EngineError: the session did not get the device.
    """
    onnxruntime = require("onnxruntime", "running ONNX graphs")
    if device.kind == "cuda" and CUDA_PROVIDER not in onnxruntime.get_available_providers():
        raise EngineError(f"device '{device}' cannot be used: {_no_cuda_provider()}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_FATAL_ONLY  # what goes wrong is raised, with the reason
    providers: list[Any] = [CPU_PROVIDER]
    if device.kind == "cuda":
        providers = [(CUDA_PROVIDER, {"device_id": str(device.index)}), CPU_PROVIDER]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as exc:  # the binding raises its own, undocumented classes
        if device.kind == "cuda":
            raise EngineError(f"device '{device}' cannot be used: {_first_line(exc)}") from exc
        raise ModelError(
            f"graph {name} is not a valid ONNX file ({_first_line(exc)}): export the model again"
        ) from exc
    wanted = CUDA_PROVIDER if device.kind == "cuda" else CPU_PROVIDER
    if session.get_providers()[0] != wanted:
        reason = _cuda_fault() or "ONNX Runtime gave no reason"
        raise EngineError(
            f"device '{device}' cannot be used, ONNX Runtime fell back to the CPU: {reason}; "
            "mend that or use --device cpu"
        )
    return session


def _no_cuda_provider() -> str:
    if len(_installed_wheels()) > 1:
        return (
            "both onnxruntime and onnxruntime-gpu are installed and overwrite each other: run "
            "`pip uninstall -y onnxruntime onnxruntime-gpu` and then "
            "`pip install 'munit-edge[gpu]'`"
        )
    return (
        "the installed onnxruntime is built for the CPU only: run `pip uninstall -y onnxruntime` "
        "and then `pip install 'munit-edge[gpu]'`, or use --device cpu"
    )


def _installed_wheels() -> list[str]:
    found = []
    for wheel in ("onnxruntime", "onnxruntime-gpu"):
        try:
            importlib.metadata.version(wheel)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(wheel)
    return found


def _cuda_fault() -> str | None:
    """The loader's own reason why the CUDA provider cannot be loaded, or None when it can."""
    onnxruntime = require("onnxruntime", "running ONNX graphs")
    library = Path(str(onnxruntime.__file__)).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.is_file():
        return _no_cuda_provider()
    try:
        # The provider leans on symbols of this library, which ONNX Runtime itself loads first.
        shared = library.with_name("libonnxruntime_providers_shared.so")
        ctypes.CDLL(str(shared), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as exc:
        return str(exc)
    return None


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0]
