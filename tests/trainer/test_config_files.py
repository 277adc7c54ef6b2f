"""Configuration files: recipes, NVlabs/MUNIT's own, and settings from the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from foreign_models import IMAGINAIRE_SETTINGS, MUNIT_SETTINGS, changed

from munit_edge.errors import ConfigError
from munit_edge.model.config import ModelConfig
from munit_edge.model.cost import model_costs
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.config_files import (
    RECIPES,
    dump_train_config,
    find_config,
    read_model_config,
    read_train_config,
    recipe_names,
    recipe_path,
    set_key,
)


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_load_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    config = read_train_config(recipe_path(name))
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_train_config(config))
    assert read_train_config(copy) == config


def test_the_papers_recipe_is_the_default() -> None:
    assert read_train_config(recipe_path("paper")) == TrainConfig()


def test_the_papers_recipe_names_every_key_but_optional_losses() -> None:
    written = yaml.safe_load((RECIPES / "paper.yaml").read_text())
    missing = _flat(TrainConfig().model_dump()).keys() - _flat(written).keys()
    assert [k for k in missing if not (k.startswith("loss.") and k.endswith("_weight"))] == []


@pytest.mark.parametrize("name", ["demo", "edge", "improved"])
def test_other_recipes_name_only_keys_that_differ_from_the_defaults(name: str) -> None:
    written = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    defaults = TrainConfig().model_dump(mode="json")
    same = [key for key, value in _flat(written).items() if _flat(defaults)[key] == value]
    assert same == []


def test_the_improved_recipe_is_what_its_name_says() -> None:
    config = read_train_config(recipe_path("improved"))
    assert config.model.spectral_norm
    assert config.model.discriminator.spectral_norm
    assert config.model.pre_activation
    assert config.model.discriminator.kind == "global-residual"
    assert config.loss.gan == "hinge"
    rates = config.optimizer.generator_lr, config.optimizer.discriminator_lr
    assert rates == (1e-4, 4e-4)
    assert config.average_decay is not None


def test_commands_in_recipes_can_be_given(tmp_path: Path) -> None:
    """Each `--set` of the comments by itself, with the crop that the comment speaks of."""
    text = (RECIPES / "improved.yaml").read_text()
    settings = [a or b for a, b in re.findall(r"# .*--set (?:'(.+)'|(\S+=\S+?)\.?(?:\s|$))", text)]
    assert len(settings) == 2
    for setting in settings:
        crops = ["data.crop_height=128", "data.crop_width=128"] if "layers" in setting else []
        read_train_config(recipe_path("improved"), [setting, *crops])


def test_the_decoder_of_edge_costs_a_tenth_of_the_papers_at_most() -> None:
    size_hw = (256, 256)
    paper = model_costs(read_train_config(recipe_path("paper")).model, size_hw)
    edge = model_costs(read_train_config(recipe_path("edge")).model, size_hw)
    for domain in ("a", "b"):
        decoder, whole = edge[f"decoder_{domain}"], paper[f"decoder_{domain}"]
        assert decoder.macs <= 0.1 * whole.macs
        assert decoder.folded_macs <= 0.1 * whole.folded_macs
    given = re.findall(r"\d+\.\d+", (RECIPES / "edge.yaml").read_text().partition("munit-edge")[0])
    ratio = edge["decoder_a"].macs / paper["decoder_a"].macs
    counts = [edge["decoder_a"].macs, paper["decoder_a"].macs]
    counts += [edge["decoder_a"].folded_macs, paper["decoder_a"].folded_macs]
    for kind in ("content_encoder_a", "style_encoder_a"):
        counts += [edge[kind].macs, paper[kind].macs]
    gmacs = [count / 1e9 for count in counts]
    assert [float(number) for number in given] == pytest.approx(
        [gmacs[0], ratio, *gmacs[1:]], rel=0.005
    )


@pytest.mark.parametrize("name", recipe_names())
def test_every_key_of_a_recipe_is_explained(name: str) -> None:
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith("#")
    settings = [line for line in lines if ": " in line and not line.lstrip().startswith("#")]
    assert [line for line in settings if "#" not in line] == []


def test_a_file_or_a_recipe_is_named() -> None:
    assert find_config(None, "paper") == RECIPES / "paper.yaml"
    assert find_config(Path("run.yaml"), None) == Path("run.yaml")
    for neither_or_both in ((None, None), (Path("run.yaml"), "paper")):
        with pytest.raises(ConfigError, match=r"or a recipe with --recipe \(.*edge.*paper\)"):
            find_config(*neither_or_both)


def test_a_recipe_that_is_not_there_or_named_like_a_file_is_refused_with_the_fix(
    working_folder: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'papr': did you mean 'paper'\?"):
        find_config(None, "papr")
    (working_folder / "paper").mkdir()  # such as the results of an earlier run
    with pytest.raises(ConfigError, match="no file paper; for the recipe use --recipe paper"):
        find_config(Path("paper"), None)


def test_overrides_and_data_folder(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("data: {train_a: {folder: a}, train_b: {folder: b}, crop_width: 128}")
    config = read_train_config(
        file, ["loss.cycle_weight=10", "optimizer.generator_lr=1e-3"], tmp_path
    )
    assert (config.data.root, config.data.train_a, config.data.crop_width) == (tmp_path, None, 128)
    assert (config.loss.cycle_weight, config.optimizer.generator_lr) == (10, 0.001)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("loss.cycl_weight=1", "with --set: unknown key 'loss.cycl_weight': did you mean 'cycle_"),
        ("lss.gan=hinge", "unknown key 'lss': did you mean 'loss'?"),
        ("seed", "--set takes key=value, such as loss.cycle_weight=10; got 'seed'"),
        ("loss..gan=x", "--set takes key=value"),
        ("seed=[", "--set seed=[: the value is not YAML"),
        ("seed.x=1", "--set seed.x=1: 'seed' holds no keys of its own"),
        ("loss.gan=wgan", "'loss.gan' is 'wgan'"),
        ("data.max_megapixels=inf", "finite number"),
    ],
)
def test_impossible_overrides(override: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("seed: 1")
    with pytest.raises(ConfigError) as caught:
        read_train_config(file, [override])
    assert words in str(caught.value)


def test_set_key_makes_missing_levels() -> None:
    data: dict[str, Any] = {"data": {"train_a": None}}
    set_key(data, "data.train_a.folder=x")
    assert data == {"data": {"train_a": {"folder": "x"}}}


# ----------------------------------------------------------------------------------------------
# NVlabs/MUNIT's files

MUNIT: dict[str, Any] = {
    "image_save_iter": 100,
    "image_display_iter": 50,
    "display_size": 4,
    "snapshot_save_iter": 200,
    "log_iter": 5,
    "max_iter": 1000,
    "batch_size": 2,
    "weight_decay": 0.001,
    "beta1": 0.4,
    "beta2": 0.99,
    "init": "xavier",
    "lr_policy": "step",
    "step_size": 300,
    "gamma": 0.25,
    "gan_w": 2,
    "recon_x_w": 20,
    "recon_s_w": 3,
    "recon_c_w": 4,
    "recon_x_cyc_w": 5,
    "vgg_w": 0,
    **changed(
        MUNIT_SETTINGS,
        {
            "lr": 0.0002,
            "gen.style_dim": 4,
            "gen.n_res": 1,
            "dis.n_layer": 3,
            "dis.gan_type": "nsgan",
            "input_dim_a": 1,
        },
    ),
    "num_workers": 6,
    "new_size": 72,
    "crop_image_height": 64,
    "crop_image_width": 32,
    "data_root": "./datasets/x",
}


def read_munit(tmp_path: Path, changes: dict[str, Any], *drop: str) -> TrainConfig:
    file = tmp_path / "munit.yaml"
    data = {key: value for key, value in (MUNIT | changes).items() if key not in drop}
    file.write_text(yaml.safe_dump(data))
    return read_train_config(file)


def test_munit_files_are_taken_as_they_are(tmp_path: Path) -> None:
    config = read_munit(tmp_path, {})
    assert config.model.width == 8
    assert (config.model.channels_a, config.model.channels_b) == (1, 3)
    assert config.data.model_dump() == {
        **DATA_DEFAULTS,
        "root": Path("datasets/x"),
        "resize": 72,
        "crop_height": 64,
        "crop_width": 32,
        "workers": 6,
    }
    assert config.loss.model_dump() == {
        **TrainConfig().loss.model_dump(),
        "gan": "nsgan",
        "gan_convention": "paper",
        "gan_weight": 2,
        "image_weight": 20,
        "style_weight": 3,
        "content_weight": 4,
        "cycle_weight": 5,
        "detach_content_target": False,
        "perceptual_layer": "relu5_3",
    }
    assert config.optimizer.model_dump() == {
        "generator_lr": 0.0002,
        "discriminator_lr": 0.0002,
        "beta1": 0.4,
        "beta2": 0.99,
        "weight_decay": 0.001,
        "schedule": "step",
        "step_size": 300,
        "gamma": 0.25,
    }
    rest = {"model", "data", "loss", "optimizer"}
    assert config.model_dump(exclude=rest) == {
        **TrainConfig().model_dump(exclude=rest),
        "batch_size": 2,
        "iterations": 1000,
        "generator_init": "xavier",
        "discriminator_init": "gaussian",
        "log_interval": 5,
        "image_interval": 100,
        "num_display_images": 4,
        "checkpoint_interval": 200,
    }


DATA_DEFAULTS = TrainConfig().data.model_dump()


def test_munit_files_with_lists_and_two_sizes(tmp_path: Path) -> None:
    folders = {f"data_folder_train_{d}": f"images/{d}" for d in "ab"}
    lists = {f"data_list_train_{d}": f"{d}.txt" for d in "ab"}
    sizes = {"new_size_a": 72, "new_size_b": 80}
    config = read_munit(tmp_path, folders | lists | sizes, "data_root", "new_size").data
    assert (config.resize, config.resize_b, config.root) == (72, 80, None)
    assert config.train_b is not None
    assert (config.train_b.folder, config.train_b.list) == (Path("images/b"), Path("b.txt"))
    assert config.test_a is None


@pytest.mark.parametrize(
    ("changes", "drop", "words"),
    [
        ({"vgg_w": 1}, (), "perceptual_weight is 1 and perceptual_file is null: name a file of"),
        ({}, ("lr",), "'lr' is missing"),
        ({}, ("new_size",), "new_size is missing"),
        ({"lr_polcy": "step"}, (), "unknown key 'lr_polcy': did you mean 'lr_policy'?"),
        ({"lr_policy": "linear"}, (), "'lr_policy' is 'linear'"),
        ({"data_list_train_a": "a.txt"}, ("data_root",), "needs data_folder_train_a"),
        ({"crop_image_width": 30}, (), "data.crop_width 30"),
    ],
)
def test_munit_files_that_cannot_be_used(
    changes: dict[str, Any], drop: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_munit(tmp_path, changes, *drop)
    assert words in str(caught.value)


def test_lr_policy_may_be_absent(tmp_path: Path) -> None:
    assert read_munit(tmp_path, {}, "lr_policy").optimizer.schedule == "constant"


def test_the_model_of_any_configuration_can_be_read(tmp_path: Path) -> None:
    model = ModelConfig(width=12, num_res_blocks=2)
    whole = TrainConfig(model=model, batch_size=2)
    for name, data, width in (
        ("run", whole.model_dump(mode="json"), 12),
        ("run without a model", {"batch_size": 2}, 64),
        ("model", model.model_dump(mode="json"), 12),
        ("munit", MUNIT, MUNIT["gen"]["dim"]),
        ("imaginaire", IMAGINAIRE_SETTINGS, IMAGINAIRE_SETTINGS["gen"]["num_filters"]),
    ):
        (tmp_path / "file.yaml").write_text(yaml.safe_dump(data))
        assert read_model_config(tmp_path / "file.yaml").width == width, name
    (tmp_path / "file.yaml").write_text("width: 12\nnum_res_block: 2")
    with pytest.raises(ConfigError, match="'num_res_block': did you mean 'num_res_blocks'"):
        read_model_config(tmp_path / "file.yaml")


def test_imaginaire_files_are_refused_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "imaginaire.yaml"
    file.write_text("gen: {type: imaginaire.generators.munit}\ndis: {}\n")
    with pytest.raises(ConfigError, match=r"start from a recipe \(demo, edge, improved, paper\)"):
        read_train_config(file)


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    if not isinstance(data, dict):
        return {prefix.removesuffix("."): data}
    parts = (_flat(value, f"{prefix}{key}.") for key, value in data.items())
    return {key: value for part in parts for key, value in part.items()}
