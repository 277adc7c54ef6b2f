"""Where a run may begin and go on."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from training_runs import tiny_config

from munit_edge.errors import ConfigError, InputError, OutputError
from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.model.config import DIRECTIONS
from munit_edge.trainer.checkpoint import INFO_FILE, saved_checkpoints
from munit_edge.trainer.config_files import read_train_config
from munit_edge.trainer.run.folder import MAY_CHANGE, RunFolder, differing_keys


def begun(path: Path, *overrides: str) -> RunFolder:
    folder = RunFolder(path)
    folder.begin(tiny_config(*overrides), replace=True)
    return folder


def test_the_configuration_is_kept(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", "seed=7")
    assert read_train_config(folder.config_file) == tiny_config("seed=7")


def test_a_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    with pytest.raises(OutputError, match="pass --resume to continue it, --overwrite to replace"):
        folder.check_free(overwrite=False)
    folder.check_free(overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_folders_are_never_taken(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").touch()
    with pytest.raises(OutputError, match="exists and is not a training run"):
        RunFolder(tmp_path).check_free(overwrite=overwrite)
    with pytest.raises(OutputError, match="exists and is not a training run"):
        RunFolder(tmp_path / "precious.txt").check_free(overwrite=overwrite)
    RunFolder(tmp_path / "new").check_free(overwrite=overwrite)


def test_beginning_again_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    (tmp_path / "notes.txt").touch()
    folder.checkpoint(3).mkdir(parents=True)
    for file in (folder.page, folder.curve_file, folder.record_file):
        file.touch()
    folder.begin(tiny_config("seed=2"), replace=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "train.yaml"]


def test_beginning_again_keeps_files_of_the_user_in_the_runs_folders(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    ours = [
        folder.checkpoint(3) / "checkpoint.json",
        folder.grid(3, "a2b"),
        tmp_path / "tensorboard" / "events.out.tfevents.1.host.2.0",
    ]
    mine = [
        folder.checkpoint(3) / "notes.txt",
        tmp_path / "images" / "holiday.png",
        tmp_path / "tensorboard" / "mine" / "x.csv",
    ]
    for file in (*ours, *mine):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    folder.begin(tiny_config("seed=2"), replace=True)
    assert [file.exists() for file in (*ours, *mine)] == [False] * 3 + [True] * 3


def test_a_configuration_of_the_user_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("# my settings\nseed: 3\n")
    (tmp_path / "index.html").write_text("my page")
    folder = RunFolder(tmp_path)
    with pytest.raises(OutputError, match="exists and is not a training run"):
        folder.check_free(overwrite=True)
    with pytest.raises(InputError, match="holds no training run to resume"):
        folder.check_resumable(tiny_config())
    with pytest.raises(InputError, match="holds no training run"):
        folder.check_is_run()  # whose page would be replaced


def test_a_run_that_holds_an_input_is_never_replaced(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    photos = folder.path / "images" / "trainA"
    photos.mkdir(parents=True)
    (tmp_path / "link").symlink_to(photos)
    for given in (folder.config_file, photos, tmp_path / "link"):
        with pytest.raises(OutputError, match="is an input and belongs to the run"):
            folder.check_free(overwrite=True, inputs=[given])
    folder.check_free(overwrite=True, inputs=[tmp_path, folder.path / "data"])


def test_links_of_a_run_are_not_followed(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    (tmp_path / "photos").mkdir()
    (folder.path / "images").symlink_to(tmp_path / "photos")
    with pytest.raises(OutputError, match="images is a link, which --overwrite does not follow"):
        folder.check_free(overwrite=True)


def test_resuming_keeps_the_run_and_removes_half_written_checkpoints(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.checkpoint(3).mkdir(parents=True)
    half = folder.checkpoint(3).with_name(f"{PARTIAL_PREFIX}x")
    half.mkdir()
    folder.begin(tiny_config("iterations=20"), replace=False)
    assert folder.checkpoint(3).is_dir()
    assert not half.exists()
    assert read_train_config(folder.config_file).iterations == 20


def test_iterations_beyond_8_digits_are_the_newest(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    iterations = [99_999_999, 100_000_000]
    for iteration in iterations:
        folder.checkpoint(iteration).mkdir(parents=True)
        (folder.checkpoint(iteration) / INFO_FILE).touch()
        for direction in DIRECTIONS:
            folder.grid(iteration, direction).parent.mkdir(exist_ok=True)
            folder.grid(iteration, direction).touch()
    assert [int(path.name) for path in saved_checkpoints(folder.path)] == iterations
    assert folder.drawn(10**9) == iterations


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no training run to resume: omit --resume"):
        RunFolder(tmp_path).check_resumable(tiny_config())


def test_settings_that_change_the_steps_may_not_differ(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with pytest.raises(ConfigError) as caught:
        folder.check_resumable(
            tiny_config("optimizer.generator_lr=0.01", "model.width=8", "iterations=50")
        )
    assert "model.width was 4 and is 8; optimizer.generator_lr was 0.0001 and is 0.01" in str(
        caught.value
    )
    assert "iterations" not in str(caught.value)


def test_settings_that_do_not_change_the_steps_may_differ(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    sources = [f"data.{part}_{d}={{folder: x}}" for part in ("train", "test") for d in "ab"]
    other = tiny_config(
        *sources,
        "data.workers=1",
        "data.cache=false",
        "iterations=9",
        "batch_size=1",
        "log_interval=2",
        "image_interval=2",
        "num_display_images=1",
        "num_display_styles=1",
        "checkpoint_interval=1",
        "keep_checkpoints=1",
        "best_by=null",
        "evaluation.count=20",
        "trackers=[]",
        "on_non_finite=skip",
        "loss.perceptual_file=vgg.pth",
        "speed.compile=true",
        "speed.channels_last=true",
    )
    assert set(differing_keys(tiny_config("data.root=y"), other)) == set(MAY_CHANGE)
    folder.check_resumable(other)


def with_checkpoints(folder: RunFolder, *iterations: int) -> Path:
    for iteration in iterations:
        path = folder.checkpoint(iteration)
        path.mkdir(parents=True)
        (path / "checkpoint.json").touch()
    return folder.checkpoint(0).parent


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    kept = with_checkpoints(folder, 5, 100, 20)
    folder.prune(2)
    assert sorted(p.name for p in kept.iterdir()) == ["00000020", "00000100"]


def test_the_best_checkpoint_is_kept_too(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    kept = with_checkpoints(folder, 5, 100, 20)
    folder.prune(1, best=folder.checkpoint(5))
    assert sorted(p.name for p in kept.iterdir()) == ["00000005", "00000100"]


def test_a_checkpoint_half_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begun(tmp_path)
    with_checkpoints(folder, 5, 100)

    def killed(path: Path, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.prune(1)
    monkeypatch.undo()
    assert saved_checkpoints(tmp_path) == [folder.checkpoint(100)]
    folder.begin(tiny_config(), replace=False)
    assert list(folder.checkpoint(5).parent.iterdir()) == [folder.checkpoint(100)]


def test_a_checkpoint_that_another_program_has_open_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where such a file keeps its folder from going."""
    folder = begun(tmp_path)
    with_checkpoints(folder, 5, 100)

    def busy(*_: Any, **__: Any) -> None:
        raise OSError(errno.EBUSY, "busy")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", busy)
        folder.prune(1)
    assert saved_checkpoints(tmp_path) == [folder.checkpoint(100)]
    folder.begin(tiny_config(), replace=False)
    assert list(folder.checkpoint(5).parent.iterdir()) == [folder.checkpoint(100)]
