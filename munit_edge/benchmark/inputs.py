"""The pictures that `munit-edge benchmark` translates: drawn ones, or a photo."""

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
    """Write pictures of the source domain and references of the target to an .npz.

    Raises:
        InputError: the photo cannot be read.
    """
    source, target = split_direction(options.direction)
    np.savez(
        path,
        pictures=_pictures(options.image, source, config.channels(source), size, batch),
        references=_pictures(options.image, target, config.channels(target), size, batch),
    )


def _pictures(
    photo: Path | None, domain: Domain, channels: int, size: SizeHW, batch: int
) -> Images:
    """A photo, fitted and repeated, or as many drawn pictures."""
    if photo is not None:
        pictures = [read_image(photo, channels).pixels] * batch
    else:
        pictures = [_with_channels(pixels, channels) for pixels in _drawn(domain, size, batch)]
    return np.stack([_fitted(pixels, size) for pixels in pictures])


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
    """Cut to the proportions of `size` and resized to it."""
    height, width = size
    if pixels.shape[:2] == size:
        return pixels
    plain = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    fitted = ImageOps.fit(Image.fromarray(plain), (width, height))
    return np.asarray(fitted).reshape(height, width, pixels.shape[2])
