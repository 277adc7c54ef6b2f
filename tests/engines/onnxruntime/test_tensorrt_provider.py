"""ONNX Runtime's TensorRT provider: refusals, options and the cache. It needs a GPU to run."""

from __future__ import annotations

import ctypes
import logging
import os
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from cuda_double import NO_DEVICE, CudaDouble, has_gpu

from munit_edge.engines import cuda as cuda_runtime
from munit_edge.engines.cuda import DeviceFacts
from munit_edge.engines.devices import Device
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.onnxruntime import runner as onnxruntime_runner
from munit_edge.engines.onnxruntime import tensorrt_provider as onnxruntime_tensorrt
from munit_edge.engines.onnxruntime.provider_plans import CacheClaim
from munit_edge.engines.onnxruntime.runner import OnnxRuntimeGraphs
from munit_edge.engines.onnxruntime.session import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    TENSORRT_PROVIDER,
    open_session,
)
from munit_edge.engines.onnxruntime.tensorrt_provider import (
    TF32_ENVIRONMENT,
    TensorRTProvider,
    open_provider,
)
from munit_edge.engines.tensorrt import api as tensorrt_api
from munit_edge.errors import ConfigError, EngineError, UnsupportedGraphError
from munit_edge.model.manifest import GraphEntry, read_manifest

FACTS = DeviceFacts("Double 0", (8, 7), 13000, 13020, integrated=False)
PROVIDER = TensorRTProvider("1.31.1", "10.13.3", FACTS, Device("cuda", 1))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(TF32_ENVIRONMENT, "")
    return tmp_path / "cache"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    double = CudaDouble()
    monkeypatch.setattr(cuda_runtime, "require", lambda *_: double.as_module())
    has_gpu(monkeypatch)
    return double


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ONNX Runtime with the provider; the path of its library, linked with TensorRT 10."""
    providers = [TENSORRT_PROVIDER, CUDA_PROVIDER, CPU_PROVIDER]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    library = tmp_path / "libonnxruntime_providers_tensorrt.so"
    library.write_bytes(b"\x7fELF\0libcudart.so.13\0libnvinfer.so.10\0libnvonnxparser.so.10\0")
    monkeypatch.setattr(onnxruntime_tensorrt, "provider_library", lambda *_: library)
    monkeypatch.setattr(tensorrt_api, "is_installed", lambda _: False)
    return library


@pytest.fixture
def entry(tiny_model: Path) -> GraphEntry:
    return read_manifest(tiny_model).graph("decoder", "b")


def _load_as(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Every library loads, and says that it is TensorRT `number`."""
    asked: list[str] = []

    def load(name: str, **_: Any) -> Any:
        asked.append(name)
        return SimpleNamespace(getInferLibVersion=lambda: number)

    monkeypatch.setattr(onnxruntime_tensorrt.ctypes, "CDLL", load)
    return asked


def test_usable(cuda: CudaDouble, listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _load_as(monkeypatch, 101303)
    cuda.count = 2
    found = open_provider(Device("cuda", 1))
    assert asked == ["libnvinfer.so.10"]
    assert (found.tensorrt, found.onnxruntime) == ("10.13.3", onnxruntime.__version__)
    assert (found.gpu.name, found.device.index) == ("Double 1", 1)


def test_tf32_is_settled_for_the_process(
    cuda: CudaDouble, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load_as(monkeypatch, 101303)
    assert open_provider(Device("cuda", tf32=True)).device.tf32
    assert os.environ[TF32_ENVIRONMENT] == ""
    open_provider(Device("cuda"))
    assert os.environ[TF32_ENVIRONMENT] == "0"
    with pytest.raises(ConfigError, match=r"NVIDIA_TF32_OVERRIDE is 0: .* in another process"):
        open_provider(Device("cuda", tf32=True))


@pytest.mark.skipif(
    TENSORRT_PROVIDER in onnxruntime.get_available_providers(), reason="it has the provider"
)
def test_this_onnxruntime_has_no_such_provider(tiny_model: Path, cuda: CudaDouble) -> None:
    with pytest.raises(EngineError, match=r"no TensorRT provider: .*munit-edge\[gpu\].*--engine"):
        open_graphs(tiny_model, engine="onnxruntime-tensorrt")


def test_no_gpu_is_told_before_any_library_is_loaded(
    cuda: CudaDouble, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _load_as(monkeypatch, 101303)
    cuda.count, cuda.count_error = 0, NO_DEVICE
    with pytest.raises(EngineError, match="there is no NVIDIA GPU here"):
        open_provider(Device("cuda"))
    assert not asked


def test_library_that_does_not_load(cuda: CudaDouble, listed: Path) -> None:
    listed.write_bytes(b"\0libnvinfer.so.97\0")
    with pytest.raises(
        EngineError,
        match=r"\(libnvinfer\.so\.97: cannot open .*TensorRT 97.*'tensorrt>=97,<98'.*--engine",
    ):
        open_provider(Device("cuda"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"is not there .*--force-reinstall"), (b"nothing", "does not tell which TensorRT")],
)
def test_odd_provider_library(
    content: bytes | None, message: str, cuda: CudaDouble, listed: Path
) -> None:
    if content is None:
        listed.unlink()
    else:
        listed.write_bytes(content)
    with pytest.raises(EngineError, match=message):
        open_provider(Device("cuda"))


def test_a_library_without_a_version_is_refused(
    cuda: CudaDouble, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    libc = ctypes.CDLL(None)
    monkeypatch.setattr(onnxruntime_tensorrt.ctypes, "CDLL", lambda _: libc)
    with pytest.raises(EngineError, match="getInferLibVersion"):
        open_provider(Device("cuda"))


def test_options(entry: GraphEntry, cache: Path) -> None:
    options = PROVIDER.options(entry)
    assert options["device_id"] == "1"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("0", "0")
    folder = Path(options["trt_engine_cache_path"])
    assert folder.is_dir()
    assert folder.is_relative_to(cache / "engines")
    assert stat.S_IMODE((cache / "engines").stat().st_mode) == 0o700
    assert PROVIDER.options(entry, cached=False).keys() == {
        "device_id",
        "trt_fp16_enable",
        "trt_int8_enable",
    }


def test_plans_of_another_graph_or_machine_are_elsewhere(entry: GraphEntry) -> None:
    others = [
        (PROVIDER, entry.model_copy(update={"sha256": "0" * 64})),
        (replace(PROVIDER, onnxruntime="1.32.0"), entry),
        (replace(PROVIDER, tensorrt="10.14.0"), entry),
        (replace(PROVIDER, device=Device("cuda", 1, tf32=True)), entry),
        (replace(PROVIDER, gpu=replace(FACTS, name="Double 2")), entry),
        (replace(PROVIDER, gpu=replace(FACTS, compute_capability=(8, 9))), entry),
        (replace(PROVIDER, gpu=replace(FACTS, cuda_version=12080)), entry),
    ]
    folders = [provider.cache_folder(graph) for provider, graph in [(PROVIDER, entry), *others]]
    assert len(set(folders)) == len(folders)
    driver = replace(PROVIDER, gpu=replace(FACTS, driver_version=13030))
    assert driver.cache_folder(entry) == folders[0], "a driver does not tie a plan"


def test_a_folder_is_one_process_at_a_time(entry: GraphEntry) -> None:
    folder = PROVIDER.cache_folder(entry)
    first, second = CacheClaim(folder), CacheClaim(folder)
    assert (first.granted, second.granted) == (True, False)
    second.release()
    first.release()
    third = CacheClaim(folder)
    assert third.granted
    third.release()


def test_graphs_are_opened_with_it(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[dict[str, str]] = []

    def open_on_the_cpu(model: bytes, name: str, device: Device, options: dict[str, str]) -> Any:
        assert device == Device("cuda", 1)
        opened.append(options)
        return open_session(model, name, Device("cpu"))

    monkeypatch.setattr(onnxruntime_runner, "open_session", open_on_the_cpu)
    manifest = read_manifest(tiny_model)

    def opened_graphs() -> OnnxRuntimeGraphs:
        return OnnxRuntimeGraphs(tiny_model, manifest, Device("cuda", 1), tensorrt=PROVIDER)

    with caplog.at_level(logging.WARNING):
        first, second = opened_graphs(), opened_graphs()
        assert (first.engine, first.device) == ("onnxruntime-tensorrt", "cuda:1")
        first.runner("decoder", "b")
        assert "builds the plan of decoder_b for Double 0 at its first picture" in caplog.text
        second.runner("decoder", "b")
        assert "another process uses the plans of decoder_b" in caplog.text
        folder = Path(opened[0]["trt_engine_cache_path"])
        assert "trt_engine_cache_path" not in opened[1]
        first.close()
        second.close()
        caplog.clear()
        (folder / "plan.engine").touch()
        with opened_graphs() as third:
            third.runner("decoder", "b")
        assert opened[2] == opened[0]
        assert not caplog.text, "it is built already"


def test_session_that_fell_back_to_cuda_is_refused(
    tiny_model: Path, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SimpleNamespace(get_providers=lambda: [CUDA_PROVIDER, CPU_PROVIDER])
    asked: list[Any] = []

    def make(*_: Any, providers: list[Any], **__: Any) -> Any:
        asked.extend(name for name, _ in providers)
        return session

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    with pytest.raises(EngineError, match=r"provider on cuda:1 .* fell back to CUDA \("):
        open_session(b"", "decoder_b", Device("cuda", 1), {"device_id": "1"})
    assert asked == [TENSORRT_PROVIDER, CUDA_PROVIDER, CPU_PROVIDER]


def test_it_does_not_run_on_the_cpu(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="runs on a GPU only"):
        open_graphs(tiny_model, engine="onnxruntime-tensorrt", device="cpu")


def test_a_gpu_without_the_type_is_told_at_once(entry: GraphEntry) -> None:
    """Else ONNX Runtime would leave such parts of the graph to another provider."""
    narrow = entry.model_copy(update={"precision": "fp8"})
    with pytest.raises(UnsupportedGraphError, match=r"is in fp8, .* 8\.9 on, .* is for 8\.7"):
        onnxruntime_tensorrt.claim(PROVIDER, narrow)
