"""The user's cache of engines, as a fact about this machine."""

from __future__ import annotations

import os

from munit_edge.errors import OutputError
from munit_edge.settings import StrictModel


class CacheFacts(StrictModel):
    """The user's cache of TensorRT's engines and OpenVINO's compiled graphs."""

    folder: str
    """Where it is, or will be."""
    num_plans: int = 0
    """Engines in it."""
    num_bytes: int = 0
    """Total size of the engines."""
    fault: str | None = None
    """Why it cannot be used; None when it can."""


def look_at_cache() -> CacheFacts:
    """Where engines are kept, and what is there. Creates nothing."""
    from munit_edge.engines.cache_folder import engines_folder

    try:
        folder = engines_folder()
    except OutputError as exc:
        return CacheFacts(folder="", fault=str(exc))
    try:
        if not folder.exists():
            return CacheFacts(folder=str(folder))
        if folder.stat().st_uid != os.getuid():
            return CacheFacts(folder=str(folder), fault="it belongs to another user")
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return CacheFacts(folder=str(folder), fault="you do not have permission to write to it")
        engines = [path for path in folder.iterdir() if path.suffix in (".plan", ".blob")]
        sizes = [path.stat().st_size for path in engines]
    except OSError as exc:
        return CacheFacts(folder=str(folder), fault=exc.strerror or str(exc))
    return CacheFacts(folder=str(folder), num_plans=len(sizes), num_bytes=sum(sizes))
