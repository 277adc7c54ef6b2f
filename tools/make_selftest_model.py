"""Make munit_edge/selftest_model: the tiny model of `munit-edge doctor --selftest`.

    python tools/make_selftest_model.py

Random weights, seeded; the graphs come from our own exporter and the expected outputs from torch on
the CPU. Run it again when the manifest's format or the networks change, and commit the result.
"""

from __future__ import annotations

import shutil
import sys

import numpy as np
import torch

from munit_edge.config import ModelConfig
from munit_edge.engines.factory import open_graphs
from munit_edge.export.model_directory import export_model
from munit_edge.export.options import ExportOptions
from munit_edge.export.parity import Case, test_images
from munit_edge.selftest import (
    CHECKPOINT_FOLDER,
    EXPECTED_FILE,
    FOLDER,
    GRAPHS_FOLDER,
    Expected,
    compute,
)
from munit_edge.styles import sample_styles
from munit_edge.trainer.checkpoint import CheckpointInfo, build_generators, save_checkpoint

CONFIG = ModelConfig(
    width=2, num_style_downsamples=3, num_res_blocks=1, num_mlp_layers=2, mlp_dim=8, style_dim=4
)
IMAGE_HW = (22, 33)  # no multiple of 4: the translation has to pad and to crop
MAX_BYTES = 200_000


def main() -> int:
    torch.manual_seed(0)
    generators = build_generators(CONFIG)
    with torch.no_grad():
        for parameter in generators.parameters():
            if parameter.ndim == 1:  # a bias or scale that does nothing would hide a fault
                parameter.add_(0.1 * torch.randn_like(parameter))
    shutil.rmtree(FOLDER, ignore_errors=True)
    info = CheckpointInfo(iteration=1)
    save_checkpoint(FOLDER / CHECKPOINT_FOLDER, CONFIG, info, generators=generators)
    export_model(
        FOLDER / CHECKPOINT_FOLDER, FOLDER / GRAPHS_FOLDER, ExportOptions(stats_graphs=False)
    )

    image_a, image_b = (test_images(Case(1, IMAGE_HW), 3, seed) for seed in (0, 1))
    given: Expected = {
        "image_a": image_a,
        "image_b": image_b,
        "style": sample_styles(1, CONFIG.style_dim),
    }
    with open_graphs(FOLDER / CHECKPOINT_FOLDER, "torch", "cpu") as graphs:
        expected: Expected = {**given, **compute(graphs, given)}
    np.savez_compressed(FOLDER / EXPECTED_FILE, allow_pickle=False, **expected)

    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"wrote {FOLDER}: {size} bytes")
    return 0 if size <= MAX_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
