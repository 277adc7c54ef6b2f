"""The styles of one run: drawn from the prior, taken from pictures, or read from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from munit_edge.config import Direction, split_direction
from munit_edge.errors import InputError
from munit_edge.images import Picture, check_size, read_image, resize_picture
from munit_edge.styles import Styles, read_style_file
from munit_edge.translate_options import TranslateOptions
from munit_edge.translator import Translator


@dataclass(frozen=True)
class StyleSet:
    """Style codes and what a person calls them."""

    codes: Styles
    """float32 [S, style_dim]."""
    labels: tuple[str, ...]
    """S names."""
    references: tuple[Picture | None, ...]
    """The picture that each was taken from, where there is one."""


def choose_styles(translator: Translator, options: TranslateOptions) -> StyleSet:
    """The styles that `options` ask for; every input gets the same ones.

    Reference pictures come first, in the order given, then the codes of the style file.

    Raises:
        MunitEdgeError: a reference picture or the style file cannot be used.
    """
    if not options.guided:
        codes = translator.sample_styles(options.num_random_styles, options.seed or 0)
        return _without_pictures(codes, [f"style {index:02d}" for index in range(len(codes))])
    parts = [_from_picture(translator, path, options) for path in options.style_images]
    if options.style_file is not None:
        parts.append(_from_file(translator, options.style_file, options.direction))
    return StyleSet(
        np.concatenate([part.codes for part in parts]),
        tuple(label for part in parts for label in part.labels),
        tuple(reference for part in parts for reference in part.references),
    )


def fit_to_size(picture: Picture, options: TranslateOptions, name: str) -> Picture:
    """Resize the shorter side as `options.size` says.

    Raises:
        InputError: the result would have more pixels than allowed.
    """
    if options.size is None:
        return picture
    height, width = picture.pixels.shape[:2]
    scale = options.size / min(height, width)
    check_size(round(height * scale), round(width * scale), options.max_megapixels, name)
    return resize_picture(picture, options.size)


def _from_picture(translator: Translator, path: Path, options: TranslateOptions) -> StyleSet:
    if not path.exists() or path.is_dir():
        what = "is a folder" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}: --style-image takes one picture of the target domain")
    _, target = split_direction(options.direction)
    channels = translator.config.channels(target)
    picture = read_image(path, channels, max_megapixels=options.max_megapixels)
    picture = fit_to_size(picture, options, str(path))
    code = translator.encode_style(picture.pixels[None], target)
    return StyleSet(code, (path.name,), (picture,))


def _from_file(translator: Translator, path: Path, direction: Direction) -> StyleSet:
    _, target = split_direction(direction)
    file = read_style_file(
        path,
        model_sha256=translator.model_id,
        domain=target,
        style_dim=translator.config.style_dim,
    )
    return _without_pictures(file.codes, [style.name for style in file.styles])


def _without_pictures(codes: Styles, labels: list[str]) -> StyleSet:
    return StyleSet(codes, tuple(labels), (None,) * len(labels))
