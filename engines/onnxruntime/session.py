"""ONNX Runtime sessions on exactly the requested device, or an error with the reason.

ONNX Runtime falls back to the CPU when a provider's library does not load, and mentions it only in
its log: here that is an error with the loader's own reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from munit_edge.engines.devices import Device
from munit_edge.engines.gpu_presence import require_gpu
from munit_edge.engines.onnxruntime.build import provider_library
from munit_edge.errors import EngineError, ModelError, UnsupportedGraphError
from munit_edge.extras import require
from munit_edge.files.paths import utf8_name
from munit_edge.system.cpu_features import cpu_features
from munit_edge.system.heap import give_back_freed_memory
from munit_edge.system.limits import usable_cores

CUDA_PROVIDER = "CUDAExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"

_LOG_WARNINGS = 2  # ONNX Runtime's default
_LOG_FATAL_ONLY = 4
_PURPOSE = "running ONNX graphs"


def open_session(model: bytes | Path, name: str, device: Device) -> Any:
    """An `onnxruntime.InferenceSession` on exactly `device`.

    Libraries of CUDA and cuDNN that pip installed are found.

    Args:
        model: the graph's file, or its bytes, which the session then holds along with the weights.
        name: what to call the graph in messages.
        device: where to run.

    Raises:
        ModelError: it is not an ONNX graph.
        EngineError: the session did not get the device.
        UnsupportedGraphError: this ONNX Runtime does not implement one of the graph's operators for
            its data type.
    """
    onnxruntime = require("onnxruntime", _PURPOSE)
    providers: list[tuple[str, dict[str, str]]] = [(CPU_PROVIDER, {})]
    if device.kind == "cuda":
        # What the wheel was built with; whether it loads is seen after the session is created.
        if CUDA_PROVIDER not in onnxruntime.get_available_providers():
            require_gpu()
            raise EngineError(f"device '{device}' cannot be used: {_no_cuda_provider()}")
        load_cuda_libraries()
        # ONNX Runtime's own default for TF32 is on (see `Device.tf32`).
        cuda = {"device_id": str(device.index), "use_tf32": str(int(device.tf32))}
        providers.insert(0, (CUDA_PROVIDER, cuda))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_FATAL_ONLY  # failures are raised, with the reason
    options.intra_op_num_threads = usable_cores()
    # Threads that spin while they wait take time from those that read and write images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not _multiplies_bytes_exactly():
        # uint8 times int8 is summed in 16 bits there, which overflow: take the kernels that are
        # slower and right. Other processors and float32 graphs ignore the option.
        options.add_session_config_entry("session.x64quantprecision", "1")
    # ONNX Runtime's own heap takes and keeps more than it needs: 650 instead of 480 MiB at width
    # 64, 256 x 256 pixels and two styles. Allocating from the system each time costs 4 % more time.
    options.enable_cpu_mem_arena = device.kind != "cpu"
    give_back_freed_memory()  # opening a graph takes up to three times its size
    try:
        with _quiet(onnxruntime, device), _source(model) as source:
            # Its own fallback would print to standard output.
            session = onnxruntime.InferenceSession(
                source, options, providers=providers, enable_fallback=0
            )
    except Exception as exc:  # the binding raises its own, undocumented classes
        if "NOT_IMPLEMENTED" in str(exc):
            raise UnsupportedGraphError(
                f"onnxruntime {onnxruntime.__version__} cannot run graph {name} on {device} "
                f"({first_line(exc)}): export the model in another --precision, or use another "
                "engine"
            ) from exc
        if device.kind == "cuda":
            raise EngineError(f"device '{device}' cannot be used: {first_line(exc)}") from exc
        raise ModelError(
            f"graph {name} is not a valid ONNX file ({first_line(exc)}): export the model again"
        ) from exc
    # The list of the session, not of the library: this one is without providers that failed.
    if session.get_providers()[0] != providers[0][0]:
        raise EngineError(_fell_back(onnxruntime, session, device))
    give_back_freed_memory()
    return session


@functools.lru_cache(maxsize=1)
def _multiplies_bytes_exactly() -> bool:
    """Whether this x86 processor has VNNI, which sums products of bytes in 32 bits."""
    return not cpu_features().isdisjoint({"avx512_vnni", "avx_vnni"})


@functools.lru_cache(maxsize=1)
def load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from pip's wheels, if there are any, so that providers find them.

    ONNX Runtime does not look there by itself. A missing library is only logged, for debugging: it
    may be installed in the system, and if not, opening the session reports it.
    """
    onnxruntime = require("onnxruntime", _PURPOSE)
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is None:
        return
    logging.getLogger(__name__).debug("preload_dlls: %s", "; ".join(_printed_by(preload)))


def _printed_by(function: Callable[[], object]) -> list[str]:
    """Call a function of another package; returns its lines instead of printing them.

    The process's streams stay as they are: other threads print, too.
    """
    lines: list[str] = []
    names = getattr(function, "__globals__", {})
    # Found before the built-in one.
    names["print"] = lambda *parts, **_: lines.append(" ".join(map(str, parts)))
    try:
        function()
    finally:
        del names["print"]
    return lines


def first_line(exc: Exception) -> str:
    """The message of an ONNX Runtime error: CUDA's own words, or else its first line."""
    text = str(exc).strip()
    if match := re.search(r"CUDA failure \d+: [^;\n]*[^;\n ]", text):
        return match[0]
    return text.partition("\n")[0]


@contextlib.contextmanager
def _source(model: Path | bytes) -> Iterator[str | bytes]:
    """The model in a form that ONNX Runtime takes."""
    if isinstance(model, bytes):
        yield model
        return
    with utf8_name(model) as name:
        yield name


@contextlib.contextmanager
def _quiet(onnxruntime: Any, device: Device) -> Iterator[None]:
    """Silence what providers log to standard error while they are loaded."""
    if device.kind == "cpu":
        yield
        return
    # Providers log to the default logger while they load, not to the session's.
    onnxruntime.set_default_logger_severity(_LOG_FATAL_ONLY)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_LOG_WARNINGS)


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


def _fell_back(onnxruntime: Any, session: Any, device: Device) -> str:
    """Why a session is not on the requested device, and what to do."""
    reason = _library_fault(onnxruntime, "cuda") or "ONNX Runtime gave no reason"
    if "libcuda.so" in reason:
        fix = "install NVIDIA's driver (in a container pass `--gpus all`)"
    else:
        fix = (
            f"run `pip install 'onnxruntime-gpu[cuda,cudnn]=={onnxruntime.__version__}'`, which "
            "installs the CUDA libraries that it was built for, or install them in the system"
        )
    instead = session.get_providers()[0].removesuffix("ExecutionProvider")
    return (
        f"device '{device}' cannot be used, ONNX Runtime fell back to {instead} ({reason}): "
        f"{fix}, or use --device cpu"
    )


def _library_fault(onnxruntime: Any, provider: str) -> str | None:
    """The loader's own reason why a provider's library cannot be loaded, or None when it can."""
    package = Path(str(onnxruntime.__file__)).parent
    library = provider_library(package, provider)
    if not library.is_file():
        return None
    try:
        # The provider needs symbols of this library.
        shared = provider_library(package, "shared")
        ctypes.CDLL(str(shared), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as exc:
        return str(exc)
    return None
