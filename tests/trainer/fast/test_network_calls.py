"""Networks through torch.compile. What a real compiler makes of all of them is measured by
`make bench-train BENCH_TRAIN_OPTIONS="--set speed.compile=true"`: it takes minutes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_runs import assert_same, tiny_config, train, write_data

from munit_edge.errors import EngineError
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.fast import network_calls
from munit_edge.trainer.run.state import RunState
from munit_edge.trainer.step import Losses, Pair

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled:UserWarning"),
]

CPU = torch.device("cpu")
WITH_ALL = (
    "loss.r1_weight=1",
    "loss.r1_interval=2",
    "speed.precision=bf16",
    "speed.reuse_translations=true",
)


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> Iterator[None]:
    yield
    torch.compiler.reset()


def two_steps(config: TrainConfig, state: RunState) -> list[Losses]:
    random = torch.Generator().manual_seed(0)
    rows = []
    for iteration in (1, 2):
        images = Pair(
            *(torch.rand(2, config.model.channels(d), 16, 16, generator=random) for d in "ab")
        )
        styles = Pair(*(torch.randn(2, 3, generator=random) for _ in "ab"))
        rows.append(state.step.run(iteration, images, styles, styles))
    return rows


@pytest.mark.parametrize(
    ("settings", "backend", "num_graphs"),
    [
        # Content encoders of images and of translations, likewise style encoders; decoders for one
        # update, for the other, and for the cycle; discriminators in each update. Both domains
        # share them.
        ((), "eager", 9),
        # One decoder for both updates. Gradients are traced, too.
        (WITH_ALL, "aot_eager", 8),
    ],
    ids=["plain", "bf16, reused translations, R1"],
)
def test_compiled_steps_give_the_same(
    settings: tuple[str, ...], backend: str, num_graphs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all that torch.compile does but the generation of code: every network is one graph."""
    graphs = []
    made_by = torch._dynamo.lookup_backend(backend)

    def counting(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return made_by(graph, inputs)

    plain_config = tiny_config(*settings)
    plain = RunState(plain_config, CPU)
    expected = two_steps(plain_config, plain)
    monkeypatch.setattr(network_calls, "BACKEND", counting)
    config = tiny_config("speed.compile=true", *settings)
    compiled = RunState(config, CPU)
    graphs.clear()  # of the trial
    got = two_steps(config, compiled)

    assert len(graphs) == num_graphs
    # The gradient of this padding is what generated code gets wrong.
    nodes = [node for graph in graphs for node in graph.graph.nodes]
    assert any("reflect" in node.args for node in nodes)
    assert not any("replicate" in node.args for node in nodes)
    assert ("r1_a" in got[1]) == bool(settings)
    for ours, theirs in zip(got, expected, strict=True):
        for name, loss in theirs.items():
            assert ours[name].item() == pytest.approx(loss.item(), rel=1e-3), name
    for networks in ("generators", "discriminators"):
        ours, theirs = (getattr(state, networks).state_dict() for state in (compiled, plain))
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            # Adam makes whole steps of gradients that are rounding alone: biases before a norm.
            if not name.endswith("bias"):
                torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=2e-4)


def test_compiled_calls_refresh_spectral_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_calls, "BACKEND", "aot_eager")
    config = tiny_config("model.architecture=munit-sn", "model.pre_activation=true")
    results = []
    for compiled in (False, True):
        network = RunState(config, CPU).generators["a"].get_submodule("content_encoder")
        call = network_calls._compiled(network) if compiled else network
        outputs = [call(torch.full((1, 3, 16, 16), 0.5).cumsum(3)) for _ in range(2)]
        gradients = torch.autograd.grad(outputs[1].square().sum(), list(network.parameters()))
        results.append((*outputs, *gradients, *network.buffers()))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not torch.equal(results[0][0], results[0][1])


# ----------------------------------------------------------------------------------------------
# Runs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def test_a_compiled_run_goes_on_exactly_or_without(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_calls, "BACKEND", "eager")
    settings = ("speed.compile=true", "loss.cycle_weight=0", "iterations=2")
    straight = train(data, tmp_path / "straight", *settings)
    train(data, tmp_path / "run", *settings, "iterations=1")
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    resumed = train(data, tmp_path / "run", *settings, resume=True)
    assert_same(straight.checkpoint, resumed.checkpoint)
    plain = train(data, tmp_path / "other", *settings, "speed.compile=false", resume=True)
    assert plain.iteration == 2


def test_a_missing_compiler_is_reported_before_anything_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    with (
        config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}),
        pytest.raises(
            EngineError,
            match=r"torch\.compile fails here \(InvalidCxxCompiler: .*no-such-compiler.*\): "
            r"install a C\+\+ compiler, .* or set speed.compile to false$",
        ),
    ):
        train(data, tmp_path / "run", "speed.compile=true")
    assert not (tmp_path / "run").exists()


def test_a_network_that_cannot_be_compiled_is_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        if any("weight" in node.name for node in graph.graph.nodes):
            raise NotImplementedError("no such kernel\nwith much to read")
        return graph

    monkeypatch.setattr(network_calls, "BACKEND", failing)
    with pytest.raises(
        EngineError, match=r"failed on a network \(NotImplementedError: no such kernel\): set"
    ):
        train(data, tmp_path / "run", "speed.compile=true")


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match=r"^something else$"), network_calls.compile_errors():
        raise RuntimeError("something else")


def test_calls_are_the_networks_themselves_where_nothing_is_compiled() -> None:
    state = RunState(tiny_config(), CPU)
    calls = network_calls.network_calls(state.generators, state.discriminators, compiled=False)
    assert calls.discriminators["b"] is state.discriminators["b"]
    decoder = state.generators["a"].get_submodule("decoder")
    assert isinstance(decoder, nn.Module)
    assert calls.generators["a"].decoder is decoder
