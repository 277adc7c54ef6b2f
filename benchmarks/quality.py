"""Quality after a short training on the sample data, where the right answers are known.

    python benchmarks/quality.py                               draws, trains, measures: 10 minutes
    python benchmarks/quality.py --set iterations=500          with other settings of the recipe
    python benchmarks/quality.py --model RUN_OR_MODEL          measures a trained model

Content: a classifier, trained only on real images of the output domain, recognises the shape in
each translation. Style: the mean colour inside the shape, over random styles of one image compared
with real images of B, and its hue compared with that of the reference of a guided translation.
Each number is printed with its value for real images.

Exit code 1: a target was missed. 2: training failed, or the model cannot be opened.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from cli_startup import hardware
from numpy.typing import NDArray
from processes import MUNIT_EDGE, ROOT
from sample_colours import hue_errors, hues, mean_colours, spread
from shape_classifier import ShapeClassifier, train_classifier

from munit_edge.errors import ConfigError, InputError, MunitEdgeError
from munit_edge.images.contact_sheet import labelled_grid, thumbnail
from munit_edge.images.io import ImageData, read_image, write_image
from munit_edge.images.sample_data import Label, Shape, read_labels, write_sample_data
from munit_edge.model.config import DIRECTIONS, Direction, split_direction
from munit_edge.styles.codes import sample_styles
from munit_edge.trainer.run.grids import shown_side
from munit_edge.trainer.torch_api import torch
from munit_edge.translator import Translator

Images = NDArray[np.uint8]

SIZE = 32
NUM_STYLES = 10
NUM_SHOWN = 10
"""Images of each direction on the contact sheet."""
MIN_CLASSIFIER_ACCURACY = 0.97
MIN_SHAPES_READ = 0.9
MAX_HUE_ERROR = 0.04
MIN_SPREAD = 0.7
MAX_TRAINING_S = 600


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    measured: float
    real: float | None = None
    """The value for real images."""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None: there is no target."""
        if self.at_least is None and self.at_most is None:
            return None
        # Written so that NaN misses the target.
        reached = self.at_least is None or self.measured >= self.at_least
        return reached and (self.at_most is None or self.measured <= self.at_most)


@dataclass(frozen=True)
class TestSet:
    """The real test images of one domain, not used in training."""

    images: Images
    """uint8 [N, SIZE, SIZE, 3]."""
    labels: list[Label]

    @property
    def shapes(self) -> list[Shape]:
        return [label.shape for label in self.labels]

    @property
    def colours(self) -> NDArray[np.float64]:
        return mean_colours(self.images, self.shapes)


@dataclass(frozen=True)
class Translations:
    """Translations of the test images of one domain."""

    random: Images
    """uint8 [N, NUM_STYLES, SIZE, SIZE, 3], each image with random styles of its own."""
    guided: Images
    """uint8 [N, SIZE, SIZE, 3], image i with the style of image i of the other domain."""


def main() -> int:
    options = _options()
    work: Path = options.work.resolve()
    load = os.getloadavg()
    data = work / "data"
    _need_data(data, options.data_seed)
    model = options.model or work / "run"
    try:
        lines = [] if options.model else _train(options, data, model)
        lines += judge(model, data, work / "quality.png")
    except subprocess.CalledProcessError:
        return 2  # training has reported what is wrong
    except MunitEdgeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    print(f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {hardware()}")
    print(f"torch {torch.__version__}; load average {load[0]:.1f} at the start\n")
    print_table(lines)
    print(f"\npictures: {work / 'quality.png'}")
    if options.json:
        report = {"hardware": hardware(), "load": load, "model": str(model), "set": options.set}
        report["lines"] = [asdict(line) | {"met": line.met} for line in lines]
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if any(line.met is False for line in lines) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train on the sample data and judge the result.")
    parser.add_argument("--recipe", default="demo", help="recipe to train by [demo]")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, as with `munit-edge train`; may be repeated",
    )
    parser.add_argument(
        "--model", type=Path, help="measure this run, checkpoint or model instead of training"
    )
    parser.add_argument("--data-seed", type=int, default=0, help="seed of the sample data [0]")
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "build" / "quality",
        help="folder for data, run and images [build/quality]",
    )
    parser.add_argument("--json", type=Path, help="write the results to this file, too")
    return parser.parse_args()


def _need_data(folder: Path, seed: int) -> None:
    try:
        labels = read_labels(folder)
        ready = (labels.size, labels.seed) == (SIZE, seed)
    except (InputError, ConfigError):
        ready = False
    if not ready:
        print(f"drawing {folder}", file=sys.stderr, flush=True)
        write_sample_data(folder, size=SIZE, seed=seed, overwrite=True)


def _train(options: argparse.Namespace, data: Path, run: Path) -> list[Line]:
    """Train as a user does; return wall time and processor time."""
    shutil.rmtree(run, ignore_errors=True)
    command = [*MUNIT_EDGE, "train", "--recipe", options.recipe, "--device", "cpu"]
    command += ["--data", str(data), "-o", str(run)]
    for setting in options.set:
        command += ["--set", setting]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    used, started = _processor_s(), time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | {"PYTHONPATH": path})
    seconds = time.perf_counter() - started
    return [
        Line("training, seconds", seconds, at_most=MAX_TRAINING_S),
        Line("training, seconds of processor time, all cores", _processor_s() - used),
    ]


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def judge(model: Path, data: Path, sheet: Path) -> list[Line]:
    """Measure a model on the test images, and write a contact sheet of some translations.

    Args:
        model: run, checkpoint (with torch) or model directory.
        data: sample data.
        sheet: PNG file to write.
    """
    sets = {domain: read_test_set(data, domain) for domain in ("a", "b")}
    with Translator.open(model, device="cpu") as translator:
        made = {d: _translate(translator, sets, d) for d in DIRECTIONS}
    write_image(sheet, ImageData(_sheet(sets, made)))
    lines = []
    for direction in DIRECTIONS:
        source, target = split_direction(direction)
        print(f"training a classifier of domain {target}", file=sys.stderr, flush=True)
        classifier = train_classifier(target, SIZE)
        lines += content_lines(direction, classifier, made[direction], sets[source], sets[target])
    return lines + style_lines(made["a2b"], sets["a"], sets["b"])


def read_test_set(data: Path, domain: str) -> TestSet:
    """The test images of the sample data, with their labels."""
    labels, split = read_labels(data), f"test{domain.upper()}/"
    names = [name for name in labels.pictures if name.startswith(split)]
    images = np.stack([read_image(data / name, 3).pixels for name in names])
    return TestSet(images, [labels.pictures[name] for name in names])


def _translate(
    translator: Translator, sets: dict[str, TestSet], direction: Direction
) -> Translations:
    source, target = split_direction(direction)
    images = sets[source].images
    references = translator.encode_style(sets[target].images, target)
    style_dim = translator.config.style_dim
    styles = sample_styles(len(images) * NUM_STYLES, style_dim, seed=0)
    styles = styles.reshape(len(images), NUM_STYLES, style_dim)
    random, guided = [], []
    for image, drawn, reference in zip(images[:, None], styles, references[:, None], strict=True):
        both = np.concatenate([drawn, reference])
        made = translator.translate(image, direction, styles=both)[0]
        random.append(made[:-1])
        guided.append(made[-1])
    return Translations(np.stack(random), np.stack(guided))


def content_lines(
    direction: Direction,
    classifier: ShapeClassifier,
    made: Translations,
    source: TestSet,
    target: TestSet,
) -> list[Line]:
    """Is the content preserved in the translation?"""
    real = classifier.share_correct(target.images, target.shapes)
    each = [shape for shape in source.shapes for _ in range(made.random.shape[1])]
    flat = made.random.reshape(-1, *made.random.shape[2:])
    return [
        Line(
            f"{direction}: classifier, held-out accuracy",
            classifier.held_out_accuracy,
            at_least=MIN_CLASSIFIER_ACCURACY,
        ),
        Line(
            f"{direction}: shapes read correctly, random styles",
            classifier.share_correct(flat, each),
            real,
            at_least=MIN_SHAPES_READ,
        ),
        Line(
            f"{direction}: shapes read correctly, guided",
            classifier.share_correct(made.guided, source.shapes),
            real,
            at_least=MIN_SHAPES_READ,
        ),
    ]


def style_lines(made: Translations, source: TestSet, references: TestSet) -> list[Line]:
    """Do colours vary as much as in B, and do guided translations have their reference's colour?"""
    wanted = _drawn_hues(references)
    others = np.roll(wanted, 1)
    guided = hues(mean_colours(made.guided, source.shapes))
    in_real = hues(references.colours)
    spreads = [
        spread(np.stack([mean_colours(m, source.shapes) for m in _by_style(made.random)], axis=1)),
        spread(references.colours[None]),
    ]
    return [
        Line("a2b: spread of colours over random styles, levels of 255", *spreads),
        Line("a2b: the same, of that in real B", spreads[0] / spreads[1], 1, at_least=MIN_SPREAD),
        Line(
            "a2b: hue error of guided translations, of the circle",
            float(hue_errors(guided, wanted).mean()),
            float(hue_errors(in_real, wanted).mean()),
            at_most=MAX_HUE_ERROR,
        ),
        Line(
            "a2b: the same, references shuffled",
            float(hue_errors(guided, others).mean()),
            float(hue_errors(in_real, others).mean()),
        ),
    ]


def _by_style(images: Images) -> list[Images]:
    """[N, S, ...] -> S arrays [N, ...]."""
    return list(images.swapaxes(0, 1))


def _drawn_hues(domain: TestSet) -> NDArray[np.float64]:
    """The hues of the drawn images, 0 to 1."""
    return np.array([label.style.hue / 360 for label in domain.labels if label.style is not None])


def _sheet(sets: dict[str, TestSet], made: dict[Direction, Translations]) -> Images:
    """Rows: image, translations with random styles, a reference, the guided translation."""
    rows = []
    for direction, found in made.items():
        source, target = split_direction(direction)
        for i in range(min(NUM_SHOWN, len(found.guided))):
            own, guide = sets[source].images[i], sets[target].images[i]
            shown = [own, *found.random[i], guide, found.guided[i]]
            rows.append([(thumbnail(ImageData(pixels), shown_side(SIZE)), "") for pixels in shown])
    headers = ["input", *["random"] * NUM_STYLES, "guide", "guided"]
    return labelled_grid(headers, rows)


def print_table(lines: list[Line]) -> None:
    """The lines as a table for terminals and documents."""
    print("| what | target | translations | real | |")
    print("|---|---|---|---|---|")
    for line in lines:
        verdict = {True: "met", False: "MISSED", None: ""}[line.met]
        limits = [(">=", line.at_least), ("<=", line.at_most)]
        target = " ".join(f"{sign} {value:g}" for sign, value in limits if value is not None)
        real = "" if line.real is None else _digits(line.real)
        print(f"| {line.what} | {target} | {_digits(line.measured)} | {real} | {verdict} |")


def _digits(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
