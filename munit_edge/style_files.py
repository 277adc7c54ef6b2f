"""Saved style codes: small JSON files, and the folder `styles` of a model directory.

model/styles/sunset.json     the style that `--style sunset` means
"""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from munit_edge.config import Domain, StrictModel, validate
from munit_edge.errors import ConfigError, InputError, OutputError
from munit_edge.files import atomic_file, output_errors
from munit_edge.manifest import read_manifest
from munit_edge.style_prior import PriorDistance, prior_distance
from munit_edge.styles import Styles, interpolate_styles, sample_styles, spread_styles

STYLES_FOLDER = "styles"
SUFFIX = ".json"
FORMAT_VERSION: Literal[1] = 1
MAX_NAME = 64

_NAME = re.compile(rf"[^\W\d_][\w-]{{0,{MAX_NAME - 1}}}")


class SampledOrigin(StrictModel):
    """A sample of the prior."""

    kind: Literal["sample"] = "sample"
    """Tells the kinds of origin apart."""
    seed: int = Field(ge=0)
    """Seed of `styles.sample_styles`."""
    index: int = Field(0, ge=0)
    """Which of the seed's codes, from 0."""

    def __str__(self) -> str:
        return f"seed {self.seed}, sample {self.index}"


class SpreadOrigin(StrictModel):
    """One of samples that lie well apart."""

    kind: Literal["spread"] = "spread"
    """Tells the kinds of origin apart."""
    seed: int = Field(ge=0)
    """Seed of `styles.spread_styles`."""
    index: int = Field(ge=0)
    """Which of the seed's codes, from 0."""

    def __str__(self) -> str:
        return f"seed {self.seed}, spread {self.index}"


class ReferencePicture(StrictModel):
    """A picture that a style was taken from."""

    file: str
    """Its name, without the folder."""
    sha256: str
    """Hash of the file."""


class PicturesOrigin(StrictModel):
    """The mean of the codes of reference pictures."""

    kind: Literal["pictures"] = "pictures"
    """Tells the kinds of origin apart."""
    pictures: tuple[ReferencePicture, ...] = Field(min_length=1)
    """All of them."""
    size: int | None = Field(None, ge=1)
    """Shorter side in pixels that they were resized to; null: as they are."""

    def __str__(self) -> str:
        shown = ", ".join(picture.file for picture in self.pictures[:3])
        more = ", ..." if len(self.pictures) > 3 else ""
        count = len(self.pictures)
        return f"mean of {count} pictures: {shown}{more}" if count > 1 else shown


class InterpolatedOrigin(StrictModel):
    """A code between two others."""

    kind: Literal["interpolation"] = "interpolation"
    """Tells the kinds of origin apart."""
    start: str
    """What the user called the first end: a name, a file or a seed."""
    end: str
    """And the other."""
    position: float = Field(ge=0, le=1)
    """0: the first end; 1: the other."""
    spherical: bool
    """Which way of `styles.interpolate_styles`."""

    def __str__(self) -> str:
        return f"{self.position:.0%} of the way from {self.start} to {self.end}"


Origin = Annotated[
    SampledOrigin | SpreadOrigin | PicturesOrigin | InterpolatedOrigin, Field(discriminator="kind")
]


class NamedStyle(StrictModel):
    """One style code."""

    name: str
    """What the user calls it."""
    code: tuple[float, ...] = Field(min_length=1)
    """As many numbers as the model's style_dim."""
    origin: Origin | None = None
    """Where it came from; null: not told."""
    prior_distance: PriorDistance | None = None
    """Where it lies in the prior; for people, it follows from the code."""

    @property
    def sampled(self) -> bool:
        """Whether it is a sample of the prior, or on the sphere between two."""
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


def check_name(name: str) -> str:
    """`name` as it is saved: composed Unicode (NFC).

    Raises:
        ConfigError: it cannot be the name of a style.
    """
    composed = _composed(name)
    if not _NAME.fullmatch(composed):
        raise ConfigError(
            f"'{name}' cannot be the name of a style: use letters, digits, - and _, beginning with "
            f"a letter, {MAX_NAME} at most"
        )
    return composed


def read_style_file(
    path: Path, *, model_sha256: str, style_dim: int, domain: Domain | None
) -> StyleFile:
    """Read style codes that were saved for this model.

    Args:
        path: the file.
        model_sha256: the model's identity.
        style_dim: numbers in one of its codes.
        domain: whose decoder will take them; None: either.

    Raises:
        InputError: the file is missing, is not a style file, or belongs to another model or domain.
    """
    file = _load(path)
    if file.model_sha256 != model_sha256:
        raise InputError(
            f"{path} was saved for another model ({file.model_sha256[:12]}..., this one is "
            f"{model_sha256[:12]}...): style codes of one model mean nothing to another; make it "
            "anew from its pictures or seed with `munit-edge styles save`"
        )
    if not file.styles:
        raise InputError(f"{path} holds no style: save one with `munit-edge styles save`")
    wrong = [style.name for style in file.styles if len(style.code) != style_dim]
    if wrong:
        raise InputError(
            f"{path}: every style of this model needs {style_dim} numbers; wrong: "
            f"{', '.join(wrong)}"
        )
    if not np.isfinite(file.codes).all():
        raise InputError(f"{path} holds a number that is not finite: save the style again")
    if domain not in (None, file.domain):
        raise InputError(
            f"{path} holds styles of domain {file.domain} and the target is domain {domain}: take "
            "the other direction, or a style of that domain"
        )
    return file


def write_style_file(path: Path, file: StyleFile) -> None:
    """Write `file` as JSON, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path) as partial:
        partial.write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")


class ListedFile(StrictModel):
    """A file in the folder of saved styles."""

    name: str
    """What `--style` calls it."""
    path: str
    """Where it lies."""
    file: StyleFile | None = None
    """What it holds; null: it cannot be used."""
    unusable: str | None = None
    """Why not."""


@dataclass(frozen=True)
class SavedStyles:
    """The styles of one model: those in its folder `styles`, and files elsewhere."""

    folder: Path
    """Where named styles lie; it need not exist."""
    model_sha256: str
    """The model's identity."""
    style_dim: int
    """Numbers in a code."""

    @classmethod
    def of(cls, model: Path) -> SavedStyles:
        """Those of a model directory; no engine is needed.

        Raises:
            InputError, ModelError: there is no model directory at that path, or it is damaged.
        """
        manifest = read_manifest(model)
        return cls(model / STYLES_FOLDER, manifest.checkpoint_sha256, manifest.model.style_dim)

    def names(self) -> list[str]:
        """Names saved there, sorted; whether the files can be used shows when they are read."""
        files = self.folder.glob(f"*{SUFFIX}") if self.folder.is_dir() else ()
        return sorted(file.stem for file in files if _is_name(file.stem))

    def files(self) -> list[ListedFile]:
        """Every file of the folder, sorted by name, with what it holds or why it is of no use."""
        listed = []
        for name in self.names():
            path = self.folder / f"{name}{SUFFIX}"
            try:
                listed.append(ListedFile(name=name, path=str(path), file=self.read(str(path))))
            except InputError as exc:
                listed.append(ListedFile(name=name, path=str(path), unusable=str(exc)))
        return listed

    def path(self, name: str) -> Path:
        """The file of the style `name`, whether or not it is there.

        Raises:
            ConfigError: `name` cannot be the name of a style.
        """
        return self.folder / f"{check_name(name)}{SUFFIX}"

    def find(self, style: str) -> Path:
        """The file that a user means by `style`.

        Args:
            style: a name, if it can be one; else a path.

        Raises:
            InputError: no style of that name is saved; the message lists those that are.
        """
        if not _is_name(style):
            return Path(style)
        names = self.names()
        for name in names:  # as the folder spells it: copied files may be in decomposed Unicode
            if _composed(name) == _composed(style):
                return self.folder / f"{name}{SUFFIX}"
        known = f"saved there: {', '.join(names)}" if names else "none is saved there"
        raise InputError(
            f"{self.folder} holds no style '{style}' ({known}): `munit-edge styles save` saves "
            "one, and the path of a file needs its folder or suffix"
        )

    def read(self, style: str, domain: Domain | None = None) -> StyleFile:
        """A saved style, by name or path, for `domain` or for either.

        Raises:
            InputError: there is none, it is damaged, or it belongs to another model or domain.
        """
        return read_style_file(
            self.find(style),
            model_sha256=self.model_sha256,
            style_dim=self.style_dim,
            domain=domain,
        )

    def read_one(self, style: str, domain: Domain) -> NamedStyle:
        """One code: a saved style by name or path, or the first sample of a seed such as "7".

        Raises:
            InputError: as `read`, or the file holds several codes.
        """
        if style.isdecimal():
            return sampled_style(f"seed {int(style)}", self.style_dim, int(style))
        styles = self.read(style, domain).styles
        if len(styles) > 1:
            raise InputError(
                f"{style} holds {len(styles)} styles: name a file of one style, a saved name or a "
                "seed"
            )
        return styles[0]

    def write(self, path: Path, domain: Domain, styles: Sequence[NamedStyle]) -> None:
        """Write a file of these styles.

        Raises:
            OutputError: it cannot be written.
        """
        file = StyleFile(model_sha256=self.model_sha256, domain=domain, styles=tuple(styles))
        write_style_file(path, file)

    def delete(self, names: Iterable[str]) -> list[Path]:
        """Delete saved styles, all of them or, when one is missing, none.

        Raises:
            ConfigError: a name cannot be the name of a style.
            InputError: no style of that name is saved.
            OutputError: a file cannot be deleted.
        """
        paths = [self.find(check_name(name)) for name in dict.fromkeys(names)]
        for path in paths:
            with output_errors(path):
                path.unlink()
        return paths


def sampled_style(name: str, style_dim: int, seed: int, index: int = 0) -> NamedStyle:
    """Sample number `index`, from 0, of a seed.

    Raises:
        ConfigError: `seed` or `index` is negative.
    """
    if index < 0:
        raise ConfigError(f"the index is {index}: the first style of a seed has index 0")
    code = sample_styles(index + 1, style_dim, seed)[index]
    return named_style(name, code, SampledOrigin(seed=seed, index=index))


def spread_named(name: str, style_dim: int, count: int, seed: int) -> list[NamedStyle]:
    """The codes of `styles.spread_styles` as NAME_00, NAME_01, ..."""
    codes = spread_styles(count, style_dim, seed)
    return [
        named_style(f"{name}_{index:02d}", code, SpreadOrigin(seed=seed, index=index))
        for index, code in enumerate(codes)
    ]


def interpolated_named(
    name: str, ends: tuple[NamedStyle, NamedStyle], frames: int
) -> list[NamedStyle]:
    """The codes of `styles.interpolate_styles` as NAME_00, NAME_01, ...

    On the sphere between samples of the prior, straight where an end comes from pictures or is not
    known to be a sample.
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


def keep_styles(old: Path, new: Path) -> None:
    """Copy the saved styles of a model directory into the one that will replace it.

    Those of another model, too: they are refused when they are used, but they are the user's.

    Raises:
        OutputError: they cannot be copied.
    """
    if (old / STYLES_FOLDER).is_dir():
        with output_errors(new / STYLES_FOLDER):
            shutil.copytree(old / STYLES_FOLDER, new / STYLES_FOLDER, ignore_dangling_symlinks=True)


def refuse_replacing(paths: Iterable[Path]) -> None:
    """Raise OutputError if one of `paths` is there already."""
    for path in paths:
        if path.exists():
            raise OutputError(f"{path} exists already: take another name or pass --overwrite")


def _load(path: Path) -> StyleFile:
    mend = "save the style again with `munit-edge styles save`"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data.get("format_version", FORMAT_VERSION) if isinstance(data, dict) else None
        if version not in (None, FORMAT_VERSION):
            raise InputError(
                f"{path} has format version {version!r} and this munit-edge reads "
                f"{FORMAT_VERSION}: {mend}, or install the munit-edge that wrote it"
            )
        return validate(StyleFile, data, str(path))
    except FileNotFoundError as exc:
        raise InputError(f"style file {path} does not exist") from exc
    except (ValueError, OSError) as exc:
        raise InputError(f"{path} is not a style file ({exc}): {mend}") from exc
    except ConfigError as exc:
        raise InputError(f"not a style file: {exc}; {mend}") from exc


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(_composed(text)) is not None


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
