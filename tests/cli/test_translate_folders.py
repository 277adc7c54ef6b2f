"""`munit-edge translate` on folders: the same results with any number of threads, after faults,
after a run that was killed, and while images still come in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import PROGRAM, invoke
from hang_guard import HANG_S, narrow_pipe, wait_until, without_hanging
from noise_images import save_noise
from PIL import Image
from typer.testing import Result

from munit_edge.errors import EngineError, OutputError
from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.images import io as images
from munit_edge.translate import reading, writing
from munit_edge.translate.log import LOG_FILE, NOT_FINISHED, LogEntry
from munit_edge.translator import Translator


def words(model: Path, folder: Path, out: Path, *options: object) -> list[str]:
    return ["translate", *map(str, (model, folder, "-o", out, "--direction", "a2b", *options))]


def run(model: Path, folder: Path, out: Path, *options: object) -> Result:
    return invoke(*words(model, folder, out, *options))


def results(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.iterdir() if path.name != LOG_FILE)
    return {path.name: path.read_bytes() for path in sorted(files)}


def log_of(folder: Path) -> list[LogEntry]:
    lines = (folder / LOG_FILE).read_bytes().splitlines()
    entries = [LogEntry.model_validate_json(line) for line in lines]
    return [entry for entry in entries if not entry.shown]  # those of contact sheets have no input


def without_seconds(lines: str) -> list[dict[str, Any]]:
    return [{**json.loads(line), "seconds": 0, "outputs": 0} for line in lines.splitlines()]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Images of several sizes, some of one padded size, and a broken one in their middle."""
    folder = tmp_path / "mixed"
    sizes = [(24, 32), (24, 32), (22, 31), (21, 30), (40, 24), (24, 32), (8, 8), (7, 5), (24, 32)]
    for index, size in enumerate(sizes):
        save_noise(folder / f"{index}.png", *size, 4 if index == 2 else 3, seed=index)
    (folder / "3b.png").write_bytes(b"no image")
    return folder


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield

    def ended() -> bool:
        return not any(t.name.startswith("munit-edge-") for t in threading.enumerate())

    wait_until(ended, "a stage's thread never ends")


# ----------------------------------------------------------------------------------------------
# The same whatever the threads and batches


def test_results_do_not_depend_on_threads_and_batches(
    mixed: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = Translator.encode_padded

    def counting(self: Translator, images: Any, domain: Any) -> Any:
        encoded.append(len(images))
        return encode(self, images, domain)

    monkeypatch.setattr(Translator, "encode_padded", counting)
    kept = {}
    for name, jobs, pixels in (("one", 1, 1), ("many", 7, 1 << 17)):
        monkeypatch.setattr("munit_edge.translator.DECODE_PIXELS_CPU", pixels)
        encoded.clear()
        options = ["--jobs", jobs, "--styles", 3, "--grid", "--json"]
        result = run(tiny_model, mixed, tmp_path / name, *options)
        assert result.exit_code == 1
        kept[name] = (results(tmp_path / name), without_seconds(result.stdout))
        if name == "one":
            assert encoded == [1] * 9
    # 0 to 3 are padded to 24 x 32, then the broken one; 8 x 8 and 7 x 5 to 8 x 8.
    assert encoded == [4, 1, 1, 2, 1]
    assert kept["one"] == kept["many"]
    assert len(kept["one"][0]) == 3 * 9 + 1
    assert [Path(line["input"]).stem for line in kept["one"][1]] == [*"0123", "3b", *"45678"]


def test_the_summary_says_how_busy_the_engine_was(tiny_model: Path, tmp_path: Path) -> None:
    folder = save_noise(tmp_path / "in" / "x.png").parent
    result = run(tiny_model, folder, tmp_path / "out")
    _, _, after = result.stderr.partition("engine busy ")
    assert 0 < int(after.partition("%")[0]) <= 100


# ----------------------------------------------------------------------------------------------
# Faults at every stage


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("stage", ["read", "encode", "decode", "write"])
def test_a_fault_ends_with_one_line_and_whole_files(
    stage: str, jobs: int, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(12):
        save_noise(tmp_path / "in" / f"{index:02d}.png", 24, 24 + 4 * (index % 2), seed=index)
    whole = tmp_path / "whole"
    assert run(tiny_model, tmp_path / "in", whole, "--styles", 2).exit_code == 0
    calls = 0

    def failing(function: Any, error: Exception) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 6:
                raise error
            return function(*args, **kwargs)

        return wrapped

    fault = EngineError(f"broken in {stage}: fix it")
    if stage == "read":
        monkeypatch.setattr(reading, "decode_image", failing(images.decode_image, fault))
    elif stage == "write":
        fault_on_disk = OutputError(f"broken in {stage}: fix it")
        writer = failing(images.write_image, fault_on_disk)
        monkeypatch.setattr(writing, "write_image", writer)
    else:
        name = "encode_padded" if stage == "encode" else "decode"
        monkeypatch.setattr(Translator, name, failing(getattr(Translator, name), fault))
    out = tmp_path / "out"
    result = run(tiny_model, tmp_path / "in", out, "--styles", 2, "--jobs", jobs)
    assert result.exit_code == 2
    assert result.stderr == f"error: broken in {stage}: fix it\n"
    written = results(out)
    assert 0 < len(written) < 24
    assert not [name for name in written if name.startswith(PARTIAL_PREFIX)]
    assert written.items() <= results(whole).items()
    logged = [name for entry in log_of(out) for name in entry.outputs]
    assert set(logged) <= written.keys()
    monkeypatch.undo()
    assert run(tiny_model, tmp_path / "in", out, "--styles", 2, "--resume").exit_code == 0
    assert results(out) == results(whole)


# ----------------------------------------------------------------------------------------------
# --resume


def test_resume_makes_only_what_is_missing(
    mixed: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    options = ["--styles", 2, "--grid"]
    assert run(tiny_model, mixed, out, *options).exit_code == 1
    before = results(out)
    assert len(log_of(out)) == 10
    (out / "4_01.png").unlink()
    save_noise(mixed / "5.png", seed=99)
    (mixed / "3b.png").unlink()
    translated: list[int] = []
    decode = Translator.decode

    def counting(self: Translator, content: Any, styles: Any, domain: Any) -> Any:
        translated.append(len(content.codes))
        return decode(self, content, styles, domain)

    monkeypatch.setattr(Translator, "decode", counting)
    result = run(tiny_model, mixed, out, *options, "--resume", "--json")
    assert result.exit_code == 0, result.stderr
    lines = {Path(line["input"]).stem: line for line in map(json.loads, result.stdout.splitlines())}
    assert [stem for stem, line in lines.items() if not line["skipped"]] == ["4", "5"]
    assert lines["0"]["outputs"] == [str(out / "0_00.png"), str(out / "0_01.png")]
    assert lines["0"]["size"] == [24, 32]
    assert sum(translated) == 2
    assert "2 images translated, 4 results in" in result.stderr
    assert "7 images skipped, done before" in result.stderr
    new = [(entry.input[-5:], entry.error) for entry in log_of(out)[10:]]
    assert sorted(new, key=str) == [
        ("4.png", NOT_FINISHED), ("4.png", None), ("5.png", NOT_FINISHED), ("5.png", None)
    ]  # fmt: skip
    fresh = tmp_path / "fresh"
    assert run(tiny_model, mixed, fresh, *options).exit_code == 0
    assert results(out) == results(fresh)
    assert results(out)["5_00.png"] != before["5_00.png"]


@pytest.mark.parametrize("change", [["--seed", "1"], ["--size", "16"], ["--styles", "1"]])
def test_results_of_other_settings_are_made_again(
    change: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    folder = save_noise(tmp_path / "in" / "x.png").parent
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    assert run(tiny_model, folder, out).exit_code == 0
    again = run(tiny_model, folder, out, *change, "--resume")
    assert "1 image translated" in again.stderr
    assert run(tiny_model, folder, fresh, *change).exit_code == 0
    assert results(fresh).items() <= results(out).items()


def test_results_that_no_log_knows_are_not_replaced(tiny_model: Path, tmp_path: Path) -> None:
    folder = save_noise(tmp_path / "in" / "x.png").parent
    out = tmp_path / "out"
    save_noise(out / "x_00.png").write_bytes(b"mine")
    result = run(tiny_model, folder, out, "--resume")
    assert result.exit_code == 2
    assert f"no {LOG_FILE} records how it was made" in result.stderr
    assert results(out) == {"x_00.png": b"mine"}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--resume", "--overwrite"], "--resume keeps finished results and --overwrite"),
        (["--watch", "--overwrite"], "--watch keeps finished results"),
        (["--watch", "--grid"], "leave it out with --watch"),
        (["--jobs", "0"], "--jobs 0: it should be"),
    ],
)
def test_what_does_not_go_together(
    options: list[str], fault: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = save_noise(tmp_path / "in" / "x.png").parent
    result = run(tiny_model, folder, tmp_path / "out", *options)
    assert result.exit_code == 2
    assert fault in result.stderr
    assert not (tmp_path / "out").exists()


def start(
    model: Path, folder: Path, out: Path, *options: object, stdout: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    command = [*PROGRAM, *words(model, folder, out, *options)]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_a_killed_run_resumed_gives_the_same_folder(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for index in range(60):
        save_noise(folder / f"{index:02d}.png", 48, 48, seed=index)
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    with (
        narrow_pipe() as (reading, writing),
        start(tiny_model, folder, out, "--styles", 2, stdout=writing) as process,
        open(reading, closefd=False) as lines,
    ):
        os.close(writing)
        for _ in range(9):
            lines.readline()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    killed = log_of(out)
    assert 4 <= len(killed) < 60
    leftover = save_noise(out / f"{PARTIAL_PREFIX}0.png")  # as if killed in the middle of a file
    result = run(tiny_model, folder, out, "--styles", 2, "--resume", "--jobs", 3)
    assert result.exit_code == 0, result.stderr
    assert f"{len(killed)} images skipped, done before" in result.stderr
    assert run(tiny_model, folder, fresh, "--styles", 2).exit_code == 0
    assert not leftover.exists()
    assert results(out) == results(fresh)
    assert sorted(entry.input for entry in log_of(out)) == sorted(
        entry.input for entry in log_of(fresh)
    )


# ----------------------------------------------------------------------------------------------
# --watch


def test_watch_takes_what_comes_until_ctrl_c(tiny_model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save_noise(folder / "a.png")
    written = []
    with start(tiny_model, folder, out, "--styles", 1, "--watch") as process:
        assert process.stdout is not None
        next_result = process.stdout.readline
        try:
            written.append(without_hanging(next_result))
            (tmp_path / "b.png").write_bytes(b"no image")
            (tmp_path / "b.png").rename(folder / "b.png")
            save_noise(tmp_path / "c.png", seed=1).rename(folder / "c.png")
            written.append(without_hanging(next_result))
            save_noise(tmp_path / "b.png", seed=2).rename(folder / "b.png")  # now it is one
            written.append(without_hanging(next_result))
        finally:
            process.send_signal(signal.SIGINT)
        stdout, text = process.communicate(timeout=HANG_S)
    assert process.returncode == 1, text
    assert text.splitlines()[0] == f"watching {folder}: Ctrl-C stops"
    assert text.count("b.png is not a supported image") == 1
    assert "3 images translated, 3 results in" in text
    assert "1 image could not be read" in text
    assert written == [f"{out / name}_00.png\n" for name in "acb"]
    assert stdout == ""
    again = run(tiny_model, folder, out, "--styles", 1, "--resume")
    assert "3 images skipped" in again.stderr


def test_watch_begins_before_the_first_image(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with start(tiny_model, tmp_path / "in", tmp_path / "out", "--watch") as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert "0 images translated" in stderr


# ----------------------------------------------------------------------------------------------
# Memory

PEAK = """
import resource, sys
import numpy as np
from pathlib import Path
from munit_edge.styles.choose import StyleSet
from munit_edge.styles.options import StyleOptions
from munit_edge.translate.run import TranslateJob
from munit_edge.translate.options import TranslateOptions
from munit_edge.translator import Content
from munit_edge.images.folders import find_images
from munit_edge.model.config import ModelConfig

class Engine:
    config, pixels_at_once, export_id = ModelConfig(), 1 << 20, "none"
    engine, device = "none", "cpu"
    def padded_size(self, size_hw, domain):
        return size_hw
    def open_ahead(self, kind, domain):
        pass
    def encode_padded(self, images, domain):
        return Content(images[:, None], images.shape[1:3])
    def decode(self, content, styles, domain):
        return np.repeat(content.codes, len(styles), axis=1)

folder, out = map(Path, sys.argv[1:])
styles = StyleSet(np.zeros((3, 8), np.float32), ("", "", ""), (None, None, None))
style = StyleOptions(direction="a2b")
options = TranslateOptions(inputs=(folder,), output=out, style=style, jobs=2, tile="off")
job = TranslateJob(Engine(), styles, options)
count = sum(outcome.error is None for outcome in job.run(job.plan(find_images([folder]))))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """380 more images of 200 x 300 pixels are 65 MB, and their results 196 MB."""
    source = tmp_path / "x.ppm"
    Image.new("RGB", (300, 200), (200, 100, 50)).save(source)
    peaks = {}
    for number in (20, 400):
        folder = tmp_path / str(number)
        folder.mkdir()
        for index in range(number):
            os.link(source, folder / f"{index}.ppm")
        command = [sys.executable, "-c", PEAK, str(folder), str(tmp_path / f"out{number}")]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG_S)
        count, peak = done.stdout.split()
        assert int(count) == number
        peaks[number] = float(peak)
    # How many are under way at once depends on which threads run: some 25 MB at most.
    assert peaks[400] < peaks[20] + 40, peaks
