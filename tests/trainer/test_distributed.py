"""Two processes that train one model, over gloo: as one with twice the batch, and in agreement."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
import yaml
from ended_runs import exit_code
from parallel_runs import (
    break_second_gradient,
    die_while_others_leave,
    ending,
    gradients,
    kill_second_process,
    leave_during_an_exchange,
    save_gradients,
    start_leaving,
    start_processes,
    start_programs,
    stop_second_process,
)
from safetensors.torch import load_file
from training_runs import Recorder, prepared, tiny_settings, write_data

from munit_edge.errors import ConfigError
from munit_edge.trainer.checkpoint import saved_checkpoints
from munit_edge.trainer.loop import TrainingResult, TrainingRun
from munit_edge.trainer.prepare import LONGEST_WAIT

CASES = {
    "munit": (),
    "munit-sn without a cycle": (
        "model.architecture=munit-sn",
        "model.pre_activation=true",
        "loss.gan=hinge",
        "loss.cycle_weight=0",
        "loss.r1_weight=1",
        "loss.r1_interval=2",
        "loss.augment=[colour, translation]",
        "speed.reuse_translations=true",
    ),
}
TOLERANCE = 1e-3
"""Of gradients and of the movement of weights, relative to their length."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def relative_distance(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    apart = torch.stack([(ours[n] - theirs[n]).double().square().sum() for n in ours]).sum()
    length = torch.stack([value.double().square().sum() for value in theirs.values()]).sum()
    return float((apart / length).sqrt())


def moving_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """All but biases: a norm follows most, so that rounding alone decides where Adam moves them."""
    return {
        f"{file}.{name}": value
        for file in ("generators", "discriminators")
        for name, value in load_file(checkpoint / f"{file}.safetensors").items()
        if not name.endswith("bias")
    }


class _Gradients(Recorder):
    """Remembers the gradients of the first iteration."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__()
        self.run = run
        self.first: dict[str, torch.Tensor] = {}

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        self.first = self.first or gradients(self.run)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_with_batch_1_are_one_with_batch_2(
    case: str, data: Path, tmp_path: Path
) -> None:
    settings = (*CASES[case], "iterations=3", "checkpoint_interval=1")
    two = tmp_path / "two"
    processes = start_processes(2, data, two, (*settings, "batch_size=1"), save_gradients)
    run = prepared(data, tmp_path / "one", *settings, "batch_size=2")
    first_weights = {
        f"{kind}.{name}": value.clone()
        for kind in ("generators", "discriminators")
        for name, value in getattr(run.state, kind).state_dict().items()
        if not name.endswith("bias")
    }
    display = _Gradients(run)
    run.train(display)
    assert [exit_code(process) for process in processes] == [0, 0]

    assert len(display.first) == sum(
        len(list(networks.parameters()))
        for networks in (run.state.generators, run.state.discriminators)
    )
    for rank in (0, 1):
        assert (tmp_path / f"wait_{rank}.txt").read_text() == str(LONGEST_WAIT)
        shared = torch.load(tmp_path / f"gradients_{rank}.pt", weights_only=True)
        assert relative_distance(shared, display.first) < TOLERANCE
    alone = _Gradients(prepared(data, tmp_path / "half", *settings, "batch_size=1", "iterations=1"))
    alone.run.train(alone)
    assert relative_distance(alone.first, display.first) > 100 * TOLERANCE
    moved = [
        {name: value - first_weights[name] for name, value in moving_weights(path).items()}
        for path in (saved_checkpoints(two)[-1], saved_checkpoints(tmp_path / "one")[-1])
    ]
    assert relative_distance(*moved) < TOLERANCE
    assert "3 iterations, 0 broken" in ending(two, 0)


def test_a_signal_to_one_process_stops_both(data: Path, tmp_path: Path) -> None:
    (data / "trainA" / "02.png").write_bytes(b"no image")
    run = tmp_path / "run"
    settings = ("batch_size=3", "image_interval=1")
    processes = start_processes(2, data, run, settings, stop_second_process)
    assert [exit_code(process) for process in processes] == [0, 0]
    for rank in (0, 1):
        assert ending(run, rank) == "2 iterations SIGTERM, 1 broken, 0 skipped"
    assert [path.name for path in saved_checkpoints(run)] == ["00000002"]
    assert len(list((run / "tensorboard").rglob("events*"))) == 1

    with pytest.raises(ConfigError, match=r"has 6 images .* would now have 3"):
        prepared(data, run, "batch_size=3", resume=True)
    resumed: TrainingResult = prepared(data, run, "batch_size=6", resume=True).train(Recorder())
    assert resumed.iteration == 6


def test_only_the_first_process_prints(data: Path, tmp_path: Path) -> None:
    settings = tmp_path / "tiny.yaml"
    settings.write_text(yaml.safe_dump(tiny_settings("iterations=2")))
    run = tmp_path / "run"
    arguments = ["train", str(settings), "--data", str(data), "-o", str(run), "--device", "cpu"]
    processes = start_programs(2, tmp_path, arguments)
    assert [exit_code(process) for process in processes] == [0, 0]
    assert (tmp_path / "0.out").read_text().startswith("trained 2 iterations, ")
    assert "device: cpu, the first of 2 processes\n" in (tmp_path / "0.err").read_text()
    for stream in ("out", "err"):
        assert (tmp_path / f"1.{stream}").read_text() == ""


def test_the_death_of_a_process_ends_the_others(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = start_processes(2, data, run, ("checkpoint_interval=1",), kill_second_process)
    assert [exit_code(process) for process in processes] == [2, -signal.SIGKILL]
    assert ending(run, 0).startswith("TrainingError: another process of this run has ended")
    assert [path.name for path in saved_checkpoints(run)][-1] == "00000001"


def test_processes_skip_the_same_updates(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ("on_non_finite=skip", "iterations=4")
    processes = start_processes(2, data, run, settings, break_second_gradient)
    assert [exit_code(process) for process in processes] == [0, 0]
    assert {ending(run, rank) for rank in (0, 1)} == {"4 iterations, 0 broken, 1 skipped"}


def test_processes_end_though_an_exchange_is_unfinished(tmp_path: Path) -> None:
    processes = start_leaving(2, tmp_path, leave_during_an_exchange)
    assert [exit_code(process) for process in processes] == [0, 0]


def test_the_death_of_a_process_at_the_end_is_one_line(tmp_path: Path) -> None:
    processes = start_leaving(2, tmp_path, die_while_others_leave)
    assert [exit_code(process) for process in processes] == [2, -signal.SIGKILL]
    words = (tmp_path / "ending_0.txt").read_text()
    assert words.startswith("TrainingError: another process of this run has ended")
    assert "\n" not in words
