"""The lists of layers, against what torch finds in the networks that are built from them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from munit_edge.model import layers
from munit_edge.model.config import ModelConfig
from munit_edge.trainer.networks import ContentEncoder, Decoder, Generator, StyleEncoder

CONFIGS = {
    "paper": ModelConfig(width=4, mlp_dim=8),
    "munit, deep": ModelConfig(
        width=3, max_width=10, num_downsamples=3, num_style_downsamples=2, num_res_blocks=1
    ),
    "munit-sn": ModelConfig(
        architecture="munit-sn", width=4, num_downsamples=1, pre_activation=True, mlp_dim=8
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_every_convolution_is_one_layer(config: ModelConfig) -> None:
    generator = Generator(config, 3)
    networks = {
        layers.content_encoder: generator.content_encoder,
        layers.style_encoder: generator.style_encoder,
        layers.decoder: generator.decoder,
    }
    for listed, network in networks.items():
        built = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert [(m.in_channels, m.out_channels, m.kernel_size[0], m.padding[0]) for m in built] == [
            (layer.inputs, layer.outputs, layer.kernel, layer.padding)
            for layer in listed(config, 3)
        ]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_every_linear_layer_is_listed(config: ModelConfig) -> None:
    built = [m for m in Decoder(config, 3).modules() if isinstance(m, nn.Linear)]
    listed = [*layers.style_mlp(config), *layers.adain_linears(config)]
    assert [(m.in_features, m.out_features) for m in built] == [
        (layer.inputs, layer.outputs) for layer in listed
    ]


@pytest.mark.parametrize("architecture", ["munit", "munit-sn"])
def test_an_mlp_without_activations_has_all_its_layers(architecture: str) -> None:
    config = ModelConfig(architecture=architecture, width=4, mlp_dim=6, activation="none")
    image = Decoder(config, 3)(torch.zeros(1, 16, 2, 2), torch.zeros(1, 8))
    assert image.shape == (1, 3, 8, 8)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
@pytest.mark.parametrize("encoder", ["content", "style"])
def test_the_smallest_size_is_the_smallest(config: ModelConfig, encoder: str) -> None:
    content = encoder == "content"
    network = (ContentEncoder if content else StyleEncoder)(config, 3).eval()
    size = config.content_min_size if content else config.style_min_size
    with torch.no_grad():
        assert network(torch.zeros(1, 3, size, size)).isfinite().all()
        with pytest.raises((RuntimeError, ValueError), match=r"[Pp]adding|spatial"):
            network(torch.zeros(1, 3, size // 2, size // 2))


def test_receptive_margin_of_one_convolution() -> None:
    """By hand: 3x3 sees one pixel further, 4x4 with stride 2 one more, 5x5 on doubled sides one."""
    plain = layers.Layer("residual", 1, 1, 3)
    down = layers.Layer("down", 1, 1, 4, "down")
    up = layers.Layer("up", 1, 1, 5, "up")
    assert layers.receptive_margin([plain]) == 1
    assert layers.receptive_margin([down, plain]) == 3
    assert layers.receptive_margin([up]) == 1
    assert layers.receptive_margin([up, up, plain]) == 2
