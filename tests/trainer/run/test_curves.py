"""The numbers of a run: thinned evenly, and a file that outlives kill -9."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from munit_edge.trainer.run.curves import MAX_POINTS, Curve, CurveFile, read_curves


def grown(count: int) -> tuple[Curve, np.ndarray]:
    values = np.random.default_rng(0).standard_normal(count)
    curve = Curve()
    for i, value in enumerate(values, 1):
        curve.add(10 * i, float(value))
    return curve, values


def test_few_numbers_stay_as_they_are() -> None:
    curve, values = grown(5)
    assert [point.mean for point in curve.points] == list(values)
    assert [point.iteration for point in curve.points] == [10, 20, 30, 40, 50]
    assert all(point.low == point.mean == point.high for point in curve.points)


@pytest.mark.parametrize("count", [MAX_POINTS, MAX_POINTS + 1, 5000, 40_321])
def test_many_numbers_are_thinned_evenly_and_none_is_lost(count: int) -> None:
    curve, values = grown(count)
    points = curve.points
    assert MAX_POINTS / 2 <= len(points) <= MAX_POINTS
    size = round(points[1].iteration - points[0].iteration) // 10
    assert size == 2 ** round(math.log2(size))
    for i, point in enumerate(points):
        part = values[i * size : (i + 1) * size]
        assert point.mean == pytest.approx(part.mean())
        assert (point.low, point.high) == (part.min(), part.max())
        middle = i * size + (len(part) + 1) / 2
        assert point.iteration == pytest.approx(10 * middle)
    assert len(points) * size >= count
    assert curve.latest == values[-1]


def test_a_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run" / "curves.jsonl"
    file = CurveFile(path, 0)
    file.add(10, {"loss/gan_a": 0.123456789, "loss/gan_b": math.nan})
    file.add(20, {"loss/gan_a": 2.0, "loss/gan_b": 3.0})
    file.add(20, {"measure/x": 1e-9})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"iteration": 10, "loss/gan_a": 0.123457, "loss/gan_b": None}
    found = read_curves(path).by_name
    assert list(found) == ["loss/gan_a", "loss/gan_b", "measure/x"]
    assert [p.iteration for p in found["loss/gan_a"].points] == [10, 20]
    assert [p.iteration for p in found["loss/gan_b"].points] == [20]
    assert found.keys() == file.curves.by_name.keys()


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    first = CurveFile(path, 0)
    for iteration in (10, 20, 30):
        first.add(iteration, {"x": float(iteration)})
    with path.open("a") as file:
        file.write('{"iteration":40,"x":4')  # and killed
    resumed = CurveFile(path, 20)
    assert [p.mean for p in resumed.curves.by_name["x"].points] == [10, 20]
    resumed.add(30, {"x": 31.0})
    assert [p.mean for p in read_curves(path).by_name["x"].points] == [10, 20, 31]
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "line", ["", "[1]", '{"x": 1}', '{"iteration": "y"}', "\x00\x00", '{"iteration": null}']
)
def test_lines_without_numbers_are_passed_over(line: str, tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    path.write_text(f'{{"iteration":1,"x":5,"y":"words"}}\n{line}\n')
    found = read_curves(path).by_name
    assert list(found) == ["x"]


def test_no_file_is_no_curve(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "none").by_name == {}
