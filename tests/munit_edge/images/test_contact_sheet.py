"""Contact sheets: every image in its cell."""

import numpy as np
import pytest
from noise_images import noise

from munit_edge.images.contact_sheet import (
    CELL,
    MAX_SIDE,
    MIN_CELL,
    Column,
    Row,
    cell_size,
    contact_sheet,
    gallery,
    thumbnail,
)
from munit_edge.images.io import ImageData, Images


def plain(height: int, width: int, *colour: int) -> ImageData:
    return ImageData(np.full((height, width, len(colour)), colour, np.uint8))


@pytest.mark.parametrize(
    ("size_hw", "channels", "expected_hw"),
    [
        ((32, 32), 1, (64, 64)),
        ((10, 40), 3, (16, 64)),
        ((400, 100), 4, (64, 16)),
        ((3, 900), 3, (1, 64)),
    ],
)
def test_thumbnails_fit_and_keep_proportions(
    size_hw: tuple[int, int], channels: int, expected_hw: tuple[int, int]
) -> None:
    small = thumbnail(plain(*size_hw, *[255] * channels), 64)
    assert small.shape == (*expected_hw, 3)
    assert small.dtype == np.uint8


def test_grey_and_transparent_thumbnails() -> None:
    assert thumbnail(plain(9, 9, 77), 9)[4, 4].tolist() == [77, 77, 77]
    assert thumbnail(plain(9, 9, 0, 0, 0, 0), 9)[4, 4].tolist() == [255, 255, 255]
    beside = ImageData(np.zeros((9, 9, 3), np.uint8), np.full((9, 9), 51, np.uint8))
    assert thumbnail(beside, 9)[4, 4].tolist() == [204, 204, 204]


def test_much_enlarged_images_show_their_pixels() -> None:
    pixels = noise(4, 4)
    large = thumbnail(ImageData(pixels), 64)
    np.testing.assert_array_equal(large[8::16, 8::16], pixels)
    assert len(np.unique(large.reshape(-1, 3), axis=0)) == 16


def test_cells_shrink_with_many_columns_and_small_images() -> None:
    assert cell_size(4) == CELL
    assert cell_size(4, side=32) == 128
    assert cell_size(4, side=1) == MIN_CELL
    assert cell_size(99) == 111
    assert cell_size(99) * 100 < MAX_SIDE
    assert cell_size(10_000) == MIN_CELL


def find(sheet: Images, colour: list[int]) -> tuple[float, float]:
    """Middle row and column of a colour's pixels."""
    rows, columns = np.nonzero((sheet == colour).all(axis=2))
    assert len(rows), f"{colour} is missing"
    return float(rows.mean()), float(columns.mean())


@pytest.mark.parametrize("guided", [False, True])
def test_inputs_are_left_styles_on_top_results_between(guided: bool) -> None:
    def cell(*colour: int) -> Images:
        return thumbnail(plain(20, 20, *colour), 80)

    references = [cell(0, 0, 250), cell(0, 0, 240)]
    columns = [Column(f"style {i}", references[i] if guided else None) for i in range(2)]
    rows = [
        Row(f"{r}.png", (cell(250 - r, 0, 0), cell(0, 250 - r, 0), cell(0, 240 - r, 0)))
        for r in range(3)
    ]
    sheet = contact_sheet(columns, rows, 80)
    assert sheet.shape[2] == 3
    for r in range(3):
        row_y, input_x = find(sheet, [250 - r, 0, 0])
        for c, green in enumerate((250 - r, 240 - r)):
            y, x = find(sheet, [0, green, 0])
            assert y == row_y
            assert x == input_x + 88 * (c + 1)
    if guided:
        for c, blue in enumerate((250, 240)):
            y, x = find(sheet, [0, 0, blue])
            assert y < find(sheet, [250, 0, 0])[0]
            assert x == find(sheet, [0, 250 - 10 * c, 0])[1]


def test_margins_are_white_and_labels_are_drawn() -> None:
    cells = (thumbnail(plain(8, 8, 9, 9, 9), 64),) * 2
    for label in ("a", "a very long name of an image that does not fit into its cell.jpg"):
        sheet = contact_sheet([Column(label)], [Row(label, cells)], 64)
        assert (sheet[:20] == 255).all()
        assert (sheet[:, :19] == 255).all()
        assert (sheet[:, -19:] == 255).all()
        assert (sheet[20:42] < 200).any()  # the style's label
        assert (sheet[-34:-15] < 200).any()  # the input's label


@pytest.mark.parametrize("label", ["", "日本語.png", "x\udcff", "ünï", "line\nbreak"])
def test_any_name_can_be_a_label(label: str) -> None:
    cells = (thumbnail(plain(8, 8, 9, 9, 9), 64),) * 2
    first = contact_sheet([Column("style")], [Row("", cells)], 64)
    assert contact_sheet([Column(label)], [Row(label, cells)], 64).shape == first.shape


@pytest.mark.parametrize(("count", "shape"), [(1, (110, 88)), (3, (110, 200)), (4, (188, 200))])
def test_galleries_go_row_by_row(count: int, shape: tuple[int, int]) -> None:
    colours = np.arange(count) * 50
    items = [("x", thumbnail(plain(9, 9, int(c), 0, 0), 48)) for c in colours]
    sheet = gallery(items, 3, 48)
    assert sheet.shape == (*shape, 3)
    middles = [(44 + row * 78, 44 + column * 56) for row in range(2) for column in range(3)]
    for (y, x), colour in zip(middles, colours, strict=False):
        assert sheet[y, x].tolist() == [colour, 0, 0]
