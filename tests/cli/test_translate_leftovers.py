"""Results of earlier runs that those of a new run do not replace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import invoke
from hang_guard import HANG_S
from noise_images import save_noise
from typer.testing import Result

from munit_edge.files.locks import writing_into
from munit_edge.translate.log import LOG_FILE


def run(model: Path, *arguments: object) -> Result:
    words = ["translate", str(model), *map(str, arguments)]
    return invoke(*words, *([] if "--direction" in words else DIRECTION))


DIRECTION = ["--direction", "a2b"]


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOG_FILE)


@pytest.fixture
def four(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder of results: four styles of x.png, and a contact sheet."""
    save_noise(tmp_path / "x.png")
    done = run(tiny_model, tmp_path / "x.png", "-o", tmp_path / "out", "--styles", 4, "--grid")
    assert done.exit_code == 0, done.output
    (tmp_path / "out" / "x_07.png").write_bytes(b"\x89PNG mine")
    return tmp_path / "out"


def test_overwrite_removes_results_that_it_does_not_replace(tiny_model: Path, four: Path) -> None:
    words = [four.parent / "x.png", "-o", four, "--seed", 9, "--overwrite"]
    done = run(tiny_model, *words, "--styles", 2)
    assert done.exit_code == 0, done.output
    assert results(four) == ["x_00.png", "x_01.png", "x_07.png"]
    assert f"removed 3 results of earlier runs: {four / 'x_02.png'}, " in done.stderr
    done = run(tiny_model, *words, "--styles", 1, "--format", "jpg", "--grid")
    assert results(four) == ["contact_sheet.jpg", "x_00.jpg", "x_07.png"]
    done = run(tiny_model, *words, "--styles", 1, "--direction", "b2a")
    assert results(four) == ["x_00.png", "x_07.png"]


def test_resume_names_results_that_it_does_not_replace(tiny_model: Path, four: Path) -> None:
    words = [four.parent / "x.png", "-o", four, "--styles", 2, "--seed", 9, "--resume"]
    for _ in range(2):
        done = run(tiny_model, *words)
        assert done.exit_code == 0, done.output
        assert len(results(four)) == 6
        assert "3 results of earlier runs with other settings remain beside the new" in done.stderr


def test_what_the_log_cannot_prove_is_never_removed(tiny_model: Path, four: Path) -> None:
    """A log is a file that anyone can write; and a result may have become something else."""
    source = four.parent / "x.png"
    precious = four.parent / "y_02.png"
    save_noise(precious)
    save_noise(four / "x_10.png")
    save_noise(four.parent / "elsewhere" / "x_11.png")
    (four / "link").symlink_to("../elsewhere")
    (four / "x_12.png").symlink_to("../y_02.png")
    (four / "x_02.png").write_text("notes")
    (four / "x_03.png").unlink()
    (four / "x_03.png").mkdir()
    line = json.loads((four / LOG_FILE).read_text().splitlines()[0])
    line["outputs"] = [
        *("../y_02.png", str(precious), "link/x_11.png", "x_12.png", "x_10.png", "notes.txt"),
        *("/", "", ".", "x\0_01.png"),
    ]
    (four / "notes.txt").write_bytes(precious.read_bytes())
    with (four / LOG_FILE).open("a") as log:
        log.write(json.dumps(line) + "\n")
    words = [source, four / "x_10.png", "-o", four, "--styles", 1, "--seed", 9, "--overwrite"]
    done = run(tiny_model, *words)
    assert done.exit_code == 0, done.output
    assert results(four) == [
        *("link", "notes.txt", "x_00.png", "x_02.png", "x_03.png", "x_07.png"),
        *("x_10.png", "x_10_00.png", "x_12.png"),
    ]
    assert precious.is_file()
    assert (four.parent / "elsewhere" / "x_11.png").is_file()


def test_results_of_another_input_of_that_name_are_only_named(tiny_model: Path, four: Path) -> None:
    save_noise(four.parent / "other" / "x.png", seed=5)
    words = [four.parent / "other" / "x.png", "-o", four, "--styles", 3, "--overwrite"]
    done = run(tiny_model, *words)
    assert done.exit_code == 0, done.output
    assert (
        f"1 result of other inputs of the same name remain beside the new ones: {four / 'x_03.png'}"
        in (done.stderr)
    )
    assert (four / "x_03.png").is_file()


def test_a_log_that_is_a_link_is_refused(tiny_model: Path, four: Path) -> None:
    (four.parent / "precious.txt").write_text("mine")
    (four / LOG_FILE).unlink()
    (four / LOG_FILE).symlink_to("../precious.txt")
    done = run(tiny_model, four.parent / "x.png", "-o", four, "--overwrite")
    assert done.exit_code == 2
    assert f"{LOG_FILE} is a link, which is not followed" in done.stderr
    assert (four.parent / "precious.txt").read_text() == "mine"


def test_a_result_that_was_written_over_as_a_single_file_is_not_done(
    tiny_model: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("in/x.png", "in/sub/x.png", "y.png")):
        save_noise(tmp_path / name, seed=number)
    out = tmp_path / "out"
    words = [tmp_path / "in", "-r", "-o", out, "--styles", 1]
    assert run(tiny_model, *words).exit_code == 0
    first = {path: path.read_bytes() for path in out.rglob("*.png")}
    (tmp_path / "link").symlink_to("out")
    for replaced in (out / "x_00.png", tmp_path / "link" / "sub" / "x_00.png"):
        done = run(tiny_model, tmp_path / "y.png", "-o", replaced, "--seed", 7, "--overwrite")
        assert done.exit_code == 0, done.output
        assert replaced.read_bytes() not in first.values()
        done = run(tiny_model, *words, "--resume")
        assert "1 image skipped, done before" in done.stderr
        assert {path: path.read_bytes() for path in out.rglob("*.png")} == first


def test_a_result_of_a_folder_in_use_is_not_written_as_a_single_file(
    tiny_model: Path, four: Path
) -> None:
    with writing_into(four):
        program = [sys.executable, "-m", "munit_edge", "translate", tiny_model, *DIRECTION]
        for name, returned in (("x_00.png", 2), ("z.png", 0)):
            done = subprocess.run(
                [*map(str, program), four.parent / "x.png", "--overwrite", "-o", four / name],
                capture_output=True,
                text=True,
                timeout=HANG_S,
            )
            assert done.returncode == returned, done.stderr
            assert (f"{four} is in use by process {os.getpid()}" in done.stderr) == bool(returned)
