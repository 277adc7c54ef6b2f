"""The one door to PyAV, and what its errors mean to a user."""

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
    """A path as FFmpeg takes it: `take:2.mp4` alone would name a protocol called `take`."""
    return str(path.absolute())


def reason(error: BaseException) -> str:
    """What went wrong, in the few words that FFmpeg has for it."""
    if isinstance(error, pyav().error.ExitError):
        return "nothing came for too long"  # FFmpeg was told to give up
    return str(getattr(error, "strerror", None) or error)
