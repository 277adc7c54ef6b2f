"""Refitting with a stand-in for the binding: without a GPU, no plan can be opened."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from munit_edge.engines.tensorrt import runner as tensorrt_runner
from munit_edge.engines.tensorrt.api import Log, Message, TensorRT
from munit_edge.engines.tensorrt.builder import BuildOptions, _Build
from munit_edge.engines.tensorrt.refit import refit_engine
from munit_edge.engines.tensorrt.runner import TensorRTGraphs
from munit_edge.errors import EngineError


class Engine:
    weights = b""


class Refitter:
    def __init__(self, engine: Engine, logger: Log) -> None:
        self.engine, self.log, self.pending = engine, logger, b""

    def refit_cuda_engine(self) -> bool:
        if self.pending == b"foreign":
            self.log.add(Message("ERROR", "weights are missing"))
            return False
        self.engine.weights = self.pending
        return True


class OnnxParserRefitter:
    num_errors = 0

    def __init__(self, refitter: Refitter, logger: Log) -> None:
        self.refitter = refitter

    def refit_from_bytes(self, onnx: bytes) -> bool:
        self.num_errors = int(onnx == b"broken")
        self.refitter.pending = onnx
        return onnx != b"broken"

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: "no\n graph")


@pytest.fixture
def api() -> TensorRT:
    log = Log()
    module = SimpleNamespace(Refitter=Refitter, OnnxParserRefitter=OnnxParserRefitter)
    return TensorRT("tensorrt", module, "10.3.0", log, log)


def test_weights_come_back(api: TensorRT) -> None:
    engine = Engine()
    refit_engine(api, "decoder_b", engine, b"graph")
    assert engine.weights == b"graph"


@pytest.mark.parametrize(
    ("onnx", "reason"), [(b"broken", "no graph"), (b"foreign", "weights are missing")]
)
def test_refused_weights_say_why(onnx: bytes, reason: str, api: TensorRT) -> None:
    engine = Engine()
    with pytest.raises(EngineError, match=rf"decoder_b .*\({reason}\): .*--strip-weights"):
        refit_engine(api, "decoder_b", engine, onnx)
    assert not engine.weights


@pytest.mark.parametrize("strip", [True, False])
def test_the_builder_strips_only_when_asked(strip: bool) -> None:
    flags = SimpleNamespace(
        STRIP_PLAN=1, REFIT_IDENTICAL=2, TF32=3, VERSION_COMPATIBLE=4, name="flags"
    )
    log = Log()
    api = TensorRT("tensorrt", SimpleNamespace(BuilderFlag=flags), "10.3.0", log, log)
    found: set[int] = set()
    config = SimpleNamespace(set_flag=found.add, clear_flag=found.discard)
    build: Any = _Build(api, "decoder_b", BuildOptions(strip_weights=strip), None, None)  # type: ignore[arg-type]
    build._configure(config)
    assert found == ({1, 2} if strip else set())


@pytest.mark.parametrize("strip", [True, False])
def test_the_runner_refits_stripped_plans_only(
    strip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = BuildOptions(strip_weights=strip)
    plan = SimpleNamespace(sidecar=SimpleNamespace(key=SimpleNamespace(options=options)))
    device = SimpleNamespace(index=0, activate=lambda: None)
    calls: list[Any] = []
    monkeypatch.setattr(tensorrt_runner, "find_or_build", lambda *_, **__: plan)
    monkeypatch.setattr(tensorrt_runner, "read_graph", lambda directory, entry: b"graph")
    monkeypatch.setattr(tensorrt_runner, "refit_engine", lambda *given: calls.append(given))
    monkeypatch.setattr(tensorrt_runner, "TensorRTRunner", lambda engine, *_, **__: engine)
    api = SimpleNamespace(flavour="tensorrt", title="TensorRT")
    graphs: Any = SimpleNamespace(
        _place=SimpleNamespace(
            api=api, device=SimpleNamespace(facts=None, **vars(device)), tf32=False
        ),
        _manifest=SimpleNamespace(graph=lambda *_: SimpleNamespace(name="decoder_b")),
        _directory=Path("model"),
        _deserialise=lambda plan: "engine",
        _axes=lambda kind: None,
        _cuda_graph=False,
        _warm_up=False,
    )
    monkeypatch.setattr(tensorrt_runner, "_SayOnce", lambda *_: None)
    assert TensorRTGraphs._open(graphs, "decoder", "b") == "engine"
    assert calls == ([(api, "decoder_b", "engine", b"graph")] if strip else [])
