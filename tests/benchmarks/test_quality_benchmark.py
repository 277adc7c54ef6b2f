"""The benchmark of training quality: its measures, on images with known answers."""

from __future__ import annotations

import colorsys
import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import load_benchmark
from numpy.typing import NDArray

from munit_edge.images.sample_data import (
    SHAPE_KINDS,
    Label,
    Style,
    draw,
    read_labels,
    write_sample_data,
)
from munit_edge.model.config import Direction, ModelConfig
from munit_edge.trainer.config_files import read_train_config, recipe_path
from munit_edge.translator import Translator

Images = NDArray[np.uint8]
Load = Callable[[str], ModuleType]

COUNT = 300
"""Training images of each domain; 30 are for testing."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    write_sample_data(folder / "data", size=32, count=COUNT)
    return folder


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    return lambda name: load_benchmark(name, monkeypatch)


@pytest.fixture(scope="module")
def classifiers() -> dict[str, Any]:
    """Those trained by the tests of this module, by domain: training takes seconds."""
    return {}


def test_hues_are_those_of_colorsys(load: Load) -> None:
    colours = load("sample_colours")
    some = np.random.default_rng(0).uniform(0, 255, (50, 3))
    expected = [colorsys.rgb_to_hsv(*(rgb / 255))[0] for rgb in some]
    assert colours.hues(some) == pytest.approx(expected)
    assert np.isnan(colours.hues(np.array([[90.0, 93.0, 97.0], [255, 255, 255]]))).all()


def test_hues_are_compared_around_the_circle(load: Load) -> None:
    colours = load("sample_colours")
    found = np.array([0.95, 0.1, 0.5, np.nan])
    wanted = np.array([0.05, 0.1, 0.0, 0.3])
    assert colours.hue_errors(found, wanted) == pytest.approx([0.1, 0, 0.5, 0.25])


def test_spread_is_within_groups(load: Load) -> None:
    colours = load("sample_colours")
    random = np.random.default_rng(0)
    groups = random.normal(0, [3.0, 4.0, 0.0], (20_000, 4, 3))
    assert colours.spread(groups) == pytest.approx(5, rel=0.01)
    apart = groups + random.uniform(0, 255, (len(groups), 1, 1))
    assert colours.spread(apart) == pytest.approx(5, rel=0.01)


def test_colours_of_real_images_are_those_they_were_drawn_in(load: Load, work: Path) -> None:
    colours = load("sample_colours")
    labels = _labels(work, "testB")
    images = np.stack([draw(label, 32) for label in labels])
    wanted = np.array([_style(label).hue / 360 for label in labels])
    shapes = [label.shape for label in labels]
    found = colours.mean_colours(images, shapes)
    assert colours.hue_errors(colours.hues(found), wanted).max() < 0.002
    shuffled = colours.hue_errors(colours.hues(found), np.roll(wanted, 1))
    assert shuffled.mean() == pytest.approx(0.25, abs=0.08)
    # Pixels around the shape do not count.
    plain = [label for label in labels if _style(label).texture == "plain"]
    alone = colours.mean_colours(
        np.stack([draw(label, 32) for label in plain]), [label.shape for label in plain]
    )
    for colour, label in zip(alone, plain, strict=True):
        style = _style(label)
        rgb = colorsys.hsv_to_rgb(style.hue / 360, style.saturation, style.value)
        assert colour == pytest.approx(255 * np.array(rgb), abs=1)


@pytest.mark.parametrize("domain", ["a", "b"])
def test_the_classifier_reads_shapes_and_not_colours(
    domain: str, load: Load, work: Path, classifiers: dict[str, Any]
) -> None:
    classifier = _classifier(load, classifiers, domain)
    assert classifier.held_out_accuracy >= 0.97
    labels = _labels(work, f"test{domain.upper()}")
    images = np.stack([draw(label, 32) for label in labels])
    shapes = [label.shape for label in labels]
    assert classifier.share_correct(images, shapes) >= 0.9
    # Another image's shape is right only by chance, and a blank image is one kind of five.
    assert classifier.share_correct(np.roll(images, 1, axis=0), shapes) < 0.5
    assert classifier.share_correct(np.full_like(images, 255), shapes) < 0.5


class Oracle:
    """Stands in for a trained model: knows the label of each test image, and draws the answer."""

    config = ModelConfig(style_dim=3)

    def __init__(self, data: Path) -> None:
        labels = read_labels(data)
        self._known = {draw(label, 32).tobytes(): label for label in labels.pictures.values()}

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def encode_style(self, images: Images, domain: str) -> NDArray[np.float32]:
        hues = [
            0.0 if label.style is None else math.radians(label.style.hue)
            for label in map(self._label, images)
        ]
        return np.stack([np.cos(hues), np.sin(hues), np.zeros(len(hues))], 1).astype(np.float32)

    def translate(
        self, images: Images, direction: Direction, *, styles: NDArray[np.float32]
    ) -> Images:
        drawn = [
            [self.draw(self._label(image), code, direction) for code in styles] for image in images
        ]
        return np.array(drawn)

    def draw(self, label: Label, code: NDArray[np.float32], direction: Direction) -> Images:
        hue = math.degrees(math.atan2(code[1], code[0])) % 360
        style = Style(hue=hue, saturation=0.8, value=0.9, texture="plain")
        return draw(Label(shape=label.shape, style=style if direction == "a2b" else None), 32)

    def _label(self, image: Images) -> Label:
        return self._known[image.tobytes()]


class AlwaysOrange(Oracle):
    """Preserves the content, and ignores the style."""

    def draw(self, label: Label, code: NDArray[np.float32], direction: Direction) -> Images:
        return super().draw(label, np.array([1.0, 0.5, 0.0], np.float32), direction)


class OtherShapes(Oracle):
    """Follows the style, and draws another kind of shape in the same place."""

    def draw(self, label: Label, code: NDArray[np.float32], direction: Direction) -> Images:
        kind = SHAPE_KINDS[(SHAPE_KINDS.index(label.shape.kind) + 1) % len(SHAPE_KINDS)]
        other = Label(shape=label.shape.model_copy(update={"kind": kind}))
        return super().draw(other, code, direction)


def test_an_oracle_meets_every_target(
    load: Load, work: Path, classifiers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, report = _run(load, work, classifiers, monkeypatch, Oracle)
    assert code == 0
    assert {line["met"] for line in report["lines"]} == {True, None}
    assert _line(report, "hue error")["measured"] < 0.005
    assert _line(report, "references shuffled")["measured"] == pytest.approx(0.25, abs=0.08)
    assert _line(report, "of that in real B")["measured"] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    ("wrong", "missed"),
    [
        (AlwaysOrange, ["of that in real B", "hue error"]),
        (
            OtherShapes,
            [f"{d}: shapes read correctly, {s}" for d in ("a2b", "b2a") for s in ("r", "g")],
        ),
    ],
)
def test_what_a_model_does_wrong_misses_its_target(
    wrong: type[Oracle],
    missed: list[str],
    load: Load,
    work: Path,
    classifiers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, report = _run(load, work, classifiers, monkeypatch, wrong)
    assert code == 1
    found = [line["what"] for line in report["lines"] if line["met"] is False]
    assert len(found) == len(missed)
    for what, part in zip(found, missed, strict=True):
        assert part in what
    assert capsys.readouterr().out.count("MISSED") == len(missed)
    assert (work / "quality.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_run_that_is_judged_is_trained_by_the_recipe_and_timed(
    load: Load, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quality = load("quality")
    judged: list[Path] = []

    def judge(model: Path, data: Path, sheet: Path) -> list[Any]:
        judged.append(model)
        return []

    monkeypatch.setattr(quality, "judge", judge)
    monkeypatch.setattr(quality, "_need_data", lambda folder, seed: None)
    small = ["iterations=1", "model.width=4", "num_display_images=1"]
    settings = [argument for setting in small for argument in ("--set", setting)]
    result = work / "trained.json"
    arguments = ["--work", str(work), "--json", str(result), *settings]
    monkeypatch.setattr(sys, "argv", ["quality.py", *arguments])
    assert quality.main() == 0
    assert judged == [work / "run"]
    config = read_train_config(work / "run" / "train.yaml")
    assert (config.iterations, config.model.width) == (1, 4)
    assert config.loss == read_train_config(recipe_path("demo")).loss
    wall, processor = json.loads(result.read_text())["lines"]
    assert 0 < wall["measured"] < wall["at_most"] == 600
    assert processor["measured"] > 0
    monkeypatch.setattr(sys, "argv", ["quality.py", "--work", str(work), "--set", "iterations=no"])
    assert quality.main() == 2


def test_nan_misses_every_target(load: Load) -> None:
    quality = load("quality")
    assert quality.Line("x", 0.5, at_least=0.5).met is True
    assert quality.Line("x", 0.5, at_most=0.4).met is False
    assert quality.Line("x", 0.5).met is None
    assert quality.Line("x", math.nan, at_least=0).met is False
    assert quality.Line("x", math.nan, at_most=1).met is False


def _run(
    load: Load,
    work: Path,
    classifiers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    model: type[Oracle],
) -> tuple[int, dict[str, Any]]:
    """Run the benchmark on an existing model; return its exit code and JSON."""
    quality = load("quality")
    oracle = model(work / "data")
    monkeypatch.setattr(Translator, "open", lambda path, device: oracle)
    monkeypatch.setattr(
        quality, "train_classifier", lambda domain, size: _classifier(load, classifiers, domain)
    )
    result = work / "quality.json"
    arguments = ["--model", "oracle", "--work", str(work), "--json", str(result)]
    monkeypatch.setattr(sys, "argv", ["quality.py", *arguments])
    code = quality.main()
    return code, json.loads(result.read_text())


def _classifier(load: Load, classifiers: dict[str, Any], domain: str) -> Any:
    if domain not in classifiers:
        train = partial(load("shape_classifier").train_classifier, num_train=600, num_held_out=200)
        classifiers[domain] = train(domain, 32)
    return classifiers[domain]


def _labels(work: Path, split: str) -> list[Label]:
    images = read_labels(work / "data").pictures
    return [label for name, label in images.items() if name.startswith(split)]


def _style(label: Label) -> Style:
    assert label.style is not None
    return label.style


def _line(report: dict[str, Any], part: str) -> dict[str, Any]:
    (line,) = [line for line in report["lines"] if part in line["what"]]
    return line
