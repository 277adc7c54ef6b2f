"""Whole runs: resume, signals, broken pictures, and everything that stops them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import (
    Recorder,
    all_tensors,
    assert_same,
    tiny_config,
    write_data,
    write_pictures,
)

from munit_edge.errors import ConfigError, EngineError, InputError, ModelError, TrainingError
from munit_edge.images import read_image
from munit_edge.trainer import loop
from munit_edge.trainer.checkpoint import newest_checkpoint, open_checkpoint, saved_checkpoints
from munit_edge.trainer.loop import TrainingResult, prepare_run
from munit_edge.trainer.step import Losses, TrainingStep


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def train(
    data: Path,
    path: Path,
    *overrides: str,
    resume: bool = False,
    display: Recorder | None = None,
) -> TrainingResult:
    config = tiny_config(f"data.root={data}", *overrides)
    run = prepare_run(config, path, device="cpu", resume=resume)
    return run.train(display or Recorder())


def test_a_run_leaves_checkpoints_pictures_and_curves(data: Path, tmp_path: Path) -> None:
    path, display = tmp_path / "run", Recorder()
    result = train(data, path, display=display)

    assert result.iteration == display.steps == 6
    assert result.checkpoint == path / "checkpoints" / "00000006"
    assert result.stopped_by is None
    assert result.images_per_second > 0
    assert display.notes[-1].startswith("D ")
    assert sorted(p.name for p in (path / "checkpoints").iterdir()) == ["00000003", "00000006"]
    grids = sorted(p.name for p in (path / "images").iterdir())
    assert grids == ["00000006_a2b.png", "00000006_b2a.png"]
    # input, reconstruction, 2 styles, reference, guided; 2 rows of 16 pixels with gaps of 2
    assert read_image(path / "images" / grids[0], 3).pixels.shape == (2 * 18 + 2, 6 * 18 + 2, 3)
    checkpoint = open_checkpoint(path)
    assert checkpoint.has_average
    assert checkpoint.has_discriminators
    assert checkpoint.info.iteration == 6


def test_tensorboard_has_every_loss_and_the_grids(data: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(data, tmp_path / "run", "iterations=3", "optimizer.step_size=2")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    terms = ("discriminator", "gan", "image", "style", "content", "cycle")
    expected = {f"loss/{term}_{d}" for term in terms for d in "ab"}
    expected |= {"loss/discriminator_total", "loss/generator_total"}
    for role in ("generators", "discriminators"):
        expected |= {f"learning_rate/{role}", f"gradient_norm/{role}"}
    expected.add("measure/reconstruction")
    assert set(events.Tags()["scalars"]) == expected
    assert [event.step for event in events.Scalars("loss/gan_a")] == [1, 2, 3]
    rates = [event.value for event in events.Scalars("learning_rate/generators")]
    assert rates == pytest.approx([1e-4, 5e-5, 5e-5])
    assert set(events.Tags()["images"]) == {"a2b", "b2a"}


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model.architecture=munit-sn", "model.pre_activation=true", "loss.gan=hinge"),
        ("average_decay=null", "optimizer.step_size=2", "data.workers=1"),
    ],
    ids=["average", "spectral norm", "schedule and a worker"],
)
def test_3_and_3_iterations_are_6(overrides: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    straight = train(data, tmp_path / "straight", *overrides)
    train(data, tmp_path / "halves", "iterations=3", *overrides)
    resumed = train(data, tmp_path / "halves", *overrides, resume=True)
    assert resumed.iteration == 6
    assert_same(straight.checkpoint, resumed.checkpoint)


def test_workers_do_not_change_the_result(data: Path, tmp_path: Path) -> None:
    one = train(data, tmp_path / "0", "iterations=3")
    other = train(data, tmp_path / "2", "iterations=3", "data.workers=2")
    assert_same(one.checkpoint, other.checkpoint)


def test_another_seed_is_another_run(data: Path, tmp_path: Path) -> None:
    one = train(data, tmp_path / "0", "iterations=1")
    other = train(data, tmp_path / "1", "iterations=1", "seed=1")
    with pytest.raises(AssertionError):
        assert_same(one.checkpoint, other.checkpoint)


def test_resuming_a_finished_run_does_nothing(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path / "run", "iterations=3")
    before = all_tensors(first.checkpoint)
    again = train(data, tmp_path / "run", "iterations=3", resume=True)
    assert (again.iteration, again.checkpoint) == (3, first.checkpoint)
    assert all(torch.equal(before[n], v) for n, v in all_tensors(first.checkpoint).items())
    with pytest.raises(ConfigError, match="has done 3 iterations already and iterations is 2"):
        train(data, tmp_path / "run", "iterations=2", resume=True)


def test_a_damaged_checkpoint_is_named_with_the_one_before(data: Path, tmp_path: Path) -> None:
    newest = train(data, tmp_path / "run").checkpoint
    os.truncate(newest / "training.safetensors", 100)
    with pytest.raises(ModelError, match=r"damaged .* Move .*00000006 away .* it, .*00000003"):
        train(data, tmp_path / "run", resume=True)
    newest.rename(tmp_path / "damaged")
    resumed = train(data, tmp_path / "run", resume=True)
    assert_same(train(data, tmp_path / "straight").checkpoint, resumed.checkpoint)


def test_a_run_stopped_before_its_first_checkpoint_begins_again(data: Path, tmp_path: Path) -> None:
    config = tiny_config(f"data.root={data}", "iterations=2")
    prepare_run(config, tmp_path / "run", device="cpu")  # and killed
    resumed = train(data, tmp_path / "run", "iterations=2", resume=True)
    straight = train(data, tmp_path / "straight", "iterations=2")
    assert_same(straight.checkpoint, resumed.checkpoint)


def test_images_may_move_between_runs(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", "iterations=3")
    moved = data.rename(tmp_path / "moved")
    resumed = train(moved, tmp_path / "run", resume=True)
    straight = train(moved, tmp_path / "straight")
    assert_same(straight.checkpoint, resumed.checkpoint)


def test_only_the_newest_checkpoints_stay(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", "checkpoint_interval=1", "keep_checkpoints=2", "best_by=null")
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "00000005",
        "00000006",
    ]


def test_the_best_checkpoint_stays_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([5.0, 3.0, float("nan"), 3.0, 4.0, 6.0])
    monkeypatch.setattr(loop, "reconstruction_error", lambda *arguments: next(values))
    settings = ("checkpoint_interval=1", "keep_checkpoints=1")
    result = train(data, tmp_path / "run", *settings)
    kept = [path.name for path in saved_checkpoints(tmp_path / "run")]
    assert kept == ["00000002", "00000006"]
    assert result.best == tmp_path / "run" / "checkpoints" / "00000002"
    assert open_checkpoint(result.best).info.measures == {"reconstruction": 3.0}
    values = iter([2.0])
    again = train(data, tmp_path / "run", *settings, "iterations=7", resume=True)
    assert again.best == again.checkpoint


# ----------------------------------------------------------------------------------------------
# Stopping


class Signalling(Recorder):
    """Sends a signal to this process while an iteration is running."""

    def __init__(self, at: int, number: signal.Signals) -> None:
        super().__init__()
        self._at = at
        self._number = number

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        if self.steps == self._at:
            os.kill(os.getpid(), self._number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_saves_a_checkpoint_that_goes_on_exactly(
    number: signal.Signals, workers: int, data: Path, tmp_path: Path
) -> None:
    loading = f"data.workers={workers}"
    stopped = train(data, tmp_path / "run", loading, display=Signalling(2, number))
    assert (stopped.iteration, stopped.stopped_by) == (2, number)
    assert newest_checkpoint(tmp_path / "run") == stopped.checkpoint
    resumed = train(data, tmp_path / "run", loading, resume=True)
    straight = train(data, tmp_path / "straight", loading)
    assert_same(straight.checkpoint, resumed.checkpoint)


class KillingWorker(Recorder):
    """Kills the process that prepares images, as a system without memory does."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        for worker in multiprocessing.active_children():
            if self.steps == 2:
                worker.kill()


def test_a_worker_that_dies_loses_no_iteration(data: Path, tmp_path: Path) -> None:
    settings = ("data.workers=1", "iterations=50", "checkpoint_interval=50")
    display = KillingWorker()
    with pytest.raises(
        TrainingError, match=r"that prepares images has ended \(.* lower data\.workers"
    ):
        train(data, tmp_path / "run", *settings, display=display)
    newest = newest_checkpoint(tmp_path / "run")
    assert newest == tmp_path / "run" / "checkpoints" / f"{display.steps:08d}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run(
    value: float, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingStep.run

    def diverging(self: TrainingStep, iteration: int, *rest: Any) -> Losses:
        losses = original(self, iteration, *rest)
        return losses | ({"gan_b": torch.tensor(value)} if iteration == 5 else {})

    monkeypatch.setattr(TrainingStep, "run", diverging)
    with pytest.raises(TrainingError) as caught:
        train(data, tmp_path / "run")
    saved = tmp_path / "run" / "checkpoints" / "00000003"
    assert f"diverged in iteration 5: gan_b is {value} (last checkpoint: {saved})" in str(
        caught.value
    )
    assert newest_checkpoint(tmp_path / "run") == saved


def test_broken_pictures_are_named_once_skipped_and_counted(data: Path, tmp_path: Path) -> None:
    (data / "trainA" / "02.png").write_bytes(b"\x89PNG, and no more")
    (data / "trainB" / "00.png").write_bytes(b"")
    display = Recorder()
    result = train(data, tmp_path / "run", display=display)
    assert result.broken_images == 2
    assert len(display.messages) == 2
    assert any("trainA/02.png" in message for message in display.messages)
    assert all(message.startswith("skipped: ") for message in display.messages)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_domain_without_a_readable_picture_stops_the_run(
    workers: int, data: Path, tmp_path: Path
) -> None:
    write_pictures(data / "testB", 1)
    for file in (data / "trainB").iterdir():
        file.write_bytes(b"")
    with pytest.raises(
        InputError, match=r"no picture of domain b in .*trainB can be read: .*empty"
    ):
        train(data, tmp_path / "run", f"data.workers={workers}")


# ----------------------------------------------------------------------------------------------
# Beginning


def test_what_is_wrong_is_found_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    for file in (data / "trainB").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match="can be read"):
        train(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume_and_overwrite_exclude_each_other(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose one"):
        prepare_run(tiny_config(f"data.root={data}"), tmp_path / "run", resume=True, overwrite=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_an_error_when_asked_for(data: Path, tmp_path: Path) -> None:
    config = tiny_config(f"data.root={data}")
    with pytest.raises(EngineError, match="torch finds no CUDA GPU: use --device cpu"):
        prepare_run(config, tmp_path / "run", device="cuda")
    assert prepare_run(config, tmp_path / "run", device="auto").device == "cpu"


def test_the_run_learns_to_reconstruct(data: Path, tmp_path: Path) -> None:
    config = tiny_config(
        f"data.root={data}", "iterations=40", "optimizer.generator_lr=0.003", "image_interval=40"
    )
    run = prepare_run(config, tmp_path / "run", device="cpu")
    values: list[float] = []
    original = run.state.step.run

    def recording(*arguments: Any) -> Losses:
        losses = original(*arguments)
        values.append(float(losses["image_a"] + losses["image_b"]))
        return losses

    run.state.step.run = recording  # type: ignore[method-assign]
    run.train(Recorder())
    assert np.mean(values[-5:]) < 0.8 * np.mean(values[:5])
