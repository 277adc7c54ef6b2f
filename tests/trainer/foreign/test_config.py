"""Configuration files of the two public programs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from foreign_models import IMAGINAIRE_SETTINGS, MUNIT_SETTINGS, Settings, changed

from munit_edge.errors import ConfigError
from munit_edge.model.config import DiscriminatorConfig, ModelConfig
from munit_edge.trainer.foreign.config import (
    is_imaginaire_yaml,
    is_munit_yaml,
    model_config_from_imaginaire,
    model_config_from_munit,
)


def test_each_kind_is_reported_from_the_other_and_from_ours() -> None:
    ours = {"model": ModelConfig().model_dump(), "data": "x"}
    kinds = [(is_munit_yaml(d), is_imaginaire_yaml(d)) for d in (MUNIT_SETTINGS, ours, None, [1])]
    assert kinds == [(True, False), (False, False), (False, False), (False, False)]
    assert (is_munit_yaml(IMAGINAIRE_SETTINGS), is_imaginaire_yaml(IMAGINAIRE_SETTINGS)) == (
        False,
        True,
    )


def test_munit() -> None:
    settings = changed(
        MUNIT_SETTINGS,
        {"gen.pad_type": "replicate", "gen.activ": "prelu", "dis.norm": "in", "input_dim_b": 1},
    )
    assert model_config_from_munit(settings, "x.yaml") == ModelConfig(
        architecture="munit",
        channels_a=3,
        channels_b=1,
        width=8,
        num_downsamples=2,
        num_style_downsamples=4,
        num_res_blocks=2,
        style_dim=8,
        mlp_dim=16,
        num_mlp_layers=3,
        padding="replicate",
        activation="prelu",
        discriminator=DiscriminatorConfig(
            kind="multiscale-patch",
            width=8,
            num_layers=2,
            num_scales=2,
            norm="instance",
            padding="reflect",
            activation="lrelu",
        ),
    )


def test_imaginaire_defaults() -> None:
    """What that program takes for settings that its public files leave out."""
    settings = {"gen": {"weight_norm_type": "spectral"}, "dis": {"weight_norm_type": "spectral"}}
    assert model_config_from_imaginaire(settings, "x.yaml") == ModelConfig(
        architecture="munit-sn",
        channels_a=3,
        channels_b=3,
        width=64,
        max_width=256,
        num_downsamples=2,
        num_style_downsamples=4,
        num_res_blocks=4,
        style_dim=8,
        mlp_dim=256,
        num_mlp_layers=2,
        padding="reflect",
        activation="relu",
        pre_activation=False,
        discriminator=DiscriminatorConfig(
            kind="multiresolution-patch",
            width=64,
            max_width=512,
            num_layers=4,
            num_scales=3,
            norm="none",
            padding="zero",
            activation="lrelu",
        ),
    )


def test_imaginaire_global_discriminator() -> None:
    settings = changed(IMAGINAIRE_SETTINGS, {"dis.patch_wise": False, "dis.num_layers": 6})
    discriminator = model_config_from_imaginaire(settings, "x.yaml").discriminator
    assert (discriminator.kind, discriminator.num_layers) == ("global-residual", 6)
    assert discriminator.num_scales == 1


def test_settings_outside_of_the_networks_do_not_matter() -> None:
    settings = changed(MUNIT_SETTINGS, {"lr_policy": "exotic", "vgg_w": 1})
    assert model_config_from_munit(settings, "x") == model_config_from_munit(MUNIT_SETTINGS, "x")


def test_the_other_discriminators_settings_are_ignored_as_in_that_program() -> None:
    settings = changed(IMAGINAIRE_SETTINGS, {"dis.first_kernel_size": 7})
    assert model_config_from_imaginaire(settings, "x.yaml").discriminator.num_layers == 2


MUNIT_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "activation": ({"gen.activ": "gelu"}, "gen.activ is 'gelu': allowed: 'relu', 'lrelu', "),
    "padding": ({"gen.pad_type": "circular"}, "gen.pad_type is 'circular': allowed: 'reflect', "),
    "norm": ({"dis.norm": "bn"}, "dis.norm is 'bn': allowed: 'none', 'in', 'ln'"),
    "channels": ({"input_dim_a": 2}, "input_dim_a is 2: allowed: 1, 3, 4"),
    "number": ({"gen.dim": 0}, "gen.dim is 0: allowed: whole numbers, 1 to 65536"),
    "range": ({"gen.n_downsample": 9}, "gen.n_downsample is 9: allowed: whole numbers, 1 to 6"),
    "type": ({"gen.n_res": "4"}, "gen.n_res is '4': allowed: whole numbers"),
    "bool": ({"gen.n_res": True}, "gen.n_res is true: allowed: whole numbers"),
    "fraction": ({"gen.n_res": 4.0}, "gen.n_res is 4.0: allowed: whole numbers"),
    "missing": ({"gen.mlp_dim": None}, "gen.mlp_dim is missing"),
    "unknown": ({"dis.num_scale": 3}, r"dis.num_scale is 3, .*\(did you mean 'num_scales'\?\)"),
    "part": ({"dis": None}, "the section 'dis' is missing"),
    "unit": ({"gen.mlp_dim": None, "gen.style_dim": None}, "as in UNIT"),
    "newline": ({"gen.a\nb": 1}, r"gen.'a\\nb' is 1"),
}

IMAGINAIRE_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "other model": (
        {"gen.type": "imaginaire.generators.funit"},
        "gen.type is 'imaginaire.generators.funit': allowed: 'imaginaire.generators.munit'",
    ),
    "no spectral norm": (
        {"gen.weight_norm_type": None},
        r"gen.weight_norm_type is '' \(the default of NVlabs/imaginaire\): allowed: 'spectral'",
    ),
    "content norm": ({"gen.content_norm_type": "batch"}, "allowed: 'instance'"),
    "style norm": ({"gen.style_norm_type": "instance"}, "allowed: '', 'none'"),
    "decoder norm": ({"gen.decoder_norm_type": "layer"}, "allowed: 'instance'"),
    "affine": (
        {"gen.decoder_norm_params": {"affine": True}},
        "gen.decoder_norm_params.affine is true: allowed: false",
    ),
    "affine type": ({"gen.decoder_norm_params": 3}, "gen.decoder_norm_params is 3"),
    "tanh": ({"gen.output_nonlinearity": "tanh"}, "output_nonlinearity is 'tanh': allowed: '',"),
    "noise": ({"gen.apply_noise": True}, "gen.apply_noise is true: allowed: false"),
    "pre_act": ({"gen.pre_act": 1}, "gen.pre_act is 1: allowed: false, true"),
    "style": ({"gen.num_downsamples_style": 1}, "whole numbers, 2 to 8"),
    "widths": (
        {"gen.max_num_filters": 4},
        "gen.max_num_filters is 4: allowed: 8 or more, the value of gen.num_filters",
    ),
    "unknown": ({"gen.num_filter": 8}, r"gen.num_filter is 8, .*\(did you mean 'num_filters'\?\)"),
    "channels": ({"dis.num_image_channels": 1}, "dis.num_image_channels is 1: allowed: 3"),
    "kernel": ({"dis.kernel_size": 4}, "dis.kernel_size is 4: allowed: 3"),
    "norm": ({"dis.activation_norm_type": "instance"}, "dis.activation_norm_type is 'instance'"),
    "first kernel": (
        {"dis.patch_wise": False, "dis.first_kernel_size": 7},
        "dis.first_kernel_size is 7: allowed: 1",
    ),
    "aggregation": (
        {"dis.patch_wise": False, "dis.aggregation": "pool"},
        "dis.aggregation is 'pool': allowed: 'conv'",
    ),
    "part": ({"dis": None}, "the section 'dis' is missing"),
}

TABLE = [
    pytest.param(read, base, *fault, id=f"{kind} {name}")
    for kind, read, base, faults in (
        ("munit", model_config_from_munit, MUNIT_SETTINGS, MUNIT_FAULTS),
        ("imaginaire", model_config_from_imaginaire, IMAGINAIRE_SETTINGS, IMAGINAIRE_FAULTS),
    )
    for name, fault in faults.items()
]


@pytest.mark.parametrize(("read", "base", "changes", "message"), TABLE)
def test_faults_name_setting_value_and_what_is_allowed(
    read: Callable[[Settings, str], ModelConfig],
    base: Settings,
    changes: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(changed(base, changes), "x.yaml")
    assert str(caught.value).startswith("x.yaml: ")
    assert "\n" not in str(caught.value)


def test_all_faults_come_at_once() -> None:
    settings = changed(MUNIT_SETTINGS, {"gen.dim": -1, "dis.norm": "bn", "input_dim_b": None})
    with pytest.raises(ConfigError) as caught:
        model_config_from_munit(settings, "x.yaml")
    for fault in ("gen.dim is -1", "dis.norm is 'bn'", "input_dim_b is missing"):
        assert fault in str(caught.value)


def test_settings_are_left_as_they_were() -> None:
    before = copy.deepcopy(IMAGINAIRE_SETTINGS)
    model_config_from_imaginaire(IMAGINAIRE_SETTINGS, "x.yaml")
    assert before == IMAGINAIRE_SETTINGS
