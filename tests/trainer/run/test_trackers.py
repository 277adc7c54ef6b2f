"""Trackers by name: Accelerate's own classes on top of packages that the tests write."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from training_runs import Recorder, tiny_config, write_data

from munit_edge.errors import EngineError
from munit_edge.trainer.prepare import prepare_run
from munit_edge.trainer.run.trackers import Trackers

WANDB = """
said = []
class Image:
    def __init__(self, pixels): self.shape = pixels.shape
class Run:
    def log(self, values, step=None):
        said.append(("log", step, values))
    def finish(self): said.append(("finish",))
class config:
    def update(values, allow_val_change): said.append(("settings", values))
def init(**options):
    said.append(("init", options))
    return Run()
"""


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fake package of that name."""
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(packages)
    sys.modules.pop("wandb", None)
    yield importlib.import_module("wandb")
    del sys.modules["wandb"]


def test_a_service_gets_settings_numbers_and_grids(wandb: Any, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    config = tiny_config(
        f"data.root={tmp_path / 'data'}", "trackers=[wandb]", "iterations=1", "image_interval=1"
    )
    prepare_run(config, tmp_path / "my run", device="cpu").train(Recorder())
    assert not (tmp_path / "my run" / "tensorboard").exists()
    (begun, options), (_, settings), *logged, (end,) = wandb.said
    assert begun == "init"
    assert (options["project"], options["name"]) == ("munit-edge", "my run")
    assert settings["model.width"] == 4
    assert settings["trackers"] == "['wandb']"
    assert {step for _, step, _ in logged} == {1}
    values = {name: value for _, _, numbers in logged for name, value in numbers.items()}
    assert {"loss/gan_a", "measure/reconstruction", "a2b", "b2a"} <= values.keys()
    assert values["a2b"][0].shape[2] == 3
    assert end == "finish"


def test_a_service_that_fails_later_is_left_out(
    wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[str] = []
    trackers = Trackers(("wandb", "tensorboard"), tmp_path / "run")
    trackers.begin(0, {}, reported.append)

    def failing(self: Any, values: Any, step: int) -> None:
        raise ConnectionError("no network\nand more")

    monkeypatch.setattr(wandb.Run, "log", failing)
    for iteration in (1, 2):
        trackers.log(iteration, {"x": 1.0})
    trackers.log_image(2, "a2b", np.zeros((4, 4, 3), np.uint8))
    trackers.end()
    assert reported == ["the tracker 'wandb' failed and gets no more values: no network"]
    assert any((tmp_path / "run" / "tensorboard").iterdir())


def test_a_service_that_cannot_begin_stops_before_training(
    wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(**options: Any) -> None:
        raise PermissionError("no key: log in first")

    monkeypatch.setattr(wandb, "init", refusing)
    trackers = Trackers(("wandb",), tmp_path)
    with pytest.raises(EngineError, match=r"'wandb' cannot start \(no key: log in first\)"):
        trackers.begin(0, {}, print)


def test_what_is_not_installed_is_named_with_the_command(tmp_path: Path) -> None:
    if importlib.util.find_spec("swanlab") is not None:
        pytest.skip("it is installed here")
    with pytest.raises(EngineError, match=r"'swanlab', which is not .*`pip install swanlab`"):
        Trackers(("swanlab",), tmp_path)


def test_what_accelerate_does_not_know_is_named(
    wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import tracking

    monkeypatch.delitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb")
    with pytest.raises(EngineError, match=r"does not support the tracker 'wandb': .*--upgrade acc"):
        Trackers(("wandb",), tmp_path)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="tensorboard"):
        tiny_config("trackers=[tensorbord]")


def test_tensorboard_forgets_what_lies_after_the_checkpoint(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start in (0, 2):
        # A resumed run begins later. Within one second TensorBoard sorts its files by a counter of
        # the process, as text: file 10 comes before file 9.
        second = int(time.time())
        while start and int(time.time()) == second:
            time.sleep(0.02)
        trackers = Trackers(("tensorboard",), tmp_path)
        trackers.begin(start, {}, print)
        for iteration in range(start + 1, start + 5):
            trackers.log(iteration, {"x": float(start)})
        trackers.end()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("x")] == [
        *((1, 0), (2, 0)),
        *((3, 2), (4, 2), (5, 2), (6, 2)),
    ]
