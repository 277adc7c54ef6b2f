"""The only module that imports PyAV, and its errors in words."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from munit_edge.extras import require


def pyav() -> ModuleType:
    """The package `av`, silent on standard error.

    Raises:
        MissingExtraError: it is not installed.
    """
    av = require("av", "reading and writing video")
    require("av.logging", "reading and writing video").set_level(None)
    return av


def file_name(path: Path) -> str:
    """A path for FFmpeg. Absolute: `take:2.mp4` alone would mean a protocol named `take`."""
    return str(path.absolute())


def reason(error: BaseException) -> str:
    """What went wrong, in FFmpeg's own few words."""
    if isinstance(error, pyav().error.ExitError):
        return "it sent nothing for too long"  # FFmpeg gave up after our timeout
    return str(getattr(error, "strerror", None) or error)
