"""Style codes with a name and an origin, and the small JSON files that keep them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from munit_edge.errors import ConfigError, InputError
from munit_edge.files.atomic import atomic_file
from munit_edge.files.plain_data import cut, read_json, shown
from munit_edge.model.config import Domain
from munit_edge.settings import StrictModel, validate
from munit_edge.styles.codes import Styles, interpolate_styles, sample_styles, spread_styles
from munit_edge.styles.prior import PriorDistance, prior_distance

FORMAT_VERSION: Literal[1] = 1


class SampledOrigin(StrictModel):
    """A sample of the prior."""

    kind: Literal["sample"] = "sample"
    """Discriminates the kinds of origin."""
    seed: int = Field(ge=0)
    """Seed of `styles.codes.sample_styles`."""
    index: int = Field(0, ge=0)
    """Which of the seed's codes, from 0."""

    def __str__(self) -> str:
        return f"seed {self.seed}, sample {self.index}"


class SpreadOrigin(StrictModel):
    """One of several samples that lie well apart."""

    kind: Literal["spread"] = "spread"
    """Discriminates the kinds of origin."""
    seed: int = Field(ge=0)
    """Seed of `styles.codes.spread_styles`."""
    index: int = Field(ge=0)
    """Which of the seed's codes, from 0."""

    def __str__(self) -> str:
        return f"seed {self.seed}, spread {self.index}"


class ReferenceImage(StrictModel):
    """An image that a style was taken from."""

    file: str
    """Its name, without the folder."""
    sha256: str
    """Hash of the file."""


class ImagesOrigin(StrictModel):
    """The mean of the codes of reference images."""

    kind: Literal["pictures"] = "pictures"
    """Discriminates the kinds of origin."""
    pictures: tuple[ReferenceImage, ...] = Field(min_length=1)
    """All reference images."""
    size: int | None = Field(None, ge=1)
    """Shorter side in pixels that they were resized to; null: they kept their size."""
    thumbnail: str | None = Field(None, max_length=8192)
    """Thumbnails of the first of them, for lists: a JPEG file in base64; null: not kept."""

    def __str__(self) -> str:
        shown = ", ".join(image.file for image in self.pictures[:3])
        more = ", ..." if len(self.pictures) > 3 else ""
        count = len(self.pictures)
        return f"mean of {count} images: {shown}{more}" if count > 1 else shown


class InterpolatedOrigin(StrictModel):
    """A code between two others."""

    kind: Literal["interpolation"] = "interpolation"
    """Discriminates the kinds of origin."""
    start: str
    """The first end: a name, a file or a seed."""
    end: str
    """The other end."""
    position: float = Field(ge=0, le=1)
    """0: the first end; 1: the other."""
    spherical: bool
    """The path of `styles.codes.interpolate_styles`."""

    def __str__(self) -> str:
        return f"{self.position:.0%} of the way from {self.start} to {self.end}"


Origin = Annotated[
    SampledOrigin | SpreadOrigin | ImagesOrigin | InterpolatedOrigin, Field(discriminator="kind")
]


class NamedStyle(StrictModel):
    """One style code."""

    name: str
    """Its name."""
    code: tuple[float, ...] = Field(min_length=1)
    """style_dim numbers."""
    origin: Origin | None = None
    """Where it came from; null: unknown."""
    prior_distance: PriorDistance | None = None
    """Where it lies in the prior; informative only, since it follows from the code."""

    @property
    def sampled(self) -> bool:
        """Whether it is a sample of the prior, or interpolated spherically between two."""
        if isinstance(self.origin, InterpolatedOrigin):
            return self.origin.spherical
        return isinstance(self.origin, (SampledOrigin, SpreadOrigin))


class StyleFile(StrictModel):
    """Style codes of one domain of one model."""

    format_version: Literal[1] = FORMAT_VERSION
    """Version of this layout."""
    model_sha256: str
    """The model's identity: its manifest's `checkpoint_sha256`."""
    domain: Domain
    """The domain whose decoder takes the codes."""
    styles: tuple[NamedStyle, ...]
    """The codes, in order; at least one."""

    @property
    def codes(self) -> Styles:
        """All codes, float32 [S, style_dim]."""
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused as such
            return np.array([style.code for style in self.styles], dtype=np.float32)


def named_style(name: str, code: Styles, origin: Origin | None = None) -> NamedStyle:
    """A code [style_dim] with its name, origin and distance from the prior.

    Raises:
        InputError: a number is not finite.
    """
    distance = prior_distance(code)
    numbers = tuple(map(float, code))
    return NamedStyle(name=name, code=numbers, origin=origin, prior_distance=distance)


def read_style_file(
    path: Path, *, model_sha256: str, style_dim: int, domain: Domain | None
) -> StyleFile:
    """Read style codes that were saved for this model.

    Args:
        path: the file.
        model_sha256: the model's identity.
        style_dim: numbers in one of its codes.
        domain: the domain whose decoder will take them; None: either.

    Raises:
        InputError: the file is missing, is not a style file, or belongs to another model or domain.
    """
    file = _load(path)
    if file.model_sha256 != model_sha256:
        raise InputError(
            f"{path} was saved for another model ({file.model_sha256[:12]}..., this one is "
            f"{model_sha256[:12]}...): style codes fit one model only. Make it "
            "again from its images or seed with `munit-edge styles save`"
        )
    if not file.styles:
        raise InputError(f"{path} holds no style: save one with `munit-edge styles save`")
    wrong = [style.name for style in file.styles if len(style.code) != style_dim]
    if wrong:
        raise InputError(
            f"{path}: every style of this model needs {style_dim} numbers; wrong: "
            f"{cut(', '.join(wrong))}"
        )
    if not np.isfinite(file.codes).all():
        raise InputError(f"{path} holds a number that is not finite: save the style again")
    if domain not in (None, file.domain):
        raise InputError(
            f"{path} holds styles of domain {file.domain} and the target is domain {domain}: take "
            "the other direction, or a style of that domain"
        )
    return file


def write_style_file(path: Path, file: StyleFile, *, replace: bool = False) -> None:
    """Write `file` as JSON, completely or not at all.

    Raises:
        OutputError: it cannot be written, or exists and `replace` is false.
    """
    with atomic_file(path, replace=replace) as partial:
        partial.write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")


def sampled_style(name: str, style_dim: int, seed: int, index: int = 0) -> NamedStyle:
    """Sample number `index` of a seed, counted from 0.

    Raises:
        ConfigError: `seed` or `index` is negative.
    """
    if index < 0:
        raise ConfigError(f"the index is {index}: the first style of a seed has index 0")
    code = sample_styles(index + 1, style_dim, seed)[index]
    return named_style(name, code, SampledOrigin(seed=seed, index=index))


def spread_named(name: str, style_dim: int, count: int, seed: int) -> list[NamedStyle]:
    """The codes of `styles.codes.spread_styles` as NAME_00, NAME_01, ..."""
    codes = spread_styles(count, style_dim, seed)
    return [
        named_style(f"{name}_{index:02d}", code, SpreadOrigin(seed=seed, index=index))
        for index, code in enumerate(codes)
    ]


def interpolated_named(
    name: str, ends: tuple[NamedStyle, NamedStyle], frames: int
) -> list[NamedStyle]:
    """The codes of `styles.codes.interpolate_styles` as NAME_00, NAME_01, ...

    Spherical between samples of the prior; straight if an end comes from images or is not known to
    be a sample.
    """
    start, end = ends
    spherical = start.sampled and end.sampled
    first, last = (np.array(style.code, np.float32) for style in ends)
    codes = interpolate_styles(first, last, frames, spherical=spherical)
    origins = (
        InterpolatedOrigin(
            start=start.name, end=end.name, position=index / (frames - 1), spherical=spherical
        )
        for index in range(frames)
    )
    return [
        named_style(f"{name}_{index:02d}", code, origin)
        for index, (code, origin) in enumerate(zip(codes, origins, strict=True))
    ]


def _load(path: Path) -> StyleFile:
    fix = "save the style again with `munit-edge styles save`"
    try:
        data = read_json(path)
    except ConfigError as exc:
        if isinstance(exc.__cause__, FileNotFoundError):
            raise InputError(f"style file {path} does not exist") from exc
        raise InputError(f"not a style file: {exc}; {fix}") from exc
    # First: a later version may have keys that `validate` would call unknown.
    version = data.get("format_version", FORMAT_VERSION) if isinstance(data, dict) else None
    if version not in (None, FORMAT_VERSION):
        raise InputError(
            f"{path} has format version {shown(version)} and this munit-edge reads "
            f"{FORMAT_VERSION}: {fix}, or install the munit-edge that wrote it"
        )
    try:
        return validate(StyleFile, data, str(path))
    except ConfigError as exc:
        raise InputError(f"not a style file: {exc}; {fix}") from exc
