"""Training images: which ones an iteration sees, and how they are prepared.

All random numbers are drawn from (seed, purpose, position in the run) and from nothing else. The
batch of an iteration is therefore the same after a resume and with any number of worker processes.
Needs no torch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from munit_edge.errors import InputError, MunitEdgeError
from munit_edge.files.names import storable
from munit_edge.images.io import Images, read_image
from munit_edge.images.sizes import check_resized, resize_shorter
from munit_edge.model.config import DOMAINS, Domain
from munit_edge.trainer.config import DataConfig, TrainConfig
from munit_edge.trainer.data.cache import ImageCache, cache_size
from munit_edge.trainer.data.image_sets import ImageSet, ImageSets

# Purposes of random numbers: each purpose and each domain has its own stream.
_ORDER, _CROP, _STYLE, _AUGMENTATION = range(4)


@dataclass(frozen=True)
class RawBatch:
    """Prepared images of one iteration."""

    images: dict[Domain, Images]
    """uint8 [B, H, W, C]."""
    broken: tuple[str, ...]
    """The faults of images that had to be skipped; others replace them."""
    frames: dict[str, int] = field(default_factory=dict)
    """Images with several frames or pages, of which the first is used, and their number."""
    flat: tuple[str, ...] = ()
    """Images, read for the first time, that have only one colour."""


@dataclass
class _Seen:
    """What was noticed when the images of a batch were read; see `RawBatch`."""

    broken: list[str] = field(default_factory=list)
    frames: dict[str, int] = field(default_factory=dict)
    flat: list[str] = field(default_factory=list)


# ----------------------------------------------------------------------------------------------
# Which images an iteration sees


class TrainingBatches:
    """The batch of any iteration, by its number (from 1).

    Each domain has its own order, reshuffled every epoch. Several processes share a batch: its
    first images belong to process 0, and so on.
    """

    def __init__(
        self, sets: ImageSets, config: TrainConfig, process: int = 0, num_processes: int = 1
    ) -> None:
        self._sets = sets
        self._config = config
        self._process = process
        self._num_processes = num_processes
        holders = max(1, config.data.workers) * num_processes
        # Still empty when workers receive it: each of them fills its own.
        self._cache = ImageCache(cache_size(holders) if config.data.cache else 0)

    def __getitem__(self, iteration: int) -> RawBatch | MunitEdgeError:
        """The batch, or the error that stops training: returned, it leaves a worker unchanged."""
        try:
            return self.batch(iteration)
        except MunitEdgeError as exc:
            return exc

    def batch(self, iteration: int) -> RawBatch:
        """The batch of `iteration`.

        Raises:
            InputError: no image of a domain can be read.
        """
        size = self._config.batch_size
        first = ((iteration - 1) * self._num_processes + self._process) * size
        seen = _Seen()
        images = {
            domain: np.stack([self._image(domain, first + i, seen) for i in range(size)])
            for domain in DOMAINS
        }
        return RawBatch(images, tuple(seen.broken), seen.frames, tuple(seen.flat))

    def _image(self, domain: Domain, position: int, seen: _Seen) -> Images:
        """The image at a position of the whole run, or the next one that can be read."""
        images = self._sets[domain]
        seed, stream = self._config.seed, DOMAINS.index(domain)
        count = len(images.names)
        epoch, offset = divmod(position, count)
        order = _permutation(seed, stream, epoch, count)
        for k in range(count):
            try:
                image = self._fitted(domain, int(order[(offset + k) % count]), seen)
            except InputError as exc:
                seen.broken.append(storable(str(exc)))
                continue
            # By position and not by image: a replacement draws the same numbers.
            random = _random(seed, _CROP, stream, position)
            return augment(image, self._config.data, random)
        raise InputError(
            f"no image of domain {domain} in {images.folder} can be read: {seen.broken[-1]}"
        )

    def _fitted(self, domain: Domain, index: int, seen: _Seen) -> Images:
        """An image at its working size, from the cache if it is there."""
        kept = self._cache.get(domain, index)
        if kept is not None:
            return kept
        path = self._sets[domain].path(index)
        image, frames = _read_fitted(path, domain, self._config)
        if frames > 1:
            seen.frames[str(path)] = frames
        if (image == image[:1, :1]).all():
            seen.flat.append(str(path))
        self._cache.offer(domain, index, image)
        return image


# A batch touches one or two epochs of each domain.
@functools.lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, epoch: int, count: int) -> NDArray[np.int64]:
    return _random(seed, _ORDER, stream, epoch).permutation(count)


def draw_styles(
    seed: int, iteration: int, use: int, count: int, style_dim: int
) -> NDArray[np.float32]:
    """Style codes from N(0, 1) for one iteration, float32 [count, style_dim].

    Args:
        seed: of the run.
        iteration: counted from 1.
        use: distinguishes the draws of one iteration.
        count: number of codes.
        style_dim: numbers per code.
    """
    random = _random(seed, _STYLE, use, iteration)
    return random.standard_normal((count, style_dim), dtype=np.float32)


def draw_augmentations(
    seed: int, iteration: int, count: int, num_draws: int
) -> NDArray[np.float32]:
    """Uniform numbers in [0, 1) for one iteration, float32 [count, num_draws].

    Args:
        seed: of the run.
        iteration: counted from 1.
        count: number of augmented images.
        num_draws: numbers per image.
    """
    random = _random(seed, _AUGMENTATION, 0, iteration)
    return random.random((count, num_draws), dtype=np.float32)


def _random(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


# ----------------------------------------------------------------------------------------------
# Preparation


def augment(image: Images, config: DataConfig, random: np.random.Generator) -> Images:
    """Random crop and flip of a fitted image: [H, W, C] -> [crop_height, crop_width, C]."""
    top = int(random.integers(image.shape[0] - config.crop_height + 1))
    left = int(random.integers(image.shape[1] - config.crop_width + 1))
    mirror = bool(random.integers(2)) and config.flip  # drawn even where it is not used
    return _crop(image, config, top, left)[:, :: -1 if mirror else 1]


def centre_crop(image: Images, config: DataConfig) -> Images:
    """The deterministic counterpart of `augment`: the centre, not flipped."""
    top = (image.shape[0] - config.crop_height) // 2
    left = (image.shape[1] - config.crop_width) // 2
    return _crop(image, config, top, left)


def first_images(
    images: ImageSet, domain: Domain, config: TrainConfig, count: int
) -> tuple[tuple[str, ...], Images]:
    """Centre crops of the first `count` images that can be read, or fewer.

    Returns:
        Their names, and uint8 [N, H, W, C].

    Raises:
        InputError: none can be read.
    """
    found: dict[str, Images] = {}
    fault = ""
    for i, name in enumerate(images.names):
        try:
            image, _ = _read_fitted(images.path(i), domain, config)
            found[name] = centre_crop(image, config.data)
        except InputError as exc:
            fault = str(exc)
        if len(found) == count:
            break
    if not found:
        raise InputError(f"no image of domain {domain} in {images.folder} can be read: {fault}")
    return tuple(found), np.stack(list(found.values()))


def fit(image: Images, config: DataConfig, domain: Domain, name: str = "the image") -> Images:
    """Resize to the configured shorter side, or to more if the crop needs it.

    Raises:
        InputError: the result, called `name` in the message, would have more pixels than allowed.
    """
    height, width = image.shape[:2]
    shorter = min(height, width)
    wanted = config.shorter_side(domain) or shorter
    needed = max(
        -(-config.crop_height * shorter // height), -(-config.crop_width * shorter // width)
    )
    size = max(wanted, needed)
    check_resized((height, width), size, config.max_megapixels, name)
    return resize_shorter(image, size)


def _read_fitted(path: Path, domain: Domain, config: TrainConfig) -> tuple[Images, int]:
    """An image at its working size, and the number of frames or pages in its file."""
    limit = config.data.max_megapixels
    read = read_image(path, config.model.channels(domain), max_megapixels=limit)
    return fit(read.pixels, config.data, domain, str(path)), read.frames


def _crop(image: Images, config: DataConfig, top: int, left: int) -> Images:
    return image[top : top + config.crop_height, left : left + config.crop_width]
