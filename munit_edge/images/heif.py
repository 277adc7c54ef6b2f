"""HEIC and HEIF pictures, as phones take them: read where pillow-heif is installed."""

from __future__ import annotations

import functools
import importlib

from munit_edge.extras import EXTRAS

HEIF_SUFFIXES = frozenset([".heic", ".heif", ".hif", ".heics", ".heifs"])
PILLOW_FORMAT = "HEIF"
"""What Pillow calls the format."""
EXTRA = f"munit-edge[{EXTRAS['pillow_heif']}]"

# File type boxes of such files: "ftyp", and one of these brands.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def can_read_heif() -> bool:
    """Whether Pillow reads such files; the first call tells Pillow how, where it can be."""
    return _load() is None


def heif_fault() -> str | None:
    """Why an installed pillow-heif cannot be loaded; None: it can, or it is not installed."""
    return _load() or None


@functools.cache
def _load() -> str | None:
    """Tell Pillow how to read such files: None, or why not; "" where nothing is installed."""
    try:
        package = importlib.import_module("pillow_heif")
        package.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    except ModuleNotFoundError as exc:
        return "" if exc.name == "pillow_heif" else str(exc)
    except Exception as exc:  # built for another Pillow or Python, or without its library
        return " ".join(str(exc).split()) or type(exc).__name__
    return None


def is_heif(start: bytes) -> bool:
    """Whether a file that begins with `start` (at least 12 bytes) is one, by its own word."""
    return start[4:8] == b"ftyp" and start[8:12] in _BRANDS
