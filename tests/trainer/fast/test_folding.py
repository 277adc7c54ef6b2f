from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from munit_edge.model.config import ModelConfig
from munit_edge.trainer.checkpoint import build_generators
from munit_edge.trainer.fast.folding import FoldedUpConv2d, SplitConv2d, fold_decoders
from munit_edge.trainer.fast.up_convolution import (
    UpConv2d,
    fold_weights,
    interleave,
    up_convolution,
)
from munit_edge.trainer.networks import Decoder, fold_spectral_norm

PADDINGS = ("reflect", "replicate", "zeros")
SIZES = [(2, 2), (2, 5), (3, 2), (5, 7), (8, 8)]
"""Low-resolution heights and widths; 2 is the least that can be reflected."""


def _up_conv(padding_mode: str) -> UpConv2d:
    torch.manual_seed(0)
    return UpConv2d(6, 5, 5, padding=2, padding_mode=padding_mode)  # type: ignore[arg-type]


def _worst(got: Tensor, wanted: Tensor) -> float:
    assert got.shape == wanted.shape
    return float((got - wanted).detach().abs().max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("padding_mode", PADDINGS)
def test_folded_up_sampling_is_exact(padding_mode: str, size: tuple[int, int]) -> None:
    conv = _up_conv(padding_mode)
    x = torch.randn(3, 6, *size)
    assert _worst(FoldedUpConv2d(conv)(x), conv(x)) < 1e-5


@pytest.mark.parametrize("padding_mode", PADDINGS)
def test_a_size_of_one_is_taken_where_nothing_is_reflected(padding_mode: str) -> None:
    conv = _up_conv(padding_mode)
    x = torch.randn(1, 6, 1, 4)
    if padding_mode == "reflect":
        with pytest.raises(RuntimeError):
            conv(x)
    else:
        assert _worst(FoldedUpConv2d(conv)(x), conv(x)) < 1e-5


@pytest.mark.parametrize("padding_mode", PADDINGS)
def test_gradients_reach_the_trained_weight(padding_mode: str) -> None:
    """Of the weight, the bias and the input, as if the layer were not folded."""
    conv = _up_conv(padding_mode).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64, requires_grad=True)
    wanted = conv(x)
    towards = torch.randn_like(wanted)
    variables = [x, conv.weight, conv.bias]
    plain = torch.autograd.grad(wanted, variables, towards)  # type: ignore[arg-type]
    got = up_convolution(x, fold_weights(conv), padding_mode)
    folded = torch.autograd.grad(got, variables, towards)  # type: ignore[arg-type]
    for one, other in zip(folded, plain, strict=True):
        assert _worst(one, other) < 1e-11


def test_phases_are_interleaved_like_pixels() -> None:
    phases = torch.arange(2 * 8 * 2 * 3).reshape(2, 8, 2, 3).float()
    by_channel = phases.reshape(2, 4, 2, 2, 3).transpose(1, 2).flatten(1, 2)
    assert torch.equal(interleave(phases), nn.functional.pixel_shuffle(by_channel, 2))


@pytest.mark.parametrize(("outputs", "size"), [(1, (4, 4)), (3, (5, 9)), (4, (16, 7))])
@pytest.mark.parametrize("padding_mode", PADDINGS)
def test_split_convolution_is_exact(padding_mode: str, outputs: int, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    conv = nn.Conv2d(6, outputs, 7, padding=3, padding_mode=padding_mode)  # type: ignore[arg-type]
    x = torch.randn(2, 6, *size)
    assert _worst(SplitConv2d(conv)(x), conv(x)) < 1e-5


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(width=8, num_res_blocks=1, mlp_dim=16),
        ModelConfig(width=8, num_downsamples=3, num_res_blocks=1, mlp_dim=16, padding="zero"),
        ModelConfig(
            architecture="munit-sn",
            channels_b=1,
            width=8,
            num_res_blocks=1,
            num_mlp_layers=2,
            mlp_dim=16,
            pre_activation=True,
        ),
    ],
    ids=["munit", "munit-zero", "munit-sn"],
)
def test_folded_decoders_give_the_same_image(config: ModelConfig) -> None:
    torch.manual_seed(2)
    generators = build_generators(config).eval()
    fold_spectral_norm(generators)
    folded = copy.deepcopy(generators)
    fold_decoders(folded)
    side = config.content_min_size // config.size_multiple
    for domain in "ab":
        decoder = generators.get_submodule(f"{domain}.decoder")
        assert isinstance(decoder, Decoder)
        for height, width in [(side, side), (side + 3, side + 6)]:
            content = torch.randn(2, config.content_channels, height, width)
            style = torch.randn(2, config.style_dim)
            with torch.no_grad():
                wanted = decoder(content, style)
                got = folded.get_submodule(f"{domain}.decoder")(content, style)
            assert _worst(got, wanted) < 1e-4 * max(1.0, float(wanted.abs().max()))


def test_folding_keeps_the_layers_names() -> None:
    generators = build_generators(ModelConfig(width=8, num_res_blocks=1, mlp_dim=16))
    names = {name for name, _ in generators.named_parameters()}
    fold_decoders(generators)
    assert names <= {name for name, _ in generators.named_parameters()}
