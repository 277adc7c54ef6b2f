from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from munit_edge.errors import ConfigError, InputError
from munit_edge.styles import (
    NamedStyle,
    StyleFile,
    read_style_file,
    sample_styles,
    write_style_file,
)

FILE = StyleFile(
    model_sha256="ab" * 32,
    domain="b",
    styles=(NamedStyle(name="red", code=(0.5, -1.25)), NamedStyle(name="blue", code=(2.0, 0.0))),
)


def test_round_trip(tmp_path: Path) -> None:
    write_style_file(tmp_path / "styles.json", FILE)
    back = read_style_file(
        tmp_path / "styles.json", model_sha256="ab" * 32, domain="b", style_dim=2
    )
    assert back == FILE
    np.testing.assert_array_equal(back.codes, np.array([[0.5, -1.25], [2, 0]], np.float32))


@pytest.mark.parametrize(
    ("model", "domain", "style_dim", "message"),
    [
        ("cd" * 32, "b", 2, "saved for another model"),
        ("ab" * 32, "a", 2, "holds styles of domain b and the target is domain a"),
        ("ab" * 32, "b", 8, "needs 8 numbers .* wrong: red, blue"),
    ],
)
def test_foreign_styles_are_refused(
    model: str, domain: str, style_dim: int, message: str, tmp_path: Path
) -> None:
    write_style_file(tmp_path / "s.json", FILE)
    with pytest.raises(InputError, match=message):
        read_style_file(
            tmp_path / "s.json",
            model_sha256=model,
            domain=domain,  # type: ignore[arg-type]
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


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_style_file(tmp_path / "s.json", model_sha256="", domain="b", style_dim=2)


def test_sampling() -> None:
    codes = sample_styles(10_000, 3, seed=1)
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(codes.std(0), 1, atol=0.05)
    for count, seed in ((0, 0), (1, -1)):
        with pytest.raises(ConfigError):
            sample_styles(count, 3, seed)
