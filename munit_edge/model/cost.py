"""Parameters and multiplications of a model's graphs, from its configuration alone.

A sum over the layers of `munit_edge.model.layers`: the weights and biases of all layers, and the
multiplications of convolutions and linear layers for one image; each goes with an addition (MAC).
Norms, activations and upsampling have next to none. The exporter replaces some layers by those of
`munit_edge.trainer.fast.folding`, which are counted as `folded_macs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from munit_edge.model.config import DOMAINS, GRAPH_KINDS, Domain, GraphKind, ModelConfig, graph_name
from munit_edge.model.layers import (
    Layer,
    Linear,
    adain_linears,
    content_encoder,
    decoder,
    style_encoder,
    style_mlp,
)

LARGE = 1024
"""Side of a content code in pixels at which the cost of the style's MLP is negligible."""


@dataclass(frozen=True)
class Cost:
    """The cost of one layer or one graph."""

    parameters: int
    """Learned numbers."""
    macs: int
    """Multiplications for one image, as the networks are defined."""
    folded_macs: int
    """Multiplications for one image in the exported form, with folded decoders."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters,
            self.macs + other.macs,
            self.folded_macs + other.folded_macs,
        )


def model_costs(config: ModelConfig, size_hw: tuple[int, int]) -> dict[str, Cost]:
    """The cost of each of the six graphs, by name.

    Args:
        config: the model's configuration.
        size_hw: height and width of the image in pixels; it is padded as for translating.
    """
    return {
        graph_name(kind, domain): graph_cost(config, kind, domain, size_hw)
        for domain in DOMAINS
        for kind in GRAPH_KINDS
    }


def graph_cost(
    config: ModelConfig, kind: GraphKind, domain: Domain, size_hw: tuple[int, int]
) -> Cost:
    """The cost of one graph for an image of a height and width in pixels."""
    channels = config.channels(domain)
    if kind == "style_encoder":
        height, width = (max(side, config.style_min_size) for side in size_hw)
        return _convolutions(config, style_encoder(config, channels), height, width)
    height, width = config.padded_size(size_hw)
    if kind == "content_encoder":
        return _convolutions(config, content_encoder(config, channels), height, width)
    height, width = height // config.size_multiple, width // config.size_multiple
    # Once for each style, whatever the size of the image.
    mlp = [*style_mlp(config), *adain_linears(config)]
    return sum(map(_linear, mlp), _convolutions(config, decoder(config, channels), height, width))


def macs_per_pixel(config: ModelConfig, kind: GraphKind, domain: Domain) -> float:
    """Multiplications for each pixel of a large image, as the networks are defined."""
    side = config.size_multiple * LARGE
    return graph_cost(config, kind, domain, (side, side)).macs / side**2


def _convolutions(config: ModelConfig, layers: Sequence[Layer], height: int, width: int) -> Cost:
    """All layers of a network whose input is `height` x `width`."""
    total = Cost(0, 0, 0)
    for layer in layers:
        if layer.resampling == "down":
            # A 4x4 kernel with stride 2 and padding 1 halves a side, rounded down.
            height, width = height // 2, width // 2
        elif layer.resampling == "up":
            height, width = 2 * height, 2 * width
        elif layer.resampling == "mean":
            height = width = 1
        total += _convolution(config, layer, height, width)
    return total


def _convolution(config: ModelConfig, layer: Layer, height: int, width: int) -> Cost:
    """One layer whose output is `height` x `width`."""
    macs = layer.inputs * layer.outputs * layer.kernel**2 * height * width
    folded = macs
    if layer.resampling == "up":
        # 9 instead of 25 for each output pixel: see `munit_edge.trainer.fast.up_convolution`.
        # 5x5 on a doubled image is 3x3 with four times the outputs on the image itself.
        folded = 9 * layer.inputs * layer.outputs * height * width
        if config.padding == "reflect":  # the outermost line of each side is corrected
            folded += 2 * 5 * layer.inputs * layer.outputs * (height + width)
    elif layer.stage == "to_image":
        # More, not fewer: the gain is a number of outputs that kernels are efficient at.
        # Split into 7x1 and 1x7, with the 7 columns of taps as channels in between.
        folded += layer.outputs * layer.kernel**2 * height * width
    return Cost(layer.parameters, macs, folded)


def _linear(layer: Linear) -> Cost:
    macs = layer.inputs * layer.outputs
    return Cost(layer.parameters, macs, macs)
