"""From any mode of a Pillow image to plain 8-bit pixels.

16-bit grey, floats, palettes, CMYK, LAB and every kind of transparency become uint8 pixels of 1, 3
or 4 channels, an alpha plane and, if it still fits, the colour profile.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from munit_edge.images.kinds import UnsupportedImage

Images = NDArray[np.uint8]
Mode = Literal["L", "RGB"]

_DEEP_GREYS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_PROFILE_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}
"""Colour space signature, bytes 16 to 20 of a profile, that fits each mode."""
_BAND_PIXELS = 1 << 20

_MAX_OVERSHOOT = 2
"""Floats up to this multiple of white count as overshoot from resampling."""
_SPREAD_BELOW_ZERO = 0.1
"""Largest share of samples between -2 and -0.05 in floats whose white is 1."""


@dataclass(frozen=True)
class Encoding:
    """Meaning of samples that the mode of a Pillow image does not express."""

    white: int = 65535
    """Value of white in integers of more than 8 bits."""
    inverted: bool = False
    """Whether grey 0 is white."""
    exponent: float = 1.0
    """Colours of 0 to 1 raised to this power are sRGB, approximately."""
    opaque: bool = False
    """Whether the alpha channel has another meaning."""
    blank_is_opaque: bool = False
    """Whether an alpha channel of only zeros means opaque: some programs leave it empty."""


PLAIN = Encoding()
"""Samples as Pillow's mode describes them."""


@dataclass(frozen=True)
class ImageData:
    """One image, with the data that accompany its pixels."""

    pixels: Images
    """uint8 [H, W, C]."""
    alpha: Images | None = None
    """uint8 [H, W], 0 transparent to 255 opaque; None: there is none, or `pixels` has it."""
    icc_profile: bytes | None = None
    """Colour profile of `pixels`; None: sRGB, or unknown."""
    frames: int = 1
    """Number of frames or pages in the file, of which it is the first."""


def convert_image(image: Image.Image, channels: int, encoding: Encoding = PLAIN) -> ImageData:
    """Convert a decoded Pillow image to the channels of a domain.

    - Grey of more than 8 bits becomes round(255 * value / white), clipped. Pillow has already
      dropped the lower bytes of 16-bit colours.
    - Floats: white is 1 if no finite value is above 2, else 255 if none is above 510. Values above
      white become white; values below 0 and NaN become black.
    - Pixels in another mode than the domain's, above all CMYK and LAB, are converted to sRGB with
      the image's own profile, or with Pillow's plain formula if there is no usable profile.
    - Fully transparent pixels have no colour: with an alpha plane they are white.

    Args:
        image: a loaded image of any mode.
        channels: 1 grey, 3 RGB, 4 RGBA (opaque if the image has no alpha).
        encoding: meaning of the samples according to the file.

    Raises:
        UnsupportedImage: floats whose black and white cannot be determined.
    """
    colour, alpha = _split_alpha(image, encoding.white)
    if encoding.opaque or (encoding.blank_is_opaque and alpha is not None and not alpha.any()):
        alpha = None
    if encoding.inverted:
        # After scaling: Pillow inverts only 8 bits.
        colour = ImageOps.invert(colour)
    if encoding.exponent != 1:
        colour = colour.point(_curve(encoding.exponent) * len(colour.getbands()))
    mode: Mode = "L" if channels == 1 else "RGB"
    colour, profile = _to_mode(colour, mode, image.info.get("icc_profile"))
    pixels = _pixels(colour)
    if channels == 4:
        opaque = np.full(pixels.shape[:2], 255, np.uint8) if alpha is None else alpha
        return ImageData(np.dstack([pixels, opaque]), None, profile)
    if alpha is not None:
        # What lies there is arbitrary, and the networks would see it.
        pixels[alpha == 0] = 255
    return ImageData(pixels, alpha, profile)


def profile_fits(profile: bytes | None, mode: str) -> bool:
    """Whether a colour profile applies to pixels of a Pillow mode, ignoring alpha."""
    base = mode.removesuffix("A")
    return profile is not None and profile[16:20] == _PROFILE_SPACES.get(base)


def _pixels(image: Image.Image) -> Images:
    """Pixels [H, W, C] of an image in mode L or RGB.

    Copied in bands: converting the whole image would first copy all its bytes, which matters for
    large photos.
    """
    width, height = image.size
    pixels = np.empty((height, width, len(image.getbands())), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = np.asarray(image.crop((0, top, width, bottom)))
        pixels[top:bottom] = band.reshape(bottom - top, width, -1)
    return pixels


def _curve(exponent: float) -> list[int]:
    return [round(255 * (value / 255) ** exponent) for value in range(256)]


def _split_alpha(image: Image.Image, white: int) -> tuple[Image.Image, Images | None]:
    """Colour in mode L, RGB, CMYK or LAB, and alpha [H, W] if there is transparency."""
    if image.mode in _DEEP_GREYS:
        return _deep_grey(image, white)
    if image.mode == "F":
        return _float_grey(image), None
    grey = image.mode in ("1", "L", "LA", "La")
    # Also palettes with transparent entries, and one transparent colour (tRNS).
    if image.has_transparency_data:
        full = image.convert("LA" if grey else "RGBA")
        alpha = np.array(full.getchannel("A"))
        return full.convert("L" if grey else "RGB"), alpha
    mode = "L" if grey else "RGB"
    if image.mode in ("CMYK", "LAB", mode):  # converting to the same mode would copy the image
        return image, None
    return image.convert(mode), None


def _deep_grey(image: Image.Image, white: int) -> tuple[Image.Image, Images | None]:
    values = np.asarray(image)
    if white > np.iinfo(np.int32).max:  # Pillow's 32-bit mode is signed
        values = values.astype(np.int32).view(np.uint32)
    # Wide enough for 32 bits times 255; whole numbers round alike on every machine.
    values = values.astype(np.int64)
    grey = np.clip((values * 255 + white // 2) // white, 0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    alpha = None
    if isinstance(transparent, int):
        # One value of grey is transparent (tRNS); compared in full depth, before scaling.
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.fromarray(grey), alpha


def _float_grey(image: Image.Image) -> Image.Image:
    # Infinities become the largest float64 numbers here, and are clipped below.
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0)
    shares = np.clip(values / _white_of_floats(values), 0, 1)
    return Image.fromarray(np.rint(shares * 255).astype(np.uint8))


def _white_of_floats(values: NDArray[np.float64]) -> int:
    """Value of white, 1 or 255; infinite values are highlights and are ignored.

    Raises:
        UnsupportedImage: it is neither.
    """
    # See `_float_grey`: larger numbers were infinite.
    finite = values[np.abs(values) < np.finfo(np.float32).max]
    top = float(finite.max(initial=0))
    if top > 255 * _MAX_OVERSHOOT:
        raise UnsupportedImage(f"floats up to {top:g}, where white is 1 or 255")
    positive = finite[finite > 0]
    if top > _MAX_OVERSHOOT:
        if np.median(positive) <= 1:
            raise UnsupportedImage(f"floats up to {top:g} that are mostly below 1, such as HDR's")
        return 255
    if np.mean((finite < -0.05) & (finite > -2)) > _SPREAD_BELOW_ZERO:
        raise UnsupportedImage("floats around 0, where black is 0")
    return 1


def _to_mode(
    colour: Image.Image, mode: Mode, profile: bytes | None
) -> tuple[Image.Image, bytes | None]:
    """`colour` in `mode`, and the profile that then applies."""
    if colour.mode == mode:
        return colour, profile if profile_fits(profile, mode) else None
    through_profile = _to_srgb(colour, profile)
    if through_profile is None and colour.mode == "LAB":  # Pillow has no plain formula for LAB
        through_profile = _profiled(colour, ImageCms.createProfile("LAB"))
    return (through_profile or colour).convert(mode), None


def _to_srgb(colour: Image.Image, profile: bytes | None) -> Image.Image | None:
    """Convert `colour` to sRGB with its profile; None: there is no usable profile."""
    if profile is None or not profile_fits(profile, colour.mode):
        return None
    try:
        return _profiled(colour, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return None  # a damaged profile is no reason to refuse the image


def _profiled(colour: Image.Image, profile: Any) -> Image.Image | None:
    srgb = ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(colour, profile, srgb, outputMode="RGB")
