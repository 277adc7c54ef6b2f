from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from munit_edge.model.config import DiscriminatorConfig, ModelConfig
from munit_edge.trainer.checkpoint import folded_state
from munit_edge.trainer.networks import (
    AdaIN,
    Generator,
    LayerNorm,
    build_discriminator,
    fold_spectral_norm,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "networks.json"

GENERATORS = {
    "munit": ModelConfig(width=8, num_res_blocks=2, mlp_dim=16),
    "munit-sn": ModelConfig(
        architecture="munit-sn",
        width=8,
        num_res_blocks=2,
        num_mlp_layers=2,
        mlp_dim=16,
        pre_activation=True,
    ),
    "munit-sn-post-activation": ModelConfig(
        architecture="munit-sn",
        width=6,
        max_width=20,
        num_downsamples=3,
        num_res_blocks=1,
        num_mlp_layers=1,
        mlp_dim=16,
        activation="prelu",
        padding="zero",
    ),
}

DISCRIMINATORS = {
    "multiscale-patch": DiscriminatorConfig(width=8, num_layers=3),
    "multiscale-patch-norm": DiscriminatorConfig(
        width=8, num_layers=3, num_scales=2, norm="layer", padding="replicate"
    ),
    "multiresolution-patch": DiscriminatorConfig(
        kind="multiresolution-patch", width=8, max_width=16, num_layers=3, padding="zero"
    ),
    "global-residual": DiscriminatorConfig(
        kind="global-residual", width=8, max_width=24, num_layers=4, num_scales=1, padding="zero"
    ),
}


def fill(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that depend on no library's random numbers but NumPy's, scaled by their fan-in."""
    generator = np.random.Generator(np.random.PCG64(seed))
    with torch.no_grad():
        for _, tensor in sorted(module.state_dict().items()):
            values = generator.standard_normal(tuple(tensor.shape)).astype(np.float32)
            if tensor.ndim > 1:
                values /= np.sqrt(np.prod(tensor.shape[1:]))
            else:
                values = 0.1 * values + 0.5
            tensor.copy_(torch.from_numpy(np.asarray(values, np.float32)))
        state = module.state_dict()
        for name in [name for name in state if name.endswith("weight.original")]:
            u, _, v = torch.linalg.svd(state[name].flatten(1), full_matrices=False)
            vectors = name.removesuffix("original") + "0."
            state[vectors + "_u"].copy_(u[:, 0])
            state[vectors + "_v"].copy_(v[0])
    return module.eval()


def image(height: int, width: int, batch: int = 2) -> Tensor:
    values = np.random.Generator(np.random.PCG64(9)).uniform(-1, 1, (batch, 3, height, width))
    return torch.from_numpy(values.astype(np.float32))


def summary(tensor: Tensor) -> dict[str, Any]:
    values = tensor.double()
    corners = values.flatten(1)[:, [0, -1]].flatten()
    return {
        "shape": list(tensor.shape),
        "mean": float(values.mean()),
        "deviation": float(values.std()),
        "corners": [float(value) for value in corners],
    }


def summaries() -> dict[str, Any]:
    results: dict[str, Any] = {}
    with torch.inference_mode():
        for name, config in GENERATORS.items():
            generator = fill(Generator(config, 3))
            content, style = generator.encode(image(32, 48))  # type: ignore[operator]
            decoded = generator.decoder(content, style)  # type: ignore[operator]
            results[name] = {
                "content": summary(content),
                "style": summary(style),
                "image": summary(decoded),
            }
        for name, config in DISCRIMINATORS.items():
            outputs = fill(build_discriminator(config, 3))(image(64, 96))
            results[name] = [summary(output) for output in outputs]
    return results


def test_golden() -> None:
    """Any numeric change of the networks shows here; MUNIT_EDGE_WRITE_GOLDEN=1 writes it again."""
    found = summaries()
    if os.environ.get("MUNIT_EDGE_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    expected = json.loads(GOLDEN.read_text())
    assert_close(found, expected, "")


def assert_close(found: Any, expected: Any, path: str) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), path
        for key in expected:
            assert_close(found[key], expected[key], f"{path}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for index, item in enumerate(expected):
            assert_close(found[index], item, f"{path}[{index}]")
    else:
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5), path


@pytest.mark.parametrize("name", GENERATORS)
def test_samples_of_a_batch_do_not_mix(name: str) -> None:
    generator = fill(Generator(GENERATORS[name], 3))
    images = image(32, 48, batch=3)
    with torch.inference_mode():
        together = generator(images)
        alone = torch.cat([generator(images[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "munit"])
def test_folding_spectral_norm_changes_nothing(name: str) -> None:
    generator = fill(Generator(GENERATORS[name], 3))
    with torch.inference_mode():
        before = generator(image(32, 32))
    state = folded_state(generator)
    fold_spectral_norm(generator)
    with torch.inference_mode():
        torch.testing.assert_close(generator(image(32, 32)), before, rtol=1e-5, atol=1e-5)
    assert state.keys() == generator.state_dict().keys()
    assert not any("parametrizations" in name for name in state)
    for key, value in generator.state_dict().items():
        torch.testing.assert_close(state[key], value)


def test_folded_weights_have_spectral_norm_one() -> None:
    torch.manual_seed(0)
    generator = Generator(GENERATORS["munit-sn"], 3).train()
    for _ in range(30):
        generator(image(32, 32))
    weight = folded_state(generator)["content_encoder.residual.0.block_0.conv.weight"]
    assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, rel=0.02)
    assert generator.training


def test_adain_gives_scale_and_shift() -> None:
    x = 5 + 3 * torch.randn(2, 4, 16, 16)
    scale, shift = torch.rand(2, 4) + 0.5, torch.randn(2, 4)
    y = AdaIN()(x, scale, shift)
    torch.testing.assert_close(y.mean((2, 3)), shift, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(y.std((2, 3), correction=0), scale, rtol=1e-4, atol=1e-4)


def test_bf16_keeps_small_differences_from_a_scale_of_one() -> None:
    torch.manual_seed(0)
    head = Generator(GENERATORS["munit-sn"], 3).decoder.adain_head
    style = torch.randn(2, 8)
    with torch.no_grad():
        for layer in head.adain:
            layer.weight.mul_(1e-3)
            layer.bias.zero_()
        exact = head(style)
        with torch.autocast("cpu", torch.bfloat16):
            found = head(style)
    for (scale, shift), (wanted_scale, wanted_shift) in zip(found, exact, strict=True):
        assert scale.dtype == shift.dtype == torch.float32
        torch.testing.assert_close(scale - 1, wanted_scale - 1, rtol=0.05, atol=2e-5)
        torch.testing.assert_close(shift, wanted_shift, rtol=0.05, atol=2e-5)
        assert (wanted_scale - 1).abs().max() > 2e-4


def test_layer_norm_is_the_papers() -> None:
    x = 5 + 3 * torch.randn(2, 4, 5, 7)
    norm = LayerNorm(4)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(4) + 0.5)
        norm.bias.copy_(torch.randn(4))
    flat = x.flatten(1)
    expected = (x - flat.mean(1)[:, None, None, None]) / (
        flat.std(1, correction=1)[:, None, None, None] + 1e-5
    )
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_take_their_smallest_image(name: str) -> None:
    config = GENERATORS[name]
    generator = Generator(config, 3).eval()
    content_size, style_size = config.content_min_size, config.style_min_size
    content = generator.content_encoder(image(content_size, content_size))
    style = generator.style_encoder(image(style_size, style_size))
    assert generator.decoder(content, style).shape == (2, 3, content_size, content_size)
    if config.padding == "reflect":
        with pytest.raises((RuntimeError, ValueError)):
            generator.style_encoder(image(style_size - 1, style_size - 1))
        with pytest.raises((RuntimeError, ValueError)):
            generator.content_encoder(image(content_size - 1, content_size - 1))


def test_paper_sizes() -> None:
    """15 million parameters a generator pair member, as published for edges to shoes."""
    generator = Generator(ModelConfig(), 3)
    millions = sum(p.numel() for p in generator.parameters()) / 1e6
    assert millions == pytest.approx(15.0, abs=0.05)


@pytest.mark.parametrize("name", GENERATORS)
def test_several_styles_of_one_content(name: str) -> None:
    """As if each content were repeated for each of its styles, in order."""
    config = GENERATORS[name]
    torch.manual_seed(0)
    decoder = Generator(config, 3).eval().decoder
    content = torch.randn(2, config.content_channels, 4, 6)
    style = torch.randn(6, config.style_dim)
    with torch.no_grad():
        wanted = decoder(content.repeat_interleave(3, dim=0), style)
        got = decoder(content, style)
    assert got.shape == wanted.shape
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
