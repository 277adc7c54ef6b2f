"""`munit-edge translate` with saved, spread and interpolated styles."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import invoke
from noise_images import noise
from PIL import Image
from typer.testing import Result

from munit_edge import Translator
from munit_edge.styles.codes import Styles, interpolate_styles, sample_styles, spread_styles
from munit_edge.styles.files import sampled_style
from munit_edge.styles.saved import SavedStyles

PIXELS = noise(24, 20)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model with the style red of domain b and blue of domain a."""
    copy = tmp_path / "model"
    shutil.copytree(tiny_model, copy)
    saved = SavedStyles.of(copy)
    for name, domain, seed in (("red", "b", 5), ("blue", "a", 6)):
        saved.write(saved.path(name), domain, [sampled_style(name, 8, seed)])  # type: ignore[arg-type]
    return copy


def translate(model: Path, tmp_path: Path, *options: object) -> Result:
    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    words = ["translate", model, tmp_path / "x.png", "-o", tmp_path / "out", "--direction", "a2b"]
    return invoke(*words, *options)


def assert_results(model: Path, folder: Path, styles: Styles) -> None:
    with Translator.open(model) as translator:
        expected = translator.translate(PIXELS[None], "a2b", styles=styles)[0]
    assert len(list(folder.glob("*.png"))) == len(expected)
    for index, image in enumerate(expected):
        with Image.open(folder / f"x_{index:02d}.png") as result:
            np.testing.assert_array_equal(np.asarray(result), image)


def test_by_name_by_file_and_twice(model: Path, tmp_path: Path) -> None:
    saved = SavedStyles.of(model)
    elsewhere = tmp_path / "mine.json"
    saved.write(elsewhere, "b", [sampled_style("mine", 8, 7)])
    result = translate(model, tmp_path, "--style", "red", "--style", elsewhere)
    assert result.exit_code == 0, result.output
    styles = np.concatenate([sample_styles(1, 8, 5), sample_styles(1, 8, 7)])
    assert_results(model, tmp_path / "out", styles)


def test_spread(model: Path, tmp_path: Path) -> None:
    result = translate(model, tmp_path, "--spread", 3, "--seed", 4)
    assert result.exit_code == 0, result.output
    assert_results(model, tmp_path / "out", spread_styles(3, 8, seed=4))


def test_interpolation_between_a_name_and_a_seed(model: Path, tmp_path: Path) -> None:
    result = translate(model, tmp_path, "--interpolate", "red", 7, "--frames", 3)
    assert result.exit_code == 0, result.output
    ends = sample_styles(1, 8, 5)[0], sample_styles(1, 8, 7)[0]
    assert_results(model, tmp_path / "out", interpolate_styles(*ends, 3))


def test_eight_frames_by_default(model: Path, tmp_path: Path) -> None:
    assert translate(model, tmp_path, "--interpolate", 1, 2).exit_code == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--style", "rad"], "holds no style 'rad' (saved there: blue, red)"),
        (["--style", "blue"], "holds styles of domain a and the target is domain b"),
        (["--style", "rad.json"], "rad.json does not exist"),
        (["--interpolate", "red", "rad"], "holds no style 'rad'"),
        (["--interpolate", "red", "blue"], "holds styles of domain a"),
        (["--spread", "9999"], "9999 styles cannot be spread"),
    ],
)
def test_what_cannot_be_used(model: Path, tmp_path: Path, options: list[str], message: str) -> None:
    result = translate(model, tmp_path, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_style_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    other = SavedStyles(tmp_path, "cd" * 32, 8)
    other.write(tmp_path / "foreign.json", "b", [sampled_style("foreign", 8, 1)])
    result = translate(model, tmp_path, "--style", tmp_path / "foreign.json")
    assert result.exit_code == 2
    assert "saved for another model (cdcdcdcdcdcd" in result.stderr
    assert "munit-edge styles save" in result.stderr


def test_a_reference_far_outside_the_prior_is_reported(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = np.full((1, 8), 3, np.float32)
    monkeypatch.setattr(Translator, "encode_style", lambda *_: encoded)
    Image.fromarray(PIXELS).save(tmp_path / "ref.png")
    result = translate(model, tmp_path, "--style-image", tmp_path / "ref.png")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert "ref.png is far outside the prior N(0, I): its length is 8.49" in line
    assert_results(model, tmp_path / "out", encoded)
