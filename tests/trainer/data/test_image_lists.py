"""Lists of training images as editors on other systems write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from munit_edge.errors import InputError
from munit_edge.files import paths
from munit_edge.trainer.data.image_lists import listed_names

NAMES = ("a.png", "sub/b c.png", "grün.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).touch()
    return tmp_path / "all"


def listed(folder: Path, data: bytes) -> tuple[str, ...]:
    file = folder.parent / "list.txt"
    file.write_bytes(data)
    return listed_names(folder, file)


@pytest.mark.parametrize(
    ("encoding", "end"),
    [
        ("utf-8", "\n"),
        ("utf-8", "\r"),
        *((encoding, "\r\n") for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le")),
        *((encoding, "\r\n") for encoding in ("utf-16-be", "utf-32", "cp1252", "latin-1")),
    ],
)
def test_any_encoding_and_any_line_ends(encoding: str, end: str, folder: Path) -> None:
    text = end.join(("", *NAMES, "  ", ""))
    if encoding in ("utf-16-le", "utf-16-be"):  # by its NULs, where the first name begins
        text = text.lstrip()
    assert listed(folder, text.encode(encoding)) == NAMES


@pytest.mark.parametrize(
    "line", ["sub\\b c.png", '"sub/b c.png"', "  sub/b c.png \t", "./sub/b c.png", "'sub\\b c.png'"]
)
def test_other_ways_to_write_a_name(line: str, folder: Path) -> None:
    (name,) = listed(folder, line.encode())
    assert (folder / name).samefile(folder / NAMES[1])


def test_the_home_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert listed(folder, b"~/a.png") == (str(folder / "a.png"),)
    (folder / "~").mkdir()
    (folder / "~" / "a.png").touch()
    assert listed(folder, b"~/a.png") == ("~/a.png",)


def test_names_are_bytes(folder: Path) -> None:
    name = os.fsdecode(b"br\xf6d.png")
    (folder / name).touch()
    for data in (b"br\xf6d.png", "bröd.png".encode(), "bröd.png".encode("utf-16")):
        assert listed(folder, data) == (name,)


def test_accents_in_either_form(folder: Path) -> None:
    assert listed(folder, "gru\u0308n.png".encode()) == ("grün.png",)


def test_odd_names_are_kept(folder: Path) -> None:
    odd = (" x.png", "x\x0b.png", "x\x85.png", "x\u2028.png", "\\.png")
    for name in odd:
        (folder / name).touch()
    assert listed(folder, "\n".join(odd).encode()) == odd


@pytest.mark.parametrize("data", [b"", b"\n \r\n\t\n", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_an_empty_list_is_named(data: bytes, folder: Path) -> None:
    with pytest.raises(InputError, match=r"list\.txt is empty: write the name of one image"):
        listed(folder, data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a.png\nnone.png", r"1 file that is not in .*all, such as 'none\.png': correct the list"),
        (b"none.png\nnor.png", r"2 files that are not in"),
        (b"x" * 5000, r"such as 'x{80}\.\.\.': each line must hold one name, .* 5000 characters"),
        (b"a.png\0b.png", "1 file that is not in"),
        (b"a.png\n\0", "1 file that is not in"),
        (b"C:\\pics\\a.png", "that is a Windows path, so write it relative"),
        (b"\\\\server\\pics\\a.png", "that is a Windows path"),
        (b"~nobody/a.png", "1 file that is not in"),
        (b"sub", "1 file that is not in"),
        (b"\xff\xfea", "is damaged"),
    ],
)
def test_what_is_not_there_is_named(data: bytes, words: str, folder: Path) -> None:
    with pytest.raises(InputError, match=words):
        listed(folder, data)


def test_lists_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "WRITER_WAIT_S", 0.01)
    os.mkfifo(folder / "pipe")
    for path, word in (
        (folder, "it is a folder"),
        (folder / "none.txt", "it does not exist"),
        (folder / ("x" * 300), "too long"),
        (Path("/dev/zero"), "not a readable file"),
        (folder / "pipe", "nobody writes into this pipe"),
    ):
        with pytest.raises(InputError, match=f"image list .*{word}"):
            listed_names(folder, path)
