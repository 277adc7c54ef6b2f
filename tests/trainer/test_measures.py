"""The number by which the best checkpoint is chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import tiny_config, write_data

from munit_edge.model.config import Domain
from munit_edge.trainer.config import LossConfig
from munit_edge.trainer.data.image_sets import training_images
from munit_edge.trainer.graphs import image_from_bytes
from munit_edge.trainer.measures import Evaluation, reconstruction_error
from munit_edge.trainer.run.state import RunState
from munit_edge.trainer.step import Pair

CONFIG = tiny_config()
IMAGES: dict[Domain, torch.Tensor] = {
    domain: torch.from_numpy(np.random.default_rng(i).integers(0, 256, (3, 16, 16, 3), np.uint8))
    for i, domain in enumerate(("a", "b"))
}
STYLES = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("term", ["image", "style", "content"])
def test_each_term_is_that_of_the_training_objective(term: str) -> None:
    """The objective over the whole batch, which the measure takes one image at a time."""
    state = RunState(CONFIG, torch.device("cpu"))
    others = {f"{name}_weight": 0.0 for name in ("image", "style", "content")}
    weights = LossConfig(**(others | {f"{term}_weight": 2.0}))
    error = reconstruction_error(state.generators, IMAGES, STYLES, weights)
    assert state.generators.training
    images, styles = Pair(*(image_from_bytes(IMAGES[d]) for d in ("a", "b"))), Pair(STYLES, STYLES)
    losses = state.step.run(1, images, styles, styles)
    assert error == pytest.approx(2 * float(losses[f"{term}_a"] + losses[f"{term}_b"]), rel=1e-4)


def test_a_few_styles_are_used_in_turn() -> None:
    generators = RunState(CONFIG, torch.device("cpu")).generators
    one = reconstruction_error(generators, IMAGES, STYLES[:1], LossConfig())
    assert one == reconstruction_error(generators, IMAGES, STYLES[:1].expand(3, -1), LossConfig())
    assert one != reconstruction_error(generators, IMAGES, STYLES, LossConfig())


def test_the_device_of_one_of_several_processes(tmp_path: Path) -> None:
    config = tiny_config(f"data.root={write_data(tmp_path / 'data', 10)}", "best_by=cycle_error")
    sets = training_images(config.data)
    RunState(config, torch.device("cpu")).save(tmp_path / "checkpoint", sets)
    steps: list[int] = []
    evaluation = Evaluation(config, sets, torch.device("cpu", 0))
    found = evaluation.measure(tmp_path / "checkpoint", lambda: steps.append(1))
    assert len(steps) == 2 * (10 + 10)  # images, and their translations
    assert all(np.isfinite(list(found.values())))
