"""Options of `munit-edge benchmark`, checked before any work."""

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
"""Largest height or width of an image, in pixels."""
MAX_COUNT = 4096
"""Largest batch size and largest number of styles."""


class BenchmarkOptions(StrictModel):
    """Which models are measured, on which engines, with which images, and how long."""

    models: tuple[Path, ...] = Field(min_length=1)
    """Model directories, or checkpoints and run folders for torch."""
    reference: Path | None = None
    """fp32 model directory of the same checkpoint; None: the first one among `models`."""
    direction: Direction = "a2b"
    """Source and target domain."""
    sizes: tuple[SizeHW, ...] = Field(((256, 256),), min_length=1)
    """Heights and widths of the images, in pixels."""
    batches: tuple[int, ...] = Field((1,), min_length=1)
    """Images per call."""
    styles: tuple[int, ...] = Field((1,), min_length=1)
    """Styles for each image."""
    engines: tuple[str, ...] = ()
    """Only these engines; empty: all that are found."""
    device: str = "all"
    """"cpu", "cuda", "cuda:N", in OpenVINO "gpu", "gpu:N" or "npu", or "all" that are found."""
    tf32: bool = False
    """Let GPUs round float32 to TF32 in convolutions; no effect on the CPU."""
    cpu_precision: str | None = None
    """Also measure fp32 models on a CPU in this type, where engines can; see `Translator.open`."""
    image: Path | None = None
    """Photo to translate; None: generated images."""
    runs: int = Field(DEFAULT_RUNS, ge=1)
    """Largest number of measured calls."""
    seconds: float = Field(DEFAULT_SECONDS, gt=0)
    """Time limit for the measured calls, in seconds; one call is always measured."""
    timeout_s: float = Field(DEFAULT_TIMEOUT_S, gt=0)
    """Time limit for one measurement with its process, in seconds."""

    @model_validator(mode="after")
    def _check(self) -> BenchmarkOptions:
        if not re.fullmatch(r"all|cpu|npu|(cuda|gpu)(:\d+)?", self.device):
            raise ValueError(
                f"--device '{self.device}' is not known: use all, cpu, cuda, cuda:N, or in "
                "OpenVINO gpu, gpu:N or npu"
            )
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
    """Parse "256,480x640": squares, and height x width, in pixels; duplicates count once.

    Raises:
        ConfigError: it has another form.
    """
    sizes = []
    for part in text.split(","):
        size_hw = parse_size_hw(part)
        if size_hw is None:
            raise ConfigError(
                f"--sizes '{text}' cannot be read: give sizes in pixels separated by commas, "
                "such as 256,480x640 (height x width)"
            )
        sizes.append(size_hw)
    return tuple(dict.fromkeys(sizes))


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Parse "1,4"; duplicates count once.

    Raises:
        ConfigError: it has another form.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d+", part) for part in parts):
        raise ConfigError(
            f"{option} '{text}' cannot be read: give whole numbers separated by commas, such as 1,4"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))
