"""Styles to be saved, and the sheet that shows saved ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from munit_edge.files.atomic import sha256
from munit_edge.files.names import stored_name
from munit_edge.images.contact_sheet import cell_size, gallery, thumbnail
from munit_edge.images.folders import ImageFile, find_images
from munit_edge.images.io import Images, Picture
from munit_edge.model.config import DOMAINS, Domain
from munit_edge.styles.choose import Warn, read_picture
from munit_edge.styles.files import (
    NamedStyle,
    PicturesOrigin,
    ReferencePicture,
    interpolated_named,
    named_style,
    sampled_style,
    spread_named,
)
from munit_edge.styles.options import SaveStyleOptions
from munit_edge.styles.prior import outside_warning
from munit_edge.styles.saved import SavedStyles
from munit_edge.styles.thumbnails import (
    MAX_PICTURES,
    SIDE,
    draw_code,
    pack_thumbnail,
    unpack_thumbnail,
)
from munit_edge.translator import Translator

Follow = Callable[[Sequence[ImageFile]], Iterable[ImageFile]]

SHEET_COLUMNS = 6
"""Pictures in a row of a sheet of translations."""
REFERENCE_COLUMNS = 8
"""Thumbnails in a row of a sheet of references."""


def make_styles(
    options: SaveStyleOptions,
    saved: SavedStyles,
    open_model: Callable[[], AbstractContextManager[Translator]],
    warn: Warn,
    follow: Follow = iter,
) -> list[NamedStyle]:
    """The styles that `options` ask for, named `options.names`.

    Args:
        options: where they come from.
        saved: the model's saved styles.
        open_model: opens the model; called only for reference pictures.
        warn: told, in one line each, of references whose code is far outside the prior.
        follow: goes through the reference pictures one by one, and may show how far it is.

    Raises:
        MunitEdgeError: a picture, or a style to interpolate, cannot be used.
    """
    name, style_dim = options.name, saved.style_dim
    if options.spread:
        return spread_named(name, style_dim, options.spread, options.seed or 0)
    if options.interpolate:
        start, end = (saved.read_one(style, options.domain) for style in options.interpolate)
        return interpolated_named(name, (start, end), options.num_frames)
    if options.pictures:
        with open_model() as translator:
            files = find_images(options.pictures, recursive=False, exclude=None)
            return [_from_pictures(translator, options, follow(files), warn)]
    return [sampled_style(name, style_dim, options.seed or 0, options.index or 0)]


def style_sheet(
    translator: Translator,
    styles: Sequence[NamedStyle],
    domain: Domain,
    picture: Picture,
    label: str,
    on_style: Callable[[str], None] = lambda name: None,
) -> Images:
    """A picture, and beside it what every style makes of it, each with its name below.

    Args:
        translator: the model.
        styles: of `domain`, at least one.
        domain: whose styles they are.
        picture: of the other domain.
        label: what stands below the picture.
        on_style: called with each style's name when it is done.

    Returns:
        uint8 [H, W, 3], six pictures in a row.
    """
    source = DOMAINS[1 - DOMAINS.index(domain)]
    cell = cell_size(SHEET_COLUMNS, max(picture.pixels.shape[:2]))
    content = translator.encode_content(picture.pixels[None], source)
    items = [(label, thumbnail(picture, cell))]
    for style in styles:  # one after the other: only thumbnails are kept
        code = np.array([style.code], np.float32)
        result = translator.decode(content, code, domain)[0, 0]
        items.append((style.name, thumbnail(Picture(result), cell)))
        on_style(style.name)
    return gallery(items, SHEET_COLUMNS, cell)


def reference_sheet(styles: Sequence[NamedStyle]) -> Images:
    """Every style's reference pictures, or its numbers as bars, with its name below.

    Args:
        styles: at least one.

    Returns:
        uint8 [H, W, 3], eight thumbnails in a row.
    """
    items = [(style.name, _thumbnail(style)) for style in styles]
    return gallery(items, REFERENCE_COLUMNS, SIDE)


def _thumbnail(style: NamedStyle) -> Images:
    packed = style.origin.thumbnail if isinstance(style.origin, PicturesOrigin) else None
    kept = unpack_thumbnail(packed) if packed else None
    if kept is None:
        return draw_code(np.array(style.code, np.float32))
    return thumbnail(Picture(kept), SIDE)


def _from_pictures(
    translator: Translator, options: SaveStyleOptions, files: Iterable[ImageFile], warn: Warn
) -> NamedStyle:
    """The mean of the pictures' codes."""
    codes, pictures = [], []
    shown: list[Picture] = []
    for file in files:
        reference = read_picture(
            file.path,
            translator.config.channels(options.domain),
            size=options.size,
            max_megapixels=options.max_megapixels,
            option="--from",
        )
        code = translator.encode_style(reference.pixels[None], options.domain)[0]
        warning = outside_warning(code, str(file.path))
        if warning:
            warn(warning)
        codes.append(code)
        name = stored_name(file.path.name)
        pictures.append(ReferencePicture(file=name, sha256=sha256(file.path)))
        if len(shown) < MAX_PICTURES:
            shown.append(reference)
    origin = PicturesOrigin(
        pictures=tuple(pictures),
        size=options.size,
        thumbnail=pack_thumbnail(shown) if options.thumbnail else None,
    )
    mean = np.asarray(np.mean(codes, axis=0, dtype=np.float64), np.float32)
    return named_style(options.name, mean, origin)
