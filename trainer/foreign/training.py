"""The training half of an NVlabs/MUNIT configuration file, read as a `TrainConfig`.

The model's half is in `munit_edge.trainer.foreign.config`. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from munit_edge.errors import ConfigError
from munit_edge.model.config import Domain
from munit_edge.settings import StrictModel, closest, validate
from munit_edge.trainer.config import Initialisation, UserPath
from munit_edge.trainer.foreign.config import MUNIT, model_config_from_munit, top_level
from munit_edge.trainer.foreign.settings import fork_setting


class _Discriminator(StrictModel):
    gan_type: Literal["lsgan", "nsgan"]
    dim: Any = None
    norm: Any = None
    activ: Any = None
    n_layer: Any = None
    num_scales: Any = None
    pad_type: Any = None


class _Settings(StrictModel):
    """The keys of that program; those without a default here have none there."""

    # Of the model: read elsewhere.
    gen: Any
    dis: _Discriminator
    input_dim_a: Any
    input_dim_b: Any
    # Of the run.
    image_save_iter: int
    image_display_iter: Any = None
    """Interval of a preview image that we do not write."""
    display_size: int
    snapshot_save_iter: int
    log_iter: int
    max_iter: int
    batch_size: int
    weight_decay: float
    beta1: float
    beta2: float
    init: Initialisation
    lr: float
    lr_policy: Literal["step", "constant"] | None = None
    step_size: int = Field(100_000)
    gamma: float = Field(0.5)
    gan_w: float
    recon_x_w: float
    recon_s_w: float
    recon_c_w: float
    recon_x_cyc_w: float = 0.0
    vgg_w: float = 0.0
    num_workers: int
    new_size: int | None = None
    new_size_a: int | None = None
    new_size_b: int | None = None
    crop_image_height: int
    crop_image_width: int
    data_root: UserPath | None = None
    data_folder_train_a: UserPath | None = None
    data_folder_train_b: UserPath | None = None
    data_folder_test_a: UserPath | None = None
    data_folder_test_b: UserPath | None = None
    data_list_train_a: UserPath | None = None
    data_list_train_b: UserPath | None = None
    data_list_test_a: UserPath | None = None
    data_list_test_b: UserPath | None = None


def train_data_from_munit(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The settings of a configuration file of NVlabs/MUNIT, with the keys of `TrainConfig`.

    Args:
        data: the whole file.
        source: its name in messages, such as its path.

    Raises:
        ConfigError: lists the settings that are missing, unknown or not supported.
    """
    data = top_level(data)
    faults = _foreign_faults(data)
    try:
        model = model_config_from_munit(data, source)
    except ConfigError as exc:
        raise ConfigError("; ".join([str(exc), *faults])) from exc
    if faults:
        raise ConfigError(f"{source}: " + "; ".join(faults))
    settings = validate(_Settings, data, source)
    return {
        "model": model.model_dump(mode="json"),
        "data": _data(settings, source),
        "loss": {
            "gan": settings.dis.gan_type,
            "gan_convention": "paper",
            "gan_weight": settings.gan_w,
            "image_weight": settings.recon_x_w,
            "style_weight": settings.recon_s_w,
            "content_weight": settings.recon_c_w,
            "cycle_weight": settings.recon_x_cyc_w,
            "perceptual_weight": settings.vgg_w,
            "perceptual_layer": "relu5_3",  # fixed in that program, whatever the paper says
        },
        "optimizer": {
            "generator_lr": settings.lr,
            "discriminator_lr": settings.lr,
            "beta1": settings.beta1,
            "beta2": settings.beta2,
            "weight_decay": settings.weight_decay,
            "schedule": settings.lr_policy or "constant",
            "step_size": settings.step_size,
            "gamma": settings.gamma,
        },
        "batch_size": settings.batch_size,
        "iterations": settings.max_iter,
        "generator_init": settings.init,
        "discriminator_init": "gaussian",  # fixed in that program
        "log_interval": settings.log_iter,
        "image_interval": settings.image_save_iter,
        "num_display_images": settings.display_size,
        "checkpoint_interval": settings.snapshot_save_iter,
    }


def _foreign_faults(data: Mapping[str, Any]) -> list[str]:
    """Messages about keys that NVlabs/MUNIT does not have; `validate` reports misspelt ones."""
    faults = []
    own = []
    for key in data.keys() - _Settings.model_fields.keys():
        if (hint := fork_setting(key, data[key])) is not None:
            faults.append(hint)
        elif not closest(key, list(_Settings.model_fields)).startswith("did you mean"):
            own.append(key)
    if own:
        names = ", ".join(f"'{key}'" for key in sorted(own))
        faults.append(
            f"{MUNIT} has no {names}: these are settings of a fork, whose effect on training is "
            "unknown; remove them to train as NVlabs/MUNIT does"
        )
    return sorted(faults)


def _data(settings: _Settings, source: str) -> dict[str, Any]:
    data: dict[str, Any] = {
        "resize": settings.new_size or settings.new_size_a,
        "resize_b": None if settings.new_size else settings.new_size_b,
        "crop_height": settings.crop_image_height,
        "crop_width": settings.crop_image_width,
        "workers": settings.num_workers,
    }
    if data["resize"] is None:
        raise ConfigError(f"{source}: new_size is missing (or new_size_a and new_size_b)")
    if settings.data_root is not None:
        return data | {"root": str(settings.data_root)}
    sources = {
        f"{part}_{domain}": _source(settings, part, domain, source)
        for part in ("train", "test")
        for domain in ("a", "b")
    }
    return data | sources


def _source(settings: _Settings, part: str, domain: Domain, source: str) -> dict[str, Any] | None:
    folder: Path | None = getattr(settings, f"data_folder_{part}_{domain}")
    listed: Path | None = getattr(settings, f"data_list_{part}_{domain}")
    if folder is None:
        if listed is not None:
            raise ConfigError(
                f"{source}: data_list_{part}_{domain} needs data_folder_{part}_{domain}"
            )
        return None
    return {"folder": str(folder), "list": None if listed is None else str(listed)}
