"""CUDA memory, streams and graphs, through NVIDIA's own binding `cuda.bindings.runtime`.

Nothing here needs torch or CuPy. Every call's error code is checked and becomes an `EngineError`.
Without a GPU or a driver TensorRT would crash the process: call `open_device`, which checks for
both, before creating a TensorRT Runtime.

The names used exist in cuda-bindings 12.8 and 13 (tests/engines/test_cuda.py compares them
with the binding). No part of this module has run on a GPU yet.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import logging
import math
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from munit_edge.engines.base import Array, DeviceArray
from munit_edge.engines.gpu_presence import NO_DRIVER_HINT, NO_GPU_HINT, require_gpu
from munit_edge.engines.gpu_types import cuda_version
from munit_edge.errors import EngineError, MissingExtraError
from munit_edge.extras import EXTRAS, require

_MEMORY_FIX = (
    "use a smaller image (--size) or fewer styles at once, or stop other programs on the GPU"
)


@dataclass(frozen=True)
class DeviceFacts:
    """One GPU and its driver."""

    name: str
    """Such as "NVIDIA GeForce RTX 3060" or "Orin"."""
    compute_capability: tuple[int, int]
    """(8, 7) is SM 8.7."""
    cuda_version: int
    """CUDA version of the binding in use: 1000 * major + 10 * minor."""
    driver_version: int
    """Newest CUDA that the driver runs, in the same form."""
    integrated: bool
    """Whether GPU and CPU share their memory, as on a Jetson."""

    @property
    def cuda_major(self) -> int:
        """Major version of CUDA, such as 13."""
        return self.cuda_version // 1000


class OutOfMemoryError(EngineError):
    """The GPU does not have enough free memory."""


def device_facts(index: int = 0) -> DeviceFacts:
    """Facts of one GPU.

    Raises:
        EngineError: see `open_device`.
    """
    return open_device(index).facts


def open_device(index: int = 0) -> CudaDevice:
    """Check that there is a usable GPU, and open it.

    Args:
        index: number of the GPU, starting at 0.

    Raises:
        MissingExtraError: cuda-bindings is not installed.
        EngineError: there is no GPU with that number, no driver, or an unusable one.
    """
    cuda = _binding()
    count = _count_devices(cuda)
    if index >= count:
        known = ", ".join(f"cuda:{i}" for i in range(count))
        raise EngineError(
            f"device 'cuda:{index}' does not exist: there are {count} GPUs here ({known}); "
            "choose one of them with --device"
        )
    return CudaDevice(cuda, index)


class CudaDevice:
    """One GPU; `open_device` creates it.

    CUDA keeps a current device for each thread: call `activate` first in each thread.
    """

    def __init__(self, cuda: Any, index: int) -> None:
        self.index = index
        self._cuda = cuda
        self.activate()
        self.facts = self._read_facts()

    def activate(self) -> None:
        """Make this GPU the current device of the calling thread."""
        self.call("cudaSetDevice", self.index)

    def call(self, function: str, *args: Any) -> Any:
        """Call a function of the CUDA runtime.

        Returns:
            What it returns after the error code: None, one value, or a tuple.

        Raises:
            EngineError: it failed; the message has CUDA's own reason.
        """
        error, values = _call(self._cuda, function, *args)
        if int(error) == 0:
            return values
        if int(error) == int(self._cuda.cudaError_t.cudaErrorMemoryAllocation):
            raise OutOfMemoryError(
                f"cuda:{self.index} does not have enough free memory: {_MEMORY_FIX}"
            )
        raise EngineError(
            f"cuda:{self.index} failed in {function}: {_describe(self._cuda, error)}; if it "
            "happens again, run `munit-edge doctor`"
        )

    def release(self, function: str, *args: Any) -> None:
        """Call a function that frees something; its failure is only logged.

        Freeing fails only after an earlier failure, which was raised and is more informative. The
        process's end frees the rest.
        """
        try:
            self.call(function, *args)
        except EngineError as exc:
            logging.getLogger(__name__).debug("%s", exc)

    def constant(self, name: str) -> Any:
        """A constant (`cudaStreamNonBlocking`) or an enum's member (`cudaMemcpyKind.NAME`)."""
        value = self._cuda
        for part in name.split("."):
            value = getattr(value, part)
        return value

    def free_memory(self) -> tuple[int, int]:
        """Free bytes, and all bytes."""
        free, total = self.call("cudaMemGetInfo")
        return int(free), int(total)

    def _read_facts(self) -> DeviceFacts:
        name = self.call("cudaGetDeviceProperties", self.index).name
        return DeviceFacts(
            # char[256] in C: bytes after the first zero mean nothing.
            name=name.split(b"\0")[0].decode("utf-8", "replace"),
            compute_capability=(
                self._attribute("cudaDevAttrComputeCapabilityMajor"),
                self._attribute("cudaDevAttrComputeCapabilityMinor"),
            ),
            cuda_version=int(self.call("cudaRuntimeGetVersion")),
            driver_version=int(self.call("cudaDriverGetVersion")),
            integrated=bool(self._attribute("cudaDevAttrIntegrated")),
        )

    def _attribute(self, name: str) -> int:
        member = self.constant(f"cudaDeviceAttr.{name}")
        return int(self.call("cudaDeviceGetAttribute", member, self.index))


class DeviceBuffer:
    """Memory on the GPU that only grows, until `free`."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self.address = 0
        self.capacity = 0

    def reserve(self, nbytes: int) -> bool:
        """Make room for `nbytes`; the contents are lost when it has to move.

        Nothing on the GPU may still be using the buffer.

        Returns:
            Whether it moved to a new address.

        Raises:
            EngineError: there is not enough memory.
        """
        # Address 0 means "nothing allocated" here, and an allocation of 0 bytes may have it.
        nbytes = max(nbytes, 1)
        if nbytes <= self.capacity:
            return False
        self.free()
        self.address = _allocate(self._device, nbytes)
        self.capacity = nbytes
        return True

    def free(self) -> None:
        """Free the memory."""
        # Forgotten before it is freed: a failure must not lead to a second cudaFree.
        address, self.address, self.capacity = self.address, 0, 0
        if address:
            self._device.release("cudaFree", address)


class HostBuffer:
    """Pinned memory of the host that only grows: copies from and to it do not block the CPU.

    Where GPU and CPU share their memory it is mapped: the GPU reads and writes it at
    `device_address`, and nothing is copied.
    """

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._address = 0
        # Only there: on a discrete GPU every access to mapped memory would cross the bus.
        self.mapped = device.facts.integrated
        self.device_address = 0
        self.capacity = 0

    def reserve(self, nbytes: int) -> bool:
        """Make room for `nbytes`, as `DeviceBuffer.reserve` does."""
        nbytes = max(nbytes, 1)
        if nbytes <= self.capacity:
            return False
        self.free()
        flags = self._device.constant(
            "cudaHostAllocMapped" if self.mapped else "cudaHostAllocDefault"
        )
        self._address = int(self._device.call("cudaHostAlloc", nbytes, flags))
        self.capacity = nbytes
        if self.mapped:
            pointer = self._device.call("cudaHostGetDevicePointer", self._address, 0)
            self.device_address = int(pointer)
        return True

    @property
    def address(self) -> int:
        """Its address on the CPU's side."""
        return self._address

    def array(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """The start of the buffer as an array; valid until it grows or is freed."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        # A view without ownership: `free` makes it dangle, so callers copy (`_Port.result`).
        raw = (ctypes.c_ubyte * size).from_address(self._address)
        return np.frombuffer(raw, dtype=dtype).reshape(shape)

    def free(self) -> None:
        """Free the memory."""
        address, self._address, self.device_address, self.capacity = self._address, 0, 0, 0
        if address:
            self._device.release("cudaFreeHost", address)


class Stream:
    """A queue of work on the GPU, independent of the default stream."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        # Otherwise it waits for work on the default stream, which torch in the same process uses.
        flags = device.constant("cudaStreamNonBlocking")
        self._stream: Any = device.call("cudaStreamCreateWithFlags", flags)

    @property
    def handle(self) -> int:
        """The stream as a number, the form that TensorRT takes."""
        return int(self._stream)

    def upload(self, address: int, host_address: int, nbytes: int) -> None:
        """Queue a copy from pinned host memory to the GPU."""
        self._copy(address, host_address, nbytes, "cudaMemcpyHostToDevice")

    def download(self, host_address: int, address: int, nbytes: int) -> None:
        """Queue a copy from the GPU to pinned host memory."""
        self._copy(host_address, address, nbytes, "cudaMemcpyDeviceToHost")

    def move(self, target: int, source: int, nbytes: int) -> None:
        """Queue a copy within the GPU."""
        self._copy(target, source, nbytes, "cudaMemcpyDeviceToDevice")

    def synchronise(self) -> None:
        """Wait until all queued work is done; its errors are raised here."""
        self._device.call("cudaStreamSynchronize", self._stream)

    @contextlib.contextmanager
    def capture(self) -> Iterator[list[CudaGraph]]:
        """Record what the block queues instead of doing it.

        Yields:
            An empty list, which holds the graph after the block.
        """
        # Other threads may allocate memory meanwhile: only this one is watched.
        mode = self._device.constant("cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal")
        self._device.call("cudaStreamBeginCapture", self._stream, mode)
        graphs: list[CudaGraph] = []
        try:
            yield graphs
        except BaseException:
            # The capture must end: until then the stream accepts no other work.
            with contextlib.suppress(EngineError):  # the first error is the one to report
                recorded = self._device.call("cudaStreamEndCapture", self._stream)
                self._device.release("cudaGraphDestroy", recorded)
            raise
        recorded = self._device.call("cudaStreamEndCapture", self._stream)
        graphs.append(CudaGraph(self._device, recorded))

    def launch(self, graph: CudaGraph) -> None:
        """Queue recorded work."""
        self._device.call("cudaGraphLaunch", graph.executable, self._stream)

    def free(self) -> None:
        """Free the stream; nothing may be queued on it."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._device.release("cudaStreamDestroy", stream)

    def _copy(self, target: int, source: int, nbytes: int, kind: str) -> None:
        member = self._device.constant(f"cudaMemcpyKind.{kind}")
        self._device.call("cudaMemcpyAsync", target, source, nbytes, member, self._stream)


class CudaGraph:
    """Recorded work that is queued again with one call."""

    def __init__(self, device: CudaDevice, recorded: Any) -> None:
        self._device = device
        try:
            # The executable graph does not need the recorded one, which is destroyed either way.
            self.executable: Any = device.call("cudaGraphInstantiate", recorded, 0)
        finally:
            device.release("cudaGraphDestroy", recorded)

    def free(self) -> None:
        """Free the graph."""
        executable, self.executable = self.executable, None
        if executable is not None:
            self._device.release("cudaGraphExecDestroy", executable)


class DevicePool:
    """Memory for arrays that outlive one run; blocks that they free are used again.

    Allocating from CUDA waits for the whole GPU, so blocks are kept until `free`.
    """

    def __init__(self, device: CudaDevice) -> None:
        self.device = device
        self._lock = threading.RLock()  # reentrant: an array may be collected while it is held
        self._free: list[tuple[int, int]] = []
        self._returned: collections.deque[tuple[int, int]] = collections.deque()
        self._closed = False

    def array(self, shape: tuple[int, ...], dtype: Any) -> CudaArray:
        """An array with undefined contents.

        Raises:
            EngineError: there is not enough memory.
        """
        nbytes = max(math.prod(shape) * np.dtype(dtype).itemsize, 1)
        block = self._take(nbytes) or (nbytes, _allocate(self.device, nbytes))
        array = CudaArray(self.device, block[1], shape, np.dtype(dtype))
        # Not at exit: the driver may be gone by then, and it frees the memory anyway.
        weakref.finalize(array.owner, _give_back, self, block).atexit = False
        return array

    def free(self) -> None:
        """Free all blocks that no array uses; the others follow when their arrays are collected."""
        with self._lock:
            self._closed = True
            self._collect()

    def _take(self, nbytes: int) -> tuple[int, int] | None:
        with self._lock:
            # Collected arrays come first: they may have left a block of this size.
            self._collect()
            # Larger blocks are left for larger arrays.
            fitting = [block for block in self._free if nbytes <= block[0] <= 2 * nbytes]
            if not fitting:
                return None
            self._free.remove(min(fitting))
            return min(fitting)

    def _collect(self) -> None:
        while self._returned:
            self._free.append(self._returned.popleft())
        while self._closed and self._free:
            self.device.release("cudaFree", self._free.pop()[1])

    def _put(self, block: tuple[int, int]) -> None:
        # Called when an array is collected, in any thread: the deque needs no lock.
        self._returned.append(block)
        if self._closed:
            self.device.release("cudaSetDevice", self.device.index)
            self.free()


class CudaArray(DeviceArray):
    """An array in the GPU's memory, with rows chosen from it; the memory lives as long as a view.

    Attributes:
        device: the GPU.
        owner: object whose lifetime the memory has, shared by all views.
    """

    def __init__(
        self,
        device: CudaDevice,
        address: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        rows: Sequence[int] | None = None,
        owner: _Owner | None = None,
    ) -> None:
        super().__init__(shape, dtype, f"cuda:{device.index}", rows)
        self.device = device
        self.owner = owner or _Owner()
        self._address = address

    def _view(self, rows: list[int]) -> CudaArray:
        return CudaArray(self.device, self._address, self._base_shape, self.dtype, rows, self.owner)

    def pieces(self) -> Iterator[tuple[int, int, int]]:
        """The longest runs of neighbouring rows: (offset in the result, address, bytes)."""
        rows, size = self.rows, self.row_nbytes
        start = 0
        # One copy for each run of neighbours instead of one for each row.
        for end in range(1, len(rows) + 1):
            if end == len(rows) or rows[end] != rows[end - 1] + 1:
                yield start * size, self._address + rows[start] * size, (end - start) * size
                start = end

    def to_host(self) -> Array:
        """A copy in the host's memory."""
        self.device.activate()
        stream, host = Stream(self.device), HostBuffer(self.device)
        try:
            host.reserve(self.nbytes)
            for offset, address, nbytes in self.pieces():
                stream.download(host.address + offset, address, nbytes)
            stream.synchronise()
            copied: Array = host.array(self.shape, self.dtype).copy()
            return copied
        finally:
            host.free()
            stream.free()


class _Owner:
    """Dies with the last view of an array's memory."""


def _give_back(pool: DevicePool, block: tuple[int, int]) -> None:
    pool._put(block)


def _allocate(device: CudaDevice, nbytes: int) -> int:
    try:
        return int(device.call("cudaMalloc", nbytes))
    except OutOfMemoryError as exc:
        free, total = device.free_memory()
        raise OutOfMemoryError(
            f"cuda:{device.index} does not have enough free memory: {_mib(nbytes)} are needed, "
            f"{_mib(free)} of {_mib(total)} are free; {_MEMORY_FIX}"
        ) from exc


def _mib(nbytes: int) -> str:
    return f"{max(1, round(nbytes / 2**20))} MiB"


def _binding() -> Any:
    purpose = "running TensorRT"
    try:
        return require("cuda.bindings.runtime", purpose)
    except (MissingExtraError, ModuleNotFoundError) as exc:
        require_gpu()
        # Other packages install a folder "cuda" too: then only "cuda.bindings" is missing.
        raise MissingExtraError("cuda-bindings", EXTRAS["cuda"], purpose) from exc
    except (ImportError, OSError) as exc:
        reason = " ".join(str(exc).split())
        raise EngineError(
            f"cuda-bindings is installed but cannot be loaded ({reason}): run "
            "`pip install --force-reinstall cuda-bindings`"
        ) from exc


def _count_devices(cuda: Any) -> int:
    """Number of GPUs, at least one."""
    try:
        error, count = _call(cuda, "cudaGetDeviceCount")
    except EngineError as exc:  # older bindings raise where there is no driver
        raise EngineError(f"there is no usable NVIDIA driver ({exc}): {NO_DRIVER_HINT}") from exc
    errors = cuda.cudaError_t
    if int(error) == 0 and count:
        return int(count)
    # A driver without a GPU: some report no error and a count of 0.
    if int(error) in (0, int(errors.cudaErrorNoDevice)):
        raise EngineError(f"there is no NVIDIA GPU here: {NO_GPU_HINT}")
    if int(error) == int(errors.cudaErrorInsufficientDriver):
        raise EngineError(_driver_fault(cuda))
    raise EngineError(
        f"the NVIDIA driver cannot be used ({_describe(cuda, error)}): restart the machine or "
        f"install the driver again; {NO_GPU_HINT}"
    )


def _driver_fault(cuda: Any) -> str:
    """Why the driver is "insufficient": missing, or older than the binding's CUDA."""
    error, driver = _call(cuda, "cudaDriverGetVersion")
    _, runtime = _call(cuda, "cudaRuntimeGetVersion")
    if int(error) != 0 or not driver:
        return f"there is no usable NVIDIA driver: {NO_DRIVER_HINT}"
    major = int(driver) // 1000
    return (
        f"the NVIDIA driver runs CUDA up to {cuda_version(driver)} and the installed cuda-bindings "
        f"needs {cuda_version(runtime)}: run `pip install 'cuda-bindings<{major + 1}'`, or install "
        "a newer driver"
    )


def _call(cuda: Any, function: str, *args: Any) -> tuple[Any, Any]:
    """The error code, and the other values."""
    try:
        error, *values = getattr(cuda, function)(*args)
    except RuntimeError as exc:  # the driver's library, or a function of it, is not there
        raise EngineError(f"{function}: {' '.join(str(exc).split())}") from exc
    if not values:
        return error, None
    return error, values[0] if len(values) == 1 else tuple(values)


def _describe(cuda: Any, error: Any) -> str:
    """CUDA's description of an error."""
    texts = []
    for function in ("cudaGetErrorName", "cudaGetErrorString"):
        with contextlib.suppress(EngineError):
            text = _call(cuda, function, error)[1]
            texts.append(text.decode() if isinstance(text, bytes) else str(text))
    return ", ".join(texts) or f"error {int(error)}"
