"""Which images are trained on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from empty_files import touch
from training_runs import write_data, write_images

from munit_edge.errors import ConfigError, InputError
from munit_edge.trainer.config import DataConfig, ImageSource
from munit_edge.trainer.data.image_sets import (
    ImageSet,
    display_images,
    find_images,
    training_images,
)


def test_folders_are_searched_deeply_in_a_fixed_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a/2.jpg", "a/1.webp", "notes.txt", ".hidden.png", ".cache/x.png")
    assert find_images(ImageSource(folder=tmp_path)).names == ("a/1.webp", "a/2.jpg", "b.PNG")


def test_a_list_decides_names_and_order(tmp_path: Path) -> None:
    touch(tmp_path / "all", "1.png", "2.png", "3.png")
    chosen = tmp_path / "list.txt"
    chosen.write_text("3.png\n\n1.png\n")
    assert find_images(ImageSource(folder=tmp_path / "all", list=chosen)).names == (
        "3.png",
        "1.png",
    )
    chosen.write_text("3.png\n4.png\n")
    with pytest.raises(InputError, match=r"names 1 file that is not in .*all, such as '4.png'"):
        find_images(ImageSource(folder=tmp_path / "all", list=chosen))
    with pytest.raises(InputError, match=r"none\.txt cannot be read: it does not exist"):
        find_images(ImageSource(folder=tmp_path, list=tmp_path / "none.txt"))


@pytest.mark.parametrize("layout", [("trainA", "trainB"), ("images_a", "images_b")])
def test_both_layouts_of_a_root(layout: tuple[str, str], tmp_path: Path) -> None:
    for name in layout:
        touch(tmp_path / name, "1.png", "2.png")
    sets = training_images(DataConfig(root=tmp_path))
    assert [sets["a"].folder.name, sets["b"].folder.name] == list(layout)


def test_configured_sources(tmp_path: Path) -> None:
    sources = {f"train_{d}": {"folder": touch(tmp_path / d, "1.png", "2.png")} for d in ("a", "b")}
    assert training_images(DataConfig(**sources))["b"].path(1) == tmp_path / "b" / "2.png"


def test_one_image_is_too_few(tmp_path: Path) -> None:
    touch(tmp_path, "trainA/1.png", "trainA/2.png", "trainB/1.png")
    with pytest.raises(InputError, match=r"domain b has 1 image in .*at least 2 in each domain"):
        training_images(DataConfig(root=tmp_path))
    (tmp_path / "trainB" / "1.png").unlink()
    with pytest.raises(InputError, match=r"domain b has no images in .*trainB"):
        training_images(DataConfig(root=tmp_path))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no images: pass --data DIR"):
        training_images(DataConfig())
    with pytest.raises(InputError, match="none does not exist"):
        training_images(DataConfig(root=tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is not a folder"):
        training_images(DataConfig(root=tmp_path / "file"))
    (tmp_path / "trainA").mkdir()
    with pytest.raises(InputError, match="holds file, trainA: a data folder holds trainA and tr"):
        training_images(DataConfig(root=tmp_path))
    with pytest.raises(InputError, match=r"image folder .*none does not exist"):
        find_images(ImageSource(folder=tmp_path / "none"))


def test_grids_show_test_images_where_there_are_any(tmp_path: Path) -> None:
    write_data(tmp_path)
    write_images(tmp_path / "testA", 1)
    other = write_images(tmp_path / "other", 1)
    config = DataConfig(root=tmp_path)
    training = training_images(config)
    shown = display_images(config, training)
    assert (shown["a"].folder.name, shown["b"]) == ("testA", training["b"])
    config = DataConfig(root=tmp_path, test_b={"folder": other})
    assert display_images(config, training)["b"].folder == other


def test_fingerprint_follows_the_names() -> None:
    one, two = (ImageSet(Path("x"), names) for names in (("a", "b"), ("b", "a")))
    assert one.fingerprint != two.fingerprint
    assert one.fingerprint == ImageSet(Path("elsewhere"), ("a", "b")).fingerprint


def test_a_few_images_are_spread_over_all_names(tmp_path: Path) -> None:
    whole = ImageSet(tmp_path, tuple("abcdefg"))
    assert whole.spread(3).names == ("a", "d", "g")
    assert whole.spread(1).names == ("a",)
    assert whole.spread(7) == whole.spread(9) == whole


def test_what_is_passed_over_stays_with_the_set(tmp_path: Path) -> None:
    for name in ("0.png", "1.png", "x.jxl", "below/2.png", "below/clip.mov"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).touch()
    (tmp_path / "a" / "link").symlink_to("below", target_is_directory=True)
    (tmp_path / "a" / "gone.png").symlink_to("nowhere")
    found = find_images(ImageSource(folder=tmp_path / "a"))
    assert found.names == ("0.png", "1.png", "below/2.png")
    assert str(found.left_out).startswith("1 JPEG XL, 1 video (")
    assert "1 linked folder" in str(found.left_out)
    assert [path.name for path in found.left_out.faults] == ["gone.png"]


def test_too_few_images_beside_other_files(tmp_path: Path) -> None:
    for domain in "ab":
        (tmp_path / f"train{domain.upper()}").mkdir()
        (tmp_path / f"train{domain.upper()}" / "x.nef").touch()
    with pytest.raises(InputError, match=r"domain a has no images in .*\(left out: 1 camera RAW"):
        training_images(DataConfig(root=tmp_path))


def test_names_that_are_not_utf8_have_a_fingerprint(tmp_path: Path) -> None:
    one, two = (ImageSet(tmp_path, (os.fsdecode(name),)) for name in (b"\xfc.png", b"\xfd.png"))
    assert one.fingerprint != two.fingerprint
