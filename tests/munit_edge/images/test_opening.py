"""Facts about samples that Pillow's mode does not express, and messages about other files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from png_files import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, chunk, png

from munit_edge.errors import UnreadableImageError
from munit_edge.images import png_chunks
from munit_edge.images.io import count_pixels, decode_image, read_image

HEIGHT, WIDTH = 12, 20
Y, X = np.mgrid[:HEIGHT, :WIDTH]
RAMP = (X * 255 // (WIDTH - 1)).astype(np.uint8)
COLOURS = np.dstack([RAMP, Y * 255 // (HEIGHT - 1), np.full((HEIGHT, WIDTH), 60)]).astype(np.uint8)
BGR = COLOURS[..., ::-1]


def decoded(data: bytes, channels: int = 3) -> Any:
    return decode_image(data, channels, name="x")


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(COLOURS)).save(buffer, kind, **options)
    return buffer.getvalue()


def assert_shows(data: bytes, expected: np.ndarray, tolerance: int = 0) -> None:
    """Colours where the image is not transparent."""
    expected = expected if expected.ndim == 3 else np.dstack([expected] * 3)
    image = decoded(data)
    visible = np.full((HEIGHT, WIDTH), True) if image.alpha is None else image.alpha > 0
    difference = np.abs(image.pixels.astype(int) - expected)
    assert difference[visible].max() <= tolerance


# ----------------------------------------------------------------------------------------------
# PNG: samples


@pytest.mark.parametrize("transparent", [None, 0, 1])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_png_grey_of_every_depth(depth: int, transparent: int | None) -> None:
    """One transparent grey is given in the samples' own depth."""
    most = 2**depth - 1
    values = RAMP.astype(int) * 257 >> (16 - depth)
    chunks = []
    if transparent is not None:
        transparent *= most
        chunks = [chunk(b"tRNS", struct.pack(">H", transparent))]
    data = png(values[..., None], depth, GREY, *chunks)
    assert_shows(data, np.rint(values * 255 / most))
    alpha = decoded(data).alpha
    if transparent is None:
        assert alpha is None
    else:
        assert (alpha == np.where(values == transparent, 0, 255)).all()


@pytest.mark.parametrize(
    ("samples", "colour"),
    [
        (np.dstack([RAMP, 255 - RAMP]), GREY_ALPHA),
        (COLOURS, RGB),
        (np.dstack([COLOURS, 255 - RAMP]), RGB_ALPHA),
    ],
)
@pytest.mark.parametrize("depth", [8, 16])
def test_png_of_other_colour_types(depth: int, samples: np.ndarray, colour: int) -> None:
    data = png(samples.astype(int) * (257 if depth == 16 else 1), depth, colour)
    assert_shows(data, samples[..., 0] if colour == GREY_ALPHA else samples[..., :3])
    if colour != RGB:
        assert (decoded(data).alpha == 255 - RAMP).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_palettes(depth: int) -> None:
    values = RAMP >> (8 - depth)
    palette = bytes(255 - i * 255 // (2**depth - 1) for i in range(2**depth) for _ in range(3))
    opacity = bytes(range(2**depth))
    chunks = [chunk(b"PLTE", palette), chunk(b"tRNS", opacity)]
    data = png(values[..., None], depth, PALETTE, *chunks)
    assert_shows(data, 255 - values.astype(int) * 255 // (2**depth - 1))
    assert (decoded(data).alpha == values).all()


def test_the_transparent_colour_of_16_bits() -> None:
    """The lower bytes are lost: what differs in those alone is transparent too."""
    values = COLOURS.astype(int) * 256 + 0x12
    trns = chunk(b"tRNS", struct.pack(">HHH", *values[3, 3]))
    alpha = decoded(png(values, 16, RGB, trns)).alpha
    assert (alpha == np.where((COLOURS[3, 3] == COLOURS).all(-1), 0, 255)).all()


@pytest.mark.parametrize("gamma", [1.0, 0.55556, 0.2])
def test_png_with_another_gamma(gamma: float) -> None:
    stored = chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))
    expected = np.rint(255 * (RAMP / 255) ** (1 / 2.2 / gamma))
    assert_shows(png(RAMP[..., None], 8, GREY, stored), expected, 1)
    assert_shows(png(RAMP[..., None], 8, GREY, stored, chunk(b"sRGB", b"\0")), RAMP)
    alpha = np.dstack([RAMP, 255 - RAMP])
    assert (decoded(png(alpha, 8, GREY_ALPHA, stored)).alpha == 255 - RAMP).all()


def test_the_gamma_of_srgb_changes_nothing() -> None:
    assert_shows(png(RAMP[..., None], 8, GREY, chunk(b"gAMA", struct.pack(">I", 45455))), RAMP)


@pytest.mark.parametrize(("code", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(code: int, name: str) -> None:
    cicp = chunk(b"cICP", bytes([9, code, 0, 1]))
    with pytest.raises(UnreadableImageError, match=rf"x is a PNG with HDR colours \({name}\)"):
        decoded(png(COLOURS, 8, RGB, cicp))
    avif = encoded("AVIF")
    place = avif.index(b"colrnclx") + 10
    hdr = avif[:place] + struct.pack(">H", code) + avif[place + 2 :]
    with pytest.raises(UnreadableImageError, match=rf"x is an AVIF with HDR colours \({name}\)"):
        decoded(hdr)
    assert_shows(avif, COLOURS, 24)


# ----------------------------------------------------------------------------------------------
# PNG: what lies beside the pixels


def text(**options: Any) -> bytes:
    info = PngImagePlugin.PngInfo()
    for add in options.values():
        add(info)
    return encoded("PNG", pnginfo=info)


LONG = "x" * 3_000_000


@pytest.mark.parametrize(
    "data",
    [
        text(a=lambda info: info.add_text("prompt", LONG, zip=True)),
        text(a=lambda info: info.add_itxt("workflow", LONG, zip=True)),
        text(a=lambda info: info.add_text("parameters", LONG)),
        text(a=lambda info: info.add_itxt("XML:com.adobe.xmp", LONG, zip=True)),
        png(COLOURS, 8, RGB, after=chunk(b"zTXt", b"a\0\0" + zlib.compress(LONG.encode()))),
        png(COLOURS, 8, RGB, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(70_000_000))) * 3),
        png(COLOURS, 8, RGB, chunk(b"tEXt", b"a\0b", intact=False)),
        png(COLOURS, 8, RGB, after=chunk(b"tIME", b"1234567", intact=False)),
        png(COLOURS, 8, RGB, chunk(b"gAMA", b"\0\1\x86\xa0", intact=False)),
        png(COLOURS, 8, RGB, chunk(b"pHYs", b"\0")),
        png(COLOURS, 8, RGB, chunk(b"iCCP", b"a\0\7junk")),
        png(COLOURS, 8, RGB, chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0", intact=False)),
        png(COLOURS, 8, RGB, chunk(b"prVt", b"anything", intact=False)),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_what_lies_beside_the_pixels_stops_nothing(data: bytes, tmp_path: Path) -> None:
    assert_shows(data, COLOURS)
    path = tmp_path / "x.png"
    path.write_bytes(data)
    assert (read_image(path, 3).pixels == COLOURS).all()
    assert count_pixels(path) == HEIGHT * WIDTH


def test_texts_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither are Pillow's own limits touched, which others may rely on."""
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    monkeypatch.setattr(PngImagePlugin, "_safe_zlib_decompress", lambda data: 1 / 0)
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", LONG, zip=True)
    assert_shows(encoded("PNG", pnginfo=info), COLOURS)
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (png(COLOURS, 8, RGB, intact=False), "IDAT"),
        (png(RAMP[..., None], 8, GREY, chunk(b"tRNS", b"\0\0", intact=False)), "tRNS"),
        (png(COLOURS, 8, RGB, chunk(b"PLTE", b"abc", intact=False)), "PLTE"),
    ],
)
def test_a_wrong_checksum_of_what_decides_the_pixels(data: bytes, kind: str) -> None:
    with pytest.raises(UnreadableImageError, match=f"x is damaged .wrong checksum in its {kind}"):
        decoded(data)


def profile_of(size: int) -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return struct.pack(">I", size) + profile[4:].ljust(size - 4, b"\0")


@pytest.mark.parametrize("size", [10_000, 2_000_000])
def test_large_profiles_are_kept(size: int) -> None:
    profile = profile_of(size)  # once: it has the time in it
    data = png(COLOURS, 8, RGB, chunk(b"iCCP", b"name\0\0" + zlib.compress(profile)))
    assert_shows(data, COLOURS)
    assert decoded(data).icc_profile == profile


def test_a_profile_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_chunks, "MAX_PROFILE_BYTES", 3 << 20)
    iccp = chunk(b"iCCP", b"name\0\0" + zlib.compress(profile_of(4_000_000)))
    with pytest.raises(UnreadableImageError, match="PNG with a colour profile of more than 3 MiB"):
        decoded(png(COLOURS, 8, RGB, iccp))


def test_the_orientation_in_a_text_counts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lines = exif.tobytes().hex()
    raw = f"Raw profile type exif\0\0\nexif\n{len(lines) // 2}\n{lines}\n".encode()
    keyword, _, value = raw.partition(b"\0\0")
    ztxt = chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(value))
    assert decoded(png(COLOURS, 8, RGB, ztxt)).pixels.shape == (WIDTH, HEIGHT, 3)


# ----------------------------------------------------------------------------------------------
# PNM, PFM, TGA, BMP, JPEG, JPEG 2000


@pytest.mark.parametrize("most", [1, 15, 100, 255, 1000, 4095, 65535])
@pytest.mark.parametrize("magic", [b"P2", b"P3", b"P5", b"P6"])
def test_netpbm_with_any_maximum(magic: bytes, most: int) -> None:
    samples = RAMP if magic in (b"P2", b"P5") else COLOURS
    values = np.rint(samples / 255 * most).astype(int)
    body = values.astype(">u2" if most > 255 else "u1").tobytes()
    if magic in (b"P2", b"P3"):
        body = " ".join(map(str, values.ravel())).encode()
    data = b"%s %d %d %d\n" % (magic, WIDTH, HEIGHT, most) + body
    assert_shows(data, np.rint(values * 255 / most))


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize(("scale", "order"), [(-1, "<f4"), (1, ">f4"), (-0.5, "<f4")])
def test_pfm(scale: float, order: str, white: int) -> None:
    values = (RAMP / 255 * white).astype(order)[::-1]  # the lowest row comes first
    assert_shows(b"Pf\n%d %d\n%g\n" % (WIDTH, HEIGHT, scale) + values.tobytes(), RAMP)


def tga(pixels: np.ndarray, depth: int, kind: int, flags: int) -> bytes:
    head = struct.pack(
        "<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, WIDTH, HEIGHT, depth, flags
    )  # fmt: skip
    pixels = pixels if flags & 0x20 else pixels[::-1]
    return head + (pixels[:, ::-1] if flags & 0x10 else pixels).tobytes()


@pytest.mark.parametrize("origin", [0, 0x10, 0x20, 0x30])
def test_tga_origins(origin: int) -> None:
    assert_shows(tga(BGR, 24, 2, origin), COLOURS)
    assert_shows(tga(RAMP, 8, 3, origin), RAMP)


@pytest.mark.parametrize(("bits", "alpha"), [(0, 0), (0, 200), (8, 0)])
def test_tga_whose_alpha_is_none(bits: int, alpha: int) -> None:
    image = decoded(tga(np.dstack([BGR, np.full_like(RAMP, alpha)]), 32, 2, 0x20 | bits))
    assert image.alpha is None
    assert (image.pixels == COLOURS).all()


def test_tga_with_alpha() -> None:
    image = decoded(tga(np.dstack([BGR, RAMP]), 32, 2, 0x28))
    assert (image.alpha == RAMP).all()


@pytest.mark.parametrize(("bit", "attribute"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_tga_of_16_bits(bit: int, attribute: int) -> None:
    five = COLOURS.astype(int) >> 3
    values = five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2] | bit << 15
    image = decoded(tga(values.astype("<u2"), 16, 2, 0x20 | attribute))
    assert image.alpha is None or (image.alpha == 255).all()
    assert (image.pixels == five * 255 // 31).all()


def bmp(
    pixels: bytes, bits: int, coding: int = 0, *, masks: bytes = b"", palette: bytes = b"",
    height: int = HEIGHT,
) -> bytes:  # fmt: skip
    offset = 54 + len(masks) + len(palette)
    head = b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset)
    head += struct.pack("<IiiHHII", 40, WIDTH, height, 1, bits, coding, len(pixels))
    head += struct.pack("<iiII", 0, 0, len(palette) // 4, 0)
    return head + masks + palette + pixels


FIVE = COLOURS.astype(int) >> 3
NEGATIVE = b"".join(bytes([255 - i] * 3 + [0]) for i in range(256))
RUNS = b"".join(b"".join(bytes([1, int(p)]) for p in row) + b"\0\0" for row in RAMP[::-1])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bmp(BGR[::-1].tobytes(), 24), COLOURS),
        (bmp(BGR.tobytes(), 24, height=-HEIGHT), COLOURS),
        (bmp(np.dstack([BGR, 0 * RAMP])[::-1].tobytes(), 32), COLOURS),
        (bmp(RAMP[::-1].tobytes(), 8, palette=NEGATIVE), 255 - RAMP),
        (bmp(RUNS + b"\0\1", 8, 1, palette=NEGATIVE), 255 - RAMP),
        (
            bmp((FIVE @ [1024, 32, 1])[::-1].astype("<u2").tobytes(), 16),
            FIVE * 255 // 31,
        ),
        (
            bmp(
                (FIVE @ [2048, 64, 1])[::-1].astype("<u2").tobytes(), 16, 3,
                masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F),
            ),
            FIVE * 255 // 31,
        ),
        (
            bmp(
                np.dstack([BGR, 0 * RAMP])[::-1].tobytes(), 32, 3, masks=bytes(12)
            ),
            COLOURS,
        ),
    ],
    ids=["24", "top-down", "32", "palette", "rle8", "555", "565", "no masks"],
)  # fmt: skip
def test_bmp(data: bytes, expected: np.ndarray) -> None:
    assert_shows(data, expected, 5)
    assert decoded(data).alpha is None


def test_jpeg_of_every_colour_space() -> None:
    inks = [Image.fromarray(255 - COLOURS[..., k]) for k in range(3)]
    black = Image.new("L", (WIDTH, HEIGHT))
    exact = {"quality": 100, "subsampling": 0}
    cmyk = encoded("JPEG", Image.merge("CMYK", [*inks, black]), **exact)
    assert_shows(cmyk, COLOURS, 4)
    assert_shows(encoded("JPEG", keep_rgb=True, **exact), COLOURS, 4)
    assert_shows(encoded("JPEG", Image.fromarray(RAMP), **exact), RAMP, 4)
    # YCCK: the inks as YCbCr, all of it stored inverted.
    luma = [255 - np.asarray(plane) for plane in Image.merge("RGB", inks).convert("YCbCr").split()]
    planes = [*map(Image.fromarray, luma), black]
    ycck = bytearray(encoded("JPEG", Image.merge("CMYK", planes), **exact))
    ycck[ycck.index(b"Adobe") + 11] = 2
    assert_shows(bytes(ycck), COLOURS, 6)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_jpeg_2000(mode: str) -> None:
    colour = COLOURS if mode.startswith("RGB") else RAMP
    samples = np.dstack([colour, 255 - RAMP]) if mode.endswith("A") else colour
    if mode == "I;16":
        samples = RAMP.astype(np.uint16) * 257
    data = encoded("JPEG2000", Image.fromarray(samples))
    assert_shows(data, colour)
    if mode.endswith("A"):
        assert (decoded(data).alpha == 255 - RAMP).all()


# ----------------------------------------------------------------------------------------------
# Names of what is not read


def altered(data: bytes, after: bytes, place: int, value: int) -> bytes:
    changed = bytearray(data)
    changed[data.index(after) + place] = value
    return bytes(changed)


SOF = b"\xff\xc0"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (altered(encoded("JPEG"), SOF, 4, 12), "x is a JPEG with 12-bit samples, which is not"),
        (altered(encoded("JPEG"), SOF, 1, 0xC3), "x is a JPEG with lossless or hierarchical"),
        (altered(encoded("JPEG"), SOF, 9, 2), "x is a JPEG with 2 components, which is not"),
        (bmp(bytes(4000), 16, 3, masks=struct.pack("<III", 0xF00, 0xF0, 0xF)),
         "x is a BMP with a coding that is not supported .Unsupported BMP bitfields"),
        (bmp(bytes(4000), 64), "x is a BMP with a coding .* pixel depth .64"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "x is a TIFF with camera raw samples, which"),
        (b"P7\nWIDTH 1\n", "x is a PAM image, which is not supported: use PNG, JPEG, WebP"),
        (b"PF\n1 1\n-1\n" + bytes(12), "x is a PFM image with colours, which is not supported"),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
            "x is damaged .its header cannot be read as HEIC.: copy",
        ),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41" + bytes(99), "x is an MP4 or QuickTime video"),
        (b"\xff\x0a" + bytes(99), "x is a JPEG XL image"),
        (b"\x76\x2f\x31\x01" + bytes(99), "x is an OpenEXR image"),
        (b"<!DOCTYPE html><html>403", "x is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "x is a Git LFS pointer without its"),
        (bytes(128) + b"DICM" + bytes(99), "x is a DICOM file"),
        (encoded("TIFF")[:20], "x is damaged .*: copy or download it again"),
        (encoded("PNG")[:20], "x is damaged .*: copy or download it again"),
        (encoded("GIF")[:9], "x is damaged .its header cannot be read as GIF.: copy"),
        (encoded("WEBP")[:16], "x is damaged .*: copy or download it again"),
        (b"hello, I am text", "x is not a supported image: use PNG, JPEG"),
    ],
)  # fmt: skip
def test_messages_name_what_came(data: bytes, message: str) -> None:
    with pytest.raises(UnreadableImageError, match=f"^{message}"):
        decoded(data)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "AVIF", "TIFF"])
def test_frames_are_counted(kind: str) -> None:
    frames = [Image.fromarray(np.full((HEIGHT, WIDTH, 3), value, np.uint8)) for value in (9, 99)]
    data = encoded(kind, save_all=True, append_images=frames)
    assert decoded(data).frames == 3
    assert decoded(encoded(kind)).frames == 1
    assert np.abs(decoded(data).pixels.astype(int) - COLOURS).mean() < 8


def test_a_default_image_counts_beside_the_animation() -> None:
    frames = [Image.fromarray(np.full((HEIGHT, WIDTH, 3), value, np.uint8)) for value in (9, 99)]
    data = encoded("PNG", save_all=True, default_image=True, append_images=frames)
    assert decoded(data).frames == 3
    assert_shows(data, COLOURS)


def test_the_second_image_of_a_phone_is_no_page() -> None:
    preview = Image.fromarray(BGR)
    assert decoded(encoded("MPO", save_all=True, append_images=[preview])).frames == 1
