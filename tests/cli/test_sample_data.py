"""`munit-edge sample-data`."""

from functools import partial
from pathlib import Path

from command_line import outcome

run = partial(outcome, "sample-data")


def test_writes_images_and_prints_what_to_do_next(tmp_path: Path) -> None:
    code, out, err = run(tmp_path / "d", "--size", 16, "--count", 12)
    assert (code, err) == (0, "")
    assert f"{tmp_path / 'd' / 'trainA'}: 12 outlines, 16 x 16 pixels" in out
    assert f"{tmp_path / 'd' / 'testB'}: 1 filled shapes" in out
    assert out.splitlines()[-1].startswith("next: munit-edge train ")
    assert f"--data {tmp_path / 'd'}" in out.splitlines()[-1]
    assert len(list((tmp_path / "d" / "trainB").glob("*.png"))) == 12


def test_a_folder_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    code, out, err = run(tmp_path, "--overwrite")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "holds other files" in err


def test_overwrite_replaces(tmp_path: Path) -> None:
    assert run(tmp_path / "d", "--size", 16, "--count", 2)[0] == 0
    code, _, err = run(tmp_path / "d", "--size", 16, "--count", 1)
    assert code == 2
    assert "--overwrite" in err
    assert run(tmp_path / "d", "--size", 16, "--count", 1, "--overwrite")[0] == 0
    assert len(list((tmp_path / "d" / "trainA").iterdir())) == 1


def test_bad_option_is_one_line(tmp_path: Path) -> None:
    code, _, err = run(tmp_path / "d", "--size", 3)
    assert code == 2
    assert err == "error: size is 3: use 16 to 1024 pixels\n"
