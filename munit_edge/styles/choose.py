"""The styles of one run: drawn from the prior, taken from pictures, or saved before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from munit_edge.errors import InputError
from munit_edge.files.paths import exists, is_folder
from munit_edge.images.frame_tally import FrameTally
from munit_edge.images.io import Picture, check_resized, read_image, resize_picture
from munit_edge.model.config import Domain, split_direction
from munit_edge.styles.codes import Styles, spread_styles
from munit_edge.styles.files import NamedStyle, interpolated_named
from munit_edge.styles.prior import outside_warning
from munit_edge.translate.options import DEFAULT_FRAMES, TranslateOptions
from munit_edge.translator import Translator

Warn = Callable[[str], None]


@dataclass(frozen=True)
class StyleSet:
    """Style codes and what a person calls them."""

    codes: Styles
    """float32 [S, style_dim]."""
    labels: tuple[str, ...]
    """S names."""
    references: tuple[Picture | None, ...]
    """The picture that each was taken from, where there is one."""


def choose_styles(translator: Translator, options: TranslateOptions, warn: Warn) -> StyleSet:
    """The styles that `options` ask for; every input gets the same ones.

    Reference pictures come first, in the order given, then saved styles.

    Args:
        translator: the model.
        options: what the run wants.
        warn: told, in one line each, of references whose code is far outside the prior, or that
            have more frames than one.

    Raises:
        MunitEdgeError: a reference picture or a saved style cannot be used.
    """
    _, target = split_direction(options.direction)
    if options.interpolate:
        return _interpolated(translator, options.interpolate, target, options.frames)
    if not options.guided:
        return _random(translator, options)
    parts = [
        _from_picture(translator, path, target, options, warn) for path in options.style_images
    ]
    parts += [
        _saved(translator.saved_styles.read(style, target).styles) for style in options.saved_styles
    ]
    return StyleSet(
        np.concatenate([part.codes for part in parts]),
        tuple(label for part in parts for label in part.labels),
        tuple(reference for part in parts for reference in part.references),
    )


def read_picture(
    path: Path, channels: int, *, size: int | None, max_megapixels: float, option: str
) -> Picture:
    """A picture that an option names.

    Args:
        path: the picture.
        channels: of the domain.
        size: resize its shorter side to this many pixels; None: as it is.
        max_megapixels: larger ones are refused.
        option: the option that named it, for messages.

    Raises:
        InputError: it cannot be used.
    """
    if not exists(path) or is_folder(path):
        what = "is a folder" if exists(path) else "does not exist"
        raise InputError(f"{path} {what}: {option} takes one picture")
    picture = read_image(path, channels, max_megapixels=max_megapixels)
    return _fit(picture, size, max_megapixels, str(path))


def fit_to_size(picture: Picture, options: TranslateOptions, name: str) -> Picture:
    """Resize the shorter side as `options.size` says.

    Raises:
        InputError: the result would have more pixels than allowed.
    """
    return _fit(picture, options.size, options.max_megapixels, name)


def _fit(picture: Picture, size: int | None, max_megapixels: float, name: str) -> Picture:
    if size is None:
        return picture
    height, width = picture.pixels.shape[:2]
    check_resized((height, width), size, max_megapixels, name)
    return resize_picture(picture, size)


def _random(translator: Translator, options: TranslateOptions) -> StyleSet:
    seed = options.seed or 0
    if options.spread is None:
        codes = translator.sample_styles(options.num_random_styles, seed)
    else:
        codes = spread_styles(options.spread, translator.config.style_dim, seed)
    return _without_pictures(codes, [f"style {index:02d}" for index in range(len(codes))])


def _interpolated(
    translator: Translator, ends: tuple[str, str], domain: Domain, frames: int | None
) -> StyleSet:
    saved = translator.saved_styles
    start, end = (saved.read_one(style, domain) for style in ends)
    return _saved(interpolated_named("frame", (start, end), frames or DEFAULT_FRAMES))


def _from_picture(
    translator: Translator, path: Path, domain: Domain, options: TranslateOptions, warn: Warn
) -> StyleSet:
    picture = read_picture(
        path,
        translator.config.channels(domain),
        size=options.size,
        max_megapixels=options.max_megapixels,
        option="--style-image",
    )
    code = translator.encode_style(picture.pixels[None], domain)
    frames = FrameTally()
    if frames.add(path.name, picture.frames):
        warn(frames.notice("taken"))
    warning = outside_warning(code[0], str(path))
    if warning:
        warn(warning)
    return StyleSet(code, (path.name,), (picture,))


def _saved(styles: Sequence[NamedStyle]) -> StyleSet:
    codes = np.array([style.code for style in styles], np.float32)
    return _without_pictures(codes, [style.name for style in styles])


def _without_pictures(codes: Styles, labels: list[str]) -> StyleSet:
    return StyleSet(codes, tuple(labels), (None,) * len(labels))
