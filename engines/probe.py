"""What a backend says of itself, asked in a process of its own: it may crash, hang or print.

The parent calls `ask`; the child imports the backend and tries its GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np

from munit_edge.settings import StrictModel
from munit_edge.system import child
from munit_edge.system.child import words

Subject = Literal["driver", "onnxruntime", "torch", "tensorrt", "tensorrt-rtx", "cuda-bindings"]
SUBJECTS: tuple[Subject, ...] = get_args(Subject)

TIMEOUT_S = 60.0
"""Time for one backend: importing torch from a cold disk takes tens of seconds."""

_MODULES: dict[Subject, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime",),
    "torch": ("torch",),
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    "cuda-bindings": ("cuda.bindings.runtime",),
}
"""Names of each backend's module, the first that is there is taken."""

_NO_DEVICE = 100
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


class Facts(StrictModel):
    """What a backend that could be imported says."""

    version: str
    """Its version; the driver's: the newest CUDA that it can run."""
    cuda: str | None = None
    """CUDA that it was built with; None: built without, or it does not tell."""
    providers: tuple[str, ...] = ()
    """ONNX Runtime's execution providers."""
    gpus: tuple[str, ...] = ()
    """GPUs that it can use now, such as "NVIDIA H100 (9.0)"."""
    gpu_fault: str | None = None
    """Why it cannot use a GPU, in its own words; None when it can, or is not made for one."""
    tensorrt_fault: str | None = None
    """Why ONNX Runtime's TensorRT provider, which it has, cannot be used; None when it can."""


class Answer(StrictModel):
    """What came of asking."""

    subject: Subject
    """Who was asked."""
    installed: bool
    """Whether it is there."""
    facts: Facts | None = None
    """None: not installed, or broken."""
    fault: str | None = None
    """Why it could not be imported: the loader's own words, or how its process ended."""


def ask(subject: Subject, *, timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask one backend in a new process; whatever happens there, this returns.

    Args:
        subject: whom to ask.
        timeout_s: after so many seconds the process is ended and that is the fault.
    """
    try:
        told = child.call("munit_edge.engines.probe.answer", subject, timeout_s=timeout_s)
    except child.ChildError as exc:
        return Answer(subject=subject, installed=True, fault=str(exc))
    return Answer.model_validate_json(told)


def answer(subject: Subject) -> str:
    """In the child: ask the backend; the answer as JSON."""
    if subject == "driver":
        return _ask_driver(ctypes.CDLL).model_dump_json()
    return _ask_module(subject, _DETAILS[subject]).model_dump_json()


def _ask_module(subject: Subject, details: Callable[[ModuleType], Facts]) -> Answer:
    faults = []
    for name in _MODULES[subject]:
        try:
            module = importlib.import_module(name)
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


def _onnxruntime(module: ModuleType) -> Facts:
    from munit_edge.engines.devices import Device
    from munit_edge.engines.onnxruntime.arrays import picking_graph
    from munit_edge.engines.onnxruntime.session import (
        CUDA_PROVIDER,
        TENSORRT_PROVIDER,
        open_session,
    )

    providers = tuple(module.get_available_providers())
    with contextlib.suppress(ImportError):
        importlib.import_module("onnxruntime.capi.build_and_package_info")
    information = sys.modules.get("onnxruntime.capi.build_and_package_info")
    gpus: tuple[str, ...] = ()
    gpu_fault = None
    if CUDA_PROVIDER in providers:
        try:
            open_session(picking_graph(np.dtype(np.float32)), "take", Device("cuda"))
            gpus = ("cuda:0",)
        except Exception as exc:  # the words are what counts
            gpu_fault = words(exc)
    return Facts(
        version=module.__version__,
        cuda=getattr(information, "cuda_version", None) or None,
        providers=providers,
        gpus=gpus,
        gpu_fault=gpu_fault,
        tensorrt_fault=_tensorrt_fault(module) if TENSORRT_PROVIDER in providers else None,
    )


def _tensorrt_fault(onnxruntime: ModuleType) -> str | None:
    from munit_edge.engines.onnxruntime.tensorrt_provider import library_version

    try:
        library_version(onnxruntime)
    except Exception as exc:  # the words are what counts
        return words(exc)
    return None


def _torch(module: Any) -> Facts:
    gpus: tuple[str, ...] = ()
    gpu_fault = None
    if module.version.cuda:
        try:
            module.cuda.init()
            gpus = tuple(
                f"{module.cuda.get_device_name(i)} "
                f"({'.'.join(map(str, module.cuda.get_device_capability(i)))})"
                for i in range(module.cuda.device_count())
            )
            module.zeros(1, device="cuda").add(1).cpu()  # this build has code for this GPU
        except Exception as exc:  # the words are what counts
            gpus, gpu_fault = (), words(exc)
    return Facts(
        version=module.__version__, cuda=module.version.cuda, gpus=gpus, gpu_fault=gpu_fault
    )


def _tensorrt(module: ModuleType) -> Facts:
    # Nothing is created: a Runtime without a driver can end the process.
    return Facts(version=module.__version__)


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
        cuda=_cuda_version(int(built)) if built else None,
        gpus=tuple(f"cuda:{i}" for i in range(count or 0)),
        gpu_fault=gpu_fault,
    )


_DETAILS: dict[Subject, Callable[[ModuleType], Facts]] = {
    "onnxruntime": _onnxruntime,
    "torch": _torch,
    "tensorrt": _tensorrt,
    "tensorrt-rtx": _tensorrt,
    "cuda-bindings": _cuda_bindings,
}


def _ask_driver(load: Callable[[str], Any]) -> Answer:
    """The NVIDIA driver itself, through its own library: no package is needed for it."""
    try:
        library = load("libcuda.so.1")
    except OSError as exc:
        missing = "cannot open shared object file: No such file" in str(exc)
        return Answer(
            subject="driver", installed=not missing, fault=None if missing else words(exc)
        )
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
            version=_cuda_version(version.value),
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


def _cuda_version(number: int) -> str:
    """12060 -> "12.6"."""
    return f"{number // 1000}.{number % 1000 // 10}"
