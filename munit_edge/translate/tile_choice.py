"""Whether a picture is cut into tiles, and into how large ones."""

from __future__ import annotations

from typing import Literal, NamedTuple, Union

from munit_edge.model.config import ModelConfig
from munit_edge.system.limits import available_gpu_memory, available_memory
from munit_edge.translate.tiling import core_for

TileWish = Union[Literal["auto", "off"], int]  # noqa: UP007 - a value, made on Python 3.10
"""`auto`: tiles where memory asks for them; `off`: never; a number: largest core in pixels."""

WHOLE_SHARE = 0.5
"""Part of the available memory that a picture may take without being cut."""
TILE_BYTES = 1 << 30
"""What a tile takes at most, unless there is less: larger ones hardly overlap less."""
TILE_SHARE = 0.25
"""Part of the available memory that a tile may take."""
UNKNOWN_MEMORY = 4 << 30
"""What is taken to be available where nothing tells."""
PLAN_PIXELS = 512 * 512
"""Pixels of a tile for TensorRT: what plans take that are built without a word on sizes."""


class TileChoice(NamedTuple):
    """How one picture is translated."""

    core: int | None = None
    """Largest core of its tiles in pixels; None: whole."""
    statistics: Literal["thumbnail", "exact"] | None = None
    """Where the statistics of a picture in tiles come from."""


WHOLE = TileChoice()

BYTES_PER_CHANNEL = 14
"""What an engine takes for each pixel and channel of the decoder's last up-sampling."""


def engine_bytes_per_pixel(config: ModelConfig) -> int:
    """Bytes that an engine takes for each pixel that it translates at once, at its peak.

    Fitted to what ONNX Runtime takes on a CPU: 394 at width 16 and 1024 x 1024 pixels, 626 there at
    512 x 512, 1776 at width 64 and 384 x 384.
    """
    last = config.content_channels // config.size_multiple
    return BYTES_PER_CHANNEL * max(config.width, 2 * last)


def memory_of(device: str) -> int:
    """Bytes that can be taken on a device, such as "cpu" or "cuda:0"; a guess where none tells."""
    kind, _, index = device.partition(":")
    memory = available_gpu_memory(int(index or 0)) if kind == "cuda" else available_memory()
    return memory or UNKNOWN_MEMORY


def choose_core(
    wish: TileWish, size_hw: tuple[int, int], config: ModelConfig, engine: str, memory: int
) -> int | None:
    """The core of the tiles for a picture in pixels, or None to translate it whole.

    Args:
        wish: what the user asked for; of a number, pictures that fit into one core stay whole.
        size_hw: height and width of the picture in pixels.
        config: the model's configuration.
        engine: name of the backend.
        memory: bytes that can be taken (`memory_of`).
    """
    if wish == "off":
        return None
    if wish != "auto":
        return None if max(size_hw) <= wish else wish
    per_pixel = engine_bytes_per_pixel(config)
    if size_hw[0] * size_hw[1] * per_pixel <= WHOLE_SHARE * memory:
        return None
    # A power of two: a little more or less of free memory does not change the tiles.
    budget = 1 << max(0, int(TILE_SHARE * memory).bit_length() - 1)
    pixels = min(TILE_BYTES, budget) // per_pixel
    if engine.startswith("tensorrt"):
        pixels = min(pixels, PLAN_PIXELS)
    return core_for(pixels, config)
