"""Parameters and multiplications of a model's graphs, from its configuration alone.

Counted are the weights and biases of all layers, and the multiplications of convolutions and linear
layers for one picture; each goes with an addition (MAC). Norms, activations and up-sampling have
next to none. The layers are those of `munit_edge.trainer.networks`, and of
`munit_edge.trainer.fast.folding`, which the exporter puts in the place of some: the tests count
there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from munit_edge.model.config import DOMAINS, GRAPH_KINDS, Domain, GraphKind, ModelConfig, graph_name

LARGE = 1024
"""Pixels of a content code's side, beside which the style's MLP costs nothing."""


@dataclass(frozen=True)
class Cost:
    """What one layer or one graph costs."""

    parameters: int
    """Learned numbers."""
    macs: int
    """Multiplications for one picture, as the networks are defined."""
    folded_macs: int
    """Multiplications of the same in the form that is exported, with folded decoders."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters,
            self.macs + other.macs,
            self.folded_macs + other.folded_macs,
        )


def model_costs(config: ModelConfig, size_hw: tuple[int, int]) -> dict[str, Cost]:
    """What each of the six graphs costs, by its name.

    Args:
        config: the model's configuration.
        size_hw: height and width of the picture in pixels; it is padded as for translating.
    """
    return {
        graph_name(kind, domain): graph_cost(config, kind, domain, size_hw)
        for domain in DOMAINS
        for kind in GRAPH_KINDS
    }


def graph_cost(
    config: ModelConfig, kind: GraphKind, domain: Domain, size_hw: tuple[int, int]
) -> Cost:
    """What one graph costs for a picture of a height and width in pixels."""
    channels = config.channels(domain)
    if kind == "style_encoder":
        height, width = (max(side, config.style_min_size) for side in size_hw)
        layers = _style_encoder(config, channels, height, width)
    else:
        height, width = config.padded_size(size_hw)
        network = _content_encoder if kind == "content_encoder" else _decoder
        layers = network(config, channels, height, width)
    return sum(layers, Cost(0, 0, 0))


def macs_per_pixel(config: ModelConfig, kind: GraphKind, domain: Domain) -> float:
    """Multiplications for each pixel of a large picture, as the networks are defined."""
    side = config.size_multiple * LARGE
    return graph_cost(config, kind, domain, (side, side)).macs / side**2


def _content_encoder(config: ModelConfig, channels: int, height: int, width: int) -> Iterator[Cost]:
    pixels = height * width
    widths = [config.capped(config.width * 2**i) for i in range(config.num_downsamples + 1)]
    # `munit-sn` has a scale and a shift for each channel in its norms.
    affine = [2 * width if config.architecture == "munit-sn" else 0 for width in widths]
    yield _convolution(channels, widths[0], 7, pixels)
    yield _learned(affine[0] + _slopes(config))
    for i in range(config.num_downsamples):
        pixels //= 4
        yield _convolution(widths[i], widths[i + 1], 4, pixels)
        yield _learned(affine[i + 1] + _slopes(config))
    yield from _residual_blocks(config, pixels)
    yield _learned(config.num_res_blocks * 2 * affine[-1])


def _style_encoder(config: ModelConfig, channels: int, height: int, width: int) -> Iterator[Cost]:
    widths = [config.width * 2 ** min(i, 2) for i in range(config.num_style_downsamples + 1)]
    yield _convolution(channels, widths[0], 7, height * width)
    for i in range(config.num_style_downsamples):
        height, width = height // 2, width // 2
        yield _convolution(widths[i], widths[i + 1], 4, height * width)
    yield _learned(len(widths) * _slopes(config))
    yield _convolution(widths[-1], config.style_dim, 1, 1)


def _decoder(config: ModelConfig, channels: int, height: int, width: int) -> Iterator[Cost]:
    widths = [config.content_channels // 2**i for i in range(config.num_downsamples + 1)]
    h, w = height // config.size_multiple, width // config.size_multiple
    yield from _adain_head(config, widths)
    yield from _residual_blocks(config, h * w)
    for i in range(config.num_downsamples):
        h, w = 2 * h, 2 * w
        yield _up_convolution(config, widths[i], widths[i + 1], h, w)
        layer_norm = 2 * widths[i + 1] if config.architecture == "munit" else 0
        yield _learned(layer_norm + _slopes(config))
    to_image = _convolution(widths[-1], channels, 7, height * width)
    # Split into 7x1 and 1x7, with the 7 columns of taps as channels in between.
    moves = channels * 7 * 7 * height * width
    yield Cost(to_image.parameters, to_image.macs, to_image.macs + moves)


def _residual_blocks(config: ModelConfig, pixels: int) -> Iterator[Cost]:
    channels = config.content_channels
    slopes = (1 if config.architecture == "munit" else 2) * _slopes(config)
    for _ in range(config.num_res_blocks):
        yield _convolution(channels, channels, 3, pixels)
        yield _convolution(channels, channels, 3, pixels)
        yield _learned(slopes)


def _adain_head(config: ModelConfig, widths: list[int]) -> Iterator[Cost]:
    """The MLP behind the style code, with the scales and shifts that it gives."""
    of_residual = 2 * 2 * config.num_res_blocks * widths[0]
    hidden = [config.mlp_dim] * (config.num_mlp_layers - 1)
    if config.architecture == "munit":
        dims = [config.style_dim, *hidden, of_residual]
    else:
        dims = [config.style_dim, *hidden, config.mlp_dim]
        yield _linear(config.mlp_dim, of_residual + 2 * sum(widths[1:]))
    for inputs, outputs in itertools.pairwise(dims):
        yield _linear(inputs, outputs)
    num_activations = len(dims) - (2 if config.architecture == "munit" else 1)
    yield _learned(num_activations * _slopes(config))


def _convolution(inputs: int, outputs: int, kernel: int, pixels: int) -> Cost:
    """A convolution that gives `pixels` values for each output channel."""
    weights = inputs * outputs * kernel**2
    return Cost(weights + outputs, weights * pixels, weights * pixels)


def _up_convolution(
    config: ModelConfig, inputs: int, outputs: int, height: int, width: int
) -> Cost:
    """Up-sampling to `height` x `width` and a 5x5 convolution behind it."""
    plain = _convolution(inputs, outputs, 5, height * width)
    folded = 9 * inputs * outputs * height * width
    if config.padding == "reflect":  # the outermost line of each side is mended
        folded += 2 * 5 * inputs * outputs * (height + width)
    return Cost(plain.parameters, plain.macs, folded)


def _linear(inputs: int, outputs: int) -> Cost:
    weights = inputs * outputs
    return Cost(weights + outputs, weights, weights)


def _learned(parameters: int) -> Cost:
    """Parameters that multiply next to nothing."""
    return Cost(parameters, 0, 0)


def _slopes(config: ModelConfig) -> int:
    """Learned numbers of one activation."""
    return 1 if config.activation == "prelu" else 0
