"""Names of results, inputs that they may not replace, and the hash that lets a run keep them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from munit_edge.errors import OutputError
from munit_edge.files.results import (
    numbered_paths,
    refuse_to_replace_inputs,
    settings_hash,
    several_for_one,
)


def test_every_style_has_its_number() -> None:
    paths = numbered_paths(Path("out/cat.b"), 101, ".png")
    assert [paths[0], paths[100]] == [Path("out/cat.b_00.png"), Path("out/cat.b_100.png")]
    assert len(paths) == 101


def test_inputs_are_not_replaced_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "input").touch()
    (tmp_path / "link").symlink_to("input")
    (tmp_path / "hard").hardlink_to(tmp_path / "input")
    (tmp_path / "other").touch()
    refuse_to_replace_inputs([tmp_path / "other", tmp_path / "new"], [tmp_path / "input"])
    for name in ("input", "link", "hard"):
        with pytest.raises(OutputError, match=f"{name} is an input and would be replaced"):
            refuse_to_replace_inputs([tmp_path / "other", tmp_path / name], [tmp_path / "input"])


def test_several_results_for_one_file() -> None:
    text = several_for_one(Path("o/x.png"), ["2 inputs", "3 styles"], "choose one")
    assert "there are 2 inputs and 3 styles: name a folder (-o o/x/), or choose one" in text
    assert "there is a folder: name" in several_for_one(Path("x.png"), ["a folder"], "choose one")


def test_settings_hash_tells_settings_apart() -> None:
    codes = np.ones((2, 8), np.float32)

    def hashed(model: str, codes: np.ndarray, **settings: object) -> str:
        return settings_hash([model, settings], codes.tobytes())

    base = hashed("m", codes, size=1, format="png")
    assert base == hashed("m", codes.copy(), format="png", size=1)
    others = [
        hashed("n", codes, size=1, format="png"),
        hashed("m", codes + 1, size=1, format="png"),
        hashed("m", codes[:1], size=1, format="png"),
        hashed("m", codes, size=2, format="png"),
    ]
    assert len({base, *others}) == 5


def test_settings_hash_stays_the_same_between_releases() -> None:
    """Otherwise --resume would make finished results again."""
    with_data = settings_hash(["m", {"size": 1}], b"codes")
    assert with_data.startswith("5b9cc0699f3c2022")
    assert settings_hash({"b": None, "a": 1}).startswith("0c6b73e7b48e199a")
