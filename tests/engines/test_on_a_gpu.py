"""Every engine on a real GPU against the CPU; skipped where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from munit_edge.doctor.examine import Report, examine
from munit_edge.doctor.selftest import (
    CHECKPOINT_FOLDER,
    FOLDER,
    Result,
    Trial,
    graphs_folder,
    run_trial,
    trials,
)
from munit_edge.doctor.selftest_child import largest_difference, tolerance
from munit_edge.engines.table import ENGINE_FACTS, EngineName
from munit_edge.model.precision import PRECISIONS
from munit_edge.translator import Translator

pytestmark = pytest.mark.gpu

ENGINES = [engine for engine, row in ENGINE_FACTS.items() if "cuda" in row.devices]
WITH_GRAPHS = [engine for engine in ENGINES if "cuda_graph" in ENGINE_FACTS[engine].options]
MODEL = FOLDER / graphs_folder("fp32")


@pytest.fixture(scope="module")
def found() -> Report:
    """What is installed."""
    return examine()


@pytest.fixture(scope="module")
def on_cpu() -> dict[tuple[int, ...], NDArray[Any]]:
    """Translations by ONNX Runtime on the CPU, by the shape of the images."""
    pytest.importorskip("onnxruntime")
    with Translator.open(MODEL, engine="onnxruntime", device="cpu") as translator:
        return {shape: translated(translator, shape) for shape in SHAPES}


SHAPES = ((1, 32, 32, 3), (3, 37, 50, 3), (2, 64, 48, 3))


def translated(translator: Translator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Images of smooth noise in four styles: uint8 [N, 4, H, W, C]."""
    random = np.random.default_rng(shape)
    coarse = random.integers(0, 256, (shape[0], 8, 8, shape[3]), np.uint8)
    images = coarse.repeat(8, 1).repeat(8, 2)[:, : shape[1], : shape[2]]
    styles = translator.sample_styles(4, seed=0)
    return translator.translate(np.ascontiguousarray(images), "a2b", styles=styles)


def gpu_trial(found: Report, engine: EngineName, precision: str) -> Trial:
    """The self-test's trial of an engine on the GPU; the test is skipped where there is none."""
    planned = {item.name: item for item in trials(found)}
    name = f"{engine} cuda {precision}"
    item = planned.get(name) or planned.get(engine)
    if isinstance(item, Result):
        pytest.skip(item.detail)
    if item is None:
        (answer,) = (answer for answer in found.answers if answer.subject == engine)
        why = answer.facts and answer.facts.gpu_fault
        pytest.skip(f"{engine} cannot use the GPU: {why or 'this build is for the CPU'}")
    return item


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        (engine, precision)
        for engine in ENGINES
        for precision in (PRECISIONS[:1] if ENGINE_FACTS[engine].checkpoints else PRECISIONS)
    ],
)
def test_the_shipped_graphs_give_their_expected_outputs(
    engine: EngineName, precision: str, found: Report
) -> None:
    result = run_trial(gpu_trial(found, engine, precision))
    if result.status == "not tested":
        pytest.skip(result.detail)
    assert result.status == "ok", result.detail
    assert result.checks


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_of_any_size_in_several_styles_are_those_of_the_cpu(
    engine: EngineName, found: Report, on_cpu: dict[tuple[int, ...], NDArray[Any]]
) -> None:
    device = gpu_trial(found, engine, "fp32").device
    path = FOLDER / CHECKPOINT_FOLDER if ENGINE_FACTS[engine].checkpoints else MODEL
    with Translator.open(path, engine=engine, device=device) as translator:
        assert translator.device == device
        for shape, expected in on_cpu.items():
            worst = largest_difference(translated(translator, shape), expected)
            assert worst is not None
            assert worst <= tolerance("fp32", device, expected), shape


@pytest.mark.parametrize("engine", WITH_GRAPHS)
def test_a_replayed_cuda_graph_gives_what_the_calls_gave(engine: EngineName, found: Report) -> None:
    device = gpu_trial(found, engine, "fp32").device
    with Translator.open(MODEL, engine=engine, device=device) as translator:
        expected = [translated(translator, shape) for shape in SHAPES]
    with Translator.open(MODEL, engine=engine, device=device, cuda_graph=True) as translator:
        for shape, wanted in zip(SHAPES, expected, strict=True):
            for _ in range(3):  # called, recorded, replayed
                np.testing.assert_array_equal(translated(translator, shape), wanted)
