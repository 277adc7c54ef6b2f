"""Shell scripts that stand in for a system's programs."""

from __future__ import annotations

from pathlib import Path


def write_program(path: Path, lines: str) -> None:
    """Write an executable script; /bin/sh is found whatever PATH is."""
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
