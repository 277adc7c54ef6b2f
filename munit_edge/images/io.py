"""Image files: reading and writing.

Images in memory are uint8 [H, W, C] with 1, 3 or 4 channels. Reading turns an image upright (EXIF),
refuses decompression bombs before decoding, and reports what is wrong with a file.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal, get_args

import numpy as np
from PIL import Image

from munit_edge.errors import ConfigError, InputError, OutputError, UnreadableImageError
from munit_edge.files.atomic import atomic_file
from munit_edge.files.paths import open_file
from munit_edge.images.kinds import UnsupportedImage
from munit_edge.images.opening import (
    OpenedImage,
    damaged,
    open_image,
    pixels_by_header,
    unsupported,
)
from munit_edge.images.pixel_formats import ImageData, Images, convert_image, profile_fits
from munit_edge.images.sizes import DEFAULT_MAX_MEGAPIXELS, check_size, to_pillow
from munit_edge.settings import closest

__all__ = [
    "FORMATS",
    "ImageData",
    "ImageFormat",
    "Images",
    "count_pixels",
    "decode_image",
    "encode_image",
    "image_format",
    "keeps_alpha",
    "on_white",
    "read_bytes",
    "read_image",
    "size_fault",
    "write_image",
]

ImageFormat = Literal["png", "jpg", "webp"]
FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)

_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class _Encoder:
    """How Pillow writes one format."""

    name: str
    options: dict[str, int | bool]
    max_side: int
    """Largest height and width of the format, in pixels."""


_ENCODERS: dict[ImageFormat, _Encoder] = {
    # Level 1 takes a quarter of the time of Pillow's default, and photos become 3 % larger.
    "png": _Encoder("PNG", {"compress_level": 1}, 2**31 - 1),
    # Subsampling 0 is 4:4:4: edges between colours stay sharp.
    "jpg": _Encoder("JPEG", {"quality": 95, "subsampling": 0}, 65_535),
    # Exact keeps the colours of fully transparent pixels, too.
    "webp": _Encoder("WEBP", {"quality": 95, "exact": True}, 16_383),
}


def read_image(
    path: Path, channels: int, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> ImageData:
    """Read an image file, upright and with the channels of a domain.

    Args:
        path: PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, AVIF or TGA, and HEIC if
            pillow-heif is installed; the first of several frames or pages is read.
        channels: 1 grey, 3 RGB (alpha is kept separately) or 4 RGBA.
        max_megapixels: larger images are refused before they are decoded (million pixels).

    Raises:
        UnreadableImageError: the file is missing, empty, truncated, not an image, or of a kind
            that is not supported.
        InputError: the image is larger than allowed.
    """
    try:
        with open_file(path) as file:
            return _decode(file, channels, str(path), max_megapixels)
    except OSError as exc:
        raise UnreadableImageError(f"{path} cannot be opened: {exc.strerror or exc}") from exc


def read_bytes(path: Path) -> bytes:
    """The bytes of an image file, for `decode_image`.

    Raises:
        UnreadableImageError: the file cannot be read.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as exc:
        raise UnreadableImageError(f"{path} cannot be opened: {exc.strerror or exc}") from exc


def count_pixels(path: Path) -> int:
    """Height times width according to the file's header; 0 if unknown."""
    if not path.is_file():  # a pipe can be read only once
        return 0
    try:
        with _pillows_guard_lifted(), open_file(path) as file:
            return pixels_by_header(file)
    except Exception:  # decoding it will report what is wrong
        return 0


def decode_image(
    data: bytes, channels: int, *, name: str, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> ImageData:
    """Like `read_image`, for the bytes of a file; `name` is their name in messages."""
    return _decode(io.BytesIO(data), channels, name, max_megapixels)


def image_format(name: str) -> ImageFormat:
    """The format with this name: png, jpg (jpeg) or webp, case-insensitive.

    Raises:
        ConfigError: it is another name.
    """
    wanted = name.lower().removeprefix(".").replace("jpeg", "jpg")
    for known in FORMATS:
        if known == wanted:
            return known
    raise ConfigError(f"format '{name}' is not known: {closest(wanted, list(FORMATS))}")


def keeps_alpha(format: ImageFormat) -> bool:  # noqa: A002
    """Whether a format has transparency."""
    return format != "jpg"


def on_white(pixels: Images, alpha: Images) -> Images:
    """Blend pixels [H, W, C] with alpha [H, W] onto white: uint8 [H, W, C]."""
    share = alpha[..., None].astype(np.float32) / 255
    return np.asarray(np.rint(255 - (255 - pixels.astype(np.float32)) * share), np.uint8)


def size_fault(height: int, width: int, format: ImageFormat) -> str | None:  # noqa: A002
    """Why a format cannot hold an image of this size, and what to do; None: it can."""
    encoder = _ENCODERS[format]
    if max(height, width) <= encoder.max_side:
        return None
    return (
        f"{encoder.name} holds at most {encoder.max_side} pixels a side and the image has "
        f"{width} x {height}: use --format png"
    )


def encode_image(image: ImageData, format: ImageFormat) -> bytes:  # noqa: A002
    """Encode an image file; equal images give equal bytes.

    JPEG and WebP have quality 95. If the format has no alpha, the image is blended with white. The
    colour profile is kept if it fits the written pixels.

    Raises:
        OutputError: the format cannot hold an image of this size.
    """
    buffer = io.BytesIO()
    _save(image, format, buffer)
    return buffer.getvalue()


def _save(image: ImageData, format: ImageFormat, file: IO[bytes]) -> None:  # noqa: A002
    encoder = _ENCODERS[format]
    height, width = image.pixels.shape[:2]
    if fault := size_fault(height, width, format):
        raise OutputError(fault)
    written = _with_alpha(image, keeps_alpha(format))
    # WebP has no grey; a profile for grey then no longer fits and is left out below.
    if format == "webp" and written.mode in ("L", "LA"):
        written = written.convert(written.mode.replace("L", "RGB"))
    profile = image.icc_profile if profile_fits(image.icc_profile, written.mode) else None
    written.save(file, encoder.name, icc_profile=profile, **encoder.options)


def write_image(path: Path, image: ImageData, *, replace: bool = True) -> None:
    """Write an image file, completely or not at all, in the format of its suffix.

    Raises:
        ConfigError: the suffix is not that of a format that can be written.
        OutputError: the file cannot be written, or exists and `replace` is false.
    """
    format = image_format(path.suffix)  # noqa: A001
    with atomic_file(path, replace=replace) as partial, partial.open("wb") as file:
        _save(image, format, file)


def _decode(file: IO[bytes], channels: int, name: str, max_megapixels: float) -> ImageData:
    if not file.seekable():  # a pipe
        file = io.BytesIO(file.read())
    # Pillow would call it unidentified.
    if not file.read(1):
        raise UnreadableImageError(f"{name} is empty (0 bytes): copy or download it again")
    file.seek(0)
    with _pillows_guard_lifted():
        opened = open_image(file, name)
        with opened.image as image:
            check_size(image.height, image.width, max_megapixels, name)
            return _load(opened, channels, name)


def _load(opened: OpenedImage, channels: int, name: str) -> ImageData:
    image = opened.image
    try:
        image.load()
        # A PNG's, of more than Pillow's 1 MB perhaps; see `png_chunks`.
        if opened.profile is not None:
            image.info["icc_profile"] = opened.profile
        converted = convert_image(image, channels, opened.encoding)
    except MemoryError as exc:
        raise InputError(
            f"{name} needs more memory than there is ({image.width} x {image.height} pixels): "
            "make it smaller"
        ) from exc
    except UnsupportedImage as exc:
        raise unsupported(name, str(exc), image.format) from exc
    except Exception as exc:  # decoders also raise anything on damaged pixels
        raise damaged(name, exc, image.format) from exc
    # Only now: in a PNG the EXIF data may follow the pixels.
    return replace(_upright(converted, _orientation(image)), frames=opened.frames)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 if it is missing or invalid."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF data is no reason to refuse the image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: ImageData, orientation: int) -> ImageData:
    alpha = image.alpha
    return replace(
        image,
        pixels=_turn(image.pixels, orientation),
        alpha=None if alpha is None else _turn(alpha, orientation),
    )


def _turn(array: Images, orientation: int) -> Images:
    """Undo an EXIF orientation: 5 to 8 swap the axes, and half of each group mirror."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    # Turned views have negative or swapped strides.
    return np.ascontiguousarray(array)


def _with_alpha(image: ImageData, keep: bool) -> Image.Image:
    """A Pillow image in mode L, LA, RGB or RGBA; unless kept, alpha is blended with white."""
    pixels, alpha = image.pixels, image.alpha
    if pixels.shape[2] == 4:
        pixels, alpha = pixels[..., :3], pixels[..., 3]
    if alpha is None:
        return to_pillow(pixels)
    if not keep:
        return to_pillow(on_white(pixels, alpha))
    pillow = to_pillow(pixels)
    pillow.putalpha(Image.fromarray(alpha))
    return pillow


_guard_lock = threading.Lock()
_guard_users = 0
_guard_limit: int | None = None


@contextlib.contextmanager
def _pillows_guard_lifted() -> Iterator[None]:
    """Disable Pillow's size limit within the block, so that only ours applies.

    Pillow's limit is a global variable. It is lifted when the first thread enters the block and
    restored when the last one leaves.
    """
    global _guard_users, _guard_limit
    with _guard_lock:
        if _guard_users == 0:
            _guard_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _guard_users += 1
    try:
        yield
    finally:
        with _guard_lock:
            _guard_users -= 1
            if _guard_users == 0:
                Image.MAX_IMAGE_PIXELS = _guard_limit
