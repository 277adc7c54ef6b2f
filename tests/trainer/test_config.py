"""The configuration of a run: defaults, rules, and the smallest crops that networks take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from training_runs import tiny_settings

from munit_edge.errors import ConfigError
from munit_edge.model.config import DiscriminatorConfig
from munit_edge.settings import validate
from munit_edge.trainer.config import DataConfig, ImageSource, OptimizerConfig, TrainConfig
from munit_edge.trainer.networks import build_discriminator


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(TrainConfig, tiny_settings(*overrides), "run.yaml")
    return str(caught.value)


def test_unknown_keys_are_named_with_the_closest_one() -> None:
    assert refused("loss.cycle_wieght=1") == (
        "run.yaml: unknown key 'loss.cycle_wieght': did you mean 'cycle_weight'?"
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.crop_width=6", "data.crop_width 6 is too small: the discriminator needs at least 8"),
        ("model.discriminator.num_scales=3", "num_layers or model.discriminator.num_scales"),
        ("model.num_style_downsamples=5", "the style encoder needs at least 32"),
        ("model.num_downsamples=4", "the content encoder needs at least 32"),
        ("data.crop_height=17", "not a multiple of 2 (2**model.num_downsamples): take 16 or 18"),
        ("optimizer.beta1=1", "'optimizer.beta1' is 1"),
        ("loss.gan_weight=-1", "'loss.gan_weight' is -1"),
        ("loss.image_weight=.nan", "the value is nan, which is not finite"),
        ("average_decay=1", "'average_decay' is 1"),
        ("loss.perceptual_weight=1", "loss: perceptual_weight is 1 and perceptual_file is null"),
        ("best_by=kid", "best_by is kid and evaluation.features names no file"),
        ("best_by=lpips", "best_by is lpips and evaluation.lpips names no file"),
        (
            "loss={perceptual_weight: 1, perceptual_file: x, perceptual_layer: relu5_1}",
            "data.crop_height 16 is too small: the perceptual loss needs at least 32 pixels per "
            "side; raise data.crop_height or lower loss.perceptual_layer",
        ),
        ("loss.augment=[color]", "'loss.augment' is 'color': Input should be 'colour'"),
        ("batch_size=0", "'batch_size' is 0"),
        ("data.train_a={folder: x}", "only train_a is given"),
    ],
)
def test_impossible_settings_are_refused(override: str, words: str) -> None:
    if "num_scales" in override:  # 16 pixels carry three scales of two layers
        assert words in refused(override, "model.discriminator.num_layers=3")
    else:
        assert words in refused(override)


def test_root_and_sources_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="both root and train_a, train_b are given"):
        DataConfig(root="x", train_a={"folder": "a"}, train_b={"folder": "b"})


def test_domain_b_may_have_a_size_of_its_own() -> None:
    config = DataConfig(resize=64, resize_b=48)
    assert (config.shorter_side("a"), config.shorter_side("b")) == (64, 48)
    assert DataConfig(resize=64).shorter_side("b") == 64
    assert DataConfig(resize=None).shorter_side("a") is None


@pytest.mark.parametrize("key", ["model.padding", "model.discriminator.padding"])
def test_replicate_padding_is_not_compiled(key: str) -> None:
    assert f"speed.compile does not work with {key} 'replicate'" in refused(
        "speed.compile=true", f"{key}=replicate"
    )


def test_a_source_is_a_folder_and_perhaps_a_list() -> None:
    assert ImageSource(folder="x").list is None


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"step_size": 2, "gamma": 0.5}, [1, 0.5, 0.5, 0.25]),
        ({"step_size": 3, "gamma": 0.1}, [1, 1, 0.1, 0.1]),
        ({"schedule": "constant", "step_size": 1}, [1, 1, 1, 1]),
    ],
)
def test_schedule_counts_iterations_from_1(settings: dict[str, Any], factors: list[float]) -> None:
    config = OptimizerConfig(**settings)
    assert [config.factor(i) for i in (1, 2, 3, 4)] == factors


DISCRIMINATORS = [
    *(
        {"kind": "multiscale-patch", "padding": padding, "norm": norm}
        for padding in ("reflect", "zero")
        for norm in ("none", "instance", "layer")
    ),
    {"kind": "multiscale-patch", "padding": "replicate", "norm": "layer"},
    {"kind": "multiresolution-patch", "padding": "zero"},
    {"kind": "global-residual", "padding": "zero"},
]


@pytest.mark.parametrize("settings", DISCRIMINATORS, ids=lambda s: "-".join(s.values()))
@pytest.mark.parametrize(("num_layers", "num_scales"), [(1, 1), (2, 1), (1, 3), (3, 2)])
def test_smallest_image_of_a_discriminator(
    settings: dict[str, Any], num_layers: int, num_scales: int
) -> None:
    if settings["kind"] == "global-residual":
        num_scales = 1
    config = DiscriminatorConfig(width=2, num_layers=num_layers, num_scales=num_scales, **settings)
    network = build_discriminator(config, 1)
    least = config.min_image_size

    assert all(torch.isfinite(out).all() for out in network(torch.rand(1, 1, least, least)))
    if least > 1:
        with pytest.raises((RuntimeError, ValueError)):
            network(torch.rand(1, 1, least - 1, least - 1))
