"""Reference cases: folders with settings, checkpoints, inputs and the original's outputs.

They lie in the folder named by MUNIT_EDGE_REFERENCE, or in `../shared/reference` beside the
checkout. Every folder in it with a `config.yaml` is a case, whatever it is called.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from munit_edge.trainer.foreign.config import is_imaginaire_yaml, is_munit_yaml

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Case:
    """One folder: a model, inputs, and what the original program made of them."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @cached_property
    def settings(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self.config.read_text(encoding="utf-8")))

    @property
    def is_munit(self) -> bool:
        """Whether the case is of NVlabs/MUNIT."""
        return is_munit_yaml(self.settings)

    @property
    def is_imaginaire(self) -> bool:
        """Whether the case is of NVlabs/imaginaire."""
        return is_imaginaire_yaml(self.settings)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that `io.npz` is from: the earliest, training traces go on from there."""
        return min(self.folder.glob("gen_*.pt" if self.is_munit else "*_checkpoint.pt"))

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "io.npz") as file:
            return dict(file)


def reference_folder() -> Path:
    """Where the reference cases are, if they are there at all."""
    named = os.environ.get("MUNIT_EDGE_REFERENCE")
    return Path(named) if named else CHECKOUT.parent / "shared" / "reference"


def find_cases(folder: Path) -> list[Case]:
    """Every folder in `folder` that has settings, in the order of their names."""
    return [Case(config.parent) for config in sorted(folder.glob("*/config.yaml"))]
