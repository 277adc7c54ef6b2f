"""Which files are found, and what their results are called."""

import errno
import os
import socket
from pathlib import Path, PurePath

import pytest
from empty_files import touch

from munit_edge.errors import InputError
from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.images.folders import find_images, unique_stems
from munit_edge.images.left_out import LeftOut


def stems(*paths: str) -> list[str]:
    return [stem.as_posix() for stem in unique_stems(PurePath(path) for path in paths)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["x.jpg", "y.jpg"], ["x", "y"]),
        (["x.jpg", "x.png"], ["x_jpg", "x_png"]),
        (["x.jpg", "x.jpg", "y.png"], ["x_jpg", "x_jpg-2", "y"]),
        (["x.jpg", "X.JPG"], ["x_jpg", "X_JPG-2"]),
        (["x.jpg", "x.png", "x_jpg.png"], ["x_jpg-2", "x_png", "x_jpg"]),
        (["x_jpg.png", "x.png", "x.jpg"], ["x_jpg", "x_png", "x_jpg-2"]),
        (["a/x.jpg", "b/x.jpg"], ["a/x", "b/x"]),
        (["x.v2.jpg", "x.v1.jpg"], ["x.v2", "x.v1"]),
        (["x", "x.png"], ["x-2", "x_png"]),
        (["e\u0301.png", "\u00e9.jpg"], ["e\u0301_png", "\u00e9_jpg"]),
    ],
)
def test_stems_never_collide(paths: list[str], expected: list[str]) -> None:
    got = stems(*paths)
    assert got == expected
    assert len({stem.casefold() for stem in got}) == len(got)


def test_a_folder_stands_for_its_images_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpeg", "c.webp", "notes.txt", ".hidden.png", "sub/d.png", "x.svg")
    touch(tmp_path, f"{PARTIAL_PREFIX}abc.png")
    found = find_images([tmp_path])
    assert [file.path.name for file in found] == ["a.jpeg", "b.PNG", "c.webp"]
    assert [str(file.stem) for file in found] == ["a", "b", "c"]


def test_recursion_keeps_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "x.png", "sub/x.png", "sub/deeper/x.png", ".git/x.png")
    found = find_images([tmp_path], recursive=True)
    assert [file.stem.as_posix() for file in found] == ["sub/deeper/x", "sub/x", "x"]


def test_links_in_a_loop_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "sub/x.png")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "linked.png").symlink_to(tmp_path / "sub" / "x.png")
    found = find_images([tmp_path], recursive=True)
    assert [file.stem.as_posix() for file in found] == ["linked", "sub/x"]


def test_the_folder_of_results_is_not_searched(tmp_path: Path) -> None:
    touch(tmp_path, "x.png", "out/x_00.png")
    found = find_images([tmp_path], recursive=True, exclude=tmp_path / "out")
    assert [file.path.name for file in found] == ["x.png"]
    # but an input that is itself the folder of results is meant
    found = find_images([tmp_path / "out"], recursive=True, exclude=tmp_path / "out")
    assert [file.path.name for file in found] == ["x_00.png"]


def test_one_name_in_two_places(tmp_path: Path) -> None:
    touch(tmp_path, "one/x.jpg", "two/x.jpg")
    found = find_images([tmp_path / "one", tmp_path / "two"])
    assert [str(file.stem) for file in found] == ["x_jpg", "x_jpg-2"]


def test_each_file_counts_once(working_folder: Path) -> None:
    touch(working_folder, "x.png", "y.png")
    found = find_images([Path("x.png"), working_folder, Path(os.curdir, "y.png")])
    assert [str(file.stem) for file in found] == ["x", "y"]
    assert found[0].path == Path("x.png")


def test_a_named_file_may_have_any_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "photo", "photo.dat", "ünï cöde.png")
    found = find_images([tmp_path / n for n in ("photo", "photo.dat", "ünï cöde.png")])
    assert [str(file.stem) for file in found] == ["photo-2", "photo_dat", "ünï cöde"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        find_images([tmp_path / "nowhere"])


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "sub/x.png", "notes.txt")
    with pytest.raises(InputError, match=r"holds no images.*; -r looks in"):
        find_images([tmp_path])
    (tmp_path / "sub" / "x.png").unlink()
    with pytest.raises(InputError, match=r"holds no images.*TGA files$"):
        find_images([tmp_path], recursive=True)


# ----------------------------------------------------------------------------------------------
# What is passed over


def test_files_mistaken_for_images_are_counted_by_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("munit_edge.images.folders.can_read_heif", lambda: False)
    touch(tmp_path, "a.png", "1.HEIC", "2.heif", "x.jxl", "y.NEF", "z.cr2", "clip.MOV", "s.svg")
    touch(tmp_path, "doc.pdf", "art.psd", "notes.txt", ".hidden.heic", "deep/b.mp4")
    (tmp_path / "link").symlink_to("deep", target_is_directory=True)
    left_out = LeftOut()
    found = find_images([tmp_path], recursive=True, left_out=left_out)
    assert [file.path.name for file in found] == ["a.png"]
    assert str(left_out) == (
        "2 HEIC (install munit-edge[heif]), 2 camera RAW, 1 Photoshop, 1 SVG, 1 PDF, 1 JPEG XL, "
        "2 videos (translate it by itself), 1 linked folder (name the folders themselves)"
    )
    assert not left_out.faults
    flat = LeftOut()
    find_images([tmp_path], left_out=flat)
    assert "linked folder" not in str(flat)
    assert "1 video (" in str(flat)


def test_a_folder_of_other_kinds_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("munit_edge.images.folders.can_read_heif", lambda: False)
    touch(tmp_path, "1.heic", "2.heic", "x.jxl")
    with pytest.raises(InputError, match=r"no images, only 2 HEIC \(install .*\), 1 JPEG XL: "):
        find_images([tmp_path])


def test_what_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "real")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "linked.png").symlink_to("real")
    (tmp_path / "broken.txt").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path is short
        try:
            server.bind("socket.png")
        finally:
            os.chdir(here)
        left_out = LeftOut()
        found = find_images([tmp_path], left_out=left_out)
    assert [file.path.name for file in found] == ["a.png", "linked.png"]
    faults = {path.name: text for path, text in left_out.faults.items()}
    assert faults.keys() == {f"{n}.png" for n in ("pipe", "device", "broken", "loop", "socket")}
    for name, word in (("pipe", "a pipe"), ("device", "a device"), ("socket", "a socket")):
        assert f"{name}.png is {word}, not an image" in faults[f"{name}.png"]
    assert "link to nothing" in faults["broken.png"]
    assert "loop" in faults["loop.png"]


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENAMETOOLONG]
)
def test_a_folder_below_that_cannot_be_read_ends_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.png", "denied/b.png", "other/c.png")
    scan = os.scandir

    def refusing(path: Path) -> object:
        if path.name == "denied":
            raise OSError(number, os.strerror(number), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    left_out = LeftOut()
    found = find_images([tmp_path], recursive=True, left_out=left_out)
    assert [file.path.name for file in found] == ["a.png", "c.png"]
    assert list(left_out.faults) == [tmp_path / "denied"]
    with pytest.raises(InputError, match="denied cannot be used"):
        find_images([tmp_path / "denied"])


def test_folders_may_be_deeper_than_calls(tmp_path: Path) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        Path("x.png").touch()
    finally:
        os.chdir(here)
    found = find_images([tmp_path], recursive=True)
    assert len(found) == 1
    (tmp_path / "kept").touch()
    found[0].path.unlink()
    os.removedirs(found[0].path.parent)  # shutil's own way down is too deep, too
