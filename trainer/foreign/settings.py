"""Our names of the settings of the two public releases of MUNIT, and of forks.

For users of those programs who write their names on the command line or in a file. Keys are dotted,
as in `--set`. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from munit_edge.files.plain_data import shown
from munit_edge.settings import has_key
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.foreign.config import IMAGINAIRE, MUNIT, MUNIT_NORMS

_GAN_MODES = {"hinge": "hinge", "least_square": "lsgan", "non_saturated": "nsgan"}
_PARTS = ("train", "test")


@dataclass(frozen=True)
class Counterpart:
    """Our counterpart of a foreign setting."""

    keys: tuple[str, ...] = ()
    """Our settings that take its value; none where there is no counterpart."""
    values: Mapping[Any, str] | None = None
    """Our names of its values; None: they are the same."""
    split: bool = False
    """Whether its value is a list, or text with commas: one item for each of `keys`."""
    note: str = ""
    """A remark; without a counterpart, the reason."""


def _same(ours: str) -> Counterpart:
    return Counterpart(tuple(ours.split()))


def _none(why: str) -> Counterpart:
    return Counterpart(note=why)


_UNIT = _none("it is a loss of UNIT, and munit-edge only trains MUNIT")
_EPOCHS = _none("training is measured in iterations here: epochs x images / batch_size")
_ADAM = _none("the optimiser is always Adam, with one set of betas for all networks")

_OF_MUNIT: dict[str, Counterpart] = {
    "image_save_iter": _same("image_interval"),
    "image_display_iter": _none("images are only written every image_interval, as grids"),
    "display_size": _same("num_display_images"),
    "snapshot_save_iter": _same("checkpoint_interval"),
    "log_iter": _same("log_interval"),
    "max_iter": _same("iterations"),
    "weight_decay": _same("optimizer.weight_decay"),
    "beta1": _same("optimizer.beta1"),
    "beta2": _same("optimizer.beta2"),
    "init": _same("generator_init"),
    "lr": _same("optimizer.generator_lr optimizer.discriminator_lr"),
    "lr_policy": _same("optimizer.schedule"),
    "step_size": _same("optimizer.step_size"),
    "gamma": _same("optimizer.gamma"),
    "gan_w": _same("loss.gan_weight"),
    "recon_x_w": _same("loss.image_weight"),
    "recon_s_w": _same("loss.style_weight"),
    "recon_c_w": _same("loss.content_weight"),
    "recon_x_cyc_w": _same("loss.cycle_weight"),
    "recon_kl_w": _UNIT,
    "recon_kl_cyc_w": _UNIT,
    "vgg_w": Counterpart(
        ("loss.perceptual_weight",), note="the VGG-16 weights are loss.perceptual_file"
    ),
    "gen.dim": _same("model.width"),
    "gen.mlp_dim": _same("model.mlp_dim"),
    "gen.style_dim": _same("model.style_dim"),
    "gen.activ": _same("model.activation"),
    "gen.n_downsample": _same("model.num_downsamples"),
    "gen.n_res": _same("model.num_res_blocks"),
    "gen.pad_type": _same("model.padding"),
    "dis.dim": _same("model.discriminator.width"),
    "dis.norm": Counterpart(("model.discriminator.norm",), MUNIT_NORMS),
    "dis.activ": _same("model.discriminator.activation"),
    "dis.n_layer": _same("model.discriminator.num_layers"),
    "dis.gan_type": _same("loss.gan"),
    "dis.num_scales": _same("model.discriminator.num_scales"),
    "dis.pad_type": _same("model.discriminator.padding"),
    "input_dim_a": _same("model.channels_a"),
    "input_dim_b": _same("model.channels_b"),
    "num_workers": _same("data.workers"),
    "new_size": _same("data.resize"),
    "new_size_a": _same("data.resize"),
    "new_size_b": _same("data.resize_b"),
    "crop_image_height": _same("data.crop_height"),
    "crop_image_width": _same("data.crop_width"),
    "data_root": _same("data.root"),
} | {
    f"data_{theirs}_{part}_{domain}": _same(f"data.{part}_{domain}.{theirs}")
    for theirs in ("folder", "list")
    for part in _PARTS
    for domain in "ab"
}

_OF_FORKS: dict[str, Counterpart] = {
    "horizontal_flip": _same("data.flip"),
    "vgg_model_path": Counterpart(
        ("loss.perceptual_file",), note="the file itself, with torchvision's names"
    ),
    "seed": _same("seed"),
    "gpu_ids": _none("select GPUs with CUDA_VISIBLE_DEVICES"),
    "root_a": _same("data.train_a.folder data.test_a.folder"),
    "root_b": _same("data.train_b.folder data.test_b.folder"),
} | {
    f"{part}_list_{domain}": _same(f"data.{part}_{domain}.list")
    for part in _PARTS
    for domain in "ab"
}

_OPTIMIZERS = {
    f"{network}_opt.{key}": value
    for network, ours in (("gen", "generator"), ("dis", "discriminator"))
    for key, value in {
        "lr": _same(f"optimizer.{ours}_lr"),
        "adam_beta1": _same("optimizer.beta1"),
        "adam_beta2": _same("optimizer.beta2"),
        "weight_decay": _same("optimizer.weight_decay"),
        "lr_policy.type": _same("optimizer.schedule"),
        "lr_policy.step_size": _same("optimizer.step_size"),
        "lr_policy.gamma": _same("optimizer.gamma"),
        "lr_policy.iteration_mode": _EPOCHS,
        "type": _ADAM,
        "eps": _ADAM,
        "fused_opt": _same("speed.fused_adam"),
    }.items()
}

_OF_IMAGINAIRE: dict[str, Counterpart] = _OPTIMIZERS | {
    "max_epoch": _EPOCHS,
    "snapshot_save_epoch": _EPOCHS,
    "logging_iter": _same("log_interval"),
    "gen.num_filters": _same("model.width"),
    "gen.max_num_filters": _same("model.max_width"),
    "gen.num_downsamples_content": _same("model.num_downsamples"),
    "gen.num_downsamples_style": _same("model.num_style_downsamples"),
    "gen.num_res_blocks": _same("model.num_res_blocks"),
    "gen.latent_dim": _same("model.style_dim"),
    "gen.num_filters_mlp": _same("model.mlp_dim"),
    "gen.num_mlp_blocks": _same("model.num_mlp_layers"),
    "gen.num_image_channels": _same("model.channels_a model.channels_b"),
    "gen.pre_act": _same("model.pre_activation"),
    "dis.num_filters": _same("model.discriminator.width"),
    "dis.max_num_filters": _same("model.discriminator.max_width"),
    "dis.num_layers": _same("model.discriminator.num_layers"),
    "dis.num_discriminators": _same("model.discriminator.num_scales"),
    "dis.patch_wise": Counterpart(
        ("model.discriminator.kind",), {True: "multiresolution-patch", False: "global-residual"}
    ),
    "trainer.gan_mode": Counterpart(
        ("loss.gan",), _GAN_MODES, note="that program also has loss.gan_convention=improved"
    ),
    "trainer.model_average": _none("average_decay enables the EMA; 0.999 is usual"),
    "trainer.model_average_beta": _same("average_decay"),
    "trainer.model_average_start_iteration": _none("the EMA starts at once"),
    "trainer.perceptual_layers": Counterpart(
        ("loss.perceptual_layer",), note="one layer, named as in relu4_3"
    ),
    "trainer.init.type": _same("generator_init"),
    "trainer.loss_weight.gan": _same("loss.gan_weight"),
    "trainer.loss_weight.image_recon": _same("loss.image_weight"),
    "trainer.loss_weight.style_recon": _same("loss.style_weight"),
    "trainer.loss_weight.content_recon": _same("loss.content_weight"),
    "trainer.loss_weight.cycle_recon": _same("loss.cycle_weight"),
    "trainer.loss_weight.perceptual": _same("loss.perceptual_weight"),
    "trainer.loss_weight.gp": _none("loss.r1_weight is the gradient penalty here, on real images"),
    "trainer.loss_weight.consistency_reg": _none("there is no consistency regularisation"),
    "data.num_workers": _same("data.workers"),
    "data.train.batch_size": _same("batch_size"),
    "data.train.roots": _none(
        "data sets are folders of images: data.root, or data.train_a.folder and data.train_b.folder"
    ),
    "data.train.augmentations.resize_smallest_side": _same("data.resize"),
    "data.train.augmentations.random_crop_h_w": Counterpart(
        ("data.crop_height", "data.crop_width"), split=True
    ),
    "data.train.augmentations.horizontal_flip": _same("data.flip"),
}

_PROGRAMS = {MUNIT: _OF_MUNIT, IMAGINAIRE: _OF_IMAGINAIRE, "a fork of " + MUNIT: _OF_FORKS}


def foreign_setting(key: str, value: Any) -> str | None:
    """A hint about a foreign setting `key`, or None if it is ours or unknown.

    Args:
        key: dotted ("gen.dim"), or its last part ("n_res").
        value: plain data.
    """
    if has_key(TrainConfig, key):
        return None
    # The dotted key as it is, or else every setting that ends with it: one name may be in both
    # programs, or in several sections.
    known = [(name, theirs) for name, table in _PROGRAMS.items() for theirs in table]
    found = [one for one in known if one[1] == key] or [
        one for one in known if one[1].rpartition(".")[2] == key
    ]
    texts = [
        f"'{theirs}' of {name} {_hint(_PROGRAMS[name][theirs], value)}" for name, theirs in found
    ]
    return ", and ".join(dict.fromkeys(texts)) or None


def fork_setting(key: str, value: Any) -> str | None:
    """A hint about a top-level key of a configuration that is otherwise NVlabs/MUNIT's, or None."""
    if has_key(TrainConfig, key):
        shown_value = _text(value) if isinstance(value, (int, float)) else "..."
        return f"'{key}' is a setting of munit-edge: remove it and pass --set {key}={shown_value}"
    counterpart = _OF_FORKS.get(key) or _OF_MUNIT.get(key)
    if counterpart is None:
        return None
    if not counterpart.keys:
        return f"'{key}' {_hint(counterpart, value)}: remove it"
    return f"'{key}' is a setting of a fork, remove it: it {_hint(counterpart, value)}"


def foreign_settings(data: Mapping[str, Any]) -> Iterator[str]:
    """`foreign_setting` for all keys of a configuration."""
    for key, value in _leaves(data, ""):
        if (hint := foreign_setting(key, value)) is not None:
            yield hint


def _leaves(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _hint(counterpart: Counterpart, value: Any) -> str:
    if not counterpart.keys:
        return f"has no counterpart: {counterpart.note}"
    note = f" ({counterpart.note})" if counterpart.note else ""
    return f"is {_options(counterpart, value)} here{note}"


def _options(counterpart: Counterpart, value: Any) -> str:
    """The options to pass instead, with the value if it can be converted."""
    values: list[Any] = [value] * len(counterpart.keys)
    # A value that cannot be converted is left out: the hint still names our keys.
    if counterpart.split:
        values = value.split(",") if isinstance(value, str) else value
        if not isinstance(values, list) or len(values) != len(counterpart.keys):
            return " and ".join(counterpart.keys)
    if counterpart.values is not None:
        # Lists and mappings are not hashable.
        if isinstance(value, (list, dict)) or value not in counterpart.values:
            return f"{counterpart.keys[0]} ({', '.join(counterpart.values.values())})"
        values = [counterpart.values[value]]
    return " ".join(
        f"--set {key}={_text(item)}" for key, item in zip(counterpart.keys, values, strict=True)
    )


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return value.strip() if isinstance(value, str) and len(value) < 80 else shown(value)
