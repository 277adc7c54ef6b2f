"""What a run of `munit-edge benchmark` wants, checked before any work."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, model_validator

from munit_edge.errors import ConfigError
from munit_edge.model.config import Direction
from munit_edge.settings import StrictModel
from munit_edge.text import parse_size_hw

SizeHW = tuple[int, int]

DEFAULT_RUNS = 100
DEFAULT_SECONDS = 2.0
DEFAULT_TIMEOUT_S = 600.0
MAX_SIDE = 16_384
"""Largest height or width of a picture that is measured, in pixels."""
MAX_COUNT = 4096
"""Largest batch, and largest number of styles."""


class BenchmarkOptions(StrictModel):
    """Which models are measured, on what, with which pictures, and how long."""

    models: tuple[Path, ...] = Field(min_length=1)
    """Model directories; for torch checkpoints or run folders."""
    reference: Path | None = None
    """fp32 model directory of the same checkpoint; None: the first one among `models`."""
    direction: Direction = "a2b"
    """From which domain to which."""
    sizes: tuple[SizeHW, ...] = Field(((256, 256),), min_length=1)
    """Height and width of the pictures, in pixels."""
    batches: tuple[int, ...] = Field((1,), min_length=1)
    """Pictures in a call."""
    styles: tuple[int, ...] = Field((1,), min_length=1)
    """Styles for each picture."""
    engines: tuple[str, ...] = ()
    """Only these engines; empty: every one that is found."""
    device: str = "all"
    """"cpu", "cuda", "cuda:N", or "all" that are found."""
    tf32: bool = False
    """Let GPUs round float32 to TF32 in convolutions; the CPU is measured without."""
    image: Path | None = None
    """Photo to translate; None: drawn pictures."""
    runs: int = Field(DEFAULT_RUNS, ge=1)
    """Counted calls, at most."""
    seconds: float = Field(DEFAULT_SECONDS, gt=0)
    """Counted calls stop after so many seconds; one call is always counted."""
    timeout_s: float = Field(DEFAULT_TIMEOUT_S, gt=0)
    """After so many seconds one measurement is given up."""

    @model_validator(mode="after")
    def _check(self) -> BenchmarkOptions:
        if not re.fullmatch(r"all|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"--device '{self.device}' is not known: use all, cpu, cuda or cuda:N")
        for option, numbers in (("--batch", self.batches), ("--styles", self.styles)):
            for number in numbers:
                if not 1 <= number <= MAX_COUNT:
                    raise ValueError(f"{option} {number} cannot be measured: use 1 to {MAX_COUNT}")
        for height, width in self.sizes:
            if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
                raise ValueError(
                    f"--sizes {height}x{width} cannot be measured: use 1 to {MAX_SIDE} pixels "
                    "a side"
                )
        return self


def parse_sizes(text: str) -> tuple[SizeHW, ...]:
    """Read "256,480x640": squares, and height x width, in pixels; repeated ones count once.

    Raises:
        ConfigError: there is something else in it.
    """
    sizes = []
    for part in text.split(","):
        size_hw = parse_size_hw(part)
        if size_hw is None:
            raise ConfigError(
                f"--sizes '{text}' cannot be read: name sizes in pixels with commas between them, "
                "such as 256,480x640 (height x width)"
            )
        sizes.append(size_hw)
    return tuple(dict.fromkeys(sizes))


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read "1,4"; repeated numbers count once.

    Raises:
        ConfigError: there is something else in it.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d+", part) for part in parts):
        raise ConfigError(
            f"{option} '{text}' cannot be read: name whole numbers with commas between them, such "
            "as 1,4"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))
