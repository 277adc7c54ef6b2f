"""The page of a run: whole, true, and readable with little and with much."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import tiny_config

from munit_edge.images.io import ImageData, write_image
from munit_edge.trainer.checkpoint import CheckpointInfo, build_generators, save_checkpoint
from munit_edge.trainer.config import LossConfig
from munit_edge.trainer.losses import gan_discriminator_loss, gan_generator_loss
from munit_edge.trainer.run.charts import undecided_losses
from munit_edge.trainer.run.curves import MAX_POINTS, CurveFile
from munit_edge.trainer.run.folder import RunFolder
from munit_edge.trainer.run.page import Snapshot, duration, page_html, read_snapshot, write_page
from munit_edge.trainer.run.record import RunRecord, Session, write_record

VOID = {"meta", "br", "img", "input", "link", "hr"}
NOW = 1_800_000_000.0


class Elements(HTMLParser):
    """What a page consists of; raises where elements are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def a_session(**changes: object) -> Session:
    given = {
        "device": "cpu",
        "machine": "a processor, 2 cores",
        "software": "munit-edge, torch",
        "images": {"a": 30, "b": 40},
        "started": NOW,
        "updated": NOW + 3720,
        "first_iteration": 0,
        "iteration": 1500,
        "images_per_second": 8.0,
    }
    return Session.model_validate(given | changes)


def a_run(path: Path, points: int = 5, **changes: object) -> Snapshot:
    folder = RunFolder(path)
    config = tiny_config("iterations=2000", "image_interval=500")
    folder.begin(config, replace=True)
    numbers = CurveFile(folder.curve_file, 0)
    random = np.random.default_rng(0)
    lines = []
    for i in range(1, points + 1):
        values = {f"loss/{n}_{d}": float(random.random()) for n in ("gan", "style") for d in "ab"}
        lines.append(json.dumps({"iteration": i * 1500 // points} | values))
        numbers.curves.add(i * 1500 // points, values)
    folder.curve_file.write_text("\n".join(lines) + "\n")
    record = RunRecord().begun(a_session(**changes))
    write_record(folder.record_file, record)
    return Snapshot(folder, config, record, numbers.curves)


def draw(folder: RunFolder, *iterations: int) -> None:
    for iteration in iterations:
        for direction in ("a2b", "b2a"):
            grid = np.zeros((8, 8, 3), np.uint8)
            write_image(folder.grid(iteration, direction), ImageData(grid))


def test_a_page_asks_nothing_of_any_network(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    draw(run.folder, 500)
    page = page_html(run)
    found = Elements(page)
    named = [v for _, given in found.tags for k, v in given.items() if k in ("src", "href")]
    assert sorted(set(named)) == ["images/00000500_a2b.png", "images/00000500_b2a.png"]
    assert [tag for tag, _ in found.tags if tag in ("link", "iframe", "object")] == []
    assert [given for tag, given in found.tags if tag == "script"] == [{}]
    assert "fetch(" not in page
    assert "@import" not in page
    assert set(re.findall(r"https?://[^\s\"']+", page)) == {"http://www.w3.org/2000/svg"}  # a name
    assert "{{" not in page


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    text = Elements(page_html(a_run(tmp_path / "photos to art"))).text
    assert "photos to art training" in text
    assert "1,500 of 2,000 iterations (75 %)" in text
    assert "8 images/s" in text
    assert "4 min" in text  # 500 iterations of 2 images of 2 domains
    assert "trained for 1 h 02 min in one go" in text
    assert "none measured yet (every 3 iterations)" in text
    assert "30 of a, 40 of b" in text
    assert "The first grids are drawn after iteration 500." in text
    assert "--resume" not in text


def test_ends_are_reported_with_what_to_do_next(tmp_path: Path) -> None:
    run = a_run(tmp_path / "my run")

    def shown(**changes: object) -> str:
        return Elements(page_html(replace(run, record=run.record.with_latest(changes)))).text

    way_on = f"munit-edge train '{tmp_path}/my run/train.yaml' -o '{tmp_path}/my run' --resume"
    assert f"Continue with {way_on}" in shown(state="stopped", note="SIGTERM")
    assert "stopped (SIGTERM)" in shown(state="stopped", note="SIGTERM")
    failed = shown(state="failed", note="loss is nan <in iteration 7>")
    assert "ended with an error" in failed
    assert "loss is nan <in iteration 7>" in failed
    assert f"Next: munit-edge export onnx '{tmp_path}/my run' -o MODEL" in shown(state="finished")
    assert "the same command with --resume" in shown(state="stopped", processes=4)


def test_killed_and_resumed_sessions_are_listed(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    again = run.record.begun(a_session(first_iteration=1000, iteration=1200))
    text = Elements(page_html(replace(run, record=again))).text
    assert "iterations 0 to 1,500, killed" in text
    assert "iterations 1,000 to 1,200, training" in text
    assert "trained for 2 h 04 min in 2 sessions" in text


def test_grids_after_the_resumed_checkpoint_are_not_shown(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", points=0, iteration=1100)
    draw(run.folder, 1000, 500, 1500)
    (run.folder.path / "images" / "00000700_a2b.png").touch()  # its fellow is missing
    found = Elements(page_html(run))
    (slider,) = [given for _, given in found.tags if given.get("id") == "slider"]
    assert (slider["data-iterations"], slider["max"], slider["value"]) == ("500,1000", "1", "1")
    sources = [given["src"] for tag, given in found.tags if tag == "img"]
    assert sources == ["images/00001000_a2b.png", "images/00001000_b2a.png"]


@pytest.mark.parametrize("points", [0, 1, 5, 5000])
def test_charts_with_few_and_many_points(points: int, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", points)
    page = page_html(run)
    svgs = [ET.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", page)]
    assert len(svgs) == (2 if points else 0)
    lines = [line for svg in svgs for line in svg.iter("polyline")]
    for line in lines:
        assert min(points, MAX_POINTS / 2) <= line.attrib["points"].count(",") <= MAX_POINTS
    assert len(lines) == (4 if points > 1 else 0)
    assert len(page) < 150_000
    if points:
        assert "Generators against them" in Elements(page).text
    else:
        assert "The first values are logged after iteration 1." in Elements(page).text


def test_the_best_checkpoint_is_named(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    for iteration, value in ((500, 3.0), (1000, 2.5), (1500, 2.75)):
        info = CheckpointInfo(iteration=iteration, measures={"reconstruction": value})
        generators = build_generators(run.config.model)
        path = run.folder.checkpoint(iteration)
        save_checkpoint(path, run.config.model, info, generators=generators)
    text = Elements(page_html(run)).text
    assert "best checkpoint iteration 1,000 reconstruction 2.5" in text
    assert "newest checkpoint checkpoints/00001500" in text


def test_names_of_files_are_words_and_nothing_else(tmp_path: Path) -> None:
    run = a_run(tmp_path / "<b>run & co")
    bad = tuple(f"<script>alert({i})</script>.png is empty" for i in range(60))
    record = run.record.model_copy(update={"broken_images": bad, "skipped_updates": 3})
    page = page_html(replace(run, record=record))
    found = Elements(page)
    assert "<script>alert" not in page
    assert "<script>alert(0)</script>.png is empty" in found.text
    assert "and 10 more" in found.text
    assert "60 broken images 3 skipped updates" in found.text
    assert "<b>run & co" in found.text


def test_the_page_of_a_folder_is_the_page_of_the_run(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", 700)
    draw(run.folder, 500)
    path = write_page(read_snapshot(run.folder))
    assert path == tmp_path / "run" / "index.html"
    assert path.read_text() == page_html(run)


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(tiny_config(), replace=True)
    text = Elements(page_html(read_snapshot(folder))).text
    assert "not started" in text
    assert "0 of 6 iterations (0 %)" in text


@pytest.mark.parametrize("convention", ["paper", "improved"])
@pytest.mark.parametrize(("gan", "answer"), [("lsgan", 0.5), ("nsgan", 0.0), ("hinge", 0.0)])
def test_levels_are_the_losses_of_an_undecided_discriminator(
    gan: str, answer: float, convention: str
) -> None:
    loss = LossConfig.model_validate({"gan": gan, "gan_convention": convention})
    outputs = [torch.full((2, 1, side, side), answer) for side in (4, 2, 1)]
    of_d, of_g = undecided_losses(loss, 3)
    given = (loss.gan, loss.gan_convention)
    assert of_d == pytest.approx(float(gan_discriminator_loss(outputs, outputs, *given)))
    assert of_g == pytest.approx(float(gan_generator_loss(outputs, *given)))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "1 h 00 min"),
        (7260, "2 h 01 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
