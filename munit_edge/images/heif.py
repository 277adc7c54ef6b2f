"""HEIC and HEIF images, as phones take them, read if pillow-heif is installed."""

from __future__ import annotations

import functools
import importlib

from munit_edge.extras import EXTRAS

HEIF_SUFFIXES = frozenset([".heic", ".heif", ".hif", ".heics", ".heifs"])
PILLOW_FORMAT = "HEIF"
"""Pillow's name for the format."""
EXTRA = f"munit-edge[{EXTRAS['pillow_heif']}]"

# Such files begin with a box "ftyp" that has one of these brands.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def can_read_heif() -> bool:
    """Whether Pillow can read such files; the first call registers the reader."""
    return _load() is None


def heif_fault() -> str | None:
    """Why an installed pillow-heif cannot be loaded; None: it can be, or it is not installed."""
    return _load() or None


@functools.cache
def _load() -> str | None:
    """Register the reader with Pillow; return None, or why not ("" if it is not installed)."""
    try:
        package = importlib.import_module("pillow_heif")
        # Only photos: neither depth maps nor gain maps, which are auxiliary images.
        package.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    except ModuleNotFoundError as exc:
        return "" if exc.name == "pillow_heif" else str(exc)
    except Exception as exc:  # built for another Pillow or Python, or its library is missing
        return " ".join(str(exc).split()) or type(exc).__name__
    return None


def is_heif(start: bytes) -> bool:
    """Whether a file that begins with `start` (at least 12 bytes) declares itself as one."""
    return start[4:8] == b"ftyp" and start[8:12] in _BRANDS
