"""The test set: which images a model is measured on, and how they are cropped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from munit_edge.errors import InputError
from munit_edge.evaluation.options import DEFAULT_SIZE, EvaluateOptions
from munit_edge.files.names import storable
from munit_edge.images.data_folder import TEST_LAYOUT, domain_folders
from munit_edge.images.folders import image_files
from munit_edge.images.io import Images, read_image
from munit_edge.images.left_out import LeftOut
from munit_edge.images.sizes import check_resized, resize_shorter
from munit_edge.model.config import DOMAINS, Domain, ModelConfig

MIN_IMAGES = 10
"""Fewest images of each domain from which a distribution can be estimated."""


@dataclass(frozen=True)
class TestImages:
    """The test images of both domains, all squares of one size."""

    images: dict[Domain, Images]
    """uint8 [N, size, size, C]."""
    size: int
    """Height and width in pixels."""
    unreadable: tuple[str, ...]
    """Faults of files that were skipped."""
    left_out: str
    """Files that are not images, by kind; "": there are none."""


def read_test_images(options: EvaluateOptions, config: ModelConfig) -> TestImages:
    """Read the test images: `options.count` of each domain, evenly spread over the file names.

    Each is resized by its shorter side and cropped to the centre.

    Raises:
        InputError: a folder is missing, or has fewer than `MIN_IMAGES` images that can be read
            and are not larger than allowed.
    """
    left_out = LeftOut()
    folders = domain_folders(
        options.data,
        TEST_LAYOUT,
        needed="evaluation needs testA and testB in it, with images that the model was not trained "
        "on",
    )
    # Too few files in either folder are reported before any image is decoded.
    files = {domain: _files(folders[domain], left_out) for domain in DOMAINS}
    unreadable = [storable(fault) for fault in left_out.faults.values()]
    found = {
        domain: _read(files[domain], config.channels(domain), options, unreadable)
        for domain in DOMAINS
    }
    for domain in DOMAINS:
        _check_number(len(found[domain]), folders[domain], unreadable)
    # Only now: the size that all share is known when every image has been read.
    smallest = min(min(image.shape[:2]) for images in found.values() for image in images)
    size = options.size or smallest
    images = {
        domain: np.stack([_middle(image, size) for image in found[domain]]) for domain in DOMAINS
    }
    return TestImages(images, size, tuple(unreadable), str(left_out))


def _files(folder: Path, left_out: LeftOut) -> list[Path]:
    here = LeftOut()
    files = image_files(folder, recursive=True, left_out=here)
    left_out.add(here)
    _check_number(len(files), folder, [text for text in (*here.faults.values(), str(here)) if text])
    return files


def _read(
    files: list[Path], channels: int, options: EvaluateOptions, unreadable: list[str]
) -> list[Images]:
    """Images with a shorter side of at most `options.size`; faults go to `unreadable`."""
    # Spread over the file names, which often are in order of time or class.
    places = np.linspace(0, len(files) - 1, min(options.count, len(files))).round().astype(int)
    images = []
    for place in places:
        try:
            images.append(_read_one(files[place], channels, options))
        except InputError as exc:
            unreadable.append(storable(str(exc)))
    return images


def _read_one(file: Path, channels: int, options: EvaluateOptions) -> Images:
    limit = options.max_megapixels
    image = read_image(file, channels, max_megapixels=limit).pixels
    size_hw = image.shape[0], image.shape[1]
    # Already reduced, so that memory holds no full photos; `_middle` crops them to one size later.
    size = options.size or min(DEFAULT_SIZE, *size_hw)
    check_resized(size_hw, size, limit, str(file))
    return resize_shorter(image, size)


def _check_number(number: int, folder: Path, unreadable: list[str]) -> None:
    if number >= MIN_IMAGES:
        return
    count = {0: "no images", 1: "1 image"}.get(number, f"{number} images")
    why = f" ({unreadable[-1]})" if unreadable else ""
    raise InputError(
        f"{folder} holds {count} that can be used: evaluation needs at least {MIN_IMAGES} in "
        f"each domain{why}"
    )


def _middle(image: Images, size: int) -> Images:
    image = resize_shorter(image, size)
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]
