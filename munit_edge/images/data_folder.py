"""Data folders: the images of both domains, each in a folder with the domain in its name."""

from __future__ import annotations

from pathlib import Path

from munit_edge.errors import InputError
from munit_edge.files.paths import held_by, is_folder, require_folder
from munit_edge.model.config import DOMAINS, Domain

Layout = dict[Domain, str]
"""Names of the folders of both domains."""

TRAINING_LAYOUTS: tuple[Layout, ...] = (
    {"a": "trainA", "b": "trainB"},
    {"a": "images_a", "b": "images_b"},
)
TEST_LAYOUT: Layout = {"a": "testA", "b": "testB"}


def domain_folders(
    root: Path, *layouts: Layout, needed: str, called: str = "data folder"
) -> dict[Domain, Path]:
    """The folders of both domains in a data folder.

    Args:
        root: the data folder.
        layouts: the names to look for; the first layout that is there is taken.
        needed: the end of the message about a data folder without them: what should be in it.
        called: what messages call `root`.

    Raises:
        InputError: `root` is no folder, or holds none of the layouts.
    """
    require_folder(root, called, f"name one that holds {' and '.join(layouts[0].values())}")
    for layout in layouts:
        folders = {domain: root / layout[domain] for domain in DOMAINS}
        if all(is_folder(folder) for folder in folders.values()):
            return folders
    raise InputError(f"{called} {root} holds {held_by(root)}: {needed}")
