"""Which styles a command takes, or saves: checked before any work."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from munit_edge.errors import ConfigError
from munit_edge.images.sizes import DEFAULT_MAX_MEGAPIXELS
from munit_edge.model.config import Direction, Domain
from munit_edge.settings import StrictModel
from munit_edge.styles.saved import SUFFIX, check_name

DEFAULT_STYLES = 4
DEFAULT_FRAMES = 8


class SampleOptions(StrictModel):
    """The options of whatever draws random styles and reads images, `evaluate` included."""

    seed: int | None = Field(None, ge=0)
    """Seed of the random styles; None: 0."""
    size: int | None = Field(None, ge=1)
    """Shorter side in pixels that images are resized to; None: they keep their size."""
    max_megapixels: float = Field(DEFAULT_MAX_MEGAPIXELS, gt=0)
    """Images with more pixels, or that `size` would enlarge beyond this, are refused (million
    pixels)."""

    @property
    def used_seed(self) -> int:
        """The seed, whether given or not."""
        return self.seed or 0


class StyleSource(SampleOptions):
    """The options that every choice of styles has."""

    spread: int | None = Field(None, ge=1)
    """Number of random styles that lie well apart."""
    interpolate: tuple[str, str] | None = None
    """Two styles, each a name, file or seed: the styles from the first to the second."""
    frames: int | None = Field(None, ge=2)
    """Number of interpolated styles, both ends included; None: 8."""

    @property
    def num_frames(self) -> int:
        """Number of styles that an interpolation gives."""
        return self.frames or DEFAULT_FRAMES


class StyleOptions(StyleSource):
    """The direction of a translation and its styles; images and video share these options."""

    direction: Direction
    """Which domain is translated to which; the styles are of the second."""
    styles: int | None = Field(None, ge=1)
    """Number of random styles; None: the caller's default."""
    style_images: tuple[Path, ...] = ()
    """Images of the target domain; each gives one style."""
    saved_styles: tuple[str, ...] = ()
    """Saved styles, by name or file; they come after those of `style_images`."""

    @property
    def guided(self) -> bool:
        """Whether the styles come from images or files rather than from the prior."""
        return bool(self.style_images or self.saved_styles or self.interpolate)

    def least_styles(self, default: int) -> int:
        """Number of styles, if every saved file holds one.

        Args:
            default: number of random styles where `styles` does not say.
        """
        if self.interpolate:
            return self.num_frames
        if self.guided:
            return len(self.style_images) + len(self.saved_styles)
        return self.spread or self.styles or default

    @model_validator(mode="after")
    def _check_styles(self) -> StyleOptions:
        names = ("styles", "spread", "seed")
        random = [f"--{name}" for name in names if getattr(self, name) is not None]
        if self.guided and random:
            raise ValueError(
                f"{' and '.join(random)} is for random styles, and --style-image, --style and "
                "--interpolate bring their own: leave one or the other out"
            )
        if self.styles is not None and self.spread is not None:
            raise ValueError("--styles and --spread both set the number of styles: leave one out")
        if self.interpolate and (self.style_images or self.saved_styles):
            raise ValueError(
                "--interpolate names its two styles itself: leave out --style-image and --style"
            )
        if self.frames is not None and not self.interpolate:
            raise ValueError("--frames is for --interpolate: name two styles, or leave it out")
        return self


class SaveStyleOptions(StyleSource):
    """What `munit-edge styles save` saves: where styles come from, their names and their file."""

    name: str
    """Name of the style; several styles have names that begin with it."""
    domain: Domain
    """The domain whose decoder takes them."""
    index: int | None = Field(None, ge=0)
    """Which sample of the seed, from 0; None: the first."""
    images: tuple[Path, ...] = ()
    """Reference images, or folders of them; their codes are averaged."""
    thumbnail: bool = True
    """Keep thumbnails of the reference images with the style."""
    output: Path | None = None
    """One file for all; None: the model's own folder, a file for each."""
    overwrite: bool = False
    """Replace existing styles."""

    @property
    def names(self) -> list[str]:
        """Names of the styles, in order: NAME alone, or NAME_00, NAME_01, ..."""
        count = self.spread or (self.num_frames if self.interpolate else None)
        if count is None:
            return [self.name]
        return [f"{self.name}_{index:02d}" for index in range(count)]

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
            "--from": bool(self.images),
            "--spread": self.spread is not None,
            "--interpolate": self.interpolate is not None,
        }
        given = [option for option, is_given in sources.items() if is_given]
        if not given and self.seed is None:
            raise ValueError(
                "the style has no source: pass --seed, --from, --spread or --interpolate"
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
        if not self.thumbnail and not self.images:
            raise ValueError(f"--no-thumbnail has no effect with {source}: leave it out")
        return self

    @model_validator(mode="after")
    def _check_output(self) -> SaveStyleOptions:
        if self.output is not None and self.output.suffix != SUFFIX:
            raise ValueError(f"-o is {self.output}: name a file that ends in {SUFFIX}")
        return self
