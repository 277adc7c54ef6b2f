"""Which files are found, and what their results are called."""

import os
from pathlib import Path, PurePath

import pytest

from munit_edge.errors import InputError
from munit_edge.files import PARTIAL_PREFIX
from munit_edge.image_files import find_images, unique_stems


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


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


def test_a_folder_stands_for_its_pictures_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpeg", "c.webp", "notes.txt", ".hidden.png", "sub/d.png", "x.svg")
    touch(tmp_path, f"{PARTIAL_PREFIX}abc.png")
    found = find_images([tmp_path])
    assert [file.path.name for file in found] == ["a.jpeg", "b.PNG", "c.webp"]
    assert [str(file.stem) for file in found] == ["a", "b", "c"]


def test_recursion_keeps_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "x.png", "sub/x.png", "sub/deeper/x.png", ".git/x.png")
    found = find_images([tmp_path], recursive=True)
    assert [file.stem.as_posix() for file in found] == ["sub/deeper/x", "sub/x", "x"]


def test_links_in_a_circle_are_not_followed(tmp_path: Path) -> None:
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


def test_each_file_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "x.png", "y.png")
    monkeypatch.chdir(tmp_path)
    found = find_images([Path("x.png"), tmp_path, Path(os.curdir, "y.png")])
    assert [str(file.stem) for file in found] == ["x", "y"]
    assert found[0].path == Path("x.png")


def test_a_named_file_may_have_any_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "photo", "photo.dat", "ünï cöde.png")
    found = find_images([tmp_path / n for n in ("photo", "photo.dat", "ünï cöde.png")])
    assert [str(file.stem) for file in found] == ["photo-2", "photo_dat", "ünï cöde"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        find_images([tmp_path / "nowhere"])


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "sub/x.png", "notes.txt")
    with pytest.raises(InputError, match=r"holds no pictures.*; -r looks in"):
        find_images([tmp_path])
    (tmp_path / "sub" / "x.png").unlink()
    with pytest.raises(InputError, match=r"holds no pictures.*TGA files$"):
        find_images([tmp_path], recursive=True)
