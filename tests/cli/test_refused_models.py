"""A model that an engine refuses only when it opens a graph: nothing is left that was not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from clips import make_clip
from command_line import outcome
from noise_images import save_noise

from munit_edge.doctor.selftest import FOLDER, graphs_folder
from munit_edge.engines.table import ENGINE_FACTS, MODEL_ENGINES, EngineName
from munit_edge.model.precision import PRECISIONS

REFUSED = [
    (engine, next(p for p in PRECISIONS if p not in ENGINE_FACTS[engine].cpu_speed))
    for engine in MODEL_ENGINES
    if ENGINE_FACTS[engine].cpu_speed
]
"""Engines of the CPU, and a precision that each of them refuses on every CPU."""

COMMANDS = {
    "folder": ["translate", "MODEL", "photos", "--direction", "a2b", "-o", "new/out/"],
    "file": ["translate", "MODEL", "photos/0.png", "--direction", "a2b", "-o", "new/out.png"],
    "guided": [
        *("translate", "MODEL", "photos", "--direction", "a2b", "-o", "new/out/"),
        *("--style-image", "photos/0.png"),
    ],
    "video": ["translate", "MODEL", "clip.mp4", "--direction", "a2b", "-o", "new/out.mp4"],
    "videos": [
        *("translate", "MODEL", "clip.mp4", "--direction", "a2b", "-o", "new/out/"),
        *("--styles", 2),
    ],
    "evaluate": [
        *("evaluate", "MODEL", "--data", "data", "--size", 16),
        *("--json", "new/report.json", "--plot", "new/plot.png"),
    ],
    "styles": ["styles", "save", "MODEL", "calm", "--domain", "b", "--from", "photos/0.png"],
}


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def inputs(working_folder: Path) -> Path:
    for index in range(10):
        save_noise(working_folder / "photos" / f"{index}.png", seed=index)
        for domain in "AB":
            save_noise(working_folder / "data" / f"test{domain}" / f"{index}.png", seed=index)
    make_clip(working_folder / "clip.mp4", 3)
    return working_folder


@pytest.mark.parametrize(("engine", "precision"), REFUSED)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_refused_model_leaves_nothing(
    command: str, engine: EngineName, precision: str, inputs: Path
) -> None:
    shutil.copytree(FOLDER / graphs_folder(precision), "MODEL")  # type: ignore[arg-type]
    before = everything(inputs)
    words = COMMANDS[command]
    code, shown, errors = outcome(*words, "--engine", engine, "--device", "cpu")
    assert (code, shown) == (2, "")
    assert f"is in {precision}" in errors.splitlines()[-1]
    assert everything(inputs) == before


@pytest.mark.parametrize(("engine", "precision"), REFUSED)
@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_earlier_results_still_count(
    option: str, engine: EngineName, precision: str, inputs: Path
) -> None:
    words = ["photos", "--direction", "a2b", "-o", "out/", "--styles", 2]
    able = FOLDER / graphs_folder("fp32")
    assert outcome("translate", able, *words)[0] == 0
    before = everything(inputs)
    model = FOLDER / graphs_folder(precision)  # type: ignore[arg-type]
    options = [option, "--engine", engine, "--device", "cpu"]
    assert outcome("translate", model, *words, *options)[0] == 2
    assert everything(inputs) == before
