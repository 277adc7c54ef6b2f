"""Folders that fill, looked at step by step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from munit_edge.errors import InputError
from munit_edge.watch import FolderWatch


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
    with pytest.raises(InputError, match=r"x\.png is no folder: --watch takes folders"):
        FolderWatch([tmp_path / "x.png"])
