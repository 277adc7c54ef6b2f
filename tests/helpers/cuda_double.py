"""A double of `cuda.bindings.runtime` that enforces CUDA's rules and reports broken ones.

Memory is real (the host's), addresses are checked, and what is queued on a stream happens only when
the stream is waited for: a missing wait shows as wrong data. tests/engines/test_cuda.py
compares its names and parameters with the real binding's.
"""

from __future__ import annotations

import ctypes
import enum
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from munit_edge.engines import gpu_presence
from munit_edge.engines.probe import Answer, Facts

OK = 0
OUT_OF_MEMORY = 2
INSUFFICIENT_DRIVER = 35
NO_DEVICE = 100

Work = Callable[[], None]


class cudaError_t(enum.IntEnum):
    cudaSuccess = OK
    cudaErrorMemoryAllocation = OUT_OF_MEMORY
    cudaErrorInsufficientDriver = INSUFFICIENT_DRIVER
    cudaErrorNoDevice = NO_DEVICE
    cudaErrorLaunchFailure = 719


class cudaDeviceAttr(enum.IntEnum):
    cudaDevAttrIntegrated = 18
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class CudaDouble:
    """The module. Set the attributes below to get a machine that fails."""

    cudaError_t = cudaError_t
    cudaDeviceAttr = cudaDeviceAttr
    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaHostAllocDefault = 0
    cudaHostAllocMapped = 2
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        self.count = 1
        self.count_error = OK
        self.driver = 13020
        self.integrated = 0
        self.memory = 1 << 30
        """Bytes on the GPU."""
        self.failures: dict[str, int] = {}
        """Function -> error code that it gives."""
        self.calls: list[str] = []
        self.device: dict[int, tuple[ctypes.Array[Any], int]] = {}
        self.host: dict[int, ctypes.Array[Any]] = {}
        self.mapped: dict[int, int] = {}
        """GPU's address -> host's address."""
        self.streams: dict[int, list[Work]] = {}
        self.capturing: dict[int, list[Work]] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.executables: dict[int, list[Work]] = {}
        self._next = 1000
        self._thread = threading.local()

    def as_module(self) -> ModuleType:
        """As `import` would give it, with each call recorded and each requested failure made."""
        module = ModuleType("cuda.bindings.runtime")
        for name in dir(self):
            if name.startswith("cuda"):
                value = getattr(self, name)
                is_call = callable(value) and not isinstance(value, type)
                setattr(module, name, self._recorded(name, value) if is_call else value)
        return module

    def host_address(self, address: int, nbytes: int, where: str) -> int:
        """The host's address of memory in use; `where`: "device", "host" or "any"."""
        if where in ("device", "any"):
            for start, (buffer, size) in self.device.items():
                if start <= address and address + nbytes <= start + size:
                    return ctypes.addressof(buffer) + address - start
            for start, target in self.mapped.items():
                size = ctypes.sizeof(self.host[target])
                if start <= address and address + nbytes <= start + size:
                    return target + address - start
        if where in ("host", "any"):
            for start, memory in self.host.items():
                if start <= address and address + nbytes <= start + ctypes.sizeof(memory):
                    return address
        raise AssertionError(f"{nbytes} bytes at {address:#x} are no {where} memory in use")

    def queue(self, stream: int, work: Work) -> None:
        """Put work on a stream, as TensorRT does."""
        self._need_device()
        if stream in self.capturing:
            self.capturing[stream].append(work)
        else:
            self.streams[stream].append(work)

    # The binding's functions.

    def cudaGetDeviceCount(self) -> Any:
        if self.count_error:
            return cudaError_t(self.count_error), None
        return cudaError_t(OK), self.count

    def cudaDriverGetVersion(self) -> Any:
        return cudaError_t(OK), self.driver

    def cudaRuntimeGetVersion(self) -> Any:
        return cudaError_t(OK), 13000

    def cudaGetErrorName(self, error: Any) -> Any:
        return cudaError_t(OK), cudaError_t(error).name.encode()

    def cudaGetErrorString(self, error: Any) -> Any:
        return cudaError_t(OK), f"words for {int(error)}".encode()

    def cudaSetDevice(self, device: int) -> Any:
        assert 0 <= device < self.count
        self._thread.device = device
        return (cudaError_t(OK),)

    def cudaGetDeviceProperties(self, device: int) -> Any:
        return cudaError_t(OK), SimpleNamespace(name=f"Double {device}".encode() + b"\0rest")

    def cudaDeviceGetAttribute(self, attr: Any, device: int) -> Any:
        values = {18: self.integrated, 75: 8, 76: 7}
        return cudaError_t(OK), values[int(attr)]

    def cudaMemGetInfo(self) -> Any:
        self._need_device()
        used = sum(size for _, size in self.device.values())
        return cudaError_t(OK), self.memory - used, self.memory

    def cudaMalloc(self, size: int) -> Any:
        self._need_device()
        if sum(size for _, size in self.device.values()) + size > self.memory:
            return cudaError_t(OUT_OF_MEMORY), None
        address = self._number(size) << 8  # never the address of the memory that backs it
        self.device[address] = ((ctypes.c_ubyte * size)(), size)
        return cudaError_t(OK), address

    def cudaFree(self, devPtr: int) -> Any:
        self._need_device()
        del self.device[devPtr]
        return (cudaError_t(OK),)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        self._need_device()
        memory = (ctypes.c_ubyte * size)()
        address = ctypes.addressof(memory)
        self.host[address] = memory
        if flags == self.cudaHostAllocMapped:
            self.mapped[self._number(size) << 8] = address
        return cudaError_t(OK), address

    def cudaHostGetDevicePointer(self, pHost: int, flags: int) -> Any:
        assert flags == 0
        return cudaError_t(OK), {host: device for device, host in self.mapped.items()}[pHost]

    def cudaFreeHost(self, ptr: int) -> Any:
        del self.host[ptr]
        self.mapped = {d: host for d, host in self.mapped.items() if host != ptr}
        return (cudaError_t(OK),)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: int) -> Any:
        places = {1: ("device", "host"), 2: ("host", "device"), 3: ("device", "device")}
        to, source = places[int(kind)]

        def copy() -> None:
            target = self.host_address(dst, count, to)
            ctypes.memmove(target, self.host_address(src, count, source), count)

        self.host_address(dst, count, to)
        self.host_address(src, count, source)
        self.queue(stream, copy)
        return (cudaError_t(OK),)

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        self._need_device()
        assert flags == self.cudaStreamNonBlocking
        stream = self._number()
        self.streams[stream] = []
        return cudaError_t(OK), stream

    def cudaStreamDestroy(self, stream: int) -> Any:
        assert not self.streams.pop(stream) or self.failures, "work is still queued"
        return (cudaError_t(OK),)

    def cudaStreamSynchronize(self, stream: int) -> Any:
        assert stream not in self.capturing, "a stream that captures cannot be waited for"
        work, self.streams[stream] = self.streams[stream], []
        for step in work:
            step()
        return (cudaError_t(OK),)

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> Any:
        assert mode == cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.capturing[stream] = []
        return (cudaError_t(OK),)

    def cudaStreamEndCapture(self, stream: int) -> Any:
        graph = self._number()
        self.graphs[graph] = self.capturing.pop(stream)
        return cudaError_t(OK), graph

    def cudaGraphInstantiate(self, graph: int, flags: int) -> Any:
        executable = self._number()
        self.executables[executable] = list(self.graphs[graph])
        return cudaError_t(OK), executable

    def cudaGraphDestroy(self, graph: int) -> Any:
        del self.graphs[graph]
        return (cudaError_t(OK),)

    def cudaGraphLaunch(self, graphExec: int, stream: int) -> Any:
        for step in self.executables[graphExec]:
            self.queue(stream, step)
        return (cudaError_t(OK),)

    def cudaGraphExecDestroy(self, graphExec: int) -> Any:
        del self.executables[graphExec]
        return (cudaError_t(OK),)

    def _recorded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            if name in self.failures:
                return cudaError_t(self.failures[name]), None
            return function(*args)

        return call

    def _need_device(self) -> None:
        assert hasattr(self._thread, "device"), "this thread has not chosen its device"

    def _number(self, step: int = 1) -> int:
        self._next += step + 1
        return self._next - step


def has_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the driver find a GPU."""
    facts = Facts(version="13.0", gpus=("L4 (8.9)",))
    found = Answer(subject="driver", installed=True, facts=facts)
    monkeypatch.setattr(gpu_presence, "ask", lambda subject: found)
