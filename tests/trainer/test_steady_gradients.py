"""Norms of constant inputs: the usual values, and gradients that stay bounded."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from training_runs import tiny_config

from munit_edge.model.config import ModelConfig
from munit_edge.trainer import steady_gradients
from munit_edge.trainer.networks import NORM_EPS, Generator, LayerNorm
from munit_edge.trainer.run.state import RunState
from munit_edge.trainer.steady_gradients import FLAT_VARIANCE, steady_instance_norm, steady_product
from munit_edge.trainer.step import Pair

pytestmark = pytest.mark.parametrize("looks", [True, False], ids=["looks", "does not look"])
"""Whether variances are looked at first, as on the CPU, or not, as on a GPU."""

DEEP = {"width": 8, "num_res_blocks": 4, "mlp_dim": 16, "style_dim": 4}
GENERATORS = {
    "munit": ModelConfig.model_validate(DEEP),
    "munit-sn": ModelConfig.model_validate(
        DEEP | {"architecture": "munit-sn", "pre_activation": True}
    ),
}
SIZE = 32
LARGEST_NORM = 100
"""Of the gradients of a whole generator; those of noise are below 2."""


@pytest.fixture(autouse=True)
def _path(looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not looks:
        monkeypatch.setattr(steady_gradients, "_can_look_at", lambda x: False)


def parameters(affine: bool) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    if not affine:
        return None, None
    return torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)


@pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])
def test_inputs_that_vary_are_normalised_as_usual(affine: bool) -> None:
    x = torch.randn(2, 3, 5, 7, requires_grad=True)
    weight, bias = parameters(affine)
    wanted = [t for t in (x, weight, bias) if t is not None]
    direction = torch.randn(2, 3, 5, 7)
    ours, theirs = (
        steady_instance_norm(x, NORM_EPS, weight, bias),
        F.instance_norm(x, weight=weight, bias=bias, eps=NORM_EPS),
    )
    assert torch.equal(ours, theirs)
    gradients = [
        torch.autograd.grad((y * direction).sum(), wanted, create_graph=True)
        for y in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients)
    twice = [torch.autograd.grad(of[0].square().sum(), x)[0] for of in gradients]
    torch.testing.assert_close(*twice)


@pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])
def test_only_the_gradient_of_a_flat_channel_is_scaled_down(affine: bool) -> None:
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    x[0, 1] = 0.25
    nearly = x[1, 2] - x[1, 2].mean()
    x[1, 2] = nearly * (FLAT_VARIANCE / 4 / nearly.square().mean()).sqrt()
    x.requires_grad_()
    weight, bias = (None if t is None else t.double() for t in parameters(affine))
    direction = torch.randn_like(x)
    ours, theirs = (
        torch.autograd.grad((y * direction).sum(), x)[0]
        for y in (
            steady_instance_norm(x, NORM_EPS, weight, bias),
            F.instance_norm(x, weight=weight, bias=bias, eps=NORM_EPS),
        )
    )
    theirs[0, 1] = 0
    theirs[1, 2] /= 4
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)


def test_the_gradient_of_a_product_is_scaled_down_alike() -> None:
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    scale = torch.randn(2, 3, 1, 1, requires_grad=True)
    variance = torch.tensor([FLAT_VARIANCE / 2, 1.0])[:, None, None, None]
    direction = torch.randn(2, 3, 4, 4)
    assert torch.equal(steady_product(x, scale, variance), x * scale)
    ours = torch.autograd.grad((steady_product(x, scale, variance) * direction).sum(), (x, scale))
    theirs = torch.autograd.grad((x * scale * direction).sum(), (x, scale))
    torch.testing.assert_close(ours[0][0], theirs[0][0] / 2)
    torch.testing.assert_close((ours[0][1], ours[1]), (theirs[0][1], theirs[1]))


def test_layer_norm_of_a_constant_image_passes_no_gradient() -> None:
    x = torch.full((1, 4, 8, 8), 3.0, requires_grad=True)
    (LayerNorm(4)(x) * torch.randn(1, 4, 8, 8)).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) < 1


def images() -> dict[str, torch.Tensor]:
    grey = torch.full((1, 3, SIZE, SIZE), 90 / 127.5 - 1)
    one_step = grey.clone()
    one_step[0, 0, 5, 9] += 1 / 127.5
    tiny_noise = grey + 1e-6 * torch.randn(1, 3, SIZE, SIZE)
    return {
        "black": torch.full_like(grey, -1),
        "middle grey": torch.zeros_like(grey),
        "white": torch.ones_like(grey),
        "grey": grey,
        "one step": one_step,
        "rounding": tiny_noise,
    }


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", GENERATORS)
def test_gradients_of_whole_generators_stay_bounded(name: str, bfloat16: bool) -> None:
    torch.manual_seed(0)
    generator = Generator(GENERATORS[name], 3)
    for kind, image in images().items():
        generator.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            made = generator(image)
        (made - image).abs().mean().backward()
        gradients = [p.grad for p in generator.parameters() if p.grad is not None]
        assert float(torch.nn.utils.get_total_norm(gradients)) < LARGEST_NORM, kind


@pytest.mark.parametrize("norm", ["layer", "instance"])
def test_steps_on_images_of_one_colour_are_finite(norm: str) -> None:
    """All losses, with the R1 penalty through the norms of a discriminator."""
    config = tiny_config(
        f"model.discriminator.norm={norm}",
        "model.num_res_blocks=4",
        "loss.r1_weight=1",
        "loss.r1_interval=1",
    )
    torch.manual_seed(0)
    state = RunState(config, torch.device("cpu"))
    pair = Pair(torch.full((2, 3, 16, 16), -1.0), torch.full((2, 3, 16, 16), 0.2))
    for iteration in range(1, 6):
        styles = Pair(torch.randn(2, 3), torch.randn(2, 3))
        losses = state.step.run(iteration, pair, styles, styles)
        assert all(torch.isfinite(value) for value in losses.values()), losses
        # Layer norms measure over channels too, which hardly differ at the start.
        assert float(losses["generator_gradient_norm"]) < 1e5
        assert float(losses["discriminator_gradient_norm"]) < 1e3
