"""The settings that the tensors of a foreign checkpoint imply, to explain a wrong configuration.

Settings have their foreign names ("gen.n_res"). Tensors are given by name and shape, the names
without the prefix of their domain. Needs no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from munit_edge.model.config import ModelConfig
from munit_edge.trainer.foreign.config import MUNIT_NORMS

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Implied:
    """The values of one setting that the tensors allow."""

    text: str
    """For messages, such as "4" or "none or in"."""
    fits: Callable[[Any], bool]
    """Whether a value of the setting agrees."""


def disagreements(
    config: ModelConfig,
    generators: Mapping[str, Shapes],
    discriminators: Mapping[str, Shapes] | None,
) -> list[str]:
    """One sentence for each setting of `config` that the tensors contradict.

    Args:
        config: the model of the foreign configuration file.
        generators: the tensors of the live generators, by domain.
        discriminators: the tensors of the discriminators, by domain, or None.
    """
    if config.architecture == "munit":
        configured, implied = _munit_configured(config), _munit_generator(generators)
        dis = _munit_discriminator
    else:
        configured, implied = _imaginaire_configured(config), _imaginaire_generator(generators["a"])
        dis = _imaginaire_discriminator
    if discriminators is not None:
        implied |= dis(discriminators["a"])
    return [
        f"the weights imply {name} = {value.text}, the config says {_shown(configured[name])}"
        for name, value in implied.items()
        if name in configured and not value.fits(configured[name])
    ]


def implied_pre_activation(names: Iterable[str]) -> bool | None:
    """Whether norms precede convolutions in imaginaire's residual blocks; None: no evidence.

    The tensors are the same for both orders, but that program registers layers in the order in
    which they run, and so does the file.
    """
    names = list(names)
    if names == sorted(names):
        return None  # they have been sorted
    inside = [name for name in names if "content_encoder." in name and "conv_block_0" in name]
    norm = next((i for i, name in enumerate(inside) if ".norm." in name), None)
    conv = next((i for i, name in enumerate(inside) if ".conv." in name), None)
    return None if norm is None or conv is None else norm < conv


def _munit_configured(config: ModelConfig) -> dict[str, Any]:
    dis = config.discriminator
    norms = {ours: theirs for theirs, ours in MUNIT_NORMS.items()}
    return {
        "input_dim_a": config.channels_a,
        "input_dim_b": config.channels_b,
        "gen.dim": config.width,
        "gen.n_downsample": config.num_downsamples,
        "gen.n_res": config.num_res_blocks,
        "gen.style_dim": config.style_dim,
        "gen.mlp_dim": config.mlp_dim,
        "gen.activ": config.activation,
        "dis.dim": dis.width,
        "dis.n_layer": dis.num_layers,
        "dis.num_scales": dis.num_scales,
        "dis.norm": norms[dis.norm],
        "dis.activ": dis.activation,
    }


def _munit_generator(domains: Mapping[str, Shapes]) -> dict[str, Implied]:
    shapes = domains["a"]
    first = "enc_content.model.0.conv.weight"
    implied = _found(
        {
            "input_dim_a": _size(shapes, first, 1),
            "input_dim_b": _size(domains["b"], first, 1),
            "gen.dim": _size(shapes, first, 0),
            "gen.n_downsample": _count(shapes, r"enc_content\.model\.(\d+)\.conv\.", less=1),
            "gen.n_res": _count(shapes, r"dec\.model\.0\.model\.(\d+)\."),
            "gen.style_dim": _size(shapes, "mlp.model.0.fc.weight", 1),
            "gen.mlp_dim": _size(shapes, "mlp.model.0.fc.weight", 0),
        }
    )
    return implied | {"gen.activ": _activation(shapes)}


def _munit_discriminator(shapes: Shapes) -> dict[str, Implied]:
    implied = _found(
        {
            "dis.dim": _size(shapes, "cnns.0.0.conv.weight", 0),
            "dis.n_layer": _count(shapes, r"cnns\.0\.(\d+)\.conv\."),
            "dis.num_scales": _count(shapes, r"cnns\.(\d+)\."),
        }
    )
    implied["dis.activ"] = _activation(shapes)
    if "cnns.0.1.conv.weight" in shapes:  # the first layer has no norm
        # Instance norm has no tensors, so it cannot be told from none.
        layer_norm = "cnns.0.1.norm.gamma" in shapes
        implied["dis.norm"] = _one_of("ln") if layer_norm else _one_of("none", "in")
    return implied


def _imaginaire_configured(config: ModelConfig) -> dict[str, Any]:
    dis = config.discriminator
    patch = dis.kind == "multiresolution-patch"
    settings = {
        "gen.num_image_channels": config.channels_a,
        "gen.num_filters": config.width,
        "gen.max_num_filters": config.max_width,
        "gen.num_downsamples_content": config.num_downsamples,
        "gen.num_downsamples_style": config.num_style_downsamples,
        "gen.num_res_blocks": config.num_res_blocks,
        "gen.latent_dim": config.style_dim,
        "gen.num_filters_mlp": config.mlp_dim,
        "gen.num_mlp_blocks": config.num_mlp_layers,
        "gen.weight_norm_type": "spectral",  # the only values that the reader accepts
        "gen.apply_noise": False,
        "dis.patch_wise": patch,
        "dis.num_filters": dis.width,
        "dis.max_num_filters": dis.max_width,
        "dis.num_layers": dis.num_layers,
        "dis.weight_norm_type": "spectral",
    }
    return settings | ({"dis.num_discriminators": dis.num_scales} if patch else {})


def _imaginaire_generator(shapes: Shapes) -> dict[str, Implied]:
    spectral = _spectral(shapes)
    shapes = _plain(shapes)
    first, layers = "content_encoder.model.0.layers.conv.weight", r"\.model\.(\d+)\.layers\.conv\."
    width = _size(shapes, first, 0)
    downs = _count(shapes, "content_encoder" + layers, less=1)
    implied = _found(
        {
            "gen.num_image_channels": _size(shapes, first, 1),
            "gen.num_filters": width,
            "gen.num_downsamples_content": downs,
            "gen.num_downsamples_style": _count(shapes, "style_encoder" + layers, less=1),
            "gen.num_res_blocks": _count(shapes, r"content_encoder\.model\.(\d+)\.conv_block_0\."),
            "gen.latent_dim": _size(shapes, "mlp.model.0.layers.conv.weight", 1),
            "gen.num_filters_mlp": _size(shapes, "mlp.model.0.layers.conv.weight", 0),
            "gen.num_mlp_blocks": _count(shapes, r"mlp\.model\.(\d+)\."),
        }
    )
    widest = _size(shapes, f"content_encoder.model.{downs}.layers.conv.weight", 0)
    implied |= _maximum("gen.max_num_filters", width, downs, widest)
    implied["gen.weight_norm_type"] = _one_of("spectral" if spectral else "none")
    implied["gen.apply_noise"] = _one_of(any(".noise." in name for name in shapes))
    return implied


def _imaginaire_discriminator(shapes: Shapes) -> dict[str, Implied]:
    spectral = _spectral(shapes)
    shapes = _plain(shapes)
    patch = any(name.startswith("discriminators.") for name in shapes)
    if patch:
        first = "discriminators.0.layer0.0.layers.conv.weight"
        layers = _count(shapes, r"discriminators\.0\.layer(\d+)\.", less=2)
        last = f"discriminators.0.layer{layers}.0.layers.conv.weight"
        widest = _size(shapes, last, 0)
    else:
        first = "model.0.layers.conv.weight"
        layers = _count(shapes, r"model\.(\d+)\.conv_block_0\.")
        widest = _size(shapes, "classifier.weight", 1)
    width = _size(shapes, first, 0)
    implied = _found({"dis.num_filters": width, "dis.num_layers": layers})
    if patch:
        implied |= _found({"dis.num_discriminators": _count(shapes, r"discriminators\.(\d+)\.")})
    implied |= _maximum("dis.max_num_filters", width, layers, widest)
    implied["dis.patch_wise"] = _one_of(patch)
    implied["dis.weight_norm_type"] = _one_of("spectral" if spectral else "none")
    return implied


def _maximum(
    name: str, width: int | None, doublings: int | None, widest: int | None
) -> dict[str, Implied]:
    """What the widest layer implies for the limit of widths."""
    if width is None or doublings is None or widest is None:
        return {}
    # Narrower than unlimited doubling: the limit was reached, so it is known exactly.
    if widest < width * 2**doublings:
        return {name: _one_of(widest)}
    return {name: Implied(f"{widest} or more", lambda value: value >= widest)}


def _activation(shapes: Shapes) -> Implied:
    if any(name.endswith(".activation.weight") for name in shapes):
        return _one_of("prelu")
    return Implied("one without learned slopes", lambda value: value != "prelu")


def _one_of(*values: Any) -> Implied:
    return Implied(" or ".join(map(_shown, values)), lambda value: value in values)


def _found(values: Mapping[str, int | None]) -> dict[str, Implied]:
    return {name: _one_of(value) for name, value in values.items() if value is not None}


def _count(shapes: Shapes, pattern: str, *, less: int = 0) -> int | None:
    """The number of distinct matches of the pattern's group, minus `less`; None unless positive."""
    numbers = {match.group(1) for name in shapes if (match := re.match(pattern, name))}
    return len(numbers) - less if len(numbers) > less else None


def _size(shapes: Shapes, name: str, dim: int) -> int | None:
    shape = shapes.get(name, ())
    return shape[dim] if dim < len(shape) else None


def _spectral(shapes: Shapes) -> bool:
    return any(name.endswith(".weight_orig") for name in shapes)


def _plain(shapes: Shapes) -> Shapes:
    """`shapes` with spectrally normalised weights under their plain names."""
    return {name.removesuffix("_orig"): shape for name, shape in shapes.items()}


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
