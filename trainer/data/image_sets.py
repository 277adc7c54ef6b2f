"""The training images of a run, from folders or text files that list them. Needs no torch."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from munit_edge.errors import ConfigError, InputError
from munit_edge.files.paths import is_folder, require_folder
from munit_edge.images.data_folder import TEST_LAYOUT, TRAINING_LAYOUTS, domain_folders
from munit_edge.images.folders import image_files
from munit_edge.images.left_out import LeftOut
from munit_edge.model.config import DOMAINS, Domain
from munit_edge.trainer.config import DataConfig, ImageSource
from munit_edge.trainer.data.image_lists import listed_names

MIN_TRAINING_IMAGES = 2


@dataclass(frozen=True)
class ImageSet:
    """The images of one domain, in a fixed order."""

    folder: Path
    names: tuple[str, ...]
    """Paths relative to `folder`, with forward slashes."""
    left_out: LeftOut = field(default_factory=LeftOut, compare=False)
    """Files that the search left out."""

    def path(self, index: int) -> Path:
        """The path of image `index`."""
        return self.folder / self.names[index]

    def spread(self, count: int) -> ImageSet:
        """At most `count` of the images, evenly spread over the names."""
        # The first name is always among them, and from two on the last.
        last = len(self.names) - 1
        steps = min(count, len(self.names)) - 1
        places = [round(i * last / max(steps, 1)) for i in range(steps + 1)]
        return ImageSet(self.folder, tuple(self.names[place] for place in places))

    @property
    def fingerprint(self) -> str:
        """Hash of the names: different names mean a different order of the images."""
        # Names alone: a run may be moved to another machine, where dates and folders differ.
        return hashlib.sha256(os.fsencode("\n".join(self.names))).hexdigest()


ImageSets = dict[Domain, ImageSet]


def training_images(config: DataConfig) -> ImageSets:
    """The training images of both domains.

    Raises:
        ConfigError: the configuration names no images.
        InputError: a folder or list is missing, or a domain has fewer than 2 images.
    """
    if config.train_a is not None and config.train_b is not None:
        sets: ImageSets = {"a": find_images(config.train_a), "b": find_images(config.train_b)}
    elif config.root is not None:
        folders = domain_folders(
            config.root,
            *TRAINING_LAYOUTS,
            needed="a data folder holds trainA and trainB, or images_a and images_b",
        )
        sets = {d: find_images(ImageSource(folder=folder)) for d, folder in folders.items()}
    else:
        raise ConfigError(
            "the configuration names no images: pass --data DIR with a folder that holds trainA "
            "and trainB, or set data.train_a and data.train_b"
        )
    for domain, found in sets.items():
        if len(found.names) < MIN_TRAINING_IMAGES:
            count = "1 image" if found.names else "no images"
            skipped = str(found.left_out) or next(iter(found.left_out.faults.values()), "")
            note = f" (left out: {skipped})" if skipped else ""
            raise InputError(
                f"domain {domain} has {count} in {found.folder}{note}: training needs at least "
                f"{MIN_TRAINING_IMAGES} in each domain"
            )
    return sets


def display_images(config: DataConfig, training: ImageSets) -> ImageSets:
    """The images of the grids: test images if there are any, else training images.

    Raises:
        InputError: a configured folder or list is missing.
    """
    sets = dict(training)
    for domain in DOMAINS:
        configured = config.test_a if domain == "a" else config.test_b
        if configured is None and config.root is not None:
            folder = config.root / TEST_LAYOUT[domain]
            configured = ImageSource(folder=folder) if is_folder(folder) else None
        found = None if configured is None else find_images(configured)
        if found is not None and found.names:
            sets[domain] = found
    return sets


def find_images(source: ImageSource) -> ImageSet:
    """List the images of a folder and its subfolders, or those that a text file names.

    Raises:
        InputError: the folder or list does not exist or cannot be read, or the list names no file,
            or one that does not exist.
    """
    require_folder(source.folder, "image folder", "name a folder of images")
    if source.list is not None:
        return ImageSet(source.folder, listed_names(source.folder, source.list))
    left_out = LeftOut()
    found = image_files(source.folder, recursive=True, left_out=left_out)
    names = sorted(path.relative_to(source.folder).as_posix() for path in found)
    return ImageSet(source.folder, tuple(names), left_out)
