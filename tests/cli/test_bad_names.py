"""Paths that the system refuses, names that are not text, and files that only look like images:
one of them ends no folder, and as an argument it is one line."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import invoke
from noise_images import save_noise
from training_runs import tiny_settings, write_data
from typer.testing import Result

from munit_edge.errors import InputError
from munit_edge.files import paths
from munit_edge.files.atomic import atomic_file
from munit_edge.files.names import real_name
from munit_edge.translate.images import ImageTranslator
from munit_edge.translate.log import LOG_FILE

LONG = "x" * 300
LATIN1 = os.fsdecode(b"gr\xfcn.png")
EVIL = "a\x1b[31m\nb\u202ec.png"


def translate(model: Path, folder: Path, out: Path, *options: object) -> Result:
    return invoke(
        "translate", model, folder, "-o", out, "--direction", "a2b", "--styles", 1, *options
    )


def tiny(folder: Path) -> Path:
    """The configuration of a short run."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_settings()), encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOG_FILE)


def assert_one_line(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr


# ----------------------------------------------------------------------------------------------
# One input of a folder


@pytest.mark.parametrize(
    ("name", "width", "options", "word"),
    [
        ("x" * 251, 24, [], "results with too long a name (258 bytes, and "),
        ("m" + "\u00fc" * 125, 24, [], "results with too long a name (258 bytes"),
        ("wide", 600, ["--max-megapixels", "0.004"], "are allowed"),
        ("wide", 16_384, ["--format", "webp"], "WEBP holds at most 16383 pixels a side"),
        ("wide", 65_536, ["--format", "jpg"], "JPEG holds at most 65535 pixels a side"),
        ("wide", 400, ["--size", "80", "--max-megapixels", "0.02"], "are allowed"),
    ],
)
def test_one_image_is_skipped_and_the_rest_goes_on(
    name: str, width: int, options: list[str], word: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save_noise(folder / "a.png")
    save_noise(folder / f"{name}.png", 8, width)
    save_noise(folder / "z.png")
    result = translate(tiny_model, folder, out, *options)
    assert result.exit_code == 1, result.stderr
    assert [Path(n).stem for n in names(out)] == ["a_00", "z_00"]
    assert f"warning: skipped: {folder}" in result.stderr
    assert word in result.stderr
    assert "2 images translated, 2 results in" in result.stderr
    assert "1 image could not be read" in result.stderr
    stopped = translate(tiny_model, folder, tmp_path / "stop", *options, "--on-error", "stop")
    assert_one_line(stopped, word)
    assert [Path(n).stem for n in names(tmp_path / "stop")] == ["a_00"]


def test_files_that_are_no_images_are_skipped(tiny_model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save_noise(folder / "a.png")
    os.mkfifo(folder / "b.png")
    (folder / "c.png").symlink_to("nowhere")
    (folder / "d.png").symlink_to("/dev/zero")
    result = translate(tiny_model, folder, out, "--json")
    assert result.exit_code == 1
    assert names(out) == ["a_00.png"]
    assert "b.png is a pipe" in result.stderr
    assert "3 images could not be read" in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(Path(line["input"]).name for line in lines if line["error"]) == [
        *("b.png", "c.png", "d.png")
    ]
    stopped = translate(tiny_model, folder, tmp_path / "stop", "--on-error", "stop")
    assert stopped.exit_code == 1
    assert "(--on-error skip continues with the others)" in stopped.stderr


def test_a_named_pipe_is_not_waited_for_without_end(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "WRITER_WAIT_S", 0.01)
    os.mkfifo(tmp_path / "x.png")
    result = translate(tiny_model, tmp_path / "x.png", tmp_path / "out")
    assert result.exit_code == 1
    assert "x.png cannot be opened: nobody writes into this pipe" in result.stderr
    device = translate(tiny_model, Path("/dev/zero"), tmp_path / "out")
    assert device.exit_code == 1
    assert "it is a device, not a file" in device.stderr


def test_a_folder_that_may_not_be_read_is_skipped(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save_noise(folder / "a.png")
    (folder / "lost+found").mkdir()
    scan = os.scandir

    def refusing(path: Any) -> Any:
        if not isinstance(path, int) and Path(path).name == "lost+found":
            raise PermissionError(errno.EACCES, "denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    result = translate(tiny_model, folder, out, "-r")
    assert result.exit_code == 1
    assert "lost+found cannot be read: permission denied" in result.stderr
    assert names(out) == ["a_00.png"]


def test_what_is_in_the_way_of_one_result(tiny_model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save_noise(folder / "d.png")
    save_noise(folder / "d_00.png" / "x.png")  # its result wants a folder where that of d.png is
    save_noise(folder / "z.png")
    result = translate(tiny_model, folder, out, "-r")
    assert result.exit_code == 1, result.stderr
    assert "2 images translated" in result.stderr
    assert "z_00.png" in names(out)
    assert_one_line(translate(tiny_model, folder, tmp_path / "s", "-r", "--on-error", "stop"))


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ])
@pytest.mark.parametrize("styles", [1, 2])
def test_names_that_the_file_system_refuses_fail_alone(
    number: int, styles: int, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b", "c"):
        save_noise(folder / f"{name}.png")
    replace = Path.replace

    def refusing(self: Path, target: Path) -> Path:
        if target.name == "b_00.png":
            raise OSError(number, os.strerror(number))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    result = translate(tiny_model, folder, out, "--styles", styles, "--grid", "--overwrite")
    assert result.exit_code == 1, result.stderr
    assert "2 images translated" in result.stderr
    assert f"cannot write {out / 'b_00.png'}" in result.stderr
    assert {"a_00.png", "c_00.png", "contact_sheet.png"} <= set(names(out))


def test_a_full_disk_still_ends_a_folder(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_noise(tmp_path / "in" / "a.png")

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "replace", full)
    result = translate(tiny_model, tmp_path / "in", tmp_path / "out", "--overwrite")
    assert_one_line(result, "the disk is full")


@pytest.mark.parametrize("grid", [False, True])
def test_a_image_that_memory_does_not_hold_fails_alone(
    grid: bool, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for index in range(5):
        save_noise(folder / f"{index}.png")
    inner = ImageTranslator.translate
    calls = 0

    def scarce(self: ImageTranslator, images: Any, name: str, on_part: Any) -> Any:
        nonlocal calls
        calls += 1
        results = inner(self, images, name, on_part)
        for number in range(len(images) * 2):
            if (len(images) > 1 and number == 3) or (len(images) == 1 and "2.png" in name):
                raise InputError(f"{name} needs more memory than there is")
            yield next(results)

    monkeypatch.setattr(ImageTranslator, "translate", scarce)
    options = ["--styles", 2, "--json", *(["--grid"] if grid else [])]
    result = translate(tiny_model, folder, out, *options)
    assert result.exit_code == 1, result.stderr
    assert calls > 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["input"]).stem for line in lines] == list("01234")
    assert [line["error"] is None for line in lines] == [True, True, False, True, True]
    assert len([name for name in names(out) if "contact" not in name]) == 8


# ----------------------------------------------------------------------------------------------
# As an argument


@pytest.mark.parametrize(
    "words",
    [
        ("translate", "MODEL", LONG, "-o", "out", "--direction", "a2b"),
        ("translate", LONG, "x.png", "-o", "out", "--direction", "a2b"),
        ("translate", "MODEL", "x.png", "-o", LONG, "--direction", "a2b"),
        ("translate", "MODEL", "x.png", "-o", "o", "--direction", "a2b", "--style-image", LONG),
        ("translate", "MODEL", "x.png", "-o", "o", "--direction", "a2b", "--style", LONG + ".json"),
        ("translate", "MODEL", f"{LONG}.mp4", "-o", "o.mp4", "--direction", "a2b"),
        ("train", LONG),
        ("train", f"{LONG}.yaml"),
        ("train", "--recipe", "demo", "--data", LONG, "-o", "run"),
        ("train", "--recipe", "demo", "--data", ".", "-o", LONG),
        ("info", LONG),
        ("page", LONG),
        ("export", "onnx", LONG, "-o", "out"),
        ("export", "trt", LONG),
        ("convert", LONG, "--config", "c.yaml", "-o", "out"),
        ("convert", "x.png", "--config", LONG, "-o", "out"),
        ("styles", "save", LONG, "calm", "--domain", "b", "--seed", "1"),
        ("styles", "save", "MODEL", "calm", "--domain", "b", "--from", LONG),
        ("styles", "list", LONG),
        ("styles", "show", LONG, "-o", "sheet.png"),
        ("evaluate", LONG, "--data", "."),
        ("evaluate", "MODEL", "--data", LONG),
        ("evaluate", "MODEL", "--data", ".", "--features", LONG),
        ("benchmark", LONG),
        ("sample-data", LONG),
        ("engines", "list", LONG),
    ],
    ids=lambda words: " ".join(word if len(word) < 99 else "LONG" for word in words),
)
@pytest.mark.parametrize(
    "kind", ["too long", "a loop", pytest.param("below a loop", marks=pytest.mark.slow)]
)
def test_an_impossible_path_is_one_line(
    words: tuple[str, ...], kind: str, tiny_model: Path, working_folder: Path
) -> None:
    save_noise(working_folder / "x.png")
    for name in ("loop", "loop.mp4", "loop.yaml", "loop.json"):
        (working_folder / name).symlink_to(name)
    bad = {"too long": LONG, "a loop": "loop", "below a loop": "loop/below"}[kind]
    arguments = [str(tiny_model) if w == "MODEL" else w.replace(LONG, bad) for w in words]
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    last = result.stderr.splitlines()[-1]
    assert last.startswith(("error: ", "Error: ", "│")) or "Try" in last


# ----------------------------------------------------------------------------------------------
# Names that are no text, and names that a terminal obeys


def test_names_that_are_not_utf8_are_reported_and_found_again(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save_noise(folder / "x.png").rename(folder / LATIN1)
    result = translate(tiny_model, folder, out, "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = map(json.loads, result.stdout.splitlines())
    assert real_name(line["input"]) == str(folder / LATIN1)
    assert Path(real_name(line["outputs"][0])).is_file()
    again = translate(tiny_model, folder, out, "--resume")
    assert "1 image skipped, done before" in again.stderr
    plain = translate(tiny_model, folder, tmp_path / "plain")
    assert plain.stdout == f"{tmp_path / 'plain'}/gr\\xfcn_00.png\n"


def test_names_that_a_terminal_obeys_are_shown_escaped(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save_noise(folder / EVIL)
    (folder / f"broken {EVIL}").write_bytes(b"no image")
    result = translate(tiny_model, folder, tmp_path / "out")
    shown = r"a\x1b[31m\nb\u202ec"
    assert result.stdout == f"{tmp_path / 'out'}/{shown}_00.png\n"
    assert rf"broken {shown}.png is not a supported image" in result.stderr
    assert not set("\x1b\u202e") & set(result.output)
    failed = translate(tiny_model, folder / f"none {EVIL}", tmp_path / "out")
    assert_one_line(failed, rf"none {shown}.png does not exist")
    lines = translate(tiny_model, folder, tmp_path / "json", "--json").stdout
    assert not set("\x1b\u202e") & set(lines)
    assert str(folder / EVIL) in [json.loads(line)["input"] for line in lines.splitlines()]


def test_training_takes_names_that_are_not_utf8(working_folder: Path) -> None:
    data = write_data(working_folder / os.fsdecode(b"d\xe4ta"))
    first = next((data / "trainA").iterdir())
    first.rename(first.with_name(LATIN1))
    (data / "trainB" / os.fsdecode(b"br\xf6ken.png")).write_bytes(b"no image")
    folder = working_folder / os.fsdecode(b"r\xfcn")
    result = invoke(
        "train", tiny(working_folder), "--data", data, "-o", folder, "--set", "iterations=3"
    )
    assert result.exit_code == 0, result.output
    assert r"r\xfcn" in result.stdout
    more = invoke("train", folder / "train.yaml", "-o", folder, "--resume", "--set", "iterations=4")
    assert more.exit_code == 0, more.output
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert r"r\xfcn" in page
    assert r"br\xf6ken.png" in (folder / "run.json").read_text(encoding="utf-8").replace(
        "\\\\", "\\"
    )
    for command in (["page", folder], ["info", folder], ["info", folder, "--json"]):
        shown = invoke(*command)
        assert shown.exit_code == 0, shown.output
    model = working_folder / os.fsdecode(b"m\xf6del")
    fixed = ["--no-stats-graphs", "--batch", "1", "--height", "32", "--width", "32"]
    exported = invoke("export", "onnx", folder, "-o", model, *fixed)
    assert exported.exit_code == 0, exported.output
    assert invoke("info", model, "--json").exit_code == 0


def test_styles_take_names_that_are_not_utf8(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / os.fsdecode(b"m\xf6del"))
    save_noise(tmp_path / "x.png").rename(tmp_path / LATIN1)
    words = ["--domain", "b", "--from", tmp_path / LATIN1]
    saved = invoke("styles", "save", model, "calm", *words)
    assert saved.exit_code == 0, saved.output
    listed = invoke("styles", "list", model)
    assert listed.exit_code == 0, listed.output
    assert r"gr\xfcn.png" in listed.stdout
    assert invoke("styles", "list", model, "--json").exit_code == 0
    sheet = invoke("styles", "list", model, "--sheet", tmp_path / "sheet.png")
    assert sheet.exit_code == 0, sheet.output


# ----------------------------------------------------------------------------------------------
# Left out, and reported


def test_other_kinds_of_files_are_counted(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save_noise(folder / "a.png")
    for name in ("x.jxl", "y.jxl", "clip.mov"):
        (folder / name).write_bytes(b"x")
    (folder / "link").symlink_to("..", target_is_directory=True)
    result = translate(tiny_model, folder, tmp_path / "out", "-r")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == (
        "warning: left out: 2 JPEG XL, 1 video (translate it by itself), 1 linked folder (name the "
        "folders themselves)"
    )


def test_training_counts_other_files_for_each_domain(working_folder: Path) -> None:
    data = write_data(working_folder / "data")
    (data / "other").mkdir()
    (data / "trainA" / "link").symlink_to("../other", target_is_directory=True)
    (data / "trainB" / "x.jxl").touch()
    os.mkfifo(data / "trainB" / "x.png")
    result = invoke("train", tiny(working_folder), "--data", data, "--set", "iterations=1")
    assert result.exit_code == 0, result.output
    assert "warning: left out of domain a: 1 linked folder (name the folders" in result.stderr
    assert "warning: left out of domain b: 1 JPEG XL\n" in result.stderr
    assert "x.png is a pipe, not an image" in result.stderr


def test_the_watched_folder_is_no_output(tiny_model: Path, tmp_path: Path) -> None:
    folder = save_noise(tmp_path / "in" / "a.png").parent
    assert_one_line(
        translate(tiny_model, folder, folder, "--watch"), "is the watched folder", "name another"
    )
    assert names(folder) == ["a.png"]


def test_nothing_is_left_of_a_result_that_cannot_be_named(tmp_path: Path) -> None:
    """What `translate` relies on where only the file system knows its limits."""
    with pytest.raises(Exception, match="too long"), atomic_file(tmp_path / LONG) as partial:
        partial.write_bytes(b"x")
    assert names(tmp_path) == []
