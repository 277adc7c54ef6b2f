"""The CUDA layer against a double of the binding. Nothing here has run on a GPU."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_double import INSUFFICIENT_DRIVER, NO_DEVICE, CudaDouble

from munit_edge.engines import cuda as cuda_runtime
from munit_edge.engines import gpu_presence
from munit_edge.engines.cuda import (
    CudaArray,
    CudaDevice,
    DeviceBuffer,
    DevicePool,
    HostBuffer,
    Stream,
    device_facts,
    open_device,
)
from munit_edge.engines.probe import Answer, Facts
from munit_edge.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]
# Names and parameters of cuda-bindings 12.8.0 and 13.5.0, which agree on all of these.
NAMES = json.loads((ROOT / "tests" / "golden" / "cuda_runtime_names.json").read_text())


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    double = CudaDouble()
    monkeypatch.setattr(cuda_runtime, "require", lambda *_: double.as_module())
    return double


@pytest.fixture
def device(cuda: CudaDouble) -> CudaDevice:
    return open_device()


def _filled(device: CudaDevice, pool: DevicePool, values: np.ndarray[Any, Any]) -> CudaArray:
    array = pool.array(values.shape, values.dtype)
    stream, host = Stream(device), HostBuffer(device)
    host.reserve(values.nbytes)
    host.array(values.shape, values.dtype)[...] = values
    ((_, address, nbytes),) = array.pieces()
    stream.upload(address, host.address, nbytes)
    stream.synchronise()
    host.free()
    stream.free()
    return array


def _described(module: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in NAMES:
        value = module
        for part in name.split("."):
            value = getattr(value, part)
        if "." in name:
            found[name] = "member"
        elif isinstance(value, type):
            found[name] = "class"
        elif isinstance(value, int):
            found[name] = "int"
        else:
            found[name] = list(inspect.signature(value).parameters)
    return found


def test_every_name_in_use_is_in_the_table() -> None:
    source = (ROOT / "engines" / "cuda.py").read_text()
    used = set(re.findall(r"\bcuda[A-Z]\w+", source))
    assert used <= {part for name in NAMES for part in name.split(".")}


def test_the_double_is_like_the_binding() -> None:
    assert _described(CudaDouble()) == NAMES


@pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="needs cuda-bindings")
def test_the_table_is_like_the_installed_binding() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    assert _described(runtime) == NAMES


def test_facts(cuda: CudaDouble) -> None:
    cuda.integrated = 1
    facts = device_facts()
    assert facts.name == "Double 0"
    assert facts.compute_capability == (8, 7)
    assert (facts.cuda_version, facts.cuda_major, facts.driver_version) == (13000, 13, 13020)
    assert facts.integrated


@pytest.mark.parametrize(
    ("count", "error", "driver", "message"),
    [
        (0, NO_DEVICE, 13000, r"there is no NVIDIA GPU here: check `nvidia-smi`"),
        (0, 0, 13000, r"there is no NVIDIA GPU here"),
        (0, INSUFFICIENT_DRIVER, 0, r"there is no usable NVIDIA driver: install"),
        (0, INSUFFICIENT_DRIVER, 12060, r"up to 12\.6 .* needs 13\.0: .*'cuda-bindings<13'"),
        (
            0,
            719,
            13000,
            r"the NVIDIA driver cannot be used \(cudaErrorLaunchFailure, words for 719",
        ),
    ],
)
def test_unusable_machine(
    count: int, error: int, driver: int, message: str, cuda: CudaDouble
) -> None:
    cuda.count, cuda.count_error, cuda.driver = count, error, driver
    with pytest.raises(EngineError, match=message):
        open_device()
    assert set(cuda.calls) <= {
        "cudaGetDeviceCount",
        "cudaDriverGetVersion",
        "cudaRuntimeGetVersion",
        "cudaGetErrorName",
        "cudaGetErrorString",
    }


def test_binding_that_raises_without_a_driver(
    cuda: CudaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuda-bindings 12 raises where 13 gives an error code."""
    module = cuda.as_module()

    def fail() -> None:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(module, "cudaGetDeviceCount", fail)
    monkeypatch.setattr(cuda_runtime, "require", lambda *_: module)
    with pytest.raises(EngineError, match=r"no usable NVIDIA driver .*libcuda\.so\.1\): install"):
        open_device()


def test_unknown_gpu(cuda: CudaDouble) -> None:
    with pytest.raises(
        EngineError, match=r"'cuda:3' does not exist: there are 1 GPUs here .cuda:0."
    ):
        open_device(3)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver finds a GPU."""
    facts = Facts(version="13.0", gpus=("L4 (8.9)",))
    driver = Answer(subject="driver", installed=True, facts=facts)
    monkeypatch.setattr(gpu_presence, "ask", lambda subject: driver)


@pytest.mark.skipif(importlib.util.find_spec("cuda") is not None, reason="cuda-bindings is here")
@pytest.mark.usefixtures("gpu")
def test_missing_binding() -> None:
    with pytest.raises(EngineError, match=r"needs the package 'cuda-bindings'.*munit-edge\[trt\]"):
        open_device()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("no", name="cuda.bindings"), "needs the package 'cuda-bindings'"),
        (ImportError("undefined\n symbol"), r"cannot be loaded \(undefined symbol\): run `pip"),
    ],
)
@pytest.mark.usefixtures("gpu")
def test_binding_that_does_not_load(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: str) -> None:
        raise error

    monkeypatch.setattr(cuda_runtime, "require", fail)
    with pytest.raises(EngineError, match=message):
        open_device()


def test_every_error_code_is_looked_at(cuda: CudaDouble, device: CudaDevice) -> None:
    cuda.failures = {"cudaStreamSynchronize": 719}
    stream = Stream(device)
    with pytest.raises(EngineError, match=r"cuda:0 failed in cudaStreamSynchronize: .*719"):
        stream.synchronise()


def test_too_little_memory(cuda: CudaDouble, device: CudaDevice) -> None:
    cuda.memory = 3 << 20
    buffer = DeviceBuffer(device)
    with pytest.raises(
        EngineError, match=r"not have enough free memory: 4 MiB are needed, 3 MiB of 3 MiB .*--size"
    ):
        buffer.reserve(4 << 20)
    assert buffer.reserve(1 << 20), "what fails leaves the buffer usable"


def test_buffers_only_grow(cuda: CudaDouble, device: CudaDevice) -> None:
    for buffer in (DeviceBuffer(device), HostBuffer(device)):
        assert buffer.reserve(100)
        address = buffer.address
        assert not buffer.reserve(50)
        assert buffer.address == address
        assert buffer.reserve(200)
        buffer.free()
        buffer.free()
    assert not cuda.device
    assert not cuda.host


def test_mapped_memory_where_gpu_and_cpu_share_theirs(cuda: CudaDouble) -> None:
    cuda.integrated = 1
    device = open_device()
    buffer = HostBuffer(device)
    buffer.reserve(16)
    assert buffer.mapped
    assert buffer.device_address in cuda.mapped
    buffer.free()
    assert not cuda.mapped


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 2, 0, 1], [1]])
def test_rows_of_an_array(rows: list[int], device: CudaDevice) -> None:
    values = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    array = _filled(device, DevicePool(device), values)
    assert array.where == "cuda:0"
    chosen = array.take(rows)
    assert (chosen.shape, chosen.dtype, len(chosen)) == ((len(rows), 2, 4), np.float32, len(rows))
    np.testing.assert_array_equal(np.asarray(chosen), values[rows])
    assert len(list(array.take([0, 1, 2]).pieces())) == 1, "neighbours are one copy"


def test_pool_uses_memory_again(cuda: CudaDouble, device: CudaDevice) -> None:
    pool = DevicePool(device)
    array = pool.array((4, 4), np.float32)
    view = array.take([0])
    del array
    gc.collect()
    assert len(cuda.device) == 1
    second = pool.array((4, 4), np.float32)
    assert len(cuda.device) == 2, "a view still uses the first"
    del view
    gc.collect()
    third = pool.array((4, 3), np.float32)
    assert len(cuda.device) == 2
    pool.free()
    del second, third
    gc.collect()
    assert not cuda.device, "what comes back after the end is given to CUDA"


def test_capture(cuda: CudaDouble, device: CudaDevice) -> None:
    stream, host, target = Stream(device), HostBuffer(device), DeviceBuffer(device)
    host.reserve(4)
    target.reserve(4)
    with stream.capture() as graphs:
        stream.upload(target.address, host.address, 4)
    host.array((4,), np.uint8)[...] = 7
    stream.launch(graphs[0])
    stream.download(host.address, target.address, 4)
    host.array((4,), np.uint8)[...] = 9
    stream.synchronise()
    np.testing.assert_array_equal(host.array((4,), np.uint8), [9] * 4)
    graphs[0].free()
    assert not cuda.graphs
    assert not cuda.executables


def test_failed_capture_ends(cuda: CudaDouble, device: CudaDevice) -> None:
    stream = Stream(device)
    with pytest.raises(KeyError), stream.capture():
        raise KeyError
    assert not cuda.capturing
    assert not cuda.graphs
    stream.free()
