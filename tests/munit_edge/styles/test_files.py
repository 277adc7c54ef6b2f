"""Style codes with a name and an origin, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munit_edge.errors import ConfigError, InputError
from munit_edge.model.config import Domain
from munit_edge.styles.codes import sample_styles
from munit_edge.styles.files import (
    ImagesOrigin,
    InterpolatedOrigin,
    NamedStyle,
    ReferenceImage,
    SampledOrigin,
    SpreadOrigin,
    StyleFile,
    named_style,
    read_style_file,
    sampled_style,
    write_style_file,
)

MODEL = "ab" * 32
FILE = StyleFile(
    model_sha256=MODEL,
    domain="b",
    styles=(NamedStyle(name="red", code=(0.5, -1.25)), NamedStyle(name="blue", code=(2.0, 0.0))),
)


def test_round_trip(tmp_path: Path) -> None:
    write_style_file(tmp_path / "styles.json", FILE)
    back = read_style_file(tmp_path / "styles.json", model_sha256=MODEL, domain="b", style_dim=2)
    assert back == FILE
    np.testing.assert_array_equal(back.codes, np.array([[0.5, -1.25], [2, 0]], np.float32))


@pytest.mark.parametrize(
    ("model", "domain", "style_dim", "message"),
    [
        ("cd" * 32, "b", 2, "saved for another model"),
        (MODEL, "a", 2, "holds styles of domain b and the target is domain a"),
        (MODEL, "b", 8, "needs 8 numbers; wrong: red, blue"),
    ],
)
def test_foreign_styles_are_refused(
    model: str, domain: Domain, style_dim: int, message: str, tmp_path: Path
) -> None:
    write_style_file(tmp_path / "s.json", FILE)
    with pytest.raises(InputError, match=message):
        read_style_file(
            tmp_path / "s.json",
            model_sha256=model,
            domain=domain,
            style_dim=style_dim,
        )


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"styles": []}', FILE.model_dump_json()[:-1] + ', "x": 1}'],
)
def test_files_that_are_no_style_files(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match="not a style file"):
        read_style_file(tmp_path / "s.json", model_sha256="", domain="b", style_dim=2)


def test_a_later_layout(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"format_version": 2, "codes": "base64"}')
    with pytest.raises(InputError, match="version 2 and this munit-edge reads 1: save the style"):
        read_style_file(tmp_path / "s.json", model_sha256="", domain="b", style_dim=2)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_style_file(tmp_path / "s.json", model_sha256="", domain="b", style_dim=2)


def test_either_domain(tmp_path: Path) -> None:
    write_style_file(tmp_path / "s.json", FILE)
    file = read_style_file(tmp_path / "s.json", model_sha256=MODEL, style_dim=2, domain=None)
    assert file.domain == "b"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e300"])
def test_numbers_that_are_not_finite(number: str, tmp_path: Path) -> None:
    text = FILE.model_dump_json().replace("-1.25", number)
    assert number in text
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match="not finite"):
        read_style_file(tmp_path / "s.json", model_sha256=MODEL, style_dim=2, domain="b")


ORIGINS: list[Any] = [
    SampledOrigin(seed=3, index=1),
    SpreadOrigin(seed=3, index=1),
    ImagesOrigin(pictures=(ReferenceImage(file="x.jpg", sha256="00"),), size=64),
    InterpolatedOrigin(start="red", end="seed 7", position=0.25, spherical=True),
    None,
]


@pytest.mark.parametrize("origin", ORIGINS, ids=lambda o: o.kind if o else "unknown")
def test_origins_come_back(origin: Any, tmp_path: Path) -> None:
    style = named_style("x", np.array([0.1, 2], np.float32), origin)
    file = StyleFile(model_sha256=MODEL, domain="a", styles=(style,))
    write_style_file(tmp_path / "s.json", file)
    back = read_style_file(tmp_path / "s.json", model_sha256=MODEL, style_dim=2, domain="a")
    assert back == file
    assert back.styles[0].origin == origin
    assert back.codes.tolist() == [np.array([0.1, 2], np.float32).tolist()]
    assert back.styles[0].prior_distance is not None


def test_samples_of_a_seed_are_those_that_translate_draws() -> None:
    style = sampled_style("x", 4, seed=9, index=2)
    np.testing.assert_array_equal(style.code, sample_styles(3, 4, 9)[2])
    assert style.origin == SampledOrigin(seed=9, index=2)
    with pytest.raises(ConfigError, match="index is -1"):
        sampled_style("x", 4, seed=9, index=-1)
