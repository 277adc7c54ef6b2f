"""Every kind of TIFF comes out right, or is refused by its name."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiff_files import (
    CFA,
    CMYK,
    COMPLEX_FLOAT,
    COMPLEX_SIGNED,
    DEFLATE,
    FLOAT,
    GREY,
    ICC_LAB,
    LAB,
    LINEAR_RAW,
    LOG_L,
    LOG_LUV,
    MASK,
    PACK_BITS,
    PALETTE,
    PLAIN,
    RGB,
    SIGNED,
    UNDEFINED,
    UNSIGNED,
    WHITE_IS_ZERO,
    YCBCR,
    TiffKind,
    tiff,
)

from munit_edge.errors import UnreadableImageError
from munit_edge.images.io import decode_image, read_image

HEIGHT, WIDTH = 8, 16
Y, X = np.mgrid[:HEIGHT, :WIDTH]
RAMP = X * 255.0 / (WIDTH - 1)
COLOURS = np.dstack([RAMP, Y * 255.0 / (HEIGHT - 1), np.full((HEIGHT, WIDTH), 60.0)])
ALPHA = np.where(X < WIDTH // 2, 255.0, 85.0 * (Y % 4))

PHOTOMETRICS = (
    *(WHITE_IS_ZERO, GREY, RGB, PALETTE, MASK, CMYK, YCBCR),
    *(LAB, ICC_LAB, CFA, LOG_L, LOG_LUV, LINEAR_RAW),
)
WIDTHS = {
    UNSIGNED: (1, 2, 4, 8, 12, 16, 24, 32, 64),
    SIGNED: (8, 16, 32, 64),
    FLOAT: (16, 32, 64),
    UNDEFINED: (8, 16),
    COMPLEX_SIGNED: (64,),
    COMPLEX_FLOAT: (64, 128),
}
EXTRAS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,), (0, 0), (2, 0))
STORED: tuple[dict[str, Any], ...] = (
    {},
    {"endian": ">"},
    {"planar": 2},
    {"fill_order": 2},
    {"compression": DEFLATE},
    {"compression": DEFLATE, "endian": ">", "planar": 2},
    {"compression": PACK_BITS, "fill_order": 2},
    {"tile": 16},
    {"tile": 16, "planar": 2, "compression": DEFLATE},
)


def grey(values: np.ndarray) -> np.ndarray:
    return np.dstack([values] * 3)


def planes(photometric: int) -> list[np.ndarray]:
    """Samples of 0 to 255 that show `shown`."""
    if photometric == WHITE_IS_ZERO:
        return [255 - RAMP]
    if photometric in (RGB, LOG_LUV, LINEAR_RAW):
        return list(np.moveaxis(COLOURS, 2, 0))
    if photometric == CMYK:
        return [*(255 - np.moveaxis(COLOURS, 2, 0)), 0 * RAMP]
    if photometric == YCBCR:
        red, green, blue = np.moveaxis(COLOURS, 2, 0)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        return [luma, (blue - luma) * 0.564 + 128, (red - luma) * 0.713 + 128]
    if photometric in (LAB, ICC_LAB):
        return [RAMP, 0 * RAMP, 0 * RAMP]
    return [RAMP]


def shown(photometric: int) -> np.ndarray:
    """What a viewer shows of `planes`: [H, W, 3], 0 to 255."""
    if photometric in (RGB, CMYK, YCBCR):
        return COLOURS
    if photometric == PALETTE:
        return grey(255 - RAMP)
    if photometric == LAB:  # lightness to sRGB
        lightness = (RAMP / 255 * 100 + 16) / 116
        light = np.where(lightness > 6 / 29, lightness**3, (lightness - 4 / 29) * 108 / 841)
        srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        return grey(255 * srgb)
    return grey(RAMP)


def quantised(values: np.ndarray, bits: int, sample_format: int) -> np.ndarray:
    if sample_format in (UNSIGNED, UNDEFINED):
        whole = np.rint(values / 255 * (2.0**bits - 1))
        return np.minimum(whole, 2.0**bits - 2 ** max(0, bits - 53)).astype(np.uint64)
    if sample_format in (SIGNED, COMPLEX_SIGNED):
        return np.rint(values / 255 * (2.0 ** min(bits - 1, 30) - 1)).astype(np.int64)
    return values / 255


def file_of(kind: TiffKind, bits: int) -> bytes:
    stored = planes(kind.photometric)
    for extra in kind.extra:
        if extra == 1:
            stored = [plane * ALPHA / 255 for plane in stored]
        stored.append(ALPHA if extra else 0 * RAMP + 40)
    return tiff(np.dstack([quantised(plane, bits, kind.format) for plane in stored]), kind)


def kind_of(photometric: int, bits: int, **options: Any) -> TiffKind:
    tags = {}
    if photometric == PALETTE:
        count = 2 ** min(bits, 8)
        tags = {320: [65535 - i * 65535 // (count - 1) for i in range(count)] * 3}
    if photometric == YCBCR:
        tags = {530: (1, 1)}
    return TiffKind(photometric, bits, tags=tags, **options)


def combinations(photometric: int) -> Iterator[tuple[TiffKind, int]]:
    for sample_format, widths in WIDTHS.items():
        few = 9 if sample_format in (UNSIGNED, FLOAT) else 1
        for bits, extra, stored in itertools.product(widths, EXTRAS[:few], STORED[:few]):
            yield kind_of(photometric, bits, format=sample_format, extra=extra, **stored), bits


def check(kind: TiffKind, bits: int) -> bool:
    """Whether a kind is read; then it is right."""
    try:
        image = decode_image(file_of(kind, bits), 3, name="x.tif")
    except UnreadableImageError as exc:
        return _refused_by_name(str(exc))
    tolerance = 127.5 / (2 ** min(bits, 8) - 1) + 1.5 + 3 * (kind.photometric == YCBCR)
    expected, visible = shown(kind.photometric), np.full((HEIGHT, WIDTH), True)
    alpha = [extra for extra in kind.extra if extra]
    if alpha:
        assert image.alpha is not None
        np.testing.assert_allclose(image.alpha, ALPHA, atol=1)
        visible = ALPHA > 80
        tolerance += 2 * (alpha == [1])  # what was multiplied has lost some
    else:
        assert image.alpha is None
    difference = np.abs(image.pixels - expected)[visible]
    assert difference.max() <= tolerance, f"off by {difference.max():.0f}"
    return True


def _refused_by_name(message: str) -> bool:
    assert message.startswith("x.tif is a TIFF with ")
    assert "which is not supported: convert it to 8-bit RGB or grey" in message
    return False


@pytest.mark.parametrize("photometric", PHOTOMETRICS)
def test_each_kind_is_right_or_refused(photometric: int) -> None:
    read = set()
    for kind, bits in combinations(photometric):
        try:
            if check(kind, bits):
                read.add((kind.format, bits, kind.extra))
        except AssertionError as exc:
            raise AssertionError(f"{kind}: {exc}") from exc
    assert {(f, b, e) for f, b, e in read if not e} == {
        (sample_format, bits, ()) for sample_format, bits in PLAINLY_READ.get(photometric, ())
    }


INTEGERS = [(UNSIGNED, bits) for bits in (1, 2, 4, 8, 12, 16, 32)]
PLAINLY_READ = {
    WHITE_IS_ZERO: [*INTEGERS, (FLOAT, 32)],
    GREY: [*INTEGERS, (FLOAT, 32)],
    RGB: [(UNSIGNED, 8), (UNSIGNED, 16)],
    PALETTE: [(UNSIGNED, bits) for bits in (1, 2, 4, 8)],
    CMYK: [(UNSIGNED, 8), (UNSIGNED, 16)],
    YCBCR: [(UNSIGNED, 8)],
    LAB: [(UNSIGNED, 8)],
}


@pytest.mark.parametrize(
    ("photometric", "bits", "options"),
    [
        *((photometric, 16, {"endian": endian, **stored})
          for photometric in (WHITE_IS_ZERO, GREY) for endian in "<>"
          for stored in ({}, {"compression": DEFLATE}, {"planar": 2}, {"tile": 16})),
        *((RGB, bits, {"planar": 2, "compression": compression})
          for bits in (8, 16) for compression in (PLAIN, DEFLATE)),
        *((RGB, 8, {"extra": extra, "planar": planar})
          for extra in ((0,), (1,), (2,)) for planar in (1, 2)),
        *((RGB, 16, {"extra": (2,), "endian": endian}) for endian in "<>"),
        *((GREY, 8, {"extra": extra}) for extra in ((0,), (1,), (2,))),
        (CMYK, 16, {"planar": 2}),
        (PALETTE, 4, {"fill_order": 2}),
    ],
)  # fmt: skip
def test_common_kinds_are_read(photometric: int, bits: int, options: dict[str, Any]) -> None:
    assert check(kind_of(photometric, bits, **options), bits)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("endian", "<>")
def test_a_predictor(bits: int, endian: str) -> None:
    kind = kind_of(GREY, bits, endian=endian, compression=DEFLATE, predictor=2)
    samples = quantised(np.dstack([RAMP]), bits, UNSIGNED).astype(f"u{bits // 8}")
    if bits == 32 and endian == ">":
        with pytest.raises(UnreadableImageError, match="TIFF with 32-bit grey samples"):
            decode_image(tiff(samples, kind), 3, name="x.tif")
        return
    pixels = decode_image(tiff(samples, kind), 3, name="x.tif").pixels
    assert np.abs(pixels - grey(RAMP)).max() <= 1


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (TiffKind(GREY, 16, SIGNED), "16-bit signed grey samples"),
        (TiffKind(GREY, 8, SIGNED), "8-bit signed grey samples"),
        (TiffKind(GREY, 16, FLOAT), "16-bit float grey samples"),
        (TiffKind(GREY, 64, COMPLEX_FLOAT), "64-bit complex float grey samples"),
        (TiffKind(MASK, 1), "1-bit transparency mask samples"),
        (TiffKind(CFA, 16), r"16-bit colour filter array \(camera raw\) samples"),
        (TiffKind(LOG_L, 16), "16-bit LogL samples"),
        (TiffKind(GREY, compression=34712), "compression 34712"),
        (TiffKind(77), "8-bit photometric interpretation 77 samples"),
        (TiffKind(GREY, tags={254: (1,), 330: (8,)}), "a thumbnail before the image itself"),
    ],
)
def test_the_message_names_the_kind(kind: TiffKind, what: str) -> None:
    with pytest.raises(
        UnreadableImageError, match=f"x is a TIFF with {what}.*which is not supported"
    ):
        decode_image(tiff(np.zeros((2, 2, 1), np.uint8), kind), 3, name="x")


def test_bits_that_differ_from_sample_to_sample() -> None:
    samples = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(UnreadableImageError, match=r"TIFF with 5/6-bit RGB \(3 a pixel\) samples"):
        decode_image(tiff(samples, TiffKind(RGB, (5, 6, 5))), 3, name="x")


@pytest.mark.parametrize("tags", [{332: (2,)}, {332: (2,), 334: (4,)}])
def test_inks_that_are_not_cmyk(tags: dict[int, Any]) -> None:
    with pytest.raises(UnreadableImageError, match="TIFF with inks other than CMYK"):
        decode_image(tiff(np.zeros((2, 2, 4), np.uint8), TiffKind(CMYK, tags=tags)), 3, name="x")


@pytest.mark.parametrize("photometric", [RGB, YCBCR])
def test_the_range_of_video_is_refused(photometric: int) -> None:
    samples = np.zeros((2, 2, 3), np.uint8)
    video, full = [16, 235, 128, 240, 128, 240], [0, 255, 128, 255, 128, 255]
    with pytest.raises(UnreadableImageError, match="whose black and white are not 0 and 255"):
        decode_image(tiff(samples, TiffKind(photometric, tags={532: video})), 3, name="x")
    kind = TiffKind(photometric, tags={532: full, 530: (1, 1)})
    assert decode_image(tiff(samples, kind), 3, name="x").pixels.shape == (2, 2, 3)


def test_a_palette_of_8_bits() -> None:
    """Some programs write its colours as 0 to 255."""
    ramp = [255 - i for i in range(256)]
    kind = TiffKind(PALETTE, tags={320: ramp * 3})
    pixels = decode_image(tiff(np.dstack([RAMP.astype(np.uint8)]), kind), 1, name="x").pixels
    assert (pixels[..., 0] == 255 - RAMP.astype(np.uint8)).all()


def test_ycbcr_with_fewer_colours_and_no_compression() -> None:
    """Four lumas and one pair of colours for each 2 x 2 pixels."""
    luma = np.rint(planes(YCBCR)[0]).astype(np.uint8)
    units = [
        [*luma[y : y + 2, x : x + 2].ravel(), 128, 128]
        for y in range(0, HEIGHT, 2)
        for x in range(0, WIDTH, 2)
    ]
    data = np.array(units, np.uint8).tobytes()
    whole = tiff(np.zeros((HEIGHT, WIDTH, 3), np.uint8), TiffKind(YCBCR, tags={530: (2, 2)}))
    pixels = decode_image(
        whole[:8] + data.ljust(3 * HEIGHT * WIDTH, b"\0") + whole[8 + 3 * HEIGHT * WIDTH :],
        3,
        name="x",
    ).pixels
    assert np.abs(pixels - grey(luma.astype(float))).max() <= 2


def test_every_12_bit_grey_is_rounded_exactly() -> None:
    values = np.arange(4096).reshape(64, 64, 1)
    pixels = decode_image(tiff(values, TiffKind(GREY, 12)), 1, name="x").pixels
    assert (pixels == np.rint(values / 4095 * 255)).all()


@pytest.mark.parametrize(
    "compression", ["tiff_lzw", "tiff_deflate", "packbits", "group4", "lzma", "zstd", "jpeg"]
)
def test_compressions_of_other_programs(compression: str) -> None:
    mode = "1" if compression == "group4" else "L"
    image = Image.fromarray(np.where(X + Y > 9, 255, 0).astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression=compression)
    pixels = decode_image(buffer.getvalue(), 1, name="x").pixels[..., 0]
    assert np.abs(pixels.astype(int) - np.asarray(image.convert("L"))).max() <= 40 * (
        compression == "jpeg"
    )


@pytest.mark.parametrize("options", [{}, {"planar": 2}, {"compression": DEFLATE}])
def test_files_on_disk_as_those_in_memory(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(file_of(kind_of(RGB, 16, **options), 16))
    assert np.abs(read_image(path, 3).pixels - COLOURS).max() <= 1.5


def test_pages_are_counted() -> None:
    page = np.zeros((2, 2, 1), np.uint8)
    for endian in "<>":
        data = tiff(page, TiffKind(endian=endian), page, page)
        assert decode_image(data, 3, name="x").frames == 3
        assert decode_image(tiff(page, TiffKind(endian=endian)), 3, name="x").frames == 1
    assert decode_image(tiff(page, TiffKind(tags={254: (1,)}), page), 3, name="x").frames == 1
    big = io.BytesIO()
    pages = [Image.new("L", (2, 2))] * 2
    Image.new("L", (2, 2)).save(big, "TIFF", big_tiff=True, save_all=True, append_images=pages)
    assert decode_image(big.getvalue(), 3, name="x").frames == 3


@pytest.mark.parametrize("link", [b"\xff\xff\xff\xff", b"\x08\0\0\0", b"\x01\0\0\0"])
def test_a_list_of_pages_that_leads_nowhere(link: bytes) -> None:
    page = np.full((2, 2, 1), 255, np.uint8)
    data = tiff(page, TiffKind())
    end = int.from_bytes(data[4:8], "little") + 2 + 12 * 13
    broken = data[:end] + link + data[end + 4 :]
    assert decode_image(broken, 1, name="x").frames == 1
    assert decode_image(broken, 1, name="x").pixels.min() == 255


def test_pages_that_go_round_in_circles() -> None:
    page = np.zeros((2, 2, 1), np.uint8)
    data = tiff(page, TiffKind())
    first = data[4:8]
    end = int.from_bytes(first, "little") + 2 + 12 * 13
    assert data[end : end + 4] == b"\0\0\0\0"
    looped = data[:end] + first + data[end + 4 :]
    assert decode_image(looped, 3, name="x").frames == 1
