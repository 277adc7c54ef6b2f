"""Settings of the two public releases of MUNIT, read as a `ModelConfig`.

NVlabs/MUNIT has no defaults: every setting of the networks must be given. NVlabs/imaginaire has a
default for each, and its own files omit many. Settings that do not affect the networks (data,
optimiser, logging) are ignored. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel

from munit_edge.errors import ConfigError
from munit_edge.files.plain_data import shown
from munit_edge.model.config import Activation, DiscriminatorConfig, ModelConfig, Padding
from munit_edge.settings import closest, validate

MUNIT = "NVlabs/MUNIT"
IMAGINAIRE = "NVlabs/imaginaire"

T = TypeVar("T")

# No default. None would not do: a file may hold null.
_REQUIRED: Any = object()

_MUNIT_GEN = ("dim", "mlp_dim", "style_dim", "activ", "n_downsample", "n_res", "pad_type")
_MUNIT_DIS = ("dim", "norm", "activ", "n_layer", "gan_type", "num_scales", "pad_type")
_IMAGINAIRE_PATCH_ONLY = ("num_discriminators", "kernel_size", "num_image_channels")
_IMAGINAIRE_GLOBAL_ONLY = (
    "first_kernel_size",
    "padding_mode",
    "aggregation",
    "order",
    "anti_aliased",
    "image_channels",
)
MUNIT_NORMS = {"none": "none", "in": "instance", "ln": "layer"}
"""Norms of NVlabs/MUNIT's discriminators and our names of them."""
_ACTIVATIONS = {name: name for name in get_args(Activation)}
_PADDINGS = {name: name for name in get_args(Padding)}
_CHANNELS = {number: number for number in (1, 3, 4)}
_YAML_BOOLEANS = {"yes": True, "on": True, "no": False, "off": False}
"""Text in our YAML 1.2, booleans in that program's YAML 1.1."""
_UNNORMALISED = {"": "none", "none": "none", None: "none"}


def is_munit_yaml(data: Any) -> bool:
    """Whether `data` looks like a configuration file of NVlabs/MUNIT."""
    data = top_level(data)
    if not isinstance(data, Mapping) or not isinstance(data.get("gen"), Mapping):
        return False
    if is_imaginaire_yaml(data):
        return False
    return "input_dim_a" in data or "input_dim_b" in data or _shares(data["gen"], _MUNIT_GEN)


def top_level(data: Any) -> Any:
    """`data` without the level `train` that held all settings in early NVlabs/MUNIT."""
    if isinstance(data, Mapping) and isinstance(train := data.get("train"), Mapping):
        inside = isinstance(train.get("gen"), Mapping)
        return {k: v for k, v in data.items() if k != "train"} | {**train} if inside else data
    return data


def is_imaginaire_yaml(data: Any) -> bool:
    """Whether `data` looks like a configuration file of NVlabs/imaginaire."""
    if not isinstance(data, Mapping) or not isinstance(data.get("gen"), Mapping):
        return False
    gen = data["gen"]
    return str(gen.get("type", "")).startswith("imaginaire.") or _shares(
        gen, ("latent_dim", "num_filters", "num_filters_mlp", "num_res_blocks")
    )


def model_config_from_munit(data: Mapping[str, Any], source: str) -> ModelConfig:
    """The model of a configuration file of NVlabs/MUNIT.

    Args:
        data: the whole file.
        source: its name in messages, such as its path.

    Raises:
        ConfigError: lists every setting that is missing, unknown or not supported.
    """
    reader = _Reader(top_level(data), source, MUNIT)
    gen, dis = reader.section("gen"), reader.section("dis")
    if "mlp_dim" not in gen.data and "style_dim" not in gen.data and "dim" in gen.data:
        raise ConfigError(
            f"{source}: 'gen' has neither mlp_dim nor style_dim, as in UNIT: munit-edge supports "
            "only MUNIT models"
        )
    gen.only(_MUNIT_GEN)
    dis.only(_MUNIT_DIS)
    model = {
        "architecture": "munit",
        "channels_a": reader.top.choice("input_dim_a", _CHANNELS),
        "channels_b": reader.top.choice("input_dim_b", _CHANNELS),
        "width": gen.integer("dim", ModelConfig, "width"),
        "num_downsamples": gen.integer("n_downsample", ModelConfig, "num_downsamples"),
        "num_style_downsamples": 4,  # fixed in that program
        "num_res_blocks": gen.integer("n_res", ModelConfig, "num_res_blocks"),
        "style_dim": gen.integer("style_dim", ModelConfig, "style_dim"),
        "mlp_dim": gen.integer("mlp_dim", ModelConfig, "mlp_dim"),
        "num_mlp_layers": 3,  # fixed in that program
        "padding": gen.choice("pad_type", _PADDINGS),
        "activation": gen.choice("activ", _ACTIVATIONS),
        "discriminator": {
            "kind": "multiscale-patch",
            "width": dis.integer("dim", DiscriminatorConfig, "width"),
            "num_layers": dis.integer("n_layer", DiscriminatorConfig, "num_layers"),
            "num_scales": dis.integer("num_scales", DiscriminatorConfig, "num_scales"),
            "norm": dis.choice("norm", MUNIT_NORMS),
            "padding": dis.choice("pad_type", _PADDINGS),
            "activation": dis.choice("activ", _ACTIVATIONS),
        },
    }
    return reader.finish(model)


def model_config_from_imaginaire(data: Mapping[str, Any], source: str) -> ModelConfig:
    """The model of a configuration file of NVlabs/imaginaire.

    Args:
        data: the whole file, of which `gen` and `dis` are used.
        source: its name in messages, such as its path.

    Raises:
        ConfigError: lists every setting that is unknown or not supported.
    """
    reader = _Reader(data, source, IMAGINAIRE)
    gen = reader.section("gen")
    # Settings that map to None have no field of ours: other values would mean other networks.
    gen.choice("type", {"imaginaire.generators.munit": None}, "imaginaire.generators.munit")
    gen.choice("content_norm_type", {"instance": None}, "instance")
    gen.choice("style_norm_type", _UNNORMALISED, "")
    gen.choice("decoder_norm_type", {"instance": None}, "instance")
    gen.choice("weight_norm_type", {"spectral": None}, "")
    gen.choice("output_nonlinearity", _UNNORMALISED, "")
    gen.choice("apply_noise", {False: None}, False)
    gen.section("decoder_norm_params").choice("affine", {False: None}, False)
    channels = gen.choice("num_image_channels", _CHANNELS, 3)
    model: dict[str, Any] = {
        "architecture": "munit-sn",
        "channels_a": channels,
        "channels_b": channels,
        "width": gen.integer("num_filters", ModelConfig, "width", 64),
        "max_width": gen.integer("max_num_filters", ModelConfig, "max_width", 256),
        "num_downsamples": gen.integer(
            "num_downsamples_content", ModelConfig, "num_downsamples", 2
        ),
        "num_style_downsamples": gen.integer(
            "num_downsamples_style", ModelConfig, "num_style_downsamples", 4
        ),
        "num_res_blocks": gen.integer("num_res_blocks", ModelConfig, "num_res_blocks", 4),
        "style_dim": gen.integer("latent_dim", ModelConfig, "style_dim", 8),
        "mlp_dim": gen.integer("num_filters_mlp", ModelConfig, "mlp_dim", 256),
        # That program builds at least two layers.
        "num_mlp_layers": max(2, gen.integer("num_mlp_blocks", ModelConfig, "num_mlp_layers", 2)),
        "pre_activation": gen.choice("pre_act", {False: False, True: True}, False),
        "padding": "reflect",
        "activation": "relu",
        "discriminator": _imaginaire_discriminator(reader.section("dis"), channels),
    }
    gen.at_least("max_num_filters", model["max_width"], "num_filters", model["width"])
    gen.only(())
    return reader.finish(model)


def _imaginaire_discriminator(dis: _Section, channels: int | None) -> dict[str, Any]:
    dis.choice("type", {"imaginaire.discriminators.munit": None}, "imaginaire.discriminators.munit")
    dis.choice("activation_norm_type", _UNNORMALISED, "")
    dis.choice("weight_norm_type", {"spectral": None}, "")
    patch = dis.choice("patch_wise", {False: False, True: True}, True)
    num_scales = 1
    if patch:
        num_scales = dis.integer("num_discriminators", DiscriminatorConfig, "num_scales", 3)
        dis.choice("kernel_size", {3: None}, 3)
    else:
        dis.choice("first_kernel_size", {1: None}, 1)
        dis.choice("padding_mode", {"zeros": None}, "zeros")
        dis.choice("aggregation", {"conv": None}, "conv")
        dis.choice("order", {"pre_act": None, "NACNAC": None}, "pre_act")
        dis.choice("anti_aliased", {False: None}, False)
    if channels is not None:  # else the error has already been recorded
        name = "num_image_channels" if patch else "image_channels"
        dis.choice(name, {channels: None}, channels)
    config: dict[str, Any] = {
        "kind": "multiresolution-patch" if patch else "global-residual",
        "width": dis.integer("num_filters", DiscriminatorConfig, "width", 64),
        "max_width": dis.integer("max_num_filters", DiscriminatorConfig, "max_width", 512),
        "num_layers": dis.integer("num_layers", DiscriminatorConfig, "num_layers", 4),
        "num_scales": num_scales,
        # Fixed in that program, or checked above.
        "norm": "none",
        "padding": "zero",
        "activation": "lrelu",
    }
    dis.at_least("max_num_filters", config["max_width"], "num_filters", config["width"])
    dis.only(
        _IMAGINAIRE_PATCH_ONLY + _IMAGINAIRE_GLOBAL_ONLY
    )  # it ignores the settings of the other kind
    return config


class _Reader:
    """Reads a whole file and collects all errors, to report them together."""

    def __init__(self, data: Mapping[str, Any], source: str, program: str) -> None:
        self.source = source
        self.program = program
        self.faults: list[str] = []
        self.top = _Section(data, "", self)

    def section(self, name: str) -> _Section:
        if not isinstance(self.top.data.get(name), Mapping):
            raise ConfigError(
                f"{self.source}: the section '{name}' is missing: name the configuration file with "
                f"which {self.program} trained the model"
            )
        return self.top.section(name)

    def finish(self, model: dict[str, Any]) -> ModelConfig:
        if self.faults:
            raise ConfigError(f"{self.source}: " + "; ".join(self.faults))
        return validate(ModelConfig, model, self.source)


class _Section:
    """One mapping of a file; records which settings were read."""

    def __init__(self, data: Mapping[str, Any], name: str, reader: _Reader) -> None:
        self.data = data
        self._name = name
        self._reader = reader
        self._asked: set[str] = set()

    def section(self, key: str) -> _Section:
        """A mapping inside this one; empty if it is missing."""
        self._asked.add(key)
        value = self.data.get(key)
        if value is not None and not isinstance(value, Mapping):
            self._fault(f"{self._full(key)} is {value!r}: allowed are keys and values")
        return _Section(value if isinstance(value, Mapping) else {}, self._full(key), self._reader)

    def choice(self, key: str, allowed: Mapping[Any, T], default: Any = _REQUIRED) -> Any:
        """The value that `allowed` maps the setting to, or None after recording an error."""
        found, value = self._get(key, default)
        if not found:
            return None
        # Elsewhere "no" and "on" may be names, so only booleans are converted.
        if True in allowed or False in allowed:
            value = _YAML_BOOLEANS.get(str(value).lower(), value)
        for option, meaning in allowed.items():
            # Compare types too: in Python, False == 0 and True == 1.
            if type(option) is type(value) and option == value:
                return meaning
        names = ", ".join(_shown(option) for option in allowed if option is not None)
        self._fault(f"{self._full(key)} is {_shown(value)}{self._whence(key)}: allowed: {names}")
        return None

    def integer(
        self, key: str, model: type[BaseModel], field: str, default: Any = _REQUIRED
    ) -> int:
        """An integer within the limits of our own `field`, or 0 after recording an error."""
        found, value = self._get(key, default)
        if not found:
            return 0
        limits = model.model_fields[field].metadata
        low: int = next((limit.ge for limit in limits if hasattr(limit, "ge")), 1)
        high: int | None = next((limit.le for limit in limits if hasattr(limit, "le")), None)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and value >= low and (high is None or value <= high):
            return int(value)
        span = f"{low} or more" if high is None else f"{low} to {high}"
        self._fault(f"{self._full(key)} is {_shown(value)}: allowed: whole numbers, {span}")
        return 0

    def at_least(self, key: str, value: int, other: str, other_value: int) -> None:
        """Record an error if `value` is less than `other_value` and both are valid."""
        if value and other_value and value < other_value:
            self._fault(
                f"{self._full(key)} is {value}{self._whence(key)}: allowed: {other_value} or more, "
                f"the value of {self._full(other)}"
            )

    def only(self, more: tuple[str, ...]) -> None:
        """Record an error for every key that is neither in `more` nor was read."""
        known = sorted(self._asked | set(more))
        for key in self.data:
            if key not in known:
                name = key if isinstance(key, str) and key.isprintable() else repr(key)
                self._fault(
                    f"{self._full(name)} is {_shown(self.data[key])}, a setting that "
                    f"{self._reader.program} does not have: correct its name "
                    f"({closest(str(key), known)}), or remove it if the networks are the same "
                    "without it; other networks of forks are not supported"
                )

    def _get(self, key: str, default: Any) -> tuple[bool, Any]:
        self._asked.add(key)
        if key in self.data:
            return True, self.data[key]
        if default is _REQUIRED:
            self._fault(f"{self._full(key)} is missing")
            return False, None
        return True, default

    def _whence(self, key: str) -> str:
        return "" if key in self.data else f" (the default of {self._reader.program})"

    def _full(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def _fault(self, text: str) -> None:
        self._reader.faults.append(text)


def _shares(data: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    return any(key in data for key in keys)


def _shown(value: Any) -> str:
    """A value in YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return shown(value)
