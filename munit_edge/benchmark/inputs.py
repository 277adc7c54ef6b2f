"""The images that `munit-edge benchmark` translates: generated ones, or a photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from munit_edge.benchmark.options import BenchmarkOptions, SizeHW
from munit_edge.images.io import Images, read_image
from munit_edge.images.sample_data import draw, sample_labels
from munit_edge.model.config import Domain, ModelConfig, split_direction


def write_inputs(
    path: Path, config: ModelConfig, options: BenchmarkOptions, size: SizeHW, batch: int
) -> None:
    """Write images of the source domain and references of the target domain to an .npz file.

    Raises:
        InputError: the photo cannot be read.
    """
    source, target = split_direction(options.direction)
    np.savez(
        path,
        images=_images(options.image, source, config.channels(source), size, batch),
        references=_images(options.image, target, config.channels(target), size, batch),
    )


def _images(photo: Path | None, domain: Domain, channels: int, size: SizeHW, batch: int) -> Images:
    """`batch` copies of the photo, or `batch` generated images."""
    if photo is not None:
        images = [read_image(photo, channels).pixels] * batch
    else:
        images = [_with_channels(pixels, channels) for pixels in _drawn(domain, size, batch)]
    return np.stack([_fitted(pixels, size) for pixels in images])


def _drawn(domain: Domain, size: SizeHW, count: int) -> Iterator[Images]:
    split = f"train{domain.upper()}"
    labels = (label for name, label in sample_labels(count, seed=0) if name.startswith(split))
    for label in labels:
        yield draw(label, max(size))


def _with_channels(pixels: Images, channels: int) -> Images:
    image = Image.fromarray(pixels)
    changed = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    return changed.reshape(*pixels.shape[:2], channels)


def _fitted(pixels: Images, size: SizeHW) -> Images:
    """Crop to the aspect ratio of `size`, and resize to it."""
    height, width = size
    if pixels.shape[:2] == size:
        return pixels
    plain = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    fitted = ImageOps.fit(Image.fromarray(plain), (width, height))
    return np.asarray(fitted).reshape(height, width, pixels.shape[2])
