"""What a model is: its validated configuration, saved with the weights and in the manifest.

What a run wants (training, exporting, translating) is configured elsewhere, beside its owner.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticSerializationError

from munit_edge.errors import ConfigError
from munit_edge.names import storable, stored_name
from munit_edge.plain_data import cut, shown

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
STATS_KINDS: tuple[GraphKind, ...] = ("content_encoder_stats", "decoder_stats")
"""Their twins with the norms' statistics as input and output; see `norm_statistics`."""

MAX_WIDTH = 65_536
"""Channels or numbers of any layer; more is a slip, and fills the memory."""
MAX_MESSAGE = 500
"""Characters of what is wrong with one value."""
MAX_EDITS = 2
"""Letters by which a misspelt name differs; names that differ more are others."""

T = TypeVar("T", bound=BaseModel)


class StrictModel(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """JSON; a text with bytes that are not UTF-8, as names of files may have, is escaped.

        See `munit_edge.names.stored_name`.
        """
        try:
            return super().model_dump_json(indent=indent, **options)
        except PydanticSerializationError:  # it writes no lone surrogates
            data = _storable(self.model_dump(mode="json", **options))
            return json.dumps(data, indent=indent, ensure_ascii=False)


def _storable(data: Any) -> Any:
    """Plain data with every text as `stored_name` has it, where it is not UTF-8."""
    if isinstance(data, str):
        return data if storable(data) == data else stored_name(data)
    if isinstance(data, dict):
        return {key: _storable(value) for key, value in data.items()}
    return [_storable(item) for item in data] if isinstance(data, list) else data


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
    """Normalisation behind every convolution but the first and the last (`multiscale-patch`)."""
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
        # 4x4 convolutions need 2 pixels each, and instance norm behind the last one 2 again.
        last = 2**self.num_layers
        if self.norm == "instance" and self.num_layers > 1:
            last *= 2
        return int((last - 1) * pooled + 1)  # pooling rounds up


class ModelConfig(StrictModel):
    """Everything that fixes the networks of one model, for both domains."""

    architecture: Architecture = "munit"
    """`munit`: the paper's. `munit-sn`: the improved release's, with spectral norm, AdaIN in the
    up-sampling blocks and no tanh."""
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
        return int(2 ** (self.num_downsamples + 1))

    @property
    def style_min_size(self) -> int:
        """The smallest height and width in pixels that the style encoder takes."""
        return int(2**self.num_style_downsamples)

    @property
    def content_channels(self) -> int:
        """Channels of a content code."""
        return self.capped(self.width * 2**self.num_downsamples)

    def capped(self, channels: int) -> int:
        """`channels`, but at most `max_width`."""
        return channels if self.max_width is None else min(channels, self.max_width)

    def channels(self, domain: Domain) -> int:
        """Image channels of `domain`."""
        return self.channels_a if domain == "a" else self.channels_b


def graph_name(kind: GraphKind, domain: Domain) -> str:
    """What a graph is called: `decoder_b`, `decoder_b_stats`."""
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


def closest(name: str, allowed: list[str]) -> str:
    """The one of `allowed` that `name` misspells as "did you mean 'x'?", or the whole list."""
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.7)
    if near and _edits(name, near[0]) <= (MAX_EDITS if len(name) > MAX_EDITS**2 else 1):
        return f"did you mean '{near[0]}'?"
    return "allowed: " + ", ".join(sorted(allowed))


def has_key(model: type[BaseModel], key: str) -> bool:
    """Whether a dotted key ("model.width") leads to a field of `model`, or of one inside it."""
    *parents, last = key.split(".")
    for part in parents:
        nested = _nested(model, part)
        if nested is None:
            return False
        model = nested
    return last in model.model_fields


def validate(model: type[T], data: Any, source: str) -> T:
    """Build `model` from plain data; every fault goes into one message.

    Args:
        model: the configuration class.
        data: mappings, lists and scalars, as YAML or JSON gives them.
        source: what the message calls the data, such as the file's path.

    Raises:
        ConfigError: an unknown key (the closest one is named), a wrong value, a broken rule.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{source}: expected keys and values, got {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        faults = [_describe(model, dict(error)) for error in exc.errors(include_url=False)]
        raise ConfigError(f"{source}: " + "; ".join(faults)) from exc


def validate_options(
    model: type[T], wishes: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> T:
    """`validate` for the options of a command: messages call them as the user does.

    Args:
        model: what they are checked by.
        wishes: the options by field.
        names: what the user calls the fields that are not called like their options, such as
            {"timeout_s": "--timeout"}.

    Raises:
        ConfigError: an option cannot be used, or two do not go together.
    """
    try:
        return model.model_validate(wishes)
    except ValidationError as exc:
        faults = [
            _describe_option(names or {}, dict(error)) for error in exc.errors(include_url=False)
        ]
        raise ConfigError("; ".join(dict.fromkeys(faults))) from exc


def _describe(model: type[BaseModel], error: dict[str, Any]) -> str:
    location = [part for part in error["loc"] if isinstance(part, str)]
    name = cut(".".join(location))
    if error["type"] == "extra_forbidden":
        return f"unknown key '{name}': {_meant(model, location)}"
    message = cut(error["msg"].removeprefix("Value error, "), MAX_MESSAGE)
    if error["type"] == "missing":
        return f"'{name}' is missing"
    if error["type"] == "value_error":
        return f"{name}: {message}" if name else message
    return f"'{name}' is {shown(error['input'])}: {message}"


def _meant(model: type[BaseModel], location: list[str]) -> str:
    """Which key an unknown one may stand for: the same somewhere else, or one of its place."""
    *parents, last = location
    elsewhere = list(_places(model, last))
    if elsewhere:
        return "did you mean " + " or ".join(f"'{place}'" for place in elsewhere) + "?"
    return closest(last, _keys_at(model, parents))


def _places(model: type[BaseModel], key: str, prefix: str = "") -> Iterator[str]:
    for name in model.model_fields:
        if name == key:
            yield prefix + name
        elif (nested := _nested(model, name)) is not None:
            yield from _places(nested, key, f"{prefix}{name}.")


def _describe_option(names: Mapping[str, str], error: dict[str, Any]) -> str:
    field = next((str(part) for part in error["loc"]), "")
    option = names.get(field, f"--{field.replace('_', '-')}")
    message: str = error["msg"].removeprefix("Value error, ")
    if error["type"] != "value_error":
        return f"{option} {error['input']}: {message.replace('Input should', 'it should')}"
    # What a rule says of several options, or of its own, names them already.
    return message if not field or message.startswith("-") else f"{option}: {message}"


def _keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Field names of the nested model that `location` leads to."""
    for part in location:
        model = _nested(model, part) or model
    return list(model.model_fields)


def _nested(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model that a field holds, if any."""
    field = model.model_fields.get(name)
    if field is None:
        return None
    candidates = [field.annotation, *get_args(field.annotation)]
    nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    return nested[0] if nested else None


def _edits(a: str, b: str) -> int:
    """How many letters are to change, about, to make one of the other."""
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in codes if kind != "equal")
