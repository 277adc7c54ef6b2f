"""From any kind of Pillow picture to plain 8-bit pixels.

Greys of 16 bits, floats, palettes, CMYK, LAB and transparency of every kind end as uint8 pixels of
1, 3 or 4 channels, an alpha plane and, where it still fits, the colour profile.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Images = NDArray[np.uint8]
Mode = Literal["L", "RGB"]

_DEEP_GREYS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_PROFILE_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}
"""Signature of the colour space, bytes 16 to 20 of a profile, that fits pixels of each mode."""
_BAND_PIXELS = 1 << 20


@dataclass(frozen=True)
class Picture:
    """One picture and what travels beside its pixels."""

    pixels: Images
    """uint8 [H, W, C]."""
    alpha: Images | None = None
    """uint8 [H, W], 0 transparent to 255 opaque; None: there was none, or `pixels` has it."""
    icc_profile: bytes | None = None
    """Colour profile of `pixels`; None: sRGB, or not known."""


def to_picture(image: Image.Image, channels: int) -> Picture:
    """Decoded pixels of a Pillow image in the form that a domain takes.

    - Grey of 16 bits (also in Pillow's 32-bit `I`) becomes round(value / 257), clipped. Colours of
      16 bits have lost their lower bytes to Pillow already.
    - Floats are 0 to 1 when nothing is above 1, else 0 to 255; clipped.
    - Pixels that fit neither the domain's mode nor its profile go through the picture's own profile
      to sRGB, CMYK and LAB above all; without a usable profile by Pillow's plain formula.
    - What is fully transparent has no colour: beside an alpha plane it is white.

    Args:
        image: a loaded picture of any mode.
        channels: 1 grey, 3 RGB, 4 RGBA (opaque where the picture has no alpha).
    """
    colour, alpha = _split_alpha(image)
    mode: Mode = "L" if channels == 1 else "RGB"
    colour, profile = _to_mode(colour, mode, image.info.get("icc_profile"))
    pixels = _pixels(colour)
    if channels == 4:
        opaque = np.full(pixels.shape[:2], 255, np.uint8) if alpha is None else alpha
        return Picture(np.dstack([pixels, opaque]), None, profile)
    if alpha is not None:
        pixels[alpha == 0] = 255
    return Picture(pixels, alpha, profile)


def profile_fits(profile: bytes | None, mode: str) -> bool:
    """Whether a colour profile describes pixels of a Pillow mode (alpha does not matter)."""
    base = mode.removesuffix("A")
    return profile is not None and profile[16:20] == _PROFILE_SPACES.get(base)


def _pixels(image: Image.Image) -> Images:
    """Pixels [H, W, C] of an image in mode L or RGB.

    Band by band: an array of the whole is made from a copy of all bytes, which counts with large
    photos.
    """
    width, height = image.size
    pixels = np.empty((height, width, len(image.getbands())), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = np.asarray(image.crop((0, top, width, bottom)))
        pixels[top:bottom] = band.reshape(bottom - top, width, -1)
    return pixels


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Images | None]:
    """Colour in mode L, RGB, CMYK or LAB, and alpha [H, W] where there is transparency."""
    if image.mode in _DEEP_GREYS:
        return _deep_grey(image)
    if image.mode == "F":
        return _float_grey(image), None
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        full = image.convert("LA" if grey else "RGBA")
        alpha = np.array(full.getchannel("A"))
        return full.convert("L" if grey else "RGB"), alpha
    mode = "L" if grey else "RGB"
    if image.mode in ("CMYK", "LAB", mode):  # Pillow would copy the picture to its own mode
        return image, None
    return image.convert(mode), None


def _deep_grey(image: Image.Image) -> tuple[Image.Image, Images | None]:
    values = np.asarray(image).astype(np.int64)
    grey = np.clip((values + 128) // 257, 0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    alpha = None
    if isinstance(transparent, int):
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.fromarray(grey), alpha


def _float_grey(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0)
    scale = 255.0 if values.max() <= 1 else 1.0
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))


def _to_mode(
    colour: Image.Image, mode: Mode, profile: bytes | None
) -> tuple[Image.Image, bytes | None]:
    """`colour` in `mode`, and the profile that then holds."""
    if colour.mode == mode:
        return colour, profile if profile_fits(profile, mode) else None
    through_profile = _to_srgb(colour, profile)
    if through_profile is None and colour.mode == "LAB":  # Pillow has no formula of its own for it
        through_profile = _profiled(colour, ImageCms.createProfile("LAB"))
    return (through_profile or colour).convert(mode), None


def _to_srgb(colour: Image.Image, profile: bytes | None) -> Image.Image | None:
    """`colour` through its profile to sRGB; None without a profile that can be used."""
    if profile is None or not profile_fits(profile, colour.mode):
        return None
    try:
        return _profiled(colour, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return None  # a damaged profile is no reason to refuse the picture


def _profiled(colour: Image.Image, profile: Any) -> Image.Image | None:
    srgb = ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(colour, profile, srgb, outputMode="RGB")
