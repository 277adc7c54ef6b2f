"""The styles that `munit-edge styles save` saves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from munit_edge.files.atomic import sha256
from munit_edge.files.names import stored_name
from munit_edge.images.folders import ImageFile, find_images
from munit_edge.images.io import ImageData
from munit_edge.model.config import ModelConfig
from munit_edge.styles.choose import EncodeStyle, Warn, read_one_image
from munit_edge.styles.files import (
    ImagesOrigin,
    NamedStyle,
    ReferenceImage,
    interpolated_named,
    named_style,
    sampled_style,
    spread_named,
)
from munit_edge.styles.options import SaveStyleOptions
from munit_edge.styles.prior import outside_warning
from munit_edge.styles.saved import SavedStyles
from munit_edge.styles.thumbnails import MAX_IMAGES, pack_thumbnail

Follow = Callable[[Sequence[ImageFile]], Iterable[ImageFile]]


def make_styles(
    options: SaveStyleOptions,
    config: ModelConfig,
    open_encoder: Callable[[], AbstractContextManager[EncodeStyle]],
    saved: SavedStyles,
    warn: Warn,
    follow: Follow = iter,
) -> list[NamedStyle]:
    """The styles that `options` choose, named `options.names`.

    Args:
        options: where they come from.
        config: the model's configuration.
        open_encoder: opens the model's style encoder; called only for reference images.
        saved: the model's saved styles.
        warn: called with one line for each reference image whose code is far outside the prior.
        follow: iterates over the reference images, and may show the progress.

    Raises:
        MunitEdgeError: an image, or a style to interpolate, cannot be used.
    """
    name, style_dim = options.name, config.style_dim
    if options.spread:
        return spread_named(name, style_dim, options.spread, options.used_seed)
    if options.interpolate:
        start, end = (saved.read_one(style, options.domain) for style in options.interpolate)
        return interpolated_named(name, (start, end), options.num_frames)
    if options.images:
        with open_encoder() as encode:
            files = find_images(options.images, recursive=False, exclude=None)
            return [_from_images(options, config, encode, follow(files), warn)]
    return [sampled_style(name, style_dim, options.used_seed, options.index or 0)]


def _from_images(
    options: SaveStyleOptions,
    config: ModelConfig,
    encode: EncodeStyle,
    files: Iterable[ImageFile],
    warn: Warn,
) -> NamedStyle:
    """The mean of the images' codes."""
    codes, references = [], []
    shown: list[ImageData] = []
    for file in files:
        image = read_one_image(
            file.path,
            config.channels(options.domain),
            size=options.size,
            max_megapixels=options.max_megapixels,
            option="--from",
        )
        code = encode(image.pixels[None], options.domain)[0]
        warning = outside_warning(code, str(file.path))
        if warning:
            warn(warning)
        codes.append(code)
        name = stored_name(file.path.name)
        references.append(ReferenceImage(file=name, sha256=sha256(file.path)))
        if len(shown) < MAX_IMAGES:
            shown.append(image)
    origin = ImagesOrigin(
        pictures=tuple(references),
        size=options.size,
        thumbnail=pack_thumbnail(shown) if options.thumbnail else None,
    )
    # Averaged in float64, so that the sum of many images loses no digits.
    mean = np.asarray(np.mean(codes, axis=0, dtype=np.float64), np.float32)
    return named_style(options.name, mean, origin)
