"""A double of the TensorRT binding that enforces TensorRT's rules and reports when one is broken.

Its plans say in JSON what they take. Its engines compute simple sums instead
of the graphs, on the memory of the CUDA double, when the stream is waited for.
tests/engines/tensorrt/test_runner.py compares its names with those of the real bindings.
"""

from __future__ import annotations

import enum
import json
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
from cuda_double import CudaDouble

from munit_edge.engines.tensorrt.api import Log, Message, TensorRT

Array = np.ndarray[Any, Any]


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = "float32"
    HALF = "float16"
    UINT8 = "uint8"


def expected(kind: str, feeds: dict[str, Array], sizes: dict[str, int]) -> Array:
    """What the double computes instead of a graph."""
    if kind == "content_encoder":
        step = sizes["multiple"]
        small = feeds["image"][:, ::step, ::step, 0].astype(np.float32)
        scale = np.arange(1, sizes["content_channels"] + 1, dtype=np.float32)
        return small[:, None] * scale[:, None, None]
    if kind == "style_encoder":
        mean = feeds["image"].mean(axis=(1, 2, 3), dtype=np.float32)
        return mean[:, None] + np.arange(sizes["style_dim"], dtype=np.float32)
    step = sizes["multiple"]
    large = feeds["content"][:, 0].repeat(step, axis=1).repeat(step, axis=2)
    sums = large + feeds["style"].sum(axis=1)[:, None, None]
    sums = np.clip(np.rint(sums), 0, 255).astype(np.uint8)
    return np.repeat(sums[..., None], sizes["channels"], axis=3)


def make_plan(description: dict[str, Any]) -> bytes:
    """A plan of the double."""
    return json.dumps(description).encode()


class TensorRTDouble:
    """The machine's TensorRT. Set the attributes below to get one that fails."""

    def __init__(self, cuda: CudaDouble, version: str = "10.3.0") -> None:
        self.cuda = cuda
        self.log = Log()
        self.version = version
        self.is_lean = False
        self.refuses_plans = False
        self.refuses_contexts = False
        self.refuses_to_run = False
        self.runtimes = 0
        self.contexts: list[Context] = []

    def api(self, flavour: Any = "tensorrt") -> TensorRT:
        """As `tensorrt_api.load` gives it."""
        module = SimpleNamespace(
            Runtime=lambda logger: Runtime(self, logger),
            TensorIOMode=TensorIOMode,
            DataType=DataType,
        )
        return TensorRT(flavour, module, self.version, "the logger", self.log, self.is_lean)

    def logs(self, text: str) -> None:
        self.log.add(Message("ERROR", text))


class Runtime:
    def __init__(self, trt: TensorRTDouble, logger: Any) -> None:
        assert "cudaGetDeviceCount" in trt.cuda.calls, "it would crash without a GPU"
        assert logger == "the logger"
        trt.runtimes += 1
        self.engine_host_code_allowed = False
        self._trt = trt

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        if self._trt.refuses_plans:
            self._trt.logs("Platform specific tag mismatch")
            return None
        return Engine(self._trt, json.loads(serialized_engine))


class Engine:
    def __init__(self, trt: TensorRTDouble, description: dict[str, Any]) -> None:
        self._trt = trt
        self.description = description
        self._tensors: list[dict[str, Any]] = description["tensors"]

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self.description["profiles"]))

    def get_tensor_name(self, index: int) -> str:
        return str(self._tensors[index]["name"])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if self._tensor(name)["input"] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(self._tensor(name)["dtype"])

    def get_tensor_shape(self, name: str) -> list[int]:
        return [size if isinstance(size, int) else -1 for size in self._tensor(name)["shape"]]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
        shapes = self.description["profiles"][profile_index][name]
        return [shapes["min"], shapes["opt"], shapes["max"]]

    def create_execution_context(self) -> Context | None:
        if self._trt.refuses_contexts:
            self._trt.logs("Requested amount of GPU memory could not be allocated")
            return None
        context = Context(self._trt, self)
        self._trt.contexts.append(context)
        return context

    def _tensor(self, name: str) -> dict[str, Any]:
        (found,) = (tensor for tensor in self._tensors if tensor["name"] == name)
        return found


class Context:
    def __init__(self, trt: TensorRTDouble, engine: Engine) -> None:
        self._trt = trt
        self._engine = engine
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._warm = False
        self._busy = threading.Lock()
        self.enqueued: list[str] = []
        """`run` or `capture` for each enqueue."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in self._trt.cuda.streams
        self._profile, self._shapes, self._warm = profile_index, {}, False
        return profile_index < self._engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._warm = False
        if self._engine.description["profiles"]:
            low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
        else:
            low = high = self._engine.get_tensor_shape(name)
        self._shapes[name] = shape
        inside = all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        if not inside:
            self._trt.logs(f"setInputShape: {name} {shape} is outside of profile {self._profile}")
        return inside

    def infer_shapes(self) -> list[str]:
        return [name for name in self._inputs() if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        zeros = {n: np.zeros(shape, self._dtype(n)) for n, shape in self._shapes.items()}
        return self._compute(zeros).shape

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % 256 == 0, "memory is not aligned"
        self._warm = False
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._busy.acquire(blocking=False), "two threads use one context"
        try:
            if self._trt.refuses_to_run:
                self._trt.logs("out of workspace")
                return False
            assert not self.infer_shapes()
            cuda = self._trt.cuda
            assert set(self._addresses) == {t["name"] for t in self._engine._tensors}
            if stream_handle in cuda.capturing:
                assert self._warm, "no enqueue since shapes, addresses or profile changed"
            self.enqueued.append("capture" if stream_handle in cuda.capturing else "run")
            self._warm = True
            shapes, addresses = dict(self._shapes), dict(self._addresses)
            cuda.queue(stream_handle, lambda: self._work(shapes, addresses))
            return True
        finally:
            self._busy.release()

    def _work(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        feeds = {
            name: self._view(addresses[name], shape, self._dtype(name))
            for name, shape in shapes.items()
        }
        result = self._compute(feeds)
        (output,) = set(addresses) - set(shapes)
        self._view(addresses[output], result.shape, result.dtype)[...] = result

    def _view(self, address: int, shape: tuple[int, ...], dtype: Any) -> Array:
        import ctypes

        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        host = self._trt.cuda.host_address(address, size, "device")
        raw = (ctypes.c_ubyte * size).from_address(host)
        return np.frombuffer(raw, dtype=dtype).reshape(shape)

    def _compute(self, feeds: dict[str, Array]) -> Array:
        description = self._engine.description
        return expected(description["kind"], feeds, description["sizes"])

    def _inputs(self) -> list[str]:
        return [t["name"] for t in self._engine._tensors if t["input"]]

    def _dtype(self, name: str) -> str:
        return str(self._engine._tensor(name)["dtype"])
