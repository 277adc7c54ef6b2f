"""The table of engines: every name in it leads somewhere, and every engine is in it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args

import pytest

import munit_edge
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.probe import SUBJECTS
from munit_edge.engines.table import (
    ENGINE_FACTS,
    MODEL_ENGINES,
    OPTIONS,
    Engine,
    EngineName,
    engines_with,
    function,
)
from munit_edge.errors import ConfigError

FOLDER = Path(munit_edge.__file__).parent / "engines"


def test_the_types_name_the_rows() -> None:
    assert tuple(ENGINE_FACTS) == get_args(EngineName)
    assert get_args(Engine) == ("auto", *ENGINE_FACTS)
    assert set(MODEL_ENGINES) == {n for n, facts in ENGINE_FACTS.items() if not facts.checkpoints}
    assert [subject for subject in SUBJECTS if subject in ENGINE_FACTS] == list(ENGINE_FACTS)


@pytest.mark.parametrize("name", ENGINE_FACTS)
def test_an_opener_takes_the_options_of_its_row(name: EngineName) -> None:
    facts = ENGINE_FACTS[name]
    assert facts.options <= set(OPTIONS)
    parameters = inspect.signature(function(facts.opener)).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    assert takes_any or facts.options <= set(parameters)
    # And none besides that the factory would never give.
    assert takes_any or set(parameters) & set(OPTIONS) == facts.options


@pytest.mark.parametrize("name", ENGINE_FACTS)
def test_a_row_lies_in_a_folder_of_its_own(name: EngineName) -> None:
    facts = ENGINE_FACTS[name]
    (folder,) = {dotted.split(".")[2] for dotted in (facts.opener, facts.facts)}
    assert (FOLDER / folder / "runner.py").is_file()
    assert callable(function(facts.facts))


def test_every_folder_has_a_row() -> None:
    folders = {path.parent.name for path in FOLDER.glob("*/runner.py")}
    assert folders == {facts.opener.split(".")[2] for facts in ENGINE_FACTS.values()}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ENGINE_FACTS)
def test_an_option_that_an_engine_does_not_have(
    name: EngineName, option: str, tmp_path: Path
) -> None:
    able = engines_with(option)
    assert able
    if name not in able:
        with pytest.raises(ConfigError, match=f"--engine {able[0]}"):
            open_graphs(tmp_path, name, **{option: True})


def test_an_unknown_engine_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"use auto, onnxruntime, .*torch"):
        open_graphs(tmp_path, "cuda")
