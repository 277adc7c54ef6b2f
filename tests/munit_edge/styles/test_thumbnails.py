"""Thumbnails of styles: small, readable again, and drawn where there is no image."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from noise_images import noise
from PIL import Image

from munit_edge.images.io import ImageData, Images
from munit_edge.styles.thumbnails import (
    MAX_BYTES,
    SIDE,
    draw_code,
    pack_thumbnail,
    unpack_thumbnail,
)


def flat(colour: tuple[int, int, int], height: int = 50, width: int = 100) -> ImageData:
    return ImageData(np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy())


def unpacked(*images: ImageData) -> Images:
    found = unpack_thumbnail(pack_thumbnail(images))
    assert found is not None
    return found


def test_one_image_keeps_its_proportions_and_colours() -> None:
    found = unpacked(flat((30, 120, 220)))
    assert found.shape == (SIDE // 2, SIDE, 3)
    assert np.abs(found.astype(int) - (30, 120, 220)).max() < 8


def test_several_lie_side_by_side_and_the_fifth_is_left_out() -> None:
    colours = [(200, 0, 0), (0, 160, 0), (0, 0, 200), (90, 90, 90), (250, 250, 0)]
    found = unpacked(*(flat(colour, 40, 40) for colour in colours)).astype(int)
    assert found.shape == (SIDE, SIDE, 3)
    centres = [(row, column) for row in (24, 72) for column in (24, 72)]
    for (row, column), colour in zip(centres, colours[:4], strict=True):
        assert np.abs(found[row, column] - colour).max() < 12


def test_noise_is_small_too() -> None:
    assert len(base64.b64decode(pack_thumbnail([ImageData(noise(300, 300))]))) <= MAX_BYTES


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


def _large() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (600, 8)).save(file, "JPEG")
    return file.getvalue()


CUT = base64.b64decode(pack_thumbnail([flat((1, 2, 3))]))[:99]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff",
        CUT,
        _png(),
        _large(),
    ],
    ids=["nothing", "a beginning", "cut", "no JPEG", "large"],
)
def test_damaged_thumbnails_give_none(data: bytes) -> None:
    assert unpack_thumbnail(base64.b64encode(data).decode()) is None


def test_text_that_is_no_base64_gives_none() -> None:
    assert unpack_thumbnail("###") is None


def test_bars_show_sign_and_size() -> None:
    bars = draw_code(np.array([3, -1.5, 0, 9], np.float32))
    coloured = (bars != bars[0, 0]).any(axis=2) & (bars != bars[SIDE // 2, 0]).any(axis=2)
    columns = [int(x) for x in (0.06 + 0.88 * (np.arange(4) + 0.4) / 4) * SIDE]
    heights = [int(coloured[:, x].sum()) for x in columns]
    assert heights[0] == heights[3] == pytest.approx(0.44 * SIDE, abs=2), "3 is the full height"
    assert heights[1] == pytest.approx(0.22 * SIDE, abs=2)
    assert heights[2] <= 1
    assert coloured[: SIDE // 2, columns[0]].any()
    assert not coloured[: SIDE // 2, columns[1]].any()
