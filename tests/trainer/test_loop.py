"""Whole runs: resume, signals, broken images, and everything that stops a run."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from feature_weights import VGG16, write_inception, write_lpips
from PIL import Image
from training_runs import (
    Recorder,
    all_tensors,
    assert_same,
    prepared,
    tiny_config,
    train,
    write_data,
    write_images,
)

from munit_edge.errors import ConfigError, EngineError, InputError, ModelError, TrainingError
from munit_edge.evaluation.images import MIN_IMAGES
from munit_edge.evaluation.options import EvaluateOptions
from munit_edge.evaluation.run import evaluate
from munit_edge.images.io import read_image
from munit_edge.trainer import loop
from munit_edge.trainer.checkpoint import newest_checkpoint, open_checkpoint, saved_checkpoints
from munit_edge.trainer.config import BestBy
from munit_edge.trainer.measures import Evaluation
from munit_edge.trainer.prepare import prepare_run
from munit_edge.trainer.step import Losses, TrainingStep
from munit_edge.translator import Translator


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def test_a_run_leaves_checkpoints_images_and_curves(data: Path, tmp_path: Path) -> None:
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
    # input, reconstruction, cycle, 2 styles, guide, guided; cells of 16 pixels enlarged 8 times
    assert read_image(path / "images" / grids[0], 3).pixels.shape[1] == 7 * (128 + 8) + 8
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
        ("speed.precision=bf16", "speed.reuse_translations=true", "speed.channels_last=true"),
    ],
    ids=["average", "spectral norm", "schedule and a worker", "bf16, reused translations"],
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
    with pytest.raises(ConfigError, match="has already done 3 iterations and iterations is 2"):
        train(data, tmp_path / "run", "iterations=2", resume=True)


def test_a_damaged_checkpoint_is_named_with_the_one_before(data: Path, tmp_path: Path) -> None:
    newest = train(data, tmp_path / "run").checkpoint
    os.truncate(newest / "training.safetensors", 100)
    with pytest.raises(ModelError, match=r"damaged .* Move .*00000006 away .* it, .*00000003"):
        train(data, tmp_path / "run", resume=True)
    newest.rename(tmp_path / "damaged")
    resumed = train(data, tmp_path / "run", resume=True)
    assert_same(train(data, tmp_path / "straight").checkpoint, resumed.checkpoint)


def test_a_checkpoint_without_a_format_is_not_passed_over(data: Path, tmp_path: Path) -> None:
    newest = train(data, tmp_path / "run").checkpoint
    (newest / "checkpoint.json").unlink()
    with pytest.raises(ModelError, match=r"00000006 is damaged.* away to continue from .*00000003"):
        train(data, tmp_path / "run", resume=True)
    shutil.rmtree(newest.with_name("00000003"))
    with pytest.raises(ModelError, match=r"00000006 is damaged.* away to start again"):
        train(data, tmp_path / "run", resume=True)


def test_a_run_of_another_version_without_a_whole_record_goes_on(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(data, folder, "iterations=3")
    settings = (folder / "train.yaml").read_text()
    older = settings.replace("  max_megapixels: 100.0\n", "")
    assert older != settings
    (folder / "train.yaml").write_text(older)
    (folder / "run.json").write_text("{")
    with pytest.raises(ModelError, match=r"run\.json is damaged .* delete it"):
        train(data, folder, resume=True)
    (folder / "train.yaml").write_text(older)
    (folder / "run.json").unlink()
    assert train(data, folder, resume=True).iteration == 6


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


@pytest.fixture
def tested(data: Path) -> Path:
    """The data with test images of the size of the crop."""
    for name in ("testA", "testB"):
        write_images(data / name, MIN_IMAGES, (16, 16))
    return data


EVALUATED = (
    *("best_by=cycle_error", "evaluation.count=10", "data.resize=16"),
    *("iterations=4", "checkpoint_interval=2"),
)


def measures(run: Path) -> dict[str, dict[str, float]]:
    """What the checkpoints of a run say of themselves."""
    return {path.name: open_checkpoint(path).info.measures for path in saved_checkpoints(run)}


def test_numbers_of_evaluate_choose_the_best_checkpoint(tested: Path, tmp_path: Path) -> None:
    run, display = tmp_path / "run", Recorder()
    result = train(tested, run, *EVALUATED, display=display)
    found = measures(run)
    assert list(found) == ["00000002", "00000004"]
    assert all(
        set(values) == set(get_args(BestBy)) - {"reconstruction", "fid", "kid", "lpips"}
        for values in found.values()
    )
    best = min(found, key=lambda name: found[name]["cycle_error"])
    assert result.best == run / "checkpoints" / best
    assert (
        f"iteration 4: image_error {found['00000004']['image_error']:.4g}" in display.messages[-1]
    )

    # The numbers of the command: images of the size of the crop are measured unchanged.
    options = EvaluateOptions(data=tested, size=16, styles=2)
    with Translator.open(result.checkpoint, device="cpu") as translator:
        report = evaluate(translator, options, model="run")
    errors = [direction.cycle_error for direction in report.directions]
    assert found["00000004"]["cycle_error"] == pytest.approx(sum(errors) / 2)
    pairs = report.propositions.joint
    assert pairs is not None
    assert found["00000004"]["pair_mmd"] == pytest.approx(pairs.mmd_squared)


def test_of_style_use_the_highest_is_the_best(
    tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([1.0, 3.0, float("nan"), 2.0])
    monkeypatch.setattr(Evaluation, "measure", lambda *_: {"style_use": next(values)})
    settings = (*EVALUATED, "best_by=style_use", "checkpoint_interval=1", "keep_checkpoints=1")
    result = train(tested, tmp_path / "run", *settings)
    assert measures(tmp_path / "run") == {
        "00000002": {"style_use": 3},
        "00000004": {"style_use": 2},
    }
    assert result.best == tmp_path / "run" / "checkpoints" / "00000002"


def test_an_evaluation_that_a_signal_ends_is_made_up_for(
    tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Evaluation, path: Path, on_step: Callable[[], None]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        on_step()
        raise AssertionError("the signal was not seen")

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(Evaluation, "measure", interrupted)
        # The signal is acted upon when the next iteration is done.
        stopped = train(tested, run, *EVALUATED)
    assert (stopped.iteration, stopped.stopped_by) == (3, signal.SIGTERM)
    assert measures(run) == {"00000002": {}, "00000003": {}}
    train(tested, run, *EVALUATED, resume=True)
    straight = train(tested, tmp_path / "straight", *EVALUATED)
    assert_same(straight.checkpoint, newest_checkpoint(run) or run)
    found = measures(run)
    assert found["00000003"]
    assert found["00000004"] == measures(tmp_path / "straight")["00000004"]


def test_a_checkpoint_that_cannot_be_measured_ends_no_run(
    tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise EngineError("too little memory")

    monkeypatch.setattr(Evaluation, "measure", failing)
    display = Recorder()
    result = train(tested, tmp_path / "run", *EVALUATED, display=display)
    assert (result.iteration, result.best) == (4, None)
    assert "00000002 could not be measured: too little memory" in display.messages[0]


def test_feature_networks_choose_and_are_tried_before_training(
    tested: Path, tmp_path: Path
) -> None:
    trunk, linear = write_lpips(tmp_path, VGG16)
    fid = write_inception(tmp_path / "fid.pth", 1008)
    networks = (f"evaluation.features={fid}", f"evaluation.lpips=[{trunk},{linear}]")
    settings = (*EVALUATED, *networks, "iterations=1", "best_by=lpips")
    result = train(tested, tmp_path / "run", *settings)
    assert set(measures(tmp_path / "run")["00000001"]) == set(get_args(BestBy)) - {"reconstruction"}
    assert result.best == result.checkpoint
    write_lpips(tmp_path)  # AlexNet
    with pytest.raises(InputError, match="16 x 16 pixels and LPIPS with AlexNet needs at least 31"):
        train(tested, tmp_path / "other", *settings)
    assert not (tmp_path / "other").exists()


def test_too_few_test_images_are_reported_before_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"has 5 usable images in .* best_by cycle_error needs at least"
    ):
        train(data, tmp_path / "run", *EVALUATED)
    assert not (tmp_path / "run").exists()


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


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGINT, 0),
        (signal.SIGTERM, 1),
        pytest.param(signal.SIGINT, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 0, marks=pytest.mark.slow),
    ],
)
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
        TrainingError, match=r"that prepares images has died \(.* lower data\.workers"
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


def test_broken_images_are_named_once_skipped_and_counted(data: Path, tmp_path: Path) -> None:
    (data / "trainA" / "02.png").write_bytes(b"\x89PNG, and no more")
    (data / "trainB" / "00.png").write_bytes(b"")
    display = Recorder()
    result = train(data, tmp_path / "run", display=display)
    assert result.broken_images == 2
    assert len(display.messages) == 2
    assert any("trainA/02.png" in message for message in display.messages)
    assert all(message.startswith("skipped: ") for message in display.messages)


def test_images_of_one_colour_are_named_once_and_do_no_harm(data: Path, tmp_path: Path) -> None:
    black, paper = data / "trainA" / "02.png", data / "trainB" / "04.png"
    Image.new("RGB", (24, 20)).save(black)
    Image.new("RGB", (24, 20), "white").save(paper)
    display = Recorder()
    deep = ("iterations=12", "model.num_res_blocks=6", "model.num_downsamples=2")
    result = train(data, tmp_path / "run", *deep, display=display)
    assert result.iteration == 12
    assert result.flat_images == 2
    assert sorted(display.messages) == [
        f"{path} has only one colour: there is nothing to learn from it" for path in (black, paper)
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_domain_without_a_readable_image_stops_the_run(
    workers: int, data: Path, tmp_path: Path
) -> None:
    write_images(data / "testB", 1)
    for file in (data / "trainB").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"no image of domain b in .*trainB can be read: .*empty"):
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
    with pytest.raises(EngineError, match=r"no CUDA GPU for --device cuda: use --device cpu"):
        prepare_run(config, tmp_path / "run", device="cuda")
    assert prepare_run(config, tmp_path / "run", device="auto").device == "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_on_a_gpu_leaves_a_checkpoint_and_resumes(
    precision: str, data: Path, tmp_path: Path
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch cannot use the GPU")
    path, settings = tmp_path / "run", (f"speed.precision={precision}", "iterations=3")
    first = prepared(data, path, *settings, device="cuda").train(Recorder())
    assert first.checkpoint == path / "checkpoints" / "00000003"
    assert (first.iteration, first.skipped_updates) == (3, 0)
    resumed = prepared(data, path, settings[0], "iterations=6", resume=True, device="cuda").train(
        Recorder()
    )
    assert resumed.iteration == 6
    assert all(
        bool(tensor.isfinite().all())
        for tensor in all_tensors(path / "checkpoints" / "00000006").values()
    )


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


def test_too_little_memory_of_the_gpu_names_the_last_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingStep.update_generators

    def failing(self: TrainingStep, iteration: int, *rest: Any) -> Losses:
        if iteration == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(self, iteration, *rest)

    monkeypatch.setattr(TrainingStep, "update_generators", failing)
    saved = re.escape(str(tmp_path / "run" / "checkpoints" / "00000003"))
    with pytest.raises(
        TrainingError,
        match=rf"cpu is out of memory in iteration 4: .* \(last checkpoint: {saved}\)",
    ):
        train(data, tmp_path / "run")
