"""Hints for users of other programs about their settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from foreign_models import MUNIT_SETTINGS, changed

from munit_edge.errors import ConfigError
from munit_edge.settings import has_key
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.config_files import read_train_config, recipe_path
from munit_edge.trainer.foreign.settings import _PROGRAMS, foreign_setting

MUNIT_FILE = {
    "image_save_iter": 100,
    "image_display_iter": 100,
    "display_size": 2,
    "snapshot_save_iter": 100,
    "log_iter": 10,
    "max_iter": 1,
    "batch_size": 1,
    "weight_decay": 0.0001,
    "beta1": 0.5,
    "beta2": 0.999,
    "init": "kaiming",
    "lr_policy": "step",
    "step_size": 100,
    "gamma": 0.5,
    "gan_w": 1,
    "recon_x_w": 10,
    "recon_s_w": 1,
    "recon_c_w": 1,
    "recon_x_cyc_w": 0,
    "vgg_w": 0,
    **changed(MUNIT_SETTINGS, {"gen.n_downsample": 1, "gen.n_res": 1, "dis.num_scales": 1}),
    "num_workers": 0,
    "new_size": 32,
    "crop_image_height": 32,
    "crop_image_width": 32,
    "data_root": "small",
}


def refused_setting(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_train_config(recipe_path("demo"), overrides)
    return str(caught.value)


def refused_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_train_config(path)
    assert str(caught.value).startswith(f"{path}")
    return str(caught.value)


def munit_text(**changes: object) -> str:
    return yaml.safe_dump(MUNIT_FILE | changes)


def test_every_counterpart_is_a_setting() -> None:
    for table in _PROGRAMS.values():
        for theirs, counterpart in table.items():
            assert counterpart.keys or counterpart.note, theirs
            for ours in counterpart.keys:
                assert has_key(TrainConfig, ours), (theirs, ours)


def test_no_name_of_that_program_is_forgotten() -> None:
    """All of its settings have a hint, except those with the same name here."""
    for key, value in MUNIT_FILE.items():
        inner = value if isinstance(value, dict) else {}
        for name in [f"{key}.{part}" for part in inner] or [key]:
            assert has_key(TrainConfig, name) or foreign_setting(name, 1), name


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("max_iter=1", "'max_iter' of NVlabs/MUNIT is --set iterations=1 here"),
        (
            "lr=0.001",
            "is --set optimizer.generator_lr=0.001 --set optimizer.discriminator_lr=0.001 here",
        ),
        ("gen.dim=8", "'gen.dim' of NVlabs/MUNIT is --set model.width=8 here"),
        ("n_res=3", "is --set model.num_res_blocks=3 here"),
        ("dis.norm=in", "is --set model.discriminator.norm=instance here"),
        ("dis.norm=bn", "is model.discriminator.norm (none, instance, layer) here"),
        ("dis.gan_type=nsgan", "is --set loss.gan=nsgan here"),
        ("data_root=x", "is --set data.root=x here"),
        ("data_list_train_b=x", "is --set data.train_b.list=x here"),
        ("image_display_iter=1", "'image_display_iter' of NVlabs/MUNIT has no counterpart: "),
        ("recon_kl_w=1", "has no counterpart: it is a loss of UNIT"),
        ("max_epoch=3", "of NVlabs/imaginaire has no counterpart: training is measured in"),
        ("gen_opt.lr=0.1", "is --set optimizer.generator_lr=0.1 here"),
        ("trainer.gan_mode=least_square", "is --set loss.gan=lsgan here"),
        ("trainer.loss_weight.cycle_recon=1", "is --set loss.cycle_weight=1 here"),
        (
            "data.train.augmentations.random_crop_h_w='128,256'",
            "is --set data.crop_height=128 --set data.crop_width=256 here",
        ),
        ("dis.patch_wise=false", "is --set model.discriminator.kind=global-residual here"),
        ("horizontal_flip=no", "of a fork of NVlabs/MUNIT is --set data.flip=no here"),
    ],
)
def test_foreign_names_on_the_command_line(override: str, words: str) -> None:
    message = refused_setting(override)
    assert message.startswith(f"--set {override}: ")
    assert words in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("generator_lr=1", "unknown key 'generator_lr': did you mean 'optimizer.generator_lr'?"),
        ("loss.resize=1", "unknown key 'loss.resize': did you mean 'data.resize'?"),
        ("padding=zero", "did you mean 'model.padding' or 'model.discriminator.padding'?"),
        ("itertions=1", "did you mean 'iterations'?"),
        ("class_w=1", "unknown key 'class_w': allowed: average_decay, "),
        ("model.style_code_dim=8", "unknown key 'model.style_code_dim': allowed: activation, "),
        ("iterations=2001-99-99", "'iterations' is '2001-99-99': Input should be a valid integer"),
        ("iterations=1:30", "'iterations' is '1:30'"),
        ("iterations=0x_", "'iterations' is '0x_'"),
        ("iterations=" + "1" * 5000, "the value is not YAML: a number has too many digits"),
        ("iterations=" + "[" * 5000, "the value is nested too deeply"),
        ("iterations=!!python/object:x {}", "tags are not supported"),
        ("data.root=true", "data.root: True is not a path: if it is a name, put it in quotes"),
        ("data.root=''", "the path is empty"),
        ("data.root=C:\\x", "is a Windows path and does not exist here"),
        ("data.root=$HOME/x/y", "variables are not expanded: write out the path"),
        ("data.root=~nobody-of-this-name/x", "the home folder of a user who does not exist here"),
        ('data.root="a\\0b"', "holds a NUL character"),
    ],
)
def test_impossible_settings(override: str, words: str) -> None:
    message = refused_setting(override)
    assert words in message
    assert len(message) < 1000


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = read_train_config(recipe_path("demo"), ["data.root=~/photos"])
    assert config.data.root == tmp_path / "photos"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"horizontal_flip": False},
            "'horizontal_flip' is a setting of a fork, remove it: it is --set",
        ),
        ({"vgg_model_path": "/x"}, "it is --set loss.perceptual_file=/x here (the file itself"),
        ({"average_decay": 0.9}, "is a setting of munit-edge: remove it and pass --set average_d"),
        ({"recon_kl_w": 1}, "'recon_kl_w' has no counterpart: it is a loss of UNIT"),
        (
            {"semantic_w": 0, "class_w": 0},
            "NVlabs/MUNIT has no 'class_w', 'semantic_w': these are",
        ),
        ({"max_itr": 3}, "unknown key 'max_itr': did you mean 'max_iter'?"),
        ({"data_root": r".\small"}, "data_root: '.\\small' is a Windows path"),
        ({"data_root": False}, "data_root: False is not a path: if it is a name, put it in"),
        ({"gen": MUNIT_FILE["gen"] | {"level": 1}, "x_w": 1}, "NVlabs/MUNIT has no 'x_w'"),  # type: ignore[operator]
    ],
)
def test_keys_of_forks(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    assert words in refused_file(tmp_path, munit_text(**changes))


def test_keys_that_are_there_twice(tmp_path: Path) -> None:
    text = munit_text() + "max_iter: 2\n"
    assert "the key 'max_iter' occurs twice, first in line" in refused_file(tmp_path, text)


def test_the_first_releases_files(tmp_path: Path) -> None:
    """All settings below `train`."""
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({"train": MUNIT_FILE}))
    (tmp_path / "new.yaml").write_text(munit_text())
    assert read_train_config(tmp_path / "old.yaml") == read_train_config(tmp_path / "new.yaml")


@pytest.mark.parametrize("word", ["no", "off", "y", "on", "null_", "1e5", "2001-01-01", "1:30"])
def test_words_that_older_yaml_took_for_something_else(word: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(munit_text().replace("root: small", f"root: {word}"))
    if word == "1e5":
        assert "put it in quotes" in refused_file(tmp_path, (tmp_path / "x.yaml").read_text())
    else:
        assert read_train_config(tmp_path / "x.yaml").data.root == Path(word)


@pytest.mark.parametrize(("word", "value"), [("no", False), ("off", False), ("yes", True)])
def test_words_where_a_truth_is_wanted(word: str, value: bool) -> None:
    assert read_train_config(recipe_path("demo"), [f"data.flip={word}"]).data.flip is value
