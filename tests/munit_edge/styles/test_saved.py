"""The saved styles of a model: names, files, and styles between two of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from munit_edge.errors import ConfigError, InputError, OutputError
from munit_edge.styles.codes import interpolate_styles, sample_styles, spread_styles
from munit_edge.styles.files import (
    ImagesOrigin,
    InterpolatedOrigin,
    ReferenceImage,
    SampledOrigin,
    interpolated_named,
    named_style,
    sampled_style,
    spread_named,
)
from munit_edge.styles.saved import SavedStyles, check_name, refuse_replacing

MODEL = "ab" * 32


# ----------------------------------------------------------------------------------------------
# Names


@pytest.mark.parametrize("name", ["red", "Red_2", "r", "a-b", "\u00e9t\u00e9", "\u590f", "x" * 64])
def test_names(name: str) -> None:
    assert check_name(name) == name


def test_names_are_composed() -> None:
    assert check_name("e\u0301te\u0301") == "\u00e9t\u00e9"


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "../x", "a\\b", "a.json", ".x", "7", "7up", "_x", "a b", "x" * 65, "-o", "a\n"],
)
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a style: use letters"):
        check_name(name)


# ----------------------------------------------------------------------------------------------
# The folder


@pytest.fixture
def saved(tmp_path: Path) -> SavedStyles:
    """A model's folder with the styles red and mix of domain b and blue of domain a."""
    saved = SavedStyles(tmp_path / "styles", MODEL, 2)
    saved.write(saved.path("red"), "b", [sampled_style("red", 2, 5)])
    saved.write(saved.path("blue"), "a", [sampled_style("blue", 2, 6)])
    images = ImagesOrigin(pictures=(ReferenceImage(file="x.jpg", sha256="00"),))
    saved.write(saved.path("mix"), "b", [named_style("mix", np.ones(2, np.float32), images)])
    saved.write(tmp_path / "two.json", "b", spread_named("two", 2, 2, seed=1))
    return saved


def test_names_and_paths_are_distinguished(saved: SavedStyles, tmp_path: Path) -> None:
    assert saved.names() == ["blue", "mix", "red"]
    assert saved.find("red") == tmp_path / "styles" / "red.json"
    assert saved.find(str(tmp_path / "two.json")) == tmp_path / "two.json"
    np.testing.assert_array_equal(saved.read("red", "b").codes, sample_styles(1, 2, 5))
    np.testing.assert_array_equal(
        saved.read(str(tmp_path / "two.json"), "b").codes, spread_styles(2, 2, 1)
    )
    assert saved.read("blue").domain == "a"


def test_unknown_names_list_those_there(saved: SavedStyles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no style 'rad' \(saved there: blue, mix, red\)"):
        saved.read("rad", "b")
    empty = SavedStyles(tmp_path / "none", MODEL, 2)
    assert empty.names() == []
    with pytest.raises(InputError, match=r"no style 'rad' \(none is saved there\)"):
        empty.read("rad", "b")
    with pytest.raises(InputError, match=r"rad\.json does not exist"):
        saved.read("rad.json", "b")
    with pytest.raises(InputError, match="holds styles of domain a"):
        saved.read("blue", "b")


def test_unfinished_files_and_others_are_no_names(saved: SavedStyles) -> None:
    for name in (".munit-edge-partial-x.json", "notes.txt", "1.json"):
        (saved.folder / name).write_text("")
    assert saved.names() == ["blue", "mix", "red"]


def test_names_in_decomposed_unicode_are_found(saved: SavedStyles) -> None:
    decomposed = saved.folder / "e\u0301te\u0301.json"
    saved.path("red").rename(decomposed)
    assert saved.find("\u00e9t\u00e9") == decomposed
    assert saved.find("e\u0301te\u0301") == decomposed


def test_delete_is_all_or_nothing(saved: SavedStyles) -> None:
    with pytest.raises(InputError, match="no style 'rad'"):
        saved.delete(["red", "rad"])
    with pytest.raises(ConfigError, match="cannot be the name"):
        saved.delete(["red", "../two"])
    assert saved.names() == ["blue", "mix", "red"]
    (saved.folder / "blue.json").write_text("damaged")
    assert saved.delete(["red", "blue", "red"]) == [saved.path("red"), saved.path("blue")]
    assert saved.names() == ["mix"]


def test_taken_names(saved: SavedStyles) -> None:
    refuse_replacing([saved.path("new")])
    with pytest.raises(OutputError, match=r"red\.json exists already: .* --overwrite"):
        refuse_replacing([saved.path("new"), saved.path("red")])


# ----------------------------------------------------------------------------------------------
# Making


def test_one_style_by_name_file_or_seed(saved: SavedStyles, tmp_path: Path) -> None:
    assert saved.read_one("red", "b").name == "red"
    seven = saved.read_one("7", "b")
    assert (seven.name, seven.origin) == ("seed 7", SampledOrigin(seed=7))
    np.testing.assert_array_equal([seven.code], sample_styles(1, 2, 7))
    with pytest.raises(InputError, match="contains 2 styles: name a file with one style"):
        saved.read_one(str(tmp_path / "two.json"), "b")


@pytest.mark.parametrize(
    ("ends", "spherical"), [(("red", "7"), True), (("red", "mix"), False), (("mix", "7"), False)]
)
def test_the_path_depends_on_where_the_ends_are_from(
    saved: SavedStyles, ends: tuple[str, str], spherical: bool
) -> None:
    start, end = (saved.read_one(name, "b") for name in ends)
    styles = interpolated_named("w", (start, end), 5)
    assert [style.name for style in styles] == [f"w_{index:02d}" for index in range(5)]
    codes = [np.array(style.code, np.float32) for style in (start, end)]
    expected = interpolate_styles(codes[0], codes[1], 5, spherical=spherical)
    np.testing.assert_array_equal([style.code for style in styles], expected)
    assert styles[1].origin == InterpolatedOrigin(
        start=start.name, end=end.name, position=0.25, spherical=spherical
    )
    assert all(style.sampled == spherical for style in styles)
    assert json.loads(styles[1].model_dump_json())["origin"]["kind"] == "interpolation"
