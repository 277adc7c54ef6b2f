"""Sample data: what is drawn is what the labels say."""

import colorsys
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from munit_edge.errors import ConfigError, InputError, OutputError
from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.images.sample_data import (
    LABELS_FILE,
    SHAPE_KINDS,
    SPLITS,
    TEXTURES,
    Label,
    Shape,
    Style,
    draw,
    num_pictures,
    read_labels,
    sample_labels,
    shape_mask,
    write_sample_data,
)

MIDDLE = {"centre": (0.5, 0.5), "radius": 0.4, "rotation": 10.0}
RED = Style(hue=0, saturation=0.9, value=0.9, texture="plain")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folder_holds_what_the_labels_say(tmp_path: Path) -> None:
    labels = write_sample_data(tmp_path / "data", size=32, count=20, seed=3)
    images = {name for name in contents(tmp_path / "data") if name != LABELS_FILE}
    assert images == set(labels.pictures)
    assert {split: sum(n.startswith(split) for n in images) for split in SPLITS} == {
        "trainA": 20,
        "trainB": 20,
        "testA": 2,
        "testB": 2,
    }
    assert read_labels(tmp_path / "data") == labels
    for name, label in labels.pictures.items():
        with Image.open(tmp_path / "data" / name) as image:
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), draw(label, 32))


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        write_sample_data(tmp_path / name, size=16, count=3, seed=seed)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert all(one[name] != other[name] for name in one)


def test_count_and_size_do_not_change_the_scenes() -> None:
    few, many = dict(sample_labels(5, 0)), dict(sample_labels(50, 0))
    assert few.items() <= many.items()
    assert many["trainB/00004.png"] == few["trainB/00004.png"]


def test_drawn_scenes_stay_the_same_between_versions() -> None:
    first = dict(sample_labels(1, 0))["testB/00000.png"]
    assert first == Label(
        shape=Shape(kind="triangle", centre=(0.4833, 0.4829), radius=0.4032, rotation=-10.0433),
        style=Style(hue=247.8564, saturation=0.7801, value=0.9301, texture="dots"),
    )


def test_domains_are_not_paired() -> None:
    labels = dict(sample_labels(100, 0))
    shapes = {domain: [x.shape for n, x in labels.items() if f"{domain}/" in n] for domain in "AB"}
    assert len({s.centre for s in shapes["A"]} & {s.centre for s in shapes["B"]}) == 0


def test_every_kind_texture_and_colour_occurs() -> None:
    labels = dict(sample_labels(200, 0)).values()
    assert {label.shape.kind for label in labels} == set(SHAPE_KINDS)
    styles = [label.style for label in labels if label.style]
    assert {style.texture for style in styles} == set(TEXTURES)
    assert {int(style.hue // 60) for style in styles} == set(range(6))


@pytest.mark.parametrize("kind", SHAPE_KINDS)
@pytest.mark.parametrize("size", [16, 32, 64, 100])
def test_filled_shape_covers_its_mask_and_nothing_else(kind: str, size: int) -> None:
    shape = Shape(kind=kind, **MIDDLE)
    mask = shape_mask(shape, size)
    image = draw(Label(shape=shape, style=RED), size).astype(float)
    red = 255 * np.array(colorsys.hsv_to_rgb(0, 0.9, 0.9))
    np.testing.assert_allclose(image, 255 + mask[..., None] * (red - 255), atol=0.51)


@pytest.mark.parametrize("kind", SHAPE_KINDS)
def test_outline_runs_inside_the_edge_and_is_open_inside(kind: str) -> None:
    shape = Shape(kind=kind, **MIDDLE)
    mask = shape_mask(shape, 64)
    ink = (255 - draw(Label(shape=shape), 64)[..., 0]) / 230
    assert np.all(ink <= mask + 0.02)
    assert ink.max() > 0.99
    assert ink[32, 32] == 0
    assert 0.1 < ink.sum() / mask.sum() < 0.7


@pytest.mark.parametrize("kind", SHAPE_KINDS)
def test_circumscribed_radius_is_the_label(kind: str) -> None:
    rows, columns = np.nonzero(shape_mask(Shape(kind=kind, **MIDDLE), 128) > 0.5)
    farthest = np.hypot(columns + 0.5 - 64, rows + 0.5 - 64).max() / 128
    expected = 0.85 * 0.4 if kind == "circle" else 0.4
    assert farthest == pytest.approx(expected, abs=0.02)


def test_kinds_are_distinct_at_32_pixels() -> None:
    masks = {kind: shape_mask(Shape(kind=kind, **MIDDLE), 32) for kind in SHAPE_KINDS}
    for kind, mask in masks.items():
        for other, other_mask in masks.items():
            overlap = np.minimum(mask, other_mask).sum() / np.maximum(mask, other_mask).sum()
            assert overlap < 0.85 or kind == other, (kind, other)


def test_shape_turns_clockwise_and_moves_right_and_down() -> None:
    square = Shape(kind="cross", centre=(0.25, 0.75), radius=0.2, rotation=0)
    rows, columns = np.nonzero(shape_mask(square, 64) > 0.5)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((16, 48), abs=0.1)
    turned = Shape(kind="triangle", centre=(0.5, 0.5), radius=0.4, rotation=25)
    rows, columns = np.nonzero(shape_mask(turned, 64) > 0.5)
    assert columns[rows.argmin()] > 36  # the upper corner has gone to the right


@pytest.mark.parametrize("texture", ["stripes", "dots"])
def test_texture_shows_at_32_pixels(texture: str) -> None:
    shape = Shape(kind="square", **MIDDLE)
    label = Label(shape=shape, style=RED.model_copy(update={"texture": texture}))
    red = draw(label, 32)[..., 0][shape_mask(shape, 32) > 0.99]
    assert red.max() == pytest.approx(230, abs=1)
    assert red.min() < 0.7 * red.max()
    assert 0.2 < (red < 0.8 * red.max()).mean() < 0.7


def test_shapes_stay_inside_the_image() -> None:
    for label in dict(sample_labels(150, 1)).values():
        mask = shape_mask(label.shape, 32)
        assert mask[[0, -1]].max() == 0
        assert mask[:, [0, -1]].max() == 0


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"size": 8}, "size is 8: use 16 to 1024"),
        ({"size": 2000}, "size is 2000"),
        ({"count": 0}, "count is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, int], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        write_sample_data(tmp_path / "data", **options)
    assert list(tmp_path.iterdir()) == []


def test_earlier_data_is_kept_or_replaced_as_asked(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_sample_data(folder, size=16, count=2)  # an empty folder is fine
    before = contents(folder)
    with pytest.raises(OutputError, match="--overwrite"):
        write_sample_data(folder, size=16, count=1)
    assert contents(folder) == before
    write_sample_data(folder, size=16, count=1, overwrite=True)
    assert len(list((folder / "trainA").iterdir())) == 1


def test_other_peoples_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(OutputError, match="holds other files"):
        write_sample_data(tmp_path, size=16, count=1, overwrite=True)
    with pytest.raises(OutputError, match="is a file"):
        write_sample_data(tmp_path / "photo.jpg", size=16, count=1, overwrite=True)
    assert contents(tmp_path) == {"photo.jpg": b"mine"}


def test_interrupted_drawing_leaves_nothing(tmp_path: Path) -> None:
    drawn = []

    def interrupt() -> None:
        drawn.append(1)
        if len(drawn) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample_data(tmp_path / "data", size=16, count=5, on_picture=interrupt)
    assert [p for p in tmp_path.iterdir() if p.name.startswith(PARTIAL_PREFIX)] == []
    assert list(tmp_path.iterdir()) == []


def test_output_below_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        write_sample_data(tmp_path / "file" / "data", size=16, count=1)


def test_damaged_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sample-data"):
        read_labels(tmp_path)
    (tmp_path / LABELS_FILE).write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        read_labels(tmp_path)
    (tmp_path / LABELS_FILE).write_text(json.dumps({"sise": 3}))
    with pytest.raises(ConfigError, match=r"sise.*size"):
        read_labels(tmp_path)


def test_number_of_images() -> None:
    assert [num_pictures(split, 35) for split in SPLITS] == [35, 35, 3, 3]
    assert num_pictures("testA", 1) == 1


def test_folder_permissions_follow_the_umask(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "data", size=16, count=1)
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o777 & ~mask
