"""Loss functions against values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from munit_edge.trainer import losses
from munit_edge.trainer.config import GanConvention, GanLoss, LossConfig

REAL = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5]])]
FAKE = [torch.tensor([[-2.0, 0.5]]), torch.tensor([[1.0]])]


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


SCALES: dict[GanLoss, tuple[list[float], list[float]]] = {
    # (real, fake) of each scale: discriminator, then generator
    "lsgan": (
        [(1 + 1) / 2 + (4 + 0.25) / 2, 0.25 + 1],
        [(9 + 0.25) / 2, 0.0],
    ),
    "nsgan": (
        [
            (softplus(-2) + softplus(0)) / 2 + (softplus(-2) + softplus(0.5)) / 2,
            softplus(-0.5) + softplus(1),
        ],
        [(softplus(2) + softplus(-0.5)) / 2, softplus(-1)],
    ),
    "hinge": (
        [(0 + 1) / 2 + (0 + 1.5) / 2, 0.5 + 2],
        [0.75, -1.0],
    ),
}


@pytest.mark.parametrize("kind", SCALES)
def test_the_papers_convention_sums_over_scales(kind: GanLoss) -> None:
    discriminator, generator = SCALES[kind]
    assert losses.gan_discriminator_loss(REAL, FAKE, kind).item() == pytest.approx(
        sum(discriminator)
    )
    assert losses.gan_generator_loss(FAKE, kind).item() == pytest.approx(sum(generator), abs=1e-6)


@pytest.mark.parametrize("kind", SCALES)
def test_the_improved_convention_takes_the_mean_and_halves_squares(kind: GanLoss) -> None:
    discriminator, generator = (sum(scales) / 2 for scales in SCALES[kind])
    factor = 0.5 if kind == "lsgan" else 1.0
    got = losses.gan_discriminator_loss(REAL, FAKE, kind, "improved")
    assert got.item() == pytest.approx(factor * discriminator)
    got = losses.gan_generator_loss(FAKE, kind, "improved")
    assert got.item() == pytest.approx(factor * generator, abs=1e-6)


@pytest.mark.parametrize("kind", SCALES)
def test_a_real_answer_for_a_fake_lowers_the_generators_loss(kind: GanLoss) -> None:
    fooled = losses.gan_generator_loss([torch.ones(1, 1)], kind)
    caught = losses.gan_generator_loss([-torch.ones(1, 1)], kind)
    assert fooled < caught


def test_nsgan_stays_finite_where_a_sigmoid_rounds_to_0() -> None:
    sure = [torch.tensor([[-200.0]], requires_grad=True)]
    loss = losses.gan_generator_loss(sure, "nsgan")
    loss.backward()
    assert loss.item() == pytest.approx(200)
    assert sure[0].grad is not None
    assert sure[0].grad.item() == pytest.approx(-1)


@pytest.mark.parametrize(
    "loss",
    [
        losses.image_reconstruction_loss,
        losses.content_reconstruction_loss,
        losses.style_reconstruction_loss,
        losses.cycle_loss,
    ],
)
def test_reconstructions_are_mean_absolute_errors(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    assert loss(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.0, 2.0]])).item() == 2.0


def test_the_number_of_scales_must_agree() -> None:
    with pytest.raises(ValueError, match="argument"):
        losses.gan_discriminator_loss(REAL, FAKE[:1], "lsgan")


@pytest.mark.parametrize(("convention", "factor"), [("paper", 2.0), ("improved", 1.0)])
def test_r1_is_half_the_squared_gradient_of_the_score(
    convention: GanConvention, factor: float
) -> None:
    """D(x) = sum of w * x in one scale, and the same over 3 outputs with that mean in another."""
    weight = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    images = torch.rand(4, 3, 1, 1, requires_grad=True)
    score = (images.flatten(1) * weight).sum(1)
    scales = [score[:, None], torch.stack([score - 1, score, score + 1], 1)]
    penalty = losses.r1_penalty(scales, images, convention)
    squared = 1 + 4 + 0.25
    assert penalty.item() == pytest.approx(factor**2 * squared / 2)
    penalty.backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, factor**2 * weight.detach())


def test_every_loss_of_the_generators_has_a_weight_in_the_configuration() -> None:
    names = {f"{name}_weight" for name in losses.GENERATOR_LOSSES}
    assert names <= LossConfig.model_fields.keys()
    assert losses.GENERATOR_LOSSES.keys() >= losses.EQUATION_5
