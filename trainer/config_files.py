"""Configuration files of training runs: our own, recipes by name, and those of NVlabs/MUNIT.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from munit_edge.errors import ConfigError
from munit_edge.files.paths import is_file
from munit_edge.files.plain_data import shown
from munit_edge.files.yaml_data import dump_yaml, parse_yaml, read_yaml
from munit_edge.model.config import ModelConfig
from munit_edge.settings import closest, validate
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.foreign.config import (
    is_imaginaire_yaml,
    is_munit_yaml,
    model_config_from_imaginaire,
    model_config_from_munit,
)
from munit_edge.trainer.foreign.settings import foreign_setting, foreign_settings
from munit_edge.trainer.foreign.training import train_data_from_munit

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that come with munit-edge."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_path(name: str) -> Path:
    """The file of the recipe `name`.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name not in recipe_names():
        raise ConfigError(f"there is no recipe '{name}': {closest(name, recipe_names())}")
    return RECIPES / f"{name}.yaml"


def find_config(config: Path | None, recipe: str | None) -> Path:
    """The configuration file that a user names, by path or by recipe.

    Raises:
        ConfigError: neither or both are given, or there is no such recipe.
    """
    if (config is None) == (recipe is None):
        raise ConfigError(
            "name either a configuration file or a recipe with --recipe "
            f"({', '.join(recipe_names())})"
        )
    if recipe is not None:
        return recipe_path(recipe)
    assert config is not None
    if str(config) in recipe_names() and not is_file(config):
        raise ConfigError(f"there is no file {config}; for the recipe use --recipe {config}")
    return config


def read_model_config(path: Path) -> ModelConfig:
    """The model of a configuration file: a run's, a model's, or one of the public releases.

    Raises:
        ConfigError: the file, a key or a value cannot be used.
    """
    data = read_yaml(path)
    if is_imaginaire_yaml(data):
        return model_config_from_imaginaire(data, str(path))
    if is_munit_yaml(data):
        return model_config_from_munit(data, str(path))
    if data.keys() & ModelConfig.model_fields.keys():
        return validate(ModelConfig, data, str(path))
    return validate(TrainConfig, data, str(path)).model


def read_train_config(
    path: Path, overrides: Sequence[str] = (), data_root: Path | None = None
) -> TrainConfig:
    """Read a YAML file and apply settings from the command line.

    Args:
        path: our own configuration or one of NVlabs/MUNIT.
        overrides: `key=value`, the key dotted ("loss.cycle_weight=10"), the value YAML.
        data_root: replaces all image folders of the file.

    Raises:
        ConfigError: the file, a key or a value cannot be used.
    """
    data = read_yaml(path)
    if is_imaginaire_yaml(data):
        raise ConfigError(
            f"{path} is a configuration of NVlabs/imaginaire, whose training settings are not "
            f"supported: start from a recipe ({', '.join(recipe_names())}) and --set what differs"
        )
    if is_munit_yaml(data):
        data = train_data_from_munit(data, str(path))
    # In this order, what is on the command line takes precedence over the file.
    if data_root is not None:
        data["data"] = _with_root(data.get("data"), data_root)
    for override in overrides:
        set_key(data, override)
    # Before validation, which would only call a foreign key unknown.
    if hints := list(foreign_settings(data)):
        raise ConfigError(f"{path}{' with --set' if overrides else ''}: " + "; ".join(hints))
    source = f"{path} with --set" if overrides else str(path)
    return validate(TrainConfig, data, source)


def dump_train_config(config: TrainConfig) -> str:
    """`config` as YAML that `read_train_config` reads back."""
    return dump_yaml(config.model_dump(mode="json"))


def set_key(data: dict[str, Any], override: str) -> None:
    """Change one value of nested `data` by "a.b=value"; missing levels are created.

    Raises:
        ConfigError: there is no "=", the value is not YAML, or "a" is not a mapping.
    """
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(
            f"--set takes key=value, such as loss.cycle_weight=10; got {shown(override)}"
        )
    value = parse_yaml(text, f"--set {_shortened(override)}: the value")
    if (hint := foreign_setting(key, value)) is not None:
        raise ConfigError(f"--set {_shortened(override)}: {hint}")
    *parents, last = key.split(".")
    for parent in parents:
        if data.get(parent) is None:
            data[parent] = {}
        data = data[parent]
        if not isinstance(data, dict):
            raise ConfigError(f"--set {_shortened(override)}: '{parent}' holds no keys of its own")
    data[last] = value


def _shortened(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{shown(key)[1:-1]}={shown(value)[1:-1]}"


def _with_root(data: Any, root: Path) -> dict[str, Any]:
    kept = data if isinstance(data, dict) else {}
    sources = ("train_a", "train_b", "test_a", "test_b")
    return {k: v for k, v in kept.items() if k not in sources} | {"root": str(root)}
