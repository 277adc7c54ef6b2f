"""What a run of `munit-edge evaluate` wants, checked before any work."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from munit_edge.config import DIRECTIONS, Direction, StrictModel

DEFAULT_SIZE = 256
"""Pictures are made at most this large, in pixels, unless a size is named."""


class EvaluateOptions(StrictModel):
    """Which pictures a model is measured on, and how."""

    data: Path
    """Folder that holds testA and testB."""
    directions: tuple[Direction, ...] = Field(DIRECTIONS, min_length=1)
    """Which translations are measured."""
    size: int | None = Field(None, ge=16, le=4096)
    """Height and width of the squares that pictures are cut to, in pixels; None: the shorter side
    of the smallest picture, and 256 at most."""
    count: int = Field(100, ge=10, le=2000)
    """Pictures of each domain, at most."""
    styles: int = Field(5, ge=2, le=100)
    """Random styles for each picture."""
    seed: int = Field(0, ge=0)
    """Of everything random."""
