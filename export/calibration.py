"""The user's images that reduced precision is judged by: finds, reads and resizes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from munit_edge.errors import InputError
from munit_edge.export.options import ExportOptions
from munit_edge.files.paths import is_folder
from munit_edge.images.data_folder import TEST_LAYOUT, TRAINING_LAYOUTS, domain_folders
from munit_edge.images.io import Images, read_image
from munit_edge.images.left_out import LeftOut
from munit_edge.images.sizes import pad_to, resize_shorter
from munit_edge.model.config import DOMAINS, Domain, ModelConfig
from munit_edge.trainer.config import ImageSource
from munit_edge.trainer.data.image_sets import ImageSet, find_images

MAX_SHORTER_SIDE = 256
"""Larger images are reduced to this size in pixels, at which MUNIT is usually trained."""

Warn = Callable[[str], None]


def _ignore(_: str) -> None:
    pass


@dataclass(frozen=True)
class UserImages:
    """Images of both domains, each uint8 [1, H, W, C] of a size that the graphs take."""

    calibration: dict[Domain, list[Images]]
    """For the scales of 8-bit types."""
    gate: dict[Domain, list[Images]]
    """For the quality gate: other images, if there are enough."""


def read_user_images(
    config: ModelConfig, options: ExportOptions, warn: Warn = _ignore
) -> UserImages:
    """Read the images that `options.calibration` names.

    The gate gets the test images if the folder has some, otherwise every other image.

    Args:
        config: of the model.
        options: folders and number of images.
        warn: called with one line for each group of files that were passed over.

    Raises:
        InputError: a folder is missing, or a domain has no readable image.
    """
    folders = options.calibration
    count = options.calibration_images
    images = UserImages({}, {})
    left_out = LeftOut()
    for domain, (first, second) in zip(DOMAINS, _folders(folders), strict=True):
        found = _list(first, domain, left_out)
        if second is None:
            # The same folder, but not the same images unless there is only one.
            halves = found[::2], found[1::2] or found
        else:
            halves = found, _list(second, domain, left_out)
        for part, files in zip((images.calibration, images.gate), halves, strict=True):
            part[domain] = list(_read(files, count, domain, config, options, left_out))
            if not part[domain]:
                raise InputError(
                    f"none of the {len(files)} images of domain {domain}, such as {files[0]}, "
                    "can be read: name folders with readable images with --calibration"
                )
    for text in filter(None, (*left_out.faults.values(), str(left_out))):
        warn(f"left out: {text}")
    return images


def _folders(folders: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """For each domain the folder for calibration, and the gate's own folder or None."""
    if len(folders) == len(DOMAINS):
        return [(folder, None) for folder in folders]
    root = folders[0]
    training = domain_folders(
        root,
        *TRAINING_LAYOUTS,
        called="--calibration",
        needed="images of both domains are needed, so name a folder with trainA and trainB, or "
        "pass --calibration twice, first A's images and then B's",
    )
    test = {domain: root / TEST_LAYOUT[domain] for domain in DOMAINS}
    if all(is_folder(folder) and _holds_images(folder) for folder in test.values()):
        return [(training[domain], test[domain]) for domain in DOMAINS]
    return [(folder, None) for folder in training.values()]


def _holds_images(folder: Path) -> bool:
    return bool(find_images(ImageSource(folder=folder)).names)


def _list(folder: Path, domain: Domain, left_out: LeftOut) -> list[Path]:
    found: ImageSet = find_images(ImageSource(folder=folder))
    left_out.add(found.left_out)
    if not found.names:
        skipped = f" (left out: {found.left_out})" if found.left_out.kinds else ""
        raise InputError(
            f"--calibration: domain {domain} has no images in {folder}{skipped}; reduced "
            "precision is judged by images of both domains, so name a folder with some"
        )
    return [found.path(i) for i in range(len(found.names))]


def _read(
    files: list[Path],
    count: int,
    domain: Domain,
    config: ModelConfig,
    options: ExportOptions,
    left_out: LeftOut,
) -> Iterator[Images]:
    """Up to `count` images, spread over the list; those that cannot be read are passed over."""
    # Every step-th file, then their neighbours, in place of files that cannot be read.
    step = max(1, len(files) // count)
    spread = sorted(range(len(files)), key=lambda index: (index % step, index))
    read = 0
    for index in spread:
        try:
            pixels = read_image(files[index], config.channels(domain)).pixels
        except InputError as exc:
            left_out.faults[files[index]] = str(exc)
            continue
        yield _fit(pixels, config, options)[None]
        read += 1
        if read == count:
            return


def _fit(pixels: Images, config: ModelConfig, options: ExportOptions) -> Images:
    """Resize and pad or crop to a size that every graph takes: uint8 [H, W, C]."""
    height, width = pixels.shape[:2]
    if options.height is not None and options.width is not None:
        # Cover the fixed size, then crop the centre.
        shorter = min(height, width)
        # Rounded up: the shorter side at which the resized image covers the fixed size.
        needed = (-(-options.height * shorter // height), -(-options.width * shorter // width))
        pixels = resize_shorter(pixels, max(needed))
        top, left = (pixels.shape[0] - options.height) // 2, (pixels.shape[1] - options.width) // 2
        return pixels[top : top + options.height, left : left + options.width]
    if min(height, width) > MAX_SHORTER_SIDE:
        pixels = resize_shorter(pixels, MAX_SHORTER_SIDE)
    multiple = config.size_multiple
    minimum = max(config.content_min_size, config.style_min_size)
    height, width = (-(-max(side, minimum) // multiple) * multiple for side in pixels.shape[:2])
    return pad_to(pixels, (height, width))
