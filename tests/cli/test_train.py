"""`munit-edge train` from the outside."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command_line import invoke
from hang_guard import HANG_S, wait_until
from PIL import Image
from training_runs import tiny_settings, write_data
from typer.testing import Result

from munit_edge.trainer.checkpoint import newest_checkpoint
from munit_edge.trainer.config_files import recipe_names


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with tiny.yaml and images in data/."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_settings()))
    write_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*arguments: str) -> Result:
    result = invoke("train", "tiny.yaml", "--device", "cpu", *arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_run_prints_what_it_does_and_what_comes_next(here: Path) -> None:
    result = train("--data", "data", "-o", "run")
    assert result.exit_code == 0, result.stderr
    for line in (
        r"device: cpu",
        r"generators: [\d,]+ \+ [\d,]+ parameters",
        r"discriminators: [\d,]+ \+ [\d,]+ parameters",
        r"training images: 5 of domain a, 5 of domain b",
        r"iterations: 6",
        r"to look at: run/index\.html",
    ):
        assert re.search(f"^{line}$", result.stderr, re.MULTILINE), line
    assert re.fullmatch(
        r"trained 6 iterations, [\d.e+]+ images/s\n"
        r"checkpoint: run/checkpoints/00000006\n"
        r"to look at: run/index\.html\n"
        r"next: munit-edge export onnx run -o MODEL\n",
        result.stdout,
    )
    assert (here / "run" / "images" / "00000006_a2b.png").is_file()


def test_the_run_folder_is_named_after_the_configuration(here: Path) -> None:
    assert train("--data", "data", "--set", "iterations=1").exit_code == 0
    assert (here / "runs" / "tiny" / "train.yaml").is_file()


def test_resume_goes_on_from_the_runs_own_configuration(here: Path) -> None:
    train("--data", "data", "-o", "run", "--set", "iterations=3")
    command = ["train", "run/train.yaml", "-o", "run", "--resume", "--set", "iterations=5"]
    result = invoke(*command)
    assert result.exit_code == 0, result.stderr
    assert "iterations: 5, 3 done already" in result.stderr
    assert "trained 5 iterations" in result.stdout


def test_a_recipe_by_name(here: Path) -> None:
    small = ("iterations=1", "model.width=4", "model.discriminator.width=4", "batch_size=1")
    settings = [word for setting in small for word in ("--set", setting)]
    result = invoke("train", "--recipe", "demo", "--data", "data", *settings)
    assert result.exit_code == 0, result.stderr
    assert (here / "runs" / "demo" / "checkpoints" / "00000001").is_dir()


def test_broken_images_are_named_and_counted(here: Path) -> None:
    (here / "data" / "trainA" / "01.png").write_bytes(b"")
    result = train("--data", "data", "-o", "run")
    assert result.exit_code == 0
    assert "skipped: data/trainA/01.png is empty" in result.stderr
    assert "skipped 1 images that could not be read" in result.stderr


def test_animations_are_named_once_and_counted(here: Path) -> None:
    frames = [Image.effect_noise((40, 40), sigma) for sigma in (40, 50, 60)]
    for name in ("x.gif", "y.gif"):
        frames[0].save(here / "data" / "trainA" / name, save_all=True, append_images=frames[1:])
    for name in ("00", "01", "02", "03", "04"):
        (here / "data" / "trainA" / f"{name}.png").unlink(missing_ok=True)
    result = train("--data", "data", "-o", "run")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count(".gif has 3 frames or pages: only the first is used") == 1
    assert "2 images have more than one frame or page, such as data/trainA/" in result.stderr


def test_large_images_and_images_of_one_colour_are_named(here: Path) -> None:
    Image.new("RGB", (3000, 2)).save(here / "data" / "trainA" / "01.png")
    Image.new("RGB", (20, 24)).save(here / "data" / "trainB" / "01.png")
    result = train("--data", "data", "-o", "run", "--max-megapixels", "0.1")
    assert result.exit_code == 0, result.stderr
    assert "skipped: data/trainA/01.png has 3000 x 2 pixels and would have" in result.stderr
    assert "data/trainB/01.png has only one colour: there is nothing to" in result.stderr
    assert "images of one colour only: 1; remove them if" in result.stderr
    assert "max_megapixels: 0.1" in (here / "run" / "train.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "pass --data DIR"),
        (("--data", "none"), "data folder none does not exist"),
        (("--data", "one"), "domain b has 1 image in one/trainB"),
        (("--data", "data", "--resume"), "holds no training run to resume"),
        (("--data", "data", "--set", "seeed=1"), "unknown key 'seeed': did you mean 'seed'?"),
        (("--data", "data", "--set", "data.crop_width=4"), "needs at least 8 pixels per side"),
        (("--data", "data", "--resume", "--overwrite"), "choose one"),
        (("--data", "data", "-o", "data"), "data exists and is not a training run"),
        (("--data", "data", "-o", "tiny.yaml/run"), "cannot write tiny.yaml/run"),
    ],
)
def test_bad_input_ends_with_one_line(arguments: tuple[str, ...], words: str, here: Path) -> None:
    shutil.copytree(here / "data", here / "one")
    for name in ("01", "02", "03", "04"):
        (here / "one" / "trainB" / f"{name}.png").unlink()
    before = sorted(here.rglob("*"))
    result = train(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    *_, last = result.stderr.splitlines()
    assert last.startswith("error: ")
    assert words in last
    assert sorted(here.rglob("*")) == before


def test_an_unknown_configuration() -> None:
    for words, fault in (
        (["papre.yaml"], "configuration file papre.yaml does not exist"),
        (["--recipe", "papre"], "there is no recipe 'papre': did you mean 'paper'?"),
        ([], "name either a configuration file or a recipe with --recipe"),
    ):
        result = invoke("train", *words)
        assert result.exit_code == 2
        assert fault in result.stderr


def test_help_names_every_recipe() -> None:
    text = invoke("train", "--help").stdout
    assert [name for name in recipe_names() if name not in text] == []


def test_a_run_is_replaced_only_when_asked(here: Path) -> None:
    train("--data", "data", "-o", "run", "--set", "iterations=1")
    again = train("--data", "data", "-o", "run", "--set", "iterations=1")
    assert again.exit_code == 2
    assert "pass --resume to continue it, --overwrite to replace it" in again.stderr
    assert (
        train("--data", "data", "-o", "run", "--set", "iterations=2", "--overwrite").exit_code == 0
    )
    assert newest_checkpoint(here / "run") == here / "run" / "checkpoints" / "00000002"


def test_a_resumed_run_keeps_its_settings(here: Path) -> None:
    train("--data", "data", "-o", "run", "--set", "iterations=1")
    result = train("--data", "data", "-o", "run", "--resume", "--set", "loss.cycle_weight=5")
    assert result.exit_code == 2
    assert "loss.cycle_weight was 10.0 and is 5.0" in result.stderr


@pytest.mark.parametrize(
    ("number", "code", "workers"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 1)]
)
def test_a_signal_ends_with_a_checkpoint_and_the_way_on(
    number: signal.Signals, code: int, workers: int, here: Path
) -> None:
    """The whole group of processes gets it, as from a terminal, a launcher or a batch system."""
    program = [sys.executable, "-c", "from munit_edge.cli.main import main; main()"]
    options = ["--data", "data", "-o", "my run", "--set", "iterations=100000", "--device", "cpu"]
    options += ["--set", f"data.workers={workers}"]
    first = here / "my run" / "checkpoints" / "00000003"  # by then all processes have begun
    process = subprocess.Popen(
        [*program, "train", "tiny.yaml", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: first.exists() or process.poll() is not None, "the run does not begin")
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in err
    newest = newest_checkpoint(here / "my run")
    assert newest is not None
    done = int(newest.name)
    assert err.splitlines()[-1] == (
        f"error: stopped by {number.name} after iteration {done}; checkpoint saved: "
        f"my run/checkpoints/{done:08d}; continue with: munit-edge train 'my run/train.yaml' "
        "-o 'my run' --resume"
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("max_iter=1", "'max_iter' of NVlabs/MUNIT is --set iterations=1 here"),
        ("lr=0.1", "--set optimizer.generator_lr=0.1 --set optimizer.discriminator_lr=0.1 here"),
        ("iterations=2001-99-99", "'iterations' is '2001-99-99': Input should be a valid integer"),
        ("iterations=0x_", "'iterations' is '0x_'"),
        ("iterations=" + "1" * 5000, "a number has too many digits"),
        ("iterations=" + "[" * 5000, "nested too deeply"),
    ],
)
def test_impossible_settings_are_one_line(override: str, words: str, here: Path) -> None:
    result = train("--data", "data", "-o", "run", "--set", override)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    "values",
    [b'{"images": 3}', b'{"skipped_updates": "x"}', b"[" * 100_000, b'{"images": {"a": null}}'],
)
def test_a_damaged_training_state_is_one_line(values: bytes, here: Path) -> None:
    assert train("--data", "data", "-o", "run").exit_code == 0
    checkpoint = newest_checkpoint(here / "run")
    assert checkpoint is not None
    (checkpoint / "training.json").write_bytes(values)
    command = ["train", "run/train.yaml", "-o", "run", "--resume", "--set", "iterations=9"]
    result = invoke(*command, "--device", "cpu")
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(r"error: .*training\.json.*: the checkpoint is damaged.*", last)
