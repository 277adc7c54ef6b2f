"""The number by which the best checkpoint is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_runs import tiny_config

from munit_edge.config import Domain
from munit_edge.trainer.checkpoint import build_generators
from munit_edge.trainer.config import LossConfig
from munit_edge.trainer.graphs import image_from_bytes
from munit_edge.trainer.measures import reconstruction_error
from munit_edge.trainer.step import GeneratorObjective

CONFIG = tiny_config().model
IMAGES: dict[Domain, torch.Tensor] = {
    domain: torch.from_numpy(np.random.default_rng(i).integers(0, 256, (3, 16, 16, 3), np.uint8))
    for i, domain in enumerate(("a", "b"))
}
STYLES = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("term", ["image", "style", "content"])
def test_each_term_is_that_of_the_training_objective(term: str) -> None:
    """The objective over the whole batch, which the measure takes one image at a time."""
    torch.manual_seed(0)
    generators = build_generators(CONFIG)
    others = {f"{name}_weight": 0.0 for name in ("image", "style", "content")}
    weights = LossConfig(**(others | {f"{term}_weight": 2.0}))
    silent = torch.nn.ModuleDict({d: torch.nn.Identity() for d in "ab"})
    objective = GeneratorObjective(generators, silent, LossConfig())
    images = [image_from_bytes(IMAGES[domain]) for domain in ("a", "b")]
    with torch.no_grad():
        losses = objective(*images, objective(*images), (STYLES, STYLES))
    error = reconstruction_error(generators, IMAGES, STYLES, weights)
    assert error == pytest.approx(2 * float(losses[f"{term}_a"] + losses[f"{term}_b"]), rel=1e-4)
    assert generators.training


def test_styles_go_round() -> None:
    generators = build_generators(CONFIG)
    one = reconstruction_error(generators, IMAGES, STYLES[:1], LossConfig())
    assert one == reconstruction_error(generators, IMAGES, STYLES[:1].expand(3, -1), LossConfig())
    assert one != reconstruction_error(generators, IMAGES, STYLES, LossConfig())
