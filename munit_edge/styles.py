"""Style codes: drawn from the prior, or kept in small JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from munit_edge.config import Domain, ModelConfig, StrictModel, validate
from munit_edge.errors import ConfigError, InputError
from munit_edge.files import atomic_file

Styles = NDArray[np.float32]


class NamedStyle(StrictModel):
    """One style code."""

    name: str
    """What the user calls it."""
    code: tuple[float, ...]
    """As many numbers as the model's style_dim."""


class StyleFile(StrictModel):
    """Style codes of one domain of one model."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    model_sha256: str
    """The model's identity: its manifest's `checkpoint_sha256`."""
    domain: Domain
    """The domain whose decoder takes the codes."""
    styles: tuple[NamedStyle, ...]
    """At least one."""

    @property
    def codes(self) -> Styles:
        """All codes, float32 [S, style_dim]."""
        return np.array([style.code for style in self.styles], dtype=np.float32)


def sample_styles(count: int, style_dim: int, seed: int = 0) -> Styles:
    """Random style codes, float32 [count, style_dim] from N(0, 1).

    NumPy's PCG64 draws them, so a seed gives the same numbers on every backend; the first codes of
    a longer draw are those of a shorter one.

    Raises:
        ConfigError: `count` is below 1 or `seed` is negative.
    """
    if count < 1:
        raise ConfigError(f"the number of styles is {count}: it must be at least 1")
    if seed < 0:
        raise ConfigError(f"the seed is {seed}: it must not be negative")
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.standard_normal((count, style_dim), dtype=np.float32)


def read_style_file(path: Path, *, model_sha256: str, domain: Domain, style_dim: int) -> StyleFile:
    """Read style codes that were saved for this model.

    Raises:
        InputError: the file is missing, is not a style file, or belongs to another model or domain.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        file = validate(StyleFile, data, str(path))
    except FileNotFoundError as exc:
        raise InputError(f"style file {path} does not exist") from exc
    except (ValueError, OSError) as exc:
        raise InputError(f"{path} is not a style file: {exc}") from exc
    except ConfigError as exc:
        raise InputError(f"not a style file: {exc}") from exc
    if file.model_sha256 != model_sha256:
        raise InputError(
            f"{path} was saved for another model ({file.model_sha256[:12]}..., this one is "
            f"{model_sha256[:12]}...): style codes of one model mean nothing to another"
        )
    if file.domain != domain:
        raise InputError(
            f"{path} holds styles of domain {file.domain} and the target is domain {domain}"
        )
    wrong = [style.name for style in file.styles if len(style.code) != style_dim]
    if wrong or not file.styles:
        raise InputError(
            f"{path}: every style needs {style_dim} numbers and there must be at least one style; "
            f"wrong: {', '.join(wrong) or 'it holds none'}"
        )
    return file


def write_style_file(path: Path, file: StyleFile) -> None:
    """Write `file` as JSON, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path) as partial:
        partial.write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")


def check_styles(styles: Styles, config: ModelConfig) -> Styles:
    """`styles` as float32 [S, style_dim].

    Raises:
        InputError: the shape is another, or a number is not finite.
    """
    codes = np.asarray(styles, dtype=np.float32)
    if codes.ndim != 2 or codes.shape[1] != config.style_dim or not len(codes):
        raise InputError(
            f"style codes have shape {codes.shape}: this model takes [styles, {config.style_dim}]"
        )
    if not np.isfinite(codes).all():
        raise InputError("a style code holds a number that is not finite")
    return codes
