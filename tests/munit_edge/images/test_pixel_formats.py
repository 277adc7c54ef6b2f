"""Images of every mode become plain pixels."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from munit_edge.errors import UnreadableImageError
from munit_edge.images.io import FORMATS, ImageData, ImageFormat, decode_image, encode_image
from munit_edge.images.pixel_formats import convert_image, profile_fits

# ----------------------------------------------------------------------------------------------
# Small colour profiles


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def _profile(space: bytes, kind: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(0.9642, 1.0, 0.8249), **tags}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"none", 0x02200000, kind, space, pcs)
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + _fixed(0.9642, 1.0, 0.8249) + b"\0" * 48
    assert len(header) == 128
    return header + table + body


_LINEAR = b"curv\0\0\0\0" + struct.pack(">I", 0)


def linear_grey() -> bytes:
    """Grey whose values are proportional to light: 128 looks like sRGB 188."""
    return _profile(b"GRAY", b"mntr", b"XYZ ", {b"kTRC": _LINEAR})


def linear_rgb() -> bytes:
    """RGB with sRGB's primaries, but proportional to light."""
    primaries = {
        b"rXYZ": (0.4361, 0.2225, 0.0139),
        b"gXYZ": (0.3851, 0.7169, 0.0971),
        b"bXYZ": (0.1431, 0.0606, 0.7139),
    }
    tags = {name: b"XYZ \0\0\0\0" + _fixed(*xyz) for name, xyz in primaries.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _LINEAR)
    return _profile(b"RGB ", b"mntr", b"XYZ ", tags)


def pale_cmyk() -> bytes:
    """CMYK whose inks only darken: full black is L* = 40, and colour inks take 10 each."""
    lightness = [
        max(0, 100 - 60 * k - 10 * (c + m + y))
        for c in (0, 1)
        for m in (0, 1)
        for y in (0, 1)
        for k in (0, 1)
    ]
    clut = b"".join(bytes([round(v * 2.55), 128, 128]) for v in lightness)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += bytes(range(256)) * 4 + clut + bytes(range(256)) * 3
    return _profile(b"CMYK", b"prtr", b"Lab ", {b"A2B0": lut})


# ----------------------------------------------------------------------------------------------
# Modes


def colours(*rows: list[object], mode: str = "RGB") -> Image.Image:
    """An image from rows of pixel values."""
    image = Image.new(mode, (len(rows[0]), len(rows)))
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            image.putpixel((x, y), value)  # type: ignore[arg-type]
    return image


def through_file(image: Image.Image, kind: str, channels: int = 3, **options: object) -> ImageData:
    """What comes back when Pillow wrote the image into a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return decode_image(buffer.getvalue(), channels, name="image")


RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)


@pytest.mark.parametrize(
    ("image", "grey", "rgb"),
    [
        (colours([RED, GREEN]), [76, 75], [RED, GREEN]),
        (colours([7, 200], mode="L"), [7, 200], [(7,) * 3, (200,) * 3]),
        (colours([0, 255], mode="1"), [0, 255], [(0,) * 3, (255,) * 3]),
        (colours([RED, GREEN]).quantize(2), [76, 75], [RED, GREEN]),
        (colours([(0, 255, 255, 0), (0, 0, 0, 255)], mode="CMYK"), [76, 0], [RED, (0,) * 3]),
        (colours([RED, GREEN]).convert("RGBX"), [76, 75], [RED, GREEN]),
        (colours([WHITE, (9, 9, 9)]).convert("YCbCr"), [255, 9], [WHITE, (9,) * 3]),
        (colours([RED, WHITE]).convert("HSV"), [76, 255], [RED, WHITE]),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_opaque_modes(image: Image.Image, grey: list[int], rgb: list[tuple[int, int, int]]) -> None:
    one, three, four = (convert_image(image, channels) for channels in (1, 3, 4))
    assert one.pixels.shape == (1, 2, 1)
    assert one.pixels[0, :, 0].tolist() == grey
    assert three.pixels.tolist() == [[list(pixel) for pixel in rgb]]
    assert four.pixels.tolist() == [[[*pixel, 255] for pixel in rgb]]
    assert {one.alpha is None, three.alpha is None, four.alpha is None} == {True}
    assert one.pixels.dtype == three.pixels.dtype == four.pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("image", "alpha", "rgb"),
    [
        (
            colours([(255, 0, 0, 255), (0, 128, 0, 7), (9, 9, 9, 0)], mode="RGBA"),
            [255, 7, 0],
            [RED, GREEN, WHITE],
        ),
        (
            colours([(50, 255), (80, 7), (9, 0)], mode="LA"),
            [255, 7, 0],
            [(50,) * 3, (80,) * 3, WHITE],
        ),
        (
            colours([(255, 0, 0, 255), (100, 0, 0, 128), (0, 0, 0, 0)], mode="RGBa"),
            [255, 128, 0],
            [RED, (199, 0, 0), WHITE],
        ),
        (
            colours([(50, 255), (40, 128), (0, 0)], mode="LA").convert("La"),
            [255, 128, 0],
            [(50,) * 3, (39,) * 3, WHITE],
        ),
        (
            colours([(0, 255), (0, 9), (0, 0)], mode="PA"),
            [255, 9, 0],
            [(0,) * 3, (0,) * 3, WHITE],
        ),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_modes_with_alpha(image: Image.Image, alpha: list[int], rgb: list[object]) -> None:
    """Alpha goes beside the pixels, and what nobody can see is white."""
    converted = convert_image(image, 3)
    assert converted.alpha is not None
    assert converted.alpha.tolist() == [alpha]
    assert converted.pixels.tolist() == [[list(pixel) for pixel in rgb]]  # type: ignore[call-overload]
    four = convert_image(image, 4)
    assert four.alpha is None
    assert four.pixels[0, :, 3].tolist() == alpha
    one = convert_image(image, 1)
    assert one.alpha is not None
    assert one.alpha.tolist() == [alpha]
    assert one.pixels[0, 2, 0] == 255


def test_rgba_domain_keeps_hidden_colours() -> None:
    image = convert_image(colours([(9, 8, 7, 0)], mode="RGBA"), 4)
    assert image.pixels.tolist() == [[[9, 8, 7, 0]]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_palette_with_transparency(transparency: object) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    image = through_file(palette, "PNG", transparency=transparency)
    assert image.alpha is not None
    assert image.alpha.tolist() == [[255, 0]]
    assert image.pixels.tolist() == [[[255, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("image", "transparency"),
    [
        (colours([10, 20], mode="L"), 20),
        (colours([RED, GREEN]), GREEN),
        (colours([1, 0], mode="1"), 0),
        (Image.fromarray(np.array([[300, 40000]], np.uint16)), 40000),
    ],
    ids=["grey", "rgb", "bits", "deep grey"],
)
def test_one_transparent_colour_in_png(image: Image.Image, transparency: object) -> None:
    converted = through_file(image, "PNG", transparency=transparency)
    assert converted.alpha is not None
    assert converted.alpha.tolist() == [[255, 0]]
    assert converted.pixels[0, 1].tolist() == [255, 255, 255]


# ----------------------------------------------------------------------------------------------
# 16 bits and floats

DEEP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
ROUNDED = np.rint(DEEP / 257).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_every_16_bit_grey_is_rounded_exactly(kind: str) -> None:
    image = through_file(Image.fromarray(DEEP), kind, channels=1)
    np.testing.assert_array_equal(image.pixels[..., 0], ROUNDED)


def test_16_bit_grey_in_other_byte_orders_and_widths() -> None:
    big_endian = Image.frombytes("I;16B", (256, 256), DEEP.astype(">u2").tobytes())
    wide = Image.fromarray(DEEP.astype(np.int32))
    assert (big_endian.mode, wide.mode) == ("I;16B", "I")
    for image in (big_endian, wide):
        for channels in (1, 3):
            pixels = convert_image(image, channels).pixels
            np.testing.assert_array_equal(pixels, np.dstack([ROUNDED] * channels))


def test_wide_integers_are_clipped_not_wrapped() -> None:
    image = Image.fromarray(np.array([[-5, 70000, 2**31 - 1]], np.int32))
    assert convert_image(image, 1).pixels[..., 0].tolist() == [[0, 255, 255]]


def test_16_bit_netpbm_is_scaled_too() -> None:
    data = b"P5 2 1 65535\n" + np.array([257 * 7, 65535], ">u2").tobytes()
    assert decode_image(data, 1, name="x").pixels[..., 0].tolist() == [[7, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([-9999.0, 0.25, float("nan")], [0, 64, 0]),
        ([0.0, 0.5, 1.02], [0, 128, 255]),
        ([0.5, 1.0, float("inf")], [128, 255, 255]),
        ([0.0, float("nan"), float("-inf")], [0, 0, 0]),
        ([0.0, 127.6, 300.0], [0, 128, 255]),
        ([-20.0, 255.0, float("inf")], [0, 255, 255]),
    ],
)
def test_floats(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert image.mode == "F"
    assert through_file(image, "TIFF", channels=1).pixels[..., 0].tolist() == [expected]


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([0.0, 0.5, 60000.0], "floats up to 60000, where white is 1 or 255"),
        ([0.1, 0.5, 40.0], "floats up to 40 that are mostly below 1, such as HDR's"),
        ([-1.0, 0.2, 1.0], "floats around 0, where black is 0"),
    ],
)
def test_floats_that_say_nothing_of_white(values: list[float], what: str) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    with pytest.raises(UnreadableImageError, match=f"image is a TIFF with {what}"):
        through_file(image, "TIFF")


# ----------------------------------------------------------------------------------------------
# Colour profiles


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_rgb_pixels_stay_and_their_profile_travels_along() -> None:
    image = colours([RED, (1, 2, 3)])
    converted = through_file(image, "PNG", icc_profile=linear_rgb())
    assert converted.pixels.tolist() == np.asarray(image).tolist()
    assert converted.icc_profile == linear_rgb()
    rgba = through_file(image.convert("RGBA"), "PNG", channels=4, icc_profile=linear_rgb())
    assert rgba.icc_profile == linear_rgb()


def test_grey_pixels_keep_a_grey_profile_in_a_grey_domain() -> None:
    image = through_file(colours([9, 128], mode="L"), "PNG", channels=1, icc_profile=linear_grey())
    assert image.pixels[..., 0].tolist() == [[9, 128]]
    assert image.icc_profile == linear_grey()


@pytest.mark.parametrize(
    ("image", "profile", "channels"),
    [
        (colours([128], mode="L"), linear_grey(), 3),
        (colours([(128, 128, 128)]), linear_rgb(), 1),
    ],
)
def test_a_change_of_mode_goes_through_the_profile(
    image: Image.Image, profile: bytes, channels: int
) -> None:
    """128 proportional to light is sRGB 188."""
    converted = through_file(image, "PNG", channels=channels, icc_profile=profile)
    assert converted.pixels.tolist() == [[[188] * channels]]
    assert converted.icc_profile is None


def test_cmyk_goes_through_its_profile() -> None:
    image = colours([(0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 0)], mode="CMYK")
    plain = through_file(image, "TIFF").pixels[0].tolist()
    assert plain == [[255, 255, 255], [0, 0, 0], [0, 255, 255]]
    converted = through_file(image, "TIFF", icc_profile=pale_cmyk())
    paper, black, cyan = converted.pixels[0].tolist()
    assert paper == [255, 255, 255]
    assert black == pytest.approx([92] * 3, abs=4)  # L* = 40
    assert cyan == pytest.approx([225] * 3, abs=4)  # L* = 90
    assert converted.icc_profile is None


def test_inverted_cmyk_jpeg_is_the_right_way_round() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = through_file(image, "JPEG", quality=95).pixels
    assert np.abs(pixels.astype(int) - RED).max() < 12


def test_lab_without_a_profile() -> None:
    image = through_file(Image.new("LAB", (1, 1), (255, 128, 128)), "TIFF")
    assert image.pixels[0, 0].tolist() == pytest.approx([255, 255, 255], abs=1)


@pytest.mark.parametrize("profile", [b"", b"nonsense", b"\0" * 200, pale_cmyk(), linear_grey()])
def test_profiles_that_do_not_fit_are_dropped(profile: bytes) -> None:
    image = colours([RED])
    image.info["icc_profile"] = profile
    converted = convert_image(image, 3)
    assert converted.pixels.tolist() == [[[255, 0, 0]]]
    assert converted.icc_profile is None


def test_damaged_profile_of_the_right_kind_is_no_reason_to_refuse_the_image() -> None:
    image = colours([(0, 0, 0, 255)], mode="CMYK")
    image.info["icc_profile"] = pale_cmyk()[:150]
    assert convert_image(image, 3).pixels.tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize("kind", FORMATS)
def test_profile_is_written_where_it_fits(kind: ImageFormat) -> None:
    rgb = np.full((8, 8, 3), 99, np.uint8)
    for profile, expected in ((srgb(), srgb()), (linear_grey(), None)):
        data = encode_image(ImageData(rgb, None, profile), kind)
        with Image.open(io.BytesIO(data)) as image:
            assert (image.info.get("icc_profile") or None) == expected


def test_profile_fits() -> None:
    assert profile_fits(linear_grey(), "LA")
    assert profile_fits(linear_rgb(), "RGBA")
    assert not profile_fits(linear_grey(), "RGB")
    assert not profile_fits(None, "RGB")
    assert not profile_fits(b"", "L")


@pytest.mark.parametrize("shape", [(1500, 2000, 3), (2000, 1500), (1, 3000, 3), (3000, 1)])
def test_pixels_are_those_of_all_bands(shape: tuple[int, ...]) -> None:
    expected = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = convert_image(Image.fromarray(expected), 1 if len(shape) == 2 else 3)
    assert np.array_equal(image.pixels.reshape(shape), expected)
    assert image.pixels.flags.writeable
