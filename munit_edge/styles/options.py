"""What a run of `munit-edge styles save` wants, checked before any work."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from munit_edge.errors import ConfigError
from munit_edge.images.io import DEFAULT_MAX_MEGAPIXELS
from munit_edge.model.config import Domain
from munit_edge.settings import StrictModel
from munit_edge.styles.saved import SUFFIX, check_name
from munit_edge.translate.options import DEFAULT_FRAMES


class SaveStyleOptions(StrictModel):
    """Where styles come from, what they are called and where they go."""

    name: str
    """Name of the style; of several, what their names begin with."""
    domain: Domain
    """Whose decoder takes them."""
    seed: int | None = Field(None, ge=0)
    """Seed of the sample, or of `spread`; None: 0 there."""
    index: int | None = Field(None, ge=0)
    """Which sample of the seed, from 0; None: the first."""
    pictures: tuple[Path, ...] = ()
    """Reference pictures, or folders of them; their codes are averaged."""
    spread: int | None = Field(None, ge=1)
    """Number of samples that lie well apart."""
    interpolate: tuple[str, str] | None = None
    """Two styles, each a name, file or seed: the styles from the first to the second."""
    frames: int | None = Field(None, ge=2)
    """How many of them, both ends included; None: 8."""
    size: int | None = Field(None, ge=1)
    """Shorter side in pixels that reference pictures are resized to; None: as they are."""
    max_megapixels: float = Field(DEFAULT_MAX_MEGAPIXELS, gt=0)
    """Larger reference pictures are refused (million pixels)."""
    thumbnail: bool = True
    """Keep the reference pictures with the style, very small."""
    output: Path | None = None
    """One file for all; None: the model's own folder, a file for each."""
    overwrite: bool = False
    """Replace styles that are there already."""

    @property
    def names(self) -> list[str]:
        """Names of the styles, in order: NAME alone, or NAME_00, NAME_01, ..."""
        count = self.spread or (self.num_frames if self.interpolate else None)
        if count is None:
            return [self.name]
        return [f"{self.name}_{index:02d}" for index in range(count)]

    @property
    def num_frames(self) -> int:
        """How many styles an interpolation gives."""
        return self.frames or DEFAULT_FRAMES

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        try:
            return check_name(name)
        except ConfigError as exc:
            raise ValueError(str(exc)) from exc

    @model_validator(mode="after")
    def _check_source(self) -> SaveStyleOptions:
        sources = {
            "--from": bool(self.pictures),
            "--spread": self.spread is not None,
            "--interpolate": self.interpolate is not None,
        }
        given = [option for option, is_given in sources.items() if is_given]
        if not given and self.seed is None:
            raise ValueError(
                "say where the style comes from: --seed, --from, --spread or --interpolate"
            )
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are two sources: leave one out")
        source = given[0] if given else "--seed"
        takes = {
            "--seed": ("seed", "index"),
            "--from": ("size",),
            "--spread": ("seed",),
            "--interpolate": ("frames",),
        }[source]
        for name in ("seed", "index", "size", "frames"):
            if getattr(self, name) is not None and name not in takes:
                raise ValueError(f"--{name} has no effect with {source}: leave it out")
        if not self.thumbnail and not self.pictures:
            raise ValueError(f"--no-thumbnail has no effect with {source}: leave it out")
        return self

    @model_validator(mode="after")
    def _check_output(self) -> SaveStyleOptions:
        if self.output is not None and self.output.suffix != SUFFIX:
            raise ValueError(f"-o is {self.output}: name a file that ends in {SUFFIX}")
        return self
