"""Whole commands on every engine of this CPU give what ONNX Runtime gives, within one level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import frames, make_clip
from command_line import outcome
from noise_images import save_noise
from numpy.typing import NDArray
from PIL import Image

from munit_edge.engines.table import EngineName, fastest_on_cpu, is_installed
from munit_edge.evaluation.report import EvaluationReport

REFERENCE: EngineName = "onnxruntime"
OTHERS = [name for name in fastest_on_cpu("fp32") if name != REFERENCE and is_installed(name)]
SIZES_HW = [(24, 32), (24, 32), (22, 31), (40, 24), (24, 32), (7, 5), (33, 47)]
"""Neighbours of one padded size share a batch; the others are not what a graph was first run on."""

COMMANDS: dict[str, list[object]] = {
    "folder": ["photos", "--styles", 3],
    "guided": ["photos", "--style-image", "photos/3.png", "--style-image", "photos/6.png"],
    "tiles": ["large.png", "--styles", 2, "--tile", 40],
    "exact tiles": ["large.png", "--styles", 2, "--tile", 40, "--tile-stats", "exact"],
    "video": ["clip.mkv", "--styles", 2, "--codec", "ffv1"],
    "steady video": ["clip.mkv", "--stabilise", "--codec", "ffv1"],
}


@pytest.fixture
def inputs(working_folder: Path) -> Path:
    for index, size in enumerate(SIZES_HW):
        save_noise(working_folder / "photos" / f"{index}.png", *size, seed=index)
    save_noise(working_folder / "large.png", 70, 90)
    make_clip(working_folder / "clip.mkv", 4, codec="ffv1", pixel_format="bgr0", audio=None)
    return working_folder


def results(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Every result by its name; a video as its frames."""
    return {
        path.name: np.stack(frames(path)) if path.suffix == ".mkv" else np.asarray(Image.open(path))
        for path in sorted(folder.iterdir())
        if path.suffix in (".mkv", ".png")
    }


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("engine", OTHERS)
def test_translations(
    engine: EngineName, command: str, direction: str, tiny_stats_model: Path, inputs: Path
) -> None:
    found = {}
    for name in (REFERENCE, engine):
        words = [*COMMANDS[command], "--direction", direction, "-o", f"{name}/"]
        code, _, errors = outcome(
            "translate", tiny_stats_model, *words, "--engine", name, "--device", "cpu"
        )
        assert code == 0, errors
        assert f"{name} on cpu" in errors
        found[name] = results(inputs / name)
    assert found[engine].keys() == found[REFERENCE].keys()
    assert found[engine]
    for path, got in found[engine].items():
        expected = found[REFERENCE][path]
        assert got.shape == expected.shape
        assert np.abs(got.astype(int) - expected).max() <= 1, path


@pytest.mark.parametrize("engine", OTHERS)
def test_evaluations(engine: EngineName, tiny_model: Path, working_folder: Path) -> None:
    for index in range(10):
        for domain in "AB":
            path = working_folder / "data" / f"test{domain}" / f"{index}.png"
            save_noise(path, 20 + index, 24, seed=index)
    reports = []
    for name in (REFERENCE, engine):
        words = ["--data", "data", "--styles", 2, "--json", f"{name}.json", "--engine", name]
        code, _, errors = outcome("evaluate", tiny_model, *words, "--device", "cpu")
        assert code == 0, errors
        text = (working_folder / f"{name}.json").read_text(encoding="utf-8")
        reports.append(EvaluationReport.model_validate_json(text))
    assert [report.engine for report in reports] == [REFERENCE, engine]
    expected, got = (
        [
            value
            for row in (*report.domains, *report.directions)
            for value in row.model_dump().values()
            if type(value) is float
        ]
        for report in reports
    )
    assert len(got) > 8
    np.testing.assert_allclose(got, expected, rtol=1e-3)
