"""The process that imports one backend and tries its GPU: `munit_edge.engines.probe` starts it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from munit_edge.engines.gpu_types import cuda_version
from munit_edge.engines.probe import Answer, Facts, Subject
from munit_edge.engines.table import ENGINE_FACTS, function
from munit_edge.extras import import_silently
from munit_edge.system.child import words

# Constants of cuda.h: CUDA_ERROR_NO_DEVICE, and the attributes
# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
_NO_DEVICE = 100
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


def answer(subject: Subject) -> str:
    """Ask the driver or a backend; returns an `Answer` as JSON."""
    if subject == "driver":
        return _ask_driver(ctypes.CDLL).model_dump_json()
    if subject == "cuda-bindings":
        found = _ask_module(subject, ("cuda.bindings.runtime",), _cuda_bindings)
    else:
        engine = ENGINE_FACTS[subject]
        found = _ask_module(subject, engine.modules, function(engine.facts))
    return found.model_dump_json()


def _ask_module(
    subject: Subject, modules: Sequence[str], details: Callable[[ModuleType], Facts]
) -> Answer:
    """Ask the first of `modules` that is found."""
    faults = []
    for name in modules:
        try:
            module = import_silently(name)
            if module.__file__ is not None:  # else a folder that only has the name
                return Answer(subject=subject, installed=True, facts=details(module))
        except ModuleNotFoundError as exc:
            # "cuda" without "cuda.bindings" belongs to other packages.
            if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
                faults.append(words(exc))
        except Exception as exc:  # whatever a foreign package raises is the answer
            faults.append(words(exc))
    fault = "; ".join(faults) or None
    return Answer(subject=subject, installed=bool(faults), fault=fault)


def _cuda_bindings(runtime: Any) -> Facts:
    import importlib.metadata

    error, count = runtime.cudaGetDeviceCount()
    gpu_fault = None
    if int(error):
        _, text = runtime.cudaGetErrorString(error)
        gpu_fault = f"cudaGetDeviceCount: {text.decode() if isinstance(text, bytes) else text}"
    _, built = runtime.cudaRuntimeGetVersion()  # the one in the package: no driver is asked
    return Facts(
        version=importlib.metadata.version("cuda-bindings"),
        cuda=cuda_version(int(built)) if built else None,
        gpus=tuple(f"cuda:{i}" for i in range(count or 0)),
        gpu_fault=gpu_fault,
    )


def _ask_driver(load: Callable[[str], Any]) -> Answer:
    """The NVIDIA driver itself, through its own library: no package is needed for it."""
    try:
        library = load("libcuda.so.1")
    except OSError as exc:
        missing = "cannot open shared object file: No such file" in str(exc)
        return Answer(
            subject="driver", installed=not missing, fault=None if missing else words(exc)
        )
    # cuInit first: no other function works before it. It creates no context on a GPU.
    version = ctypes.c_int()
    code = library.cuInit(0)
    if code == 0:
        code = library.cuDriverGetVersion(ctypes.byref(version))
    if code:
        fault = f"cuInit: error {code}, {_driver_words(library, code)}"
        if code == _NO_DEVICE:
            facts = Facts(version="", gpu_fault=fault)
            return Answer(subject="driver", installed=True, facts=facts)
        return Answer(subject="driver", installed=True, fault=fault)
    count = ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(count))
    return Answer(
        subject="driver",
        installed=True,
        facts=Facts(
            version=cuda_version(version.value),
            gpus=tuple(_driver_gpu(library, index) for index in range(count.value)),
        ),
    )


def _driver_gpu(library: Any, index: int) -> str:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
    return f"{name.value.decode(errors='replace')} ({major.value}.{minor.value})"


def _driver_words(library: Any, code: int) -> str:
    text = ctypes.c_char_p()
    library.cuGetErrorString(code, ctypes.byref(text))
    return (text.value or b"unknown to the driver").decode(errors="replace")
