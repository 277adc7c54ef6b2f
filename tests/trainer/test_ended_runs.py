"""Runs that are killed, or that find the disk full: what was saved is whole and goes on exactly."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from ended_runs import (
    NOT_ALLOWED,
    exit_code,
    run_killed_in_an_iteration,
    run_killed_while_saving,
    run_killed_with_workers,
    run_until_a_file_is_too_large,
    run_until_half_a_checkpoint_is_free,
    run_until_nothing_is_free,
    run_without_memory_for_images,
    start,
)
from hang_guard import wait_until
from training_runs import assert_same, train, write_data

from munit_edge.trainer.checkpoint import newest_checkpoint, open_checkpoint, saved_checkpoints

TWENTY = ("iterations=20", "checkpoint_interval=10", "image_interval=20")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("ended") / "data")


@pytest.fixture(scope="module")
def twenty_straight(data: Path) -> Path:
    return train(data, data.parent / "straight", *TWENTY).checkpoint


@pytest.mark.parametrize(
    ("ending", "at"),
    [(run_killed_in_an_iteration, 14), (run_killed_while_saving, 20)],
    ids=["in an iteration", "while saving"],
)
def test_10_then_kill_9_then_10_are_20(
    ending: Callable[..., None], at: int, data: Path, twenty_straight: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert exit_code(start(ending, data, run, TWENTY, at)) == -signal.SIGKILL
    assert saved_checkpoints(run) == [run / "checkpoints" / "00000010"]
    resumed = train(data, run, *TWENTY, resume=True).checkpoint
    assert resumed.name == "00000020"
    assert_same(twenty_straight, resumed)
    assert sorted(p.name for p in resumed.parent.iterdir()) == ["00000010", "00000020"]


def test_processes_that_prepare_images_end_with_a_run_that_is_killed(
    data: Path, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    process = start(run_killed_with_workers, data, tmp_path / "run", pids)
    assert exit_code(process) == -signal.SIGKILL
    workers = [int(pid) for pid in pids.read_text().split()]
    assert len(workers) == 2
    wait_until(lambda: not any(map(_lives, workers)), "they wait for a run that is gone")


def test_an_unforeseen_error_where_images_are_prepared_ends_the_run(
    data: Path, tmp_path: Path
) -> None:
    assert exit_code(start(run_without_memory_for_images, data, tmp_path / "run")) == 1
    assert "no memory for an image" in (data / "error.txt").read_text()


def _lives(pid: int) -> bool:
    """Whether a process runs; one that ended may stay listed where nobody collects it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (run_until_half_a_checkpoint_is_free, "00000006: the disk is full: free some space"),
        (run_until_nothing_is_free, "tensorboard: the disk is full: free some space"),
        (run_until_a_file_is_too_large, "00000006: the file is larger than"),
    ],
    ids=["half", "nothing", "limit"],
)
def test_a_full_disk_leaves_the_previous_checkpoint_whole(
    ending: Callable[..., None], words: str, data: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    code = exit_code(start(ending, data, tmp_path / "run", copy))
    if code == NOT_ALLOWED:
        pytest.skip("no file system may be mounted here")
    assert code == 0
    assert words in (data / "error.txt").read_text()
    assert [p.name for p in (copy / "checkpoints").iterdir()] == ["00000003"]
    assert newest_checkpoint(copy) == open_checkpoint(copy).path
    straight, resumed = train(data, tmp_path / "straight"), train(data, copy, resume=True)
    assert_same(straight.checkpoint, resumed.checkpoint)
