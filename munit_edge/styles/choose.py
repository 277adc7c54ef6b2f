"""The styles of one run: random samples, taken from images, or saved before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from munit_edge.errors import InputError
from munit_edge.files.paths import exists, is_folder
from munit_edge.images.frame_tally import FrameTally
from munit_edge.images.io import ImageData, Images, read_image
from munit_edge.images.sizes import check_resized, resize_with_alpha
from munit_edge.model.config import Domain, ModelConfig, split_direction
from munit_edge.styles.codes import Styles, sample_styles, spread_styles
from munit_edge.styles.files import NamedStyle, interpolated_named
from munit_edge.styles.options import DEFAULT_STYLES, StyleOptions
from munit_edge.styles.prior import outside_warning
from munit_edge.styles.saved import SavedStyles

Warn = Callable[[str], None]
EncodeStyle = Callable[[Images, Domain], Styles]
"""Images uint8 [N, H, W, C] of a domain -> style codes float32 [N, style_dim]."""


@dataclass(frozen=True)
class StyleSet:
    """Style codes and their labels."""

    codes: Styles
    """float32 [S, style_dim]."""
    labels: tuple[str, ...]
    """S names."""
    references: tuple[ImageData | None, ...]
    """The image that each was taken from; None: it was not taken from one."""


def choose_styles(
    options: StyleOptions,
    config: ModelConfig,
    encode: EncodeStyle,
    saved: SavedStyles,
    warn: Warn,
    *,
    default: int = DEFAULT_STYLES,
) -> StyleSet:
    """The styles that `options` choose; every input gets the same ones.

    Styles of reference images come first, in the order given, then saved styles.

    Args:
        options: the choice.
        config: the model's configuration.
        encode: the model's style encoder, such as `Translator.encode_style`.
        saved: the model's saved styles.
        warn: called with one line for each reference image whose code is far outside the prior,
            or that has more than one frame.
        default: number of random styles where the options do not say.

    Raises:
        MunitEdgeError: a reference image or a saved style cannot be used.
    """
    _, target = split_direction(options.direction)
    if options.interpolate:
        start, end = (saved.read_one(style, target) for style in options.interpolate)
        return _named(interpolated_named("frame", (start, end), options.num_frames))
    if not options.guided:
        return _random(options, config.style_dim, default)
    parts = [
        _from_image(path, options, config.channels(target), lambda x: encode(x, target), warn)
        for path in options.style_images
    ]
    parts += [_named(saved.read(style, target).styles) for style in options.saved_styles]
    return StyleSet(
        np.concatenate([part.codes for part in parts]),
        tuple(label for part in parts for label in part.labels),
        tuple(reference for part in parts for reference in part.references),
    )


def read_one_image(
    path: Path, channels: int, *, size: int | None, max_megapixels: float, option: str
) -> ImageData:
    """Read the one image that an option names.

    Args:
        path: the image file.
        channels: of the domain.
        size: resize the shorter side to this many pixels; None: keep the size.
        max_megapixels: larger images are refused.
        option: the option that named it, for messages.

    Raises:
        InputError: it cannot be used.
    """
    if not exists(path) or is_folder(path):
        what = "is a folder" if exists(path) else "does not exist"
        raise InputError(f"{path} {what}: {option} takes one image")
    image = read_image(path, channels, max_megapixels=max_megapixels)
    return fit_to_size(image, size, max_megapixels, str(path))


def fit_to_size(image: ImageData, size: int | None, max_megapixels: float, name: str) -> ImageData:
    """Resize the shorter side to `size` pixels; None keeps the size.

    Raises:
        InputError: the result would have more pixels than allowed.
    """
    if size is None:
        return image
    height, width = image.pixels.shape[:2]
    check_resized((height, width), size, max_megapixels, name)
    return resize_with_alpha(image, size)


def _random(options: StyleOptions, style_dim: int, default: int) -> StyleSet:
    seed = options.used_seed
    if options.spread is None:
        codes = sample_styles(options.styles or default, style_dim, seed)
    else:
        codes = spread_styles(options.spread, style_dim, seed)
    return _without_images(codes, [f"style {index:02d}" for index in range(len(codes))])


def _from_image(
    path: Path,
    options: StyleOptions,
    channels: int,
    encode: Callable[[Images], Styles],
    warn: Warn,
) -> StyleSet:
    image = read_one_image(
        path,
        channels,
        size=options.size,
        max_megapixels=options.max_megapixels,
        option="--style-image",
    )
    # [H, W, C] -> [1, H, W, C] -> [1, style_dim]
    code = encode(image.pixels[None])
    frames = FrameTally()
    if frames.add(path.name, image.frames):
        warn(frames.notice("taken"))
    warning = outside_warning(code[0], str(path))
    if warning:
        warn(warning)
    return StyleSet(code, (path.name,), (image,))


def _named(styles: Sequence[NamedStyle]) -> StyleSet:
    codes = np.array([style.code for style in styles], np.float32)
    return _without_images(codes, [style.name for style in styles])


def _without_images(codes: Styles, labels: list[str]) -> StyleSet:
    return StyleSet(codes, tuple(labels), (None,) * len(labels))
