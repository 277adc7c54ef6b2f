"""The architecture, written once: every network of a generator as a list of layers.

`trainer.networks` builds the networks from these lists. What can be known without weights is
derived from them: parameters and MACs (`cost`), the rows of the norms' statistics
(`norm_statistics`), the margins of tiles (`translate.tiling`) and the smallest image that a network
takes. MUNIT, section 5.1 and appendix B; `munit-sn` is described in `trainer.networks`.

This module imports nothing of the package: `ModelConfig`, which is a `Settings`, imports it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

Stage = Literal["stem", "down", "residual", "up", "to_image", "head"]
Resampling = Literal["none", "down", "up", "mean"]
Norm = Literal["none", "instance", "affine-instance", "adain", "layer"]


class Settings(Protocol):
    """The fields of `ModelConfig` that the layers depend on."""

    @property
    def architecture(self) -> str: ...  # noqa: D102 - see ModelConfig
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def max_width(self) -> int | None: ...  # noqa: D102
    @property
    def num_downsamples(self) -> int: ...  # noqa: D102
    @property
    def num_style_downsamples(self) -> int: ...  # noqa: D102
    @property
    def num_res_blocks(self) -> int: ...  # noqa: D102
    @property
    def style_dim(self) -> int: ...  # noqa: D102
    @property
    def mlp_dim(self) -> int: ...  # noqa: D102
    @property
    def num_mlp_layers(self) -> int: ...  # noqa: D102
    @property
    def activation(self) -> str: ...  # noqa: D102
    def __hash__(self) -> int: ...


class Layer(NamedTuple):
    """A convolution with its norm and its activation."""

    stage: Stage
    """The part of the network that it belongs to."""
    inputs: int
    """Channels in."""
    outputs: int
    """Channels out, which are those of the norm."""
    kernel: int
    """Height and width of the kernel; it is padded by (kernel - 1) // 2 on each side."""
    resampling: Resampling = "none"
    """`down`: stride 2. `up`: its input is doubled by nearest neighbour. `mean`: its input is the
    mean over height and width."""
    norm: Norm = "none"
    """`adain` and the instance norms have a row of statistics for each channel, `layer` has one."""
    activation: str = "none"
    """An `Activation` of the configuration, or `none`."""
    spectral_norm: bool = False
    """Whether the weight is spectrally normalised while training."""

    @property
    def padding(self) -> int:
        """Pixels of padding on each side."""
        return (self.kernel - 1) // 2

    @property
    def parameters(self) -> int:
        """Weights, biases, the norm's own parameters and the activation's slope."""
        # AdaIN's scale and shift come from the MLP, and plain instance norm has none.
        norm = 2 * self.outputs if self.norm in ("affine-instance", "layer") else 0
        slope = 1 if self.activation == "prelu" else 0
        return self.inputs * self.outputs * self.kernel**2 + self.outputs + norm + slope


class Linear(NamedTuple):
    """A linear layer of the MLP between the style code and the AdaIN parameters."""

    inputs: int
    outputs: int
    activation: str | None = None
    """An `Activation` of the configuration; None after the last layer."""

    @property
    def parameters(self) -> int:
        """Weights, biases and the activation's slope."""
        slope = 1 if self.activation == "prelu" else 0
        return self.inputs * self.outputs + self.outputs + slope


@functools.lru_cache(maxsize=256)
def content_encoder(config: Settings, image_channels: int) -> tuple[Layer, ...]:
    """Image -> content: a 7x7 convolution, stride-2 convolutions, residual blocks."""
    # In the notation of MUNIT's appendix B: c7s1-64, d128, d256, then R256 four times.
    improved = config.architecture == "munit-sn"
    norm: Norm = "affine-instance" if improved else "instance"
    widths = content_widths(config)
    stem = Layer("stem", image_channels, widths[0], 7, "none", norm, config.activation, improved)
    down = (
        Layer("down", widths[i], widths[i + 1], 4, "down", norm, config.activation, improved)
        for i in range(config.num_downsamples)
    )
    return (stem, *down, *_residual_blocks(config, norm))


@functools.lru_cache(maxsize=256)
def style_encoder(config: Settings, image_channels: int) -> tuple[Layer, ...]:
    """Image -> style: convolutions without norms, which would remove the style, then the mean."""
    improved = config.architecture == "munit-sn"
    # Appendix B: c7s1-64, d128, d256, d256, d256, global average pooling, fc8.
    # Channels double at the first two stride-2 convolutions only; `max_width` does not apply.
    widths = [config.width * 2 ** min(i, 2) for i in range(config.num_style_downsamples + 1)]
    stem = Layer("stem", image_channels, widths[0], 7, "none", "none", config.activation, improved)
    down = (
        Layer("down", widths[i], widths[i + 1], 4, "down", "none", config.activation, improved)
        for i in range(config.num_style_downsamples)
    )
    return (stem, *down, Layer("head", widths[-1], config.style_dim, 1, "mean"))


@functools.lru_cache(maxsize=256)
def decoder(config: Settings, image_channels: int) -> tuple[Layer, ...]:
    """Content -> image: AdaIN residual blocks, then upsampling by 2 with 5x5 convolutions."""
    improved = config.architecture == "munit-sn"
    # Appendix B: R256 four times, u128, u64, c7s1-3.
    channels = content_widths(config)[-1]
    widths = [channels // 2**i for i in range(config.num_downsamples + 1)]
    norm: Norm = "adain" if improved else "layer"
    up = (
        Layer("up", widths[i], widths[i + 1], 5, "up", norm, config.activation, improved)
        for i in range(config.num_downsamples)
    )
    # Never spectrally normalised: the range of the output must stay free.
    activation = "none" if improved else "tanh"
    to_image = Layer("to_image", widths[-1], image_channels, 7, activation=activation)
    return (*_residual_blocks(config, "adain"), *up, to_image)


def style_mlp(config: Settings) -> tuple[Linear, ...]:
    """The MLP after the style code; in `munit` its last layer gives all AdaIN parameters."""
    # In `munit` the count includes the layer that gives the AdaIN parameters; in `munit-sn` they
    # come from a further layer for each AdaIN (`adain_linears`).
    hidden = config.num_mlp_layers - (config.architecture == "munit")
    dims = [config.style_dim, *[config.mlp_dim] * hidden]
    layers = [Linear(dims[i], dims[i + 1], config.activation) for i in range(hidden)]
    if config.architecture == "munit":
        # A scale and a shift for each channel of each AdaIN layer.
        layers.append(Linear(dims[-1], 2 * sum(adain_channels(config))))
    return tuple(layers)


def adain_linears(config: Settings) -> tuple[Linear, ...]:
    """The linear layers after the MLP of `munit-sn`, one for each AdaIN layer."""
    if config.architecture == "munit":
        return ()
    return tuple(Linear(config.mlp_dim, 2 * channels) for channels in adain_channels(config))


def adain_channels(config: Settings) -> list[int]:
    """Channels of each AdaIN layer of the decoder, in order."""
    return [layer.outputs for layer in decoder(config, 1) if layer.norm == "adain"]


def content_widths(config: Settings) -> list[int]:
    """Channels of the content encoder after its first convolution and after each stride 2."""
    widths = (config.width * 2**i for i in range(config.num_downsamples + 1))
    return [width if config.max_width is None else min(width, config.max_width) for width in widths]


def scales(layers: Sequence[Layer]) -> Iterator[tuple[int, int]]:
    """How far each layer's output is enlarged and reduced relative to the network's input.

    Yields:
        (enlargement, reduction) of a side, one of which is 1. A `mean` changes neither.
    """
    enlargement = reduction = 1
    for layer in layers:
        if layer.resampling == "down":
            reduction *= 2
        elif layer.resampling == "up":
            enlargement *= 2
        yield enlargement, reduction


def min_size(layers: Sequence[Layer]) -> int:
    """The smallest height and width in pixels of an image that an encoder takes.

    Reflection by p pixels needs p + 1 pixels.
    """
    smallest, reduction = 1, 1
    # `layer` sees the image reduced so far: its p + 1 pixels are that many times `reduction`.
    for layer in layers:
        smallest = max(smallest, (layer.padding + 1) * reduction)
        if layer.resampling == "down":
            reduction *= 2
    return smallest


def receptive_margin(layers: Sequence[Layer]) -> int:
    """Pixels of the input around an area on which the output of that area depends.

    In pixels of the input; an area's borders lie on pixels of the coarser of input and output.
    """
    # From the last layer back to the first: `margin` counts pixels of the current layer's output,
    # and each step turns it into pixels of its input.
    margin = 0
    for layer in reversed(layers):
        if layer.resampling == "down":
            # Stride 2: output y reads inputs 2y - padding to 2y - padding + kernel - 1, and with
            # the kernel of 4 and its padding of 1 both sides reach equally far.
            margin = 2 * margin + layer.padding
        elif layer.resampling == "up":
            # The convolution sees the doubled image, of which two pixels are one of the input: half
            # of its reach, rounded up.
            margin = -(-(margin + layer.padding) // 2)
        else:
            margin += layer.padding
    return margin


def _residual_blocks(config: Settings, norm: Norm) -> Iterator[Layer]:
    """Two 3x3 convolutions for each block. Only `munit` has no activation after the second."""
    improved = config.architecture == "munit-sn"
    channels = content_widths(config)[-1]
    for _ in range(config.num_res_blocks):
        for activation in (config.activation, config.activation if improved else "none"):
            yield Layer("residual", channels, channels, 3, "none", norm, activation, improved)
