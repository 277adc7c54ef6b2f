"""Text files in which the system reports facts and limits, such as those below /proc."""

from __future__ import annotations

from pathlib import Path


def system_text(path: Path) -> str:
    """The text of such a file; "" if it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
