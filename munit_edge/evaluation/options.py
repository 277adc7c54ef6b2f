"""What a run of `munit-edge evaluate` wants, checked before any work."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from munit_edge.evaluation.feature_networks import NetworkFiles
from munit_edge.images.io import DEFAULT_MAX_MEGAPIXELS
from munit_edge.model.config import DIRECTIONS, Direction, split_direction
from munit_edge.settings import StrictModel

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
    networks: NetworkFiles = NetworkFiles()
    """Feature networks, for the numbers that need some."""
    max_megapixels: float = Field(DEFAULT_MAX_MEGAPIXELS, gt=0)
    """Larger pictures are left out before they are decoded, and those that `size` would make larger
    before it does (million pixels)."""
    pairs: int | None = Field(None, ge=1, le=1000)
    """Pairs of translations of each picture for LPIPS; None: 19, as the paper has."""
    samples: int | None = Field(None, ge=2, le=1000)
    """Translations of each picture for IS and CIS; None: 100, as the paper has."""

    @model_validator(mode="after")
    def _check(self) -> EvaluateOptions:
        if self.pairs is not None and not self.networks.lpips:
            raise ValueError("pairs is of LPIPS: name its weights (--lpips), or leave out --pairs")
        classifiers = {"a": self.networks.classifier_a, "b": self.networks.classifier_b}
        targets = {split_direction(direction)[1] for direction in self.directions}
        if self.samples is not None and not any(classifiers[d] for d in targets):
            raise ValueError(
                "samples is of IS and CIS: name a classifier of the translations' domain "
                "(--classifier-a, --classifier-b), or leave out --samples"
            )
        for domain, path in classifiers.items():
            if path is not None and domain not in targets:
                raise ValueError(
                    f"--classifier-{domain} is of translations to {domain}, which --direction "
                    "leaves out: leave out one of the two"
                )
        return self
