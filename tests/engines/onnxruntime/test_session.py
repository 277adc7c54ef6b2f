"""Sessions land on the asked device or nowhere. No GPU is used here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from cuda_double import has_gpu

from munit_edge.doctor.selftest import FOLDER
from munit_edge.engines.devices import Device
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.onnxruntime import session as onnxruntime_session
from munit_edge.engines.onnxruntime.arrays import picking_graph
from munit_edge.engines.onnxruntime.session import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    first_line,
    load_cuda_libraries,
    open_session,
)
from munit_edge.errors import ConfigError, EngineError, UnsupportedGraphError

GRAPH = picking_graph(np.dtype(np.float32))

needs_no_cuda = pytest.mark.skipif(
    CUDA_PROVIDER in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)


@pytest.fixture
def cuda_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """ONNX Runtime lists CUDA though its library does not load, and hands out a CPU session.

    Yields:
        Requested providers.
    """
    asked: list[Any] = []
    real = onnxruntime.InferenceSession

    def make(model: bytes, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
        asked.append(providers)
        return real(model, options, providers=[CPU_PROVIDER], enable_fallback=enable_fallback)

    listed = [CUDA_PROVIDER, CPU_PROVIDER]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    load_cuda_libraries.cache_clear()
    yield asked
    load_cuda_libraries.cache_clear()


@needs_no_cuda
def test_cuda_is_never_silently_the_cpu(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_gpu(monkeypatch)
    with (
        open_graphs(tiny_model, device="cuda") as graphs,
        pytest.raises(EngineError, match=r"device 'cuda:0' cannot be used: .*CPU only.*pip"),
    ):
        graphs.runner("decoder", "b")


def test_session_that_fell_back_is_refused(cuda_that_does_not_load: list[Any]) -> None:
    with pytest.raises(EngineError, match=r"fell back to CPU \(.*\): .*or use --device cpu"):
        open_session(GRAPH, "take", Device("cuda", 1))
    asked = {"device_id": "1", "use_tf32": "0"}
    assert cuda_that_does_not_load == [[(CUDA_PROVIDER, asked), (CPU_PROVIDER, {})]]


def test_tf32_is_asked_for_by_the_device(cuda_that_does_not_load: list[Any]) -> None:
    with pytest.raises(EngineError):
        open_session(GRAPH, "take", Device("cuda", tf32=True))
    assert cuda_that_does_not_load[0][0][1]["use_tf32"] == "1"


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_a_cpu_has_no_tf32(engine: str) -> None:
    model = FOLDER / ("checkpoint" if engine == "torch" else "model")
    with pytest.raises(ConfigError, match=r"the device is the CPU: leave out --tf32, or use"):
        open_graphs(model, engine, "cpu", tf32=True)


@pytest.mark.parametrize(
    ("features", "exact"), [({"avx2"}, True), ({"avx2", "avx_vnni"}, False), (set(), True)]
)
def test_bytes_are_multiplied_exactly_without_vnni(
    features: set[str], exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime's own choice there overflows: its sums of two products have 16 bits."""
    options = onnxruntime.SessionOptions()
    monkeypatch.setattr(onnxruntime, "SessionOptions", lambda: options)
    monkeypatch.setattr(onnxruntime_session, "cpu_features", lambda: frozenset(features))
    onnxruntime_session._multiplies_bytes_exactly.cache_clear()
    try:
        open_session(GRAPH, "take", Device("cpu"))
    finally:
        onnxruntime_session._multiplies_bytes_exactly.cache_clear()
    name = "session.x64quantprecision"
    if exact:
        assert options.get_session_config_entry(name) == "1"
    else:
        with pytest.raises(RuntimeError):  # never set
            options.get_session_config_entry(name)


def test_a_graph_that_onnxruntime_has_no_code_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError(
            "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Conv"
        )

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(UnsupportedGraphError, match=r"cannot run graph take on cpu .*Conv.*--prec"):
        open_session(GRAPH, "take", Device("cpu"))


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("libcuda.so.1: cannot open shared object file", "install NVIDIA's driver"),
        ("libcublasLt.so.13: cannot open", r"pip install 'onnxruntime-gpu\[cuda,cudnn\]=="),
    ],
)
def test_the_fix_fits_the_library(
    reason: str,
    fix: str,
    cuda_that_does_not_load: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnxruntime_session, "_library_fault", lambda *_: reason)
    with pytest.raises(EngineError, match=fix):
        open_session(GRAPH, "take", Device("cuda"))


def test_libraries_from_pip_are_loaded_in_silence(
    cuda_that_does_not_load: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    calls = []
    streams = sys.stdout, sys.stderr

    def preload() -> None:
        calls.append(1)
        print("Failed to load", "libcudnn.so.9")  # noqa: T201 - as the real one does
        # Other threads print meanwhile.
        assert (sys.stdout, sys.stderr) == streams

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    open_session(GRAPH, "take", Device("cpu"))
    assert not calls, "the CPU needs none of it"
    for _ in range(2):
        with pytest.raises(EngineError):
            open_session(GRAPH, "take", Device("cuda"))
    assert calls == [1], "once in a process"
    assert capfd.readouterr() == ("", "")


def test_the_real_preload_takes_no_arguments_and_does_not_raise() -> None:
    load_cuda_libraries.cache_clear()
    load_cuda_libraries()


def test_onnxruntime_without_preload(
    cuda_that_does_not_load: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(onnxruntime, "preload_dlls", raising=False)
    with pytest.raises(EngineError, match="fell back"):
        open_session(GRAPH, "take", Device("cuda"))


def test_auto_takes_the_cpu_when_cuda_does_not_load(
    tiny_model: Path, cuda_that_does_not_load: list[Any]
) -> None:
    with open_graphs(tiny_model) as graphs:
        assert graphs.device == "cpu"
    assert cuda_that_does_not_load, "CUDA was tried"


def test_words_of_cuda_are_reported() -> None:
    text = (
        "/src/info.cc:63 static Foo Parse(const T&) [ONNXRuntimeError] : 1 : FAIL : Failed: "
        "CUDA failure 35: CUDA driver version is insufficient ; GPU=-1 ; hostname=vm"
    )
    expected = "CUDA failure 35: CUDA driver version is insufficient"
    assert first_line(RuntimeError(text)) == expected
    assert first_line(RuntimeError("one\ntwo")) == "one"
