"""Peak memory of `munit-edge translate --tile` at several sizes, each in a process of its own.

Shows whether memory grows with the image: input and result take 6 bytes per pixel, and the rest
should be the same at every size. 12 and 48 megapixels are whole tiles of 1000 pixels. Without
--model a random model of width 16 is exported.

    python benchmarks/tiling_memory.py --megapixels 12,48
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from processes import MUNIT_EDGE, run_process

RASTER_BYTES = 6
"""Bytes per pixel of input and result together."""


class Measured(NamedTuple):
    """One run."""

    pixels: int
    seconds: float
    peak_bytes: int

    @property
    def rest(self) -> int:
        """Peak memory without the pixels of input and result."""
        return self.peak_bytes - RASTER_BYTES * self.pixels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="model directory; default: random, width 16")
    parser.add_argument("--megapixels", default="12,48", help="sizes, 4:3 (default: 12,48)")
    parser.add_argument("--tile", type=int, default=1000, help="core in pixels (default: 1000)")
    parser.add_argument("--tile-stats", default="thumbnail", choices=("thumbnail", "exact"))
    parser.add_argument(
        "--max-growth", type=float, default=0.05, help="largest growth that passes (default: 0.05)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model or _random_model(Path(scratch))
        runs = [
            _measure(model, float(size), options, Path(scratch))
            for size in options.megapixels.split(",")
        ]
    for run in runs:
        print(
            f"{run.pixels / 1e6:6.1f} megapixels: {run.seconds:7.1f} s, peak "
            f"{run.peak_bytes / 2**20:6.0f} MiB, without the rasters {run.rest / 2**20:6.0f} MiB"
        )
    growth = runs[-1].rest / runs[0].rest - 1
    print(f"growth from the first to the last: {growth:+.1%} (allowed {options.max_growth:.0%})")
    return int(growth > options.max_growth)


def _measure(model: Path, megapixels: float, options: argparse.Namespace, folder: Path) -> Measured:
    image = folder / f"{megapixels:g}.jpg"
    pixels = _draw(image, megapixels)
    done = run_process(
        [
            *MUNIT_EDGE,
            *("translate", model, image, "-o", folder / "out", "--overwrite"),
            *("--direction", "a2b", "--styles", "1", "--device", "cpu"),
            *("--tile", options.tile, "--tile-stats", options.tile_stats),
        ]
    )
    return Measured(pixels, done.seconds, done.peak_bytes)


def _draw(path: Path, megapixels: float) -> int:
    """Draw smooth areas with some noise, like a photo; return the number of pixels."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (height // 60 + 1, width // 60 + 1, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    noise = generator.integers(0, 12, (height, width, 1), dtype=np.uint8)
    Image.fromarray(np.minimum(soft, 243) + noise).save(path, quality=90)
    return int(height * width)


def _random_model(folder: Path) -> Path:
    from munit_edge.export.model_directory import export_model
    from munit_edge.export.options import ExportOptions
    from munit_edge.model.config import ModelConfig
    from munit_edge.trainer.checkpoint import CheckpointInfo, build_generators, save_checkpoint
    from munit_edge.trainer.torch_api import torch

    torch.manual_seed(0)
    config = ModelConfig(width=16)
    checkpoint = folder / "checkpoint"
    generators = build_generators(config)
    save_checkpoint(checkpoint, config, CheckpointInfo(iteration=1), generators=generators)
    export_model(checkpoint, folder / "model", ExportOptions())
    return folder / "model"


if __name__ == "__main__":
    sys.exit(main())
