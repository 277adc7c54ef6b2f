"""What the fixtures of graphs in reduced precision give, and images for their gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from munit_edge.export.calibration import UserImages
from munit_edge.export.quantise import CalibratedGraph
from munit_edge.model.config import DOMAINS, Domain, GraphKind, ModelConfig

TinyGraph = Callable[[str, GraphKind, Domain], Any]
"""Name of the checkpoint's fixture, kind and domain -> `onnx.ModelProto`. Do not change it."""

CalibratedModel = Callable[[str], dict[str, CalibratedGraph]]
"""Name of the model's fixture -> its graphs by name. Do not change them."""


def soft_images(config: ModelConfig) -> UserImages:
    """Two images of each domain for the scales and two others for the gate."""
    found = {
        domain: soft_areas(4, config.channels(domain), seed) for seed, domain in enumerate(DOMAINS)
    }
    first, second = ({d: found[d][part] for d in DOMAINS} for part in (slice(2), slice(2, 4)))
    return UserImages(calibration=first, gate=second)


def soft_areas(count: int, channels: int, seed: int) -> list[np.ndarray]:
    """Images of soft areas: uint8 [1, 48, 64, channels] each."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 1, 6, 8, channels), dtype=np.uint8)
    return list(coarse.repeat(8, axis=2).repeat(8, axis=3))
