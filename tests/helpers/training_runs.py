"""Tiny training runs: seconds on one core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.config_files import set_key
from munit_edge.trainer.loop import TrainingResult, TrainingRun
from munit_edge.trainer.prepare import prepare_run

TINY: dict[str, Any] = {
    "model": {
        "width": 4,
        "num_downsamples": 1,
        "num_style_downsamples": 2,
        "num_res_blocks": 1,
        "mlp_dim": 8,
        "style_dim": 3,
        "discriminator": {"width": 4, "num_layers": 2, "num_scales": 2},
    },
    "data": {"resize": 20, "crop_height": 16, "crop_width": 16, "workers": 0},
    "loss": {"cycle_weight": 10},
    "batch_size": 2,
    "iterations": 6,
    "average_decay": 0.9,
    "log_interval": 1,
    "image_interval": 6,
    "num_display_images": 2,
    "num_display_styles": 2,
    "checkpoint_interval": 3,
}


def tiny_settings(*overrides: str) -> dict[str, Any]:
    """Settings of a run of 6 iterations, changed as `--set` would."""
    data: dict[str, Any] = yaml.safe_load(yaml.safe_dump(TINY))
    for override in overrides:
        set_key(data, override)
    return data


def tiny_config(*overrides: str) -> TrainConfig:
    return TrainConfig.model_validate(tiny_settings(*overrides))


def write_images(
    folder: Path, count: int = 5, size_hw: tuple[int, int] = (20, 24), seed: int = 0
) -> Path:
    """`count` images of smooth noise."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, *folder.name.encode()])
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize(size_hw[::-1], Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder


def write_data(root: Path, count: int = 5) -> Path:
    """A data folder with trainA and trainB."""
    for name in ("trainA", "trainB"):
        write_images(root / name, count)
    return root


def all_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Everything that a checkpoint remembers."""
    from safetensors.torch import load_file

    return {
        f"{file.name}:{name}": tensor
        for file in sorted(checkpoint.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def assert_same(one: Path, other: Path) -> None:
    """Check that two checkpoints are equal bit for bit."""
    ours, theirs = all_tensors(one), all_tensors(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert any(name.startswith("training") for name in ours)


def write_vgg(path: Path, seed: int = 0) -> Path:
    """Weights of the first two blocks of a VGG-16, with 3 channels in each layer."""
    random = torch.Generator().manual_seed(seed)
    shapes = {"weight": (3, 3, 3, 3), "bias": (3,)}
    tensors = {
        f"features.{place}.{part}": torch.randn(shape, generator=random)
        for place in (0, 2, 5, 7)
        for part, shape in shapes.items()
    }
    torch.save(tensors, path)
    return path


def prepared(
    data: Path, path: Path, *overrides: str, resume: bool = False, device: str = "cpu"
) -> TrainingRun:
    """A tiny run on the images of `data`."""
    config = tiny_config(f"data.root={data}", *overrides)
    return prepare_run(config, path, device=device, resume=resume)


class Recorder:
    """A `Display` that remembers."""

    def __init__(self) -> None:
        self.steps = 0
        self.notes: list[str] = []
        self.messages: list[str] = []

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps += steps
        self.notes.append(note)

    def message(self, text: str) -> None:
        self.messages.append(text)


def train(
    data: Path,
    path: Path,
    *overrides: str,
    resume: bool = False,
    display: Recorder | None = None,
) -> TrainingResult:
    """Train a tiny run to its end."""
    return prepared(data, path, *overrides, resume=resume).train(display or Recorder())
