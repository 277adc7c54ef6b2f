"""Conversion between bytes and the networks' numbers, for all code that uses NumPy.

uint8 graphs contain the same arithmetic (`munit_edge.trainer.graphs`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_RANGE = np.float32(127.5)
ONE = np.float32(1)


def floats_from_bytes(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W] in [-1, 1]: u8 / 127.5 - 1."""
    # Contiguous: backends take the buffer as it is, and the division below is in place.
    floats: NDArray[np.float32] = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    floats /= HALF_RANGE
    floats -= ONE
    return floats


def bytes_from_floats(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 [N, C, H, W], any range -> uint8 [N, H, W, C]: round(clip((x + 1) * 127.5))."""
    # Halves round to even, as torch.round and ONNX's Round do. Clipped first: outside 0 to 255 the
    # cast to uint8 would wrap around.
    scaled = np.rint(np.clip((images + ONE) * HALF_RANGE, 0, 255))
    return np.ascontiguousarray(scaled.astype(np.uint8).transpose(0, 2, 3, 1))
