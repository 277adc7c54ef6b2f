"""Where training images lie: folders, or text files that name them. Needs no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from munit_edge.config import DOMAINS, Domain
from munit_edge.errors import ConfigError, InputError
from munit_edge.image_files import IMAGE_SUFFIXES
from munit_edge.trainer.config import DataConfig, ImageSource

MIN_TRAINING_IMAGES = 2

_LAYOUTS = {
    "train": ({"a": "trainA", "b": "trainB"}, {"a": "images_a", "b": "images_b"}),
    "test": ({"a": "testA", "b": "testB"},),
}


@dataclass(frozen=True)
class ImageSet:
    """The pictures of one domain, in a fixed order."""

    folder: Path
    names: tuple[str, ...]
    """Paths relative to `folder`, with forward slashes."""

    def path(self, index: int) -> Path:
        """Where picture `index` lies."""
        return self.folder / self.names[index]

    def spread(self, count: int) -> ImageSet:
        """At most `count` of the pictures, evenly spread over the names."""
        last = len(self.names) - 1
        steps = min(count, len(self.names)) - 1
        places = [round(i * last / max(steps, 1)) for i in range(steps + 1)]
        return ImageSet(self.folder, tuple(self.names[place] for place in places))

    @property
    def fingerprint(self) -> str:
        """Hash of the names: other names would mean another order."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()


ImageSets = dict[Domain, ImageSet]


def training_images(config: DataConfig) -> ImageSets:
    """The training images of both domains.

    Raises:
        ConfigError: the configuration names no images.
        InputError: a folder or list is missing, or a domain has fewer than 2 pictures.
    """
    if config.train_a is not None and config.train_b is not None:
        sets: ImageSets = {"a": find_images(config.train_a), "b": find_images(config.train_b)}
    elif config.root is not None:
        sets = _in_root(config.root)
    else:
        raise ConfigError(
            "the configuration names no images: pass --data DIR with a folder that holds trainA "
            "and trainB, or set data.train_a and data.train_b"
        )
    for domain, found in sets.items():
        if len(found.names) < MIN_TRAINING_IMAGES:
            count = "1 picture" if found.names else "no pictures"
            raise InputError(
                f"domain {domain} has {count} in {found.folder}: training needs at least "
                f"{MIN_TRAINING_IMAGES} in each domain"
            )
    return sets


def display_images(config: DataConfig, training: ImageSets) -> ImageSets:
    """The images of the picture grids: test images where there are any, else training images.

    Raises:
        InputError: a configured folder or list is missing.
    """
    sets = dict(training)
    for domain in DOMAINS:
        configured = config.test_a if domain == "a" else config.test_b
        if configured is None and config.root is not None:
            folder = config.root / _LAYOUTS["test"][0][domain]
            configured = ImageSource(folder=folder) if folder.is_dir() else None
        found = None if configured is None else find_images(configured)
        if found is not None and found.names:
            sets[domain] = found
    return sets


def find_images(source: ImageSource) -> ImageSet:
    """List the pictures of a folder (and those below it), or those that a text file names.

    Raises:
        InputError: folder or list does not exist, or the list names a file that does not.
    """
    if not source.folder.is_dir():
        kind = "is not a folder" if source.folder.exists() else "does not exist"
        raise InputError(f"image folder {source.folder} {kind}: name a folder of pictures")
    if source.list is not None:
        return ImageSet(source.folder, _listed(source.folder, source.list))
    found = (path.relative_to(source.folder) for path in source.folder.rglob("*"))
    names = sorted(
        path.as_posix()
        for path in found
        if path.suffix.lower() in IMAGE_SUFFIXES and not any(p.startswith(".") for p in path.parts)
    )
    return ImageSet(source.folder, tuple(names))


def _in_root(root: Path) -> ImageSets:
    if not root.is_dir():
        kind = "is not a folder" if root.exists() else "does not exist"
        raise InputError(f"data folder {root} {kind}: name one that holds trainA and trainB")
    for layout in _LAYOUTS["train"]:
        folders = {domain: root / layout[domain] for domain in DOMAINS}
        if all(folder.is_dir() for folder in folders.values()):
            return {domain: find_images(ImageSource(folder=folders[domain])) for domain in DOMAINS}
    held = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
    raise InputError(
        f"{root} holds {held}: a data folder holds trainA and trainB, or images_a and images_b"
    )


def _listed(folder: Path, file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"image list {file} cannot be read: name a text file") from exc
    names = [line.strip() for line in lines if line.strip()]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"image list {file} names {len(missing)} files that are not in {folder}, such as "
            f"'{missing[0]}': correct the list, or the folder that its paths start from"
        )
    return tuple(names)
