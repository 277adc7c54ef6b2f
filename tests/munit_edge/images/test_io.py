"""Reading and writing image files."""

import io
import os
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from noise_images import noise
from PIL import Image, ImageFile, ImageOps

from munit_edge.errors import ConfigError, InputError, OutputError, UnreadableImageError
from munit_edge.images.io import (
    FORMATS,
    ImageData,
    ImageFormat,
    Images,
    decode_image,
    encode_image,
    image_format,
    on_white,
    read_image,
    write_image,
)

READABLE = ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA"]


def scene(height: int = 40, width: int = 60) -> Images:
    """Smooth, and different in each corner."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 255 - 4 * x, 6 * y], axis=2).clip(0, 255).astype(np.uint8)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(scene())).save(buffer, kind, **options)
    return buffer.getvalue()


# ----------------------------------------------------------------------------------------------
# Reading


@pytest.mark.parametrize("kind", READABLE)
def test_every_format_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "an image with ünïcode \U0001f600 and no suffix"
    path.write_bytes(encoded(kind))
    image = read_image(path, 3)
    assert image.pixels.shape == (40, 60, 3)
    tolerance = {"JPEG": 25, "WEBP": 25, "GIF": 40}.get(kind, 0)
    assert np.abs(image.pixels.astype(int) - scene()).max() <= tolerance


@pytest.mark.parametrize(
    ("kind", "orientation"),
    [*(("PNG", number) for number in range(1, 9)), ("JPEG", 6), ("WEBP", 6), ("TIFF", 6)],
)
def test_exif_orientation(kind: str, orientation: int) -> None:
    stored = Image.fromarray(scene())
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(kind, stored, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    pixels = decode_image(data, 3, name="x").pixels
    assert pixels.shape == ((60, 40, 3) if orientation >= 5 else (40, 60, 3))
    np.testing.assert_array_equal(pixels, np.asarray(upright))


def test_exif_orientation_turns_alpha_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded("PNG", Image.fromarray(noise(5, 9, 4)), exif=exif)
    image = decode_image(data, 3, name="x")
    assert image.alpha is not None
    np.testing.assert_array_equal(image.alpha, np.rot90(noise(5, 9, 4)[..., 3], -1))


@pytest.mark.parametrize("value", [0, 9, 255])
def test_nonsense_orientation_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert decode_image(encoded("PNG", exif=exif), 3, name="x").pixels.shape == (40, 60, 3)


def test_damaged_exif_is_no_reason_to_refuse_the_image() -> None:
    data = encoded("PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 20)
    np.testing.assert_array_equal(decode_image(data, 3, name="x").pixels, scene())


def test_of_an_animation_the_first_image_is_read() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ((200, 0, 0), (0, 200, 0))]
    data = encoded("GIF", frames[0], save_all=True, append_images=frames[1:])
    assert decode_image(data, 3, name="x").pixels[0, 0].tolist() == [200, 0, 0]


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(pipe.write_bytes, encoded("PNG"))
        np.testing.assert_array_equal(read_image(pipe, 3).pixels, scene())
    assert writing.result() > 0


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(UnreadableImageError, match=r"empty\.png is empty \(0 bytes\)"):
        read_image(path, 3)


@pytest.mark.parametrize("data", [b"x", b"hello, I am text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_no_image_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_bytes(data)
    with pytest.raises(
        UnreadableImageError, match=r"notes\.png is (not a supported image|damaged)"
    ):
        read_image(path, 3)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_image(tmp_path / "x.png", 3)
    with pytest.raises(UnreadableImageError, match="Is a directory"):
        read_image(tmp_path, 3)


@pytest.mark.parametrize("kind", [k for k in READABLE if k not in ("TGA",)])
def test_truncated_files_are_named(kind: str) -> None:
    data = encoded(kind, Image.fromarray(noise(64, 64)))
    for share in (0.05, 0.3, 0.6, 0.9):
        with pytest.raises(UnreadableImageError, match=r"cut is (not a supported image|damaged)"):
            decode_image(data[: int(len(data) * share)], 3, name="cut")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", READABLE)
def test_damaged_bytes_never_give_another_error(kind: str) -> None:
    intact = encoded(kind, Image.fromarray(noise(24, 24)))
    random = np.random.default_rng(1)
    for _ in range(150):
        data = np.frombuffer(intact, np.uint8).copy()
        where = random.integers(0, min(len(data), 600), 3)
        data[where] = random.integers(0, 256, 3)
        try:
            image = decode_image(data.tobytes(), 3, name="x", max_megapixels=1)
        except InputError:
            continue
        assert image.pixels.ndim == 3


# ----------------------------------------------------------------------------------------------
# Decompression bombs


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has hardly any pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_001, 20_000, 60_000])
def test_bombs_are_refused_before_decoding(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self.mode))
    with pytest.raises(InputError) as caught:
        decode_image(png_header(side, side), 3, name="bomb.png")
    assert not decoded
    assert not isinstance(caught.value, UnreadableImageError)
    for part in ("bomb.png", f"{side} x {side}", "100 are allowed", "--max-megapixels"):
        assert part in str(caught.value)


def test_limit_is_in_million_pixels_and_inclusive() -> None:
    data = encoded("PNG", Image.new("L", (1000, 100)))
    assert decode_image(data, 1, name="x", max_megapixels=0.1).pixels.shape == (100, 1000, 1)
    with pytest.raises(InputError, match=r"0\.1 megapixels, and 0\.09 are allowed"):
        decode_image(data, 1, name="x", max_megapixels=0.09)


@pytest.mark.parametrize("kind", READABLE)
def test_pillows_own_limit_neither_warns_nor_stops(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 2400 pixels are far above it
    assert decode_image(data, 3, name="x").pixels.shape == (40, 60, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_pillows_limit_is_put_back_after_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123)
    for data in (b"x", png_header(50_000, 50_000), encoded("PNG")[:-40]):
        with pytest.raises(InputError):
            decode_image(data, 3, name="x")
        assert Image.MAX_IMAGE_PIXELS == 123


def test_reading_in_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    files = [encoded("PNG", Image.fromarray(noise(30, 30, seed=seed))) for seed in range(40)]
    previous = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            images = list(pool.map(lambda data: decode_image(data, 3, name="x"), files))
    finally:
        sys.setswitchinterval(previous)
    for seed, image in enumerate(images):
        np.testing.assert_array_equal(image.pixels, noise(30, 30, seed=seed))
    assert Image.MAX_IMAGE_PIXELS == 100


# ----------------------------------------------------------------------------------------------
# Writing


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_written_images_come_back(kind: ImageFormat, channels: int, tmp_path: Path) -> None:
    pixels = np.dstack([scene(), np.full((40, 60), 255, np.uint8)])[..., :channels]
    path = tmp_path / "sub folder" / f"ü.{kind}"
    write_image(path, ImageData(pixels))
    tolerance = {"png": 0, "jpg": 12, "webp": 25}[kind]
    back = read_image(path, channels).pixels
    assert np.abs(back.astype(int) - pixels).max() <= tolerance
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with Image.open(path) as image:
        assert image.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[kind]


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_written(kind: ImageFormat, channels: int) -> None:
    alpha = noise(16, 16, 1)[..., 0]
    data = encode_image(ImageData(np.full((16, 16, channels), 90, np.uint8), alpha), kind)
    back = decode_image(data, channels, name="x")
    assert back.alpha is not None
    np.testing.assert_array_equal(back.alpha, alpha)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_lays_alpha_on_white(channels: int) -> None:
    colour = np.full((16, 16, min(channels, 3)), 100, np.uint8)
    alpha = np.repeat(np.array([[0] * 8 + [255] * 8], np.uint8), 16, axis=0)
    image = ImageData(np.dstack([colour, alpha])) if channels == 4 else ImageData(colour, alpha)
    back = decode_image(encode_image(image, "jpg"), 1, name="x")
    assert back.alpha is None
    assert abs(int(back.pixels[8, 3, 0]) - 255) <= 4
    assert abs(int(back.pixels[8, 12, 0]) - 100) <= 4


def test_on_white() -> None:
    pixels = np.array([[[0, 100, 255]] * 3], np.uint8)
    assert on_white(pixels, np.array([[0, 128, 255]], np.uint8)).tolist() == [
        [[255, 255, 255], [127, 177, 255], [0, 100, 255]]
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_same_image_same_bytes(kind: ImageFormat) -> None:
    assert encode_image(ImageData(scene()), kind) == encode_image(ImageData(scene()), kind)


def test_too_large_for_the_format() -> None:
    with pytest.raises(OutputError, match=r"16383 pixels a side.*2 x 17000.*--format png"):
        encode_image(ImageData(np.zeros((17_000, 2, 3), np.uint8)), "webp")
    assert encode_image(ImageData(np.zeros((17_000, 2, 3), np.uint8)), "jpg")


@pytest.mark.parametrize(
    ("name", "kind"), [("PNG", "png"), (".jpg", "jpg"), ("jpeg", "jpg"), ("WebP", "webp")]
)
def test_names_of_formats(name: str, kind: str) -> None:
    assert image_format(name) == kind


def test_unknown_format_names_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"'pngg' is not known: did you mean 'png'\?"):
        image_format("pngg")
    with pytest.raises(ConfigError, match="allowed: jpg, png, webp"):
        image_format("tiff")


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "x.webp"
    path.write_bytes(b"earlier")
    with pytest.raises(OutputError):
        write_image(path, ImageData(np.zeros((17_000, 1, 3), np.uint8)))
    assert path.read_bytes() == b"earlier"
    with pytest.raises(OutputError, match="cannot write"):
        write_image(path / "below" / "x.png", ImageData(scene()))
    assert [p.name for p in tmp_path.iterdir()] == ["x.webp"]
