"""Folders that fill, looked at step by step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from munit_edge.errors import InputError
from munit_edge.images.watch import FolderWatch


def stems(watch: FolderWatch) -> list[str]:
    return [str(file.stem) for file in watch.look()]


def test_a_file_is_given_once_when_it_no_longer_changes(tmp_path: Path) -> None:
    watch = FolderWatch([tmp_path])
    assert stems(watch) == []
    path = tmp_path / "x.png"
    path.write_bytes(b"half")
    assert stems(watch) == []
    path.write_bytes(b"half and half")
    assert stems(watch) == []
    assert stems(watch) == ["x"]
    assert stems(watch) == []


def test_an_empty_file_is_not_complete(tmp_path: Path) -> None:
    watch = FolderWatch([tmp_path])
    path = tmp_path / "x.png"
    path.touch()
    assert stems(watch) + stems(watch) + stems(watch) == []
    path.write_bytes(b"x")
    assert stems(watch) == []
    assert stems(watch) == ["x"]


def test_a_changed_file_is_given_again(tmp_path: Path) -> None:
    watch = FolderWatch([tmp_path])
    path = tmp_path / "x.png"
    path.write_bytes(b"x")
    assert stems(watch) + stems(watch) == ["x"]
    path.write_bytes(b"longer")
    assert stems(watch) + stems(watch) + stems(watch) == ["x"]
    os.utime(path, (1, 1))
    assert stems(watch) + stems(watch) + stems(watch) == ["x"]


def test_stems_never_change(tmp_path: Path) -> None:
    watch = FolderWatch([tmp_path], recursive=True)
    (tmp_path / "x.png").write_bytes(b"x")
    assert stems(watch) + stems(watch) == ["x"]
    (tmp_path / "sub").mkdir()
    for name in ("x.jpg", "x_jpg.webp", "x.webp", "sub/x.png", "note.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"new")
    assert stems(watch) == []
    assert stems(watch) == [str(Path("sub/x")), "x_jpg", "x_webp", "x_jpg_webp"]
    (tmp_path / "x.png").write_bytes(b"changed")
    assert stems(watch) + stems(watch) == ["x"]


def test_results_are_no_inputs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    watch = FolderWatch([tmp_path], out, recursive=True)
    (out / "x.png").write_bytes(b"x")
    assert stems(watch) + stems(watch) == []


def test_a_folder_that_goes_away_for_a_while(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    watch = FolderWatch([folder])
    folder.rename(tmp_path / "away")
    assert stems(watch) == []
    (tmp_path / "away").rename(folder)
    (folder / "x.png").write_bytes(b"x")
    assert stems(watch) + stems(watch) == ["x"]


def test_files_cannot_be_watched(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    with pytest.raises(InputError, match=r"x\.png is not a folder: --watch takes folders"):
        FolderWatch([tmp_path / "x.png"])


# ----------------------------------------------------------------------------------------------
# Results that would come in as new images


@pytest.mark.parametrize("name", ["in", "in/", "./in", "in/../in", "alias"])
def test_the_watched_folder_takes_no_results(name: str, working_folder: Path) -> None:
    Path("in").mkdir()
    Path("alias").symlink_to("in")
    with pytest.raises(InputError, match=r"is the watched folder .*: results would be translated"):
        FolderWatch([working_folder / "in"], Path(name))
    with pytest.raises(InputError, match="is the watched folder"):
        FolderWatch([Path("alias")], working_folder / "in")


def test_results_below_are_no_inputs_through_links(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "out").mkdir(parents=True)
    (tmp_path / "alias").symlink_to("in/out")
    (folder / "out" / "x_00.png").write_bytes(b"x")
    (folder / "x.png").write_bytes(b"x")
    for output in (folder / "out", tmp_path / "alias", folder / "none"):
        watch = FolderWatch([folder], output, recursive=output.name != "none")
        assert stems(watch) + stems(watch) == ["x"]


@pytest.mark.parametrize("recursive", [False, True])
def test_an_output_above_is_allowed(recursive: bool, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "x.png").write_bytes(b"x")
    (folder / "sub" / "x.png").write_bytes(b"x")
    watch = FolderWatch([folder], tmp_path, recursive=recursive)
    assert stems(watch) + stems(watch) == (["sub/x", "x"] if recursive else ["x"])


def test_a_file_whose_results_would_come_back_is_named_once(tmp_path: Path) -> None:
    one, two, out = (tmp_path / name for name in ("one", "two", "out"))
    for folder in (one / "two", one / "linked", two, out):
        folder.mkdir(parents=True)
    (out / "linked").symlink_to("../two")
    for path in (one / "two" / "x.png", one / "linked" / "y.png", two / "z.png"):
        path.write_bytes(b"x")
    watch = FolderWatch([one, two], tmp_path, recursive=True)
    assert stems(watch) == []
    ready, passed_over = watch.look_around()
    assert [str(file.stem) for file in ready] == ["linked/y", "z"]
    assert list(passed_over.faults) == [one / "two" / "x.png"]
    assert "its results would be in a watched folder" in passed_over.faults.popitem()[1]
    assert watch.look_around()[1].faults == {}
    through = FolderWatch([one, two], out, recursive=True)
    assert stems(through) + stems(through) == ["two/x", "z"]  # not linked/y


def test_what_is_passed_over_is_reported_when_it_comes(tmp_path: Path) -> None:
    watch = FolderWatch([tmp_path])
    (tmp_path / "clip.mov").touch()
    assert str(watch.look_around()[1]) == "1 video (translate it by itself)"
    assert str(watch.look_around()[1]) == ""
    (tmp_path / "other.mov").touch()
    os.mkfifo(tmp_path / "x.png")
    new = watch.look_around()[1]
    assert list(new.kinds) == [tmp_path / "other.mov"]
    assert list(new.faults) == [tmp_path / "x.png"]
