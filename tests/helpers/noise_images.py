"""Images of seeded noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def noise(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [height, width, channels]."""
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save_noise(
    path: Path, height: int = 24, width: int = 32, channels: int = 3, seed: int = 0
) -> Path:
    """Write `noise` to a file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(height, width, channels, seed).squeeze()).save(path)
    return path
