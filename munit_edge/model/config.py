"""What a model is: its validated configuration, saved with the weights and in the manifest.

What a run wants (training, exporting, translating) is configured elsewhere, beside its owner.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from munit_edge.errors import ConfigError
from munit_edge.model import layers
from munit_edge.settings import StrictModel

Domain = Literal["a", "b"]
Direction = Literal["a2b", "b2a"]
Architecture = Literal["munit", "munit-sn"]
Padding = Literal["reflect", "zero", "replicate"]
Activation = Literal["relu", "lrelu", "prelu", "selu", "tanh", "none"]
DiscriminatorKind = Literal["multiscale-patch", "multiresolution-patch", "global-residual"]
GraphKind = Literal[
    "content_encoder", "style_encoder", "decoder", "content_encoder_stats", "decoder_stats"
]
TensorIO = Literal["uint8", "float32"]
Channels = Literal[1, 3, 4]

DOMAINS: tuple[Domain, ...] = get_args(Domain)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
GRAPH_KINDS: tuple[GraphKind, ...] = ("content_encoder", "style_encoder", "decoder")
"""The graphs that translate."""
TWINS: dict[GraphKind, GraphKind] = {
    "content_encoder": "content_encoder_stats",
    "decoder": "decoder_stats",
}
"""Their twins with the norms' statistics as input and output; see `norm_statistics`."""
STATS_KINDS: tuple[GraphKind, ...] = tuple(TWINS.values())

MAX_WIDTH = 65_536
"""Most channels or numbers of any layer; more is a typing error that would exhaust the memory."""


class DiscriminatorConfig(StrictModel):
    """One discriminator; each domain has its own, built alike."""

    kind: DiscriminatorKind = "multiscale-patch"
    """`multiscale-patch`: the paper's, 4x4 convolutions on an average-pooled pyramid.
    `multiresolution-patch`, `global-residual`: those of the improved release (spectral norm)."""
    width: int = Field(64, ge=1, le=MAX_WIDTH)
    """Channels of the first convolution."""
    max_width: int | None = Field(None, ge=1, le=MAX_WIDTH)
    """Channels are never more than this; null: no limit."""
    num_layers: int = Field(4, ge=1, le=16)
    """Stride-2 convolutions (patch) or residual blocks (global)."""
    num_scales: int = Field(3, ge=1, le=16)
    """Image scales; each has its own network. `global-residual` looks at one scale only."""
    norm: Literal["none", "instance", "layer"] = "none"
    """Normalisation after every convolution but the first and the last (`multiscale-patch`)."""
    padding: Padding = "reflect"
    """Padding of the convolutions; `multiresolution-patch` and `global-residual`: zero."""
    activation: Activation = "lrelu"
    """Activation; `lrelu` has slope 0.2."""

    @model_validator(mode="after")
    def _check(self) -> DiscriminatorConfig:
        if self.kind != "multiscale-patch" and (self.norm != "none" or self.padding != "zero"):
            raise ValueError(
                f"kind '{self.kind}' takes norm 'none' and padding 'zero', "
                f"got norm '{self.norm}' and padding '{self.padding}'"
            )
        if self.kind == "global-residual" and self.num_scales != 1:
            raise ValueError(
                f"kind 'global-residual' looks at one scale: set num_scales to 1, "
                f"got {self.num_scales}"
            )
        return self

    @property
    def spectral_norm(self) -> bool:
        """Whether the convolutions are spectrally normalised."""
        return self.kind != "multiscale-patch"

    @property
    def min_image_size(self) -> int:
        """The smallest height and width in pixels that every layer of every scale can take."""
        if self.kind == "global-residual":
            return int(4 * 2**self.num_layers)  # the 4x4 convolution without padding comes last
        pooled = 2 ** (self.num_scales - 1)
        if self.kind == "multiresolution-patch":
            return int(pooled)  # halving rounds down, and 3x3 with zero padding takes one pixel
        # 4x4 convolutions need 2 pixels each, and instance norm after the last one 2 again.
        last = 2**self.num_layers
        if self.norm == "instance" and self.num_layers > 1:
            last *= 2
        return int((last - 1) * pooled + 1)  # pooling rounds up


class ModelConfig(StrictModel):
    """Everything that fixes the networks of one model, for both domains."""

    architecture: Architecture = "munit"
    """`munit`: the paper's. `munit-sn`: the improved release's, with spectral norm, AdaIN in the
    upsampling blocks and no tanh."""
    channels_a: Channels = 3
    """Channels of domain a: 1 (grey), 3 (RGB) or 4 (RGBA)."""
    channels_b: Channels = 3
    """Channels of domain b: 1 (grey), 3 (RGB) or 4 (RGBA)."""
    width: int = Field(64, ge=1, le=MAX_WIDTH)
    """Channels of the first convolution of both encoders."""
    max_width: int | None = Field(None, ge=1, le=MAX_WIDTH)
    """Channels of the content encoder and decoder are never more than this; null: no limit."""
    num_downsamples: int = Field(2, ge=1, le=6)
    """Stride-2 convolutions of the content encoder: content is 2**num_downsamples times smaller."""
    num_style_downsamples: int = Field(4, ge=2, le=8)
    """Stride-2 convolutions of the style encoder; only the first two double the channels."""
    num_res_blocks: int = Field(4, ge=1, le=256)
    """Residual blocks of the content encoder, and as many of the decoder."""
    style_dim: int = Field(8, ge=1, le=MAX_WIDTH)
    """Numbers in a style code; the prior is N(0, I)."""
    mlp_dim: int = Field(256, ge=1, le=MAX_WIDTH)
    """Hidden width of the MLP that turns a style code into AdaIN parameters."""
    num_mlp_layers: int = Field(3, ge=1, le=256)
    """Linear layers of that MLP (`munit`: the last one gives the AdaIN parameters themselves)."""
    padding: Padding = "reflect"
    """Padding of every convolution of the generators."""
    activation: Activation = "relu"
    """Activation of the generators; `lrelu` has slope 0.2."""
    pre_activation: bool = False
    """Residual blocks normalise and activate before each convolution (`munit-sn` only)."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    """The discriminators that train the model."""

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.architecture == "munit" and self.pre_activation:
            raise ValueError("pre_activation is for architecture 'munit-sn': set it to false")
        if self.architecture == "munit" and self.num_mlp_layers < 2:
            raise ValueError("num_mlp_layers of architecture 'munit' must be at least 2")
        # The decoder halves the channels of the content code at each upsampling, rounding down.
        if self.content_channels < 2**self.num_downsamples:
            raise ValueError(
                f"max_width must be at least 2**num_downsamples, {2**self.num_downsamples} "
                f"(the decoder halves the channels {self.num_downsamples} times), "
                f"got {self.max_width}"
            )
        return self

    @property
    def spectral_norm(self) -> bool:
        """Whether the generators' convolutions are spectrally normalised while training."""
        return self.architecture == "munit-sn"

    @property
    def size_multiple(self) -> int:
        """Height and width of what the content encoder takes are multiples of this (pixels)."""
        return int(2**self.num_downsamples)

    @property
    def content_min_size(self) -> int:
        """The smallest height and width in pixels that the content encoder and decoder take."""
        return layers.min_size(layers.content_encoder(self, self.channels_a))

    @property
    def style_min_size(self) -> int:
        """The smallest height and width in pixels that the style encoder takes."""
        return layers.min_size(layers.style_encoder(self, self.channels_a))

    @property
    def content_channels(self) -> int:
        """Channels of a content code."""
        return layers.content_widths(self)[-1]

    def padded_size(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels to which an image of a size is padded."""
        multiple = self.size_multiple
        height, width = (
            -(-max(side, self.content_min_size) // multiple) * multiple for side in size_hw
        )
        return height, width

    def channels(self, domain: Domain) -> int:
        """Image channels of `domain`."""
        return self.channels_a if domain == "a" else self.channels_b


def graph_name(kind: GraphKind, domain: Domain) -> str:
    """The name of a graph: `decoder_b`, `decoder_b_stats`."""
    network = kind.removesuffix("_stats")
    return f"{network}_{domain}{kind[len(network) :]}"


def split_direction(direction: str) -> tuple[Domain, Domain]:
    """Source and target domain of "a2b" or "b2a".

    Raises:
        ConfigError: `direction` is something else.
    """
    if direction == "a2b":
        return "a", "b"
    if direction == "b2a":
        return "b", "a"
    raise ConfigError(f"direction '{direction}' is not known: use 'a2b' or 'b2a'")
