"""Files that take long to make: once for the same sources, for all processes and runs of the tests.

They are kept in pytest's cache folder under a hash of everything that decides what is in them.
Every process gets a copy of its own, so a test that changes one harms no other.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    *("munit_edge", "engines", "export", "trainer"),
    *("tests/conftest.py", "tests/helpers", "tests/export"),
)
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "safetensors")
OLD_S = 24 * 3600.0
"""Entries of other sources are removed once they are older: another run may be reading them."""


def shared_folder(
    config: pytest.Config, name: str, make: Callable[[Path], object], target: Path
) -> Path:
    """Copy what `make` writes into a new folder to `target`, and return `target`.

    Args:
        config: of pytest.
        name: of the entry; it stands for what `make` does.
        make: called with the path of a folder that does not exist, if no earlier call has
            succeeded for the same sources.
        target: a path where nothing is.
    """
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is None:  # -p no:cacheprovider
        make(target)
        return target
    entries = cache.mkdir("shared_files")
    folder = entries / _key()
    folder.mkdir(exist_ok=True)
    entry = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not entry.exists():
            _remove_old(entries)
            unfinished = folder / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(entry)
    shutil.copytree(entry, target)
    return target


@functools.cache
def _key() -> str:
    digest = hashlib.sha256()
    for package in PACKAGES:
        digest.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    for source in SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(ROOT)}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _remove_old(entries: Path) -> None:
    for folder in entries.iterdir():
        if folder.name != _key() and time.time() - folder.stat().st_mtime > OLD_S:
            shutil.rmtree(folder, ignore_errors=True)
