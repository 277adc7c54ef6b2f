"""Options of `munit-edge evaluate`, checked before any work."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from munit_edge.evaluation.feature_networks import NetworkFiles
from munit_edge.images.sizes import DEFAULT_MAX_MEGAPIXELS
from munit_edge.model.config import DIRECTIONS, Direction, split_direction
from munit_edge.settings import StrictModel

DEFAULT_SIZE = 256
"""Largest size of images in pixels, unless a size is given."""


class EvaluateOptions(StrictModel):
    """The images that a model is measured on, and the measures."""

    data: Path
    """Folder with testA and testB."""
    directions: tuple[Direction, ...] = Field(DIRECTIONS, min_length=1)
    """Directions to measure."""
    size: int | None = Field(None, ge=16, le=4096)
    """Height and width of the squares that images are cropped to, in pixels; None: the shorter side
    of the smallest image, at most 256."""
    count: int = Field(100, ge=10, le=2000)
    """Largest number of images of each domain."""
    styles: int = Field(5, ge=2, le=100)
    """Random styles for each image."""
    seed: int = Field(0, ge=0)
    """For all random numbers."""
    networks: NetworkFiles = NetworkFiles()
    """Files of feature networks, for the measures that need them."""
    max_megapixels: float = Field(DEFAULT_MAX_MEGAPIXELS, gt=0)
    """Images with more pixels, or that `size` would enlarge beyond this, are skipped (million
    pixels)."""
    pairs: int | None = Field(None, ge=1, le=1000)
    """Pairs of translations of each image for LPIPS; None: 19, as in the paper."""
    samples: int | None = Field(None, ge=2, le=1000)
    """Translations of each image for IS and CIS; None: 100, as in the paper."""

    @model_validator(mode="after")
    def _check(self) -> EvaluateOptions:
        if self.pairs is not None and not self.networks.lpips:
            raise ValueError(
                "--pairs is for LPIPS: name its weights (--lpips), or leave out --pairs"
            )
        classifiers = {"a": self.networks.classifier_a, "b": self.networks.classifier_b}
        targets = {split_direction(direction)[1] for direction in self.directions}
        if self.samples is not None and not any(classifiers[d] for d in targets):
            raise ValueError(
                "--samples is for IS and CIS: name a classifier for the translations' domain "
                "(--classifier-a, --classifier-b), or leave out --samples"
            )
        for domain, path in classifiers.items():
            if path is not None and domain not in targets:
                raise ValueError(
                    f"--classifier-{domain} is for translations to {domain}, which --direction "
                    "leaves out: leave out one of the two"
                )
        return self
