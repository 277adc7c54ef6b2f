"""Frames of video and their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from munit_edge.images.io import Images, on_white
from munit_edge.video.audio import Audio
from munit_edge.video.av_api import pyav
from munit_edge.video.extras import Extras
from munit_edge.video.orientation import Orientation

HD_HEIGHT = 720
"""Video without a colour space is BT.709 from this height on, and BT.601 below."""

# Constants of swscale and libavutil, which PyAV takes as numbers.
_BT709, _BT601 = 1, 5
_UNSPECIFIED = 2
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_SCALING = 4 | 0x2000 | 0x4000 | 0x40000  # bicubic, full chroma in and out, accurate rounding


@dataclass(frozen=True)
class Frame:
    """One frame, ready to be translated."""

    pixels: Images
    """uint8 [H, W, C], upright, C channels of the source domain."""
    pts: int
    """Display time, in the source's time base."""
    duration: int
    """How long it is shown if no other frame follows; in the source's time base, at least 1."""


@dataclass(frozen=True)
class Clip:
    """Facts about a source, known once its first frame is decoded."""

    name: str
    """Its name in messages."""
    size_hw: tuple[int, int]
    """Height and width of the upright frames in pixels."""
    time_base: Fraction
    """Length of one unit of `Frame.pts`, in seconds."""
    rate: Fraction
    """Frames per second, on average or as a guess."""
    pixel_aspect: Fraction
    """Width of an upright pixel divided by its height."""
    first_pts: int = 0
    """Time stamp of the first frame."""
    num_frames: int | None = None
    """Number of frames according to the file; None: unknown."""
    audio: Audio | None = None
    """The audio that belongs to the frames."""
    extras: Extras | None = None
    """Tags, chapters and other streams that the results take over."""
    is_live: bool = False
    """Whether it cannot be read again from the start: a camera, a stream or a pipe."""


def upright_pixels(
    frame: Any, orientation: Orientation, upright_hw: tuple[int, int], channels: int
) -> Images:
    """Pixels of a decoded frame.

    Args:
        frame: PyAV's frame, of any pixel format.
        orientation: how it is to be shown.
        upright_hw: height and width of the result; a frame of another size is resized to it.
        channels: 1 grey, 3 RGB or 4 RGBA (opaque).

    Returns:
        uint8 [H, W, C], upright.
    """
    unspecified = _BT709 if frame.height >= HD_HEIGHT else _BT601
    height, width = orientation.swapped(upright_hw)
    rgb = frame.to_ndarray(
        format="rgb24",
        width=width,
        height=height,
        src_colorspace=unspecified if frame.colorspace == _UNSPECIFIED else None,
        dst_color_range=_FULL_RANGE,
        interpolation=_SCALING,
    )
    return with_channels(orientation.upright(rgb), channels)


def with_channels(rgb: Images, channels: int) -> Images:
    """Convert RGB pixels [H, W, 3] to 1, 3 or 4 channels, contiguous."""
    if channels == 1:
        return np.array(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))[..., None]
    if channels == 4:
        return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    return np.ascontiguousarray(rgb)


def to_rgb(pixels: Images) -> Images:
    """Convert translated pixels [H, W, 1, 3 or 4] to RGB; transparency is blended with white."""
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 4:
        return on_white(pixels[..., :3], pixels[..., 3])
    return pixels


def pad_to_even(rgb: Images) -> Images:
    """Make height and width of [H, W, 3] even by repeating the last row or column."""
    height, width = rgb.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return rgb
    return np.pad(rgb, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")


def encodable(rgb: Images, pixel_format: str) -> Any:
    """RGB pixels [H, W, 3] as PyAV's frame in an encoder's pixel format; YUV is BT.709."""
    frame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    if not pixel_format.startswith("yuv"):
        return frame.reformat(format=pixel_format)
    yuv = frame.reformat(
        format=pixel_format,
        src_color_range=_FULL_RANGE,
        dst_colorspace=_BT709,
        dst_color_range=_LIMITED_RANGE,
        interpolation=_SCALING,
    )
    clear_padding(yuv)
    return yuv


def clear_padding(frame: Any) -> None:
    """Zero the padding after the rows of an 8-bit planar frame.

    It is uninitialised memory, and x264 reads it: the same frames would sometimes give different
    bytes, and a resumed run would differ from an uninterrupted one.
    """
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height]
        rows.reshape(plane.height, plane.line_size)[:, plane.width :] = 0


def tag_colours(context: Any) -> None:
    """Tag a stream of `encodable` YUV frames as BT.709, limited range."""
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
