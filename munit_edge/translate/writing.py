"""The last stage of a run: a result becomes a file, and a thumbnail for a contact sheet."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass, field, replace

from munit_edge.errors import InputError, OutputError
from munit_edge.files.names import storable
from munit_edge.images.contact_sheet import thumbnail
from munit_edge.images.io import ImageData, Images, read_image, write_image
from munit_edge.translate.batches import Result
from munit_edge.translate.options import TranslateOptions
from munit_edge.translate.reading import InputFacts

_OWN_ERRORS = frozenset(
    [
        *(errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ),  # unsupported names
        *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP),  # in the way
    ]
)
"""Error numbers that concern a single result; a full disk is not among them."""


@dataclass(frozen=True)
class WrittenResult:
    """What remains of a result when it is on the disk."""

    facts: InputFacts
    index: int
    seconds: float
    cell: int | None
    thumbnails: list[Images] = field(default_factory=list)
    transparent: bool = False


def write_result(result: Result, options: TranslateOptions) -> WrittenResult:
    """Write a result; several threads call it at once.

    Raises:
        OutputError: it cannot be written, and the run does not continue without it.
    """
    started = time.perf_counter()
    path = result.facts.planned.outputs[result.index]
    image = result.image
    try:
        if image is not None:
            write_image(path, image, replace=options.replaces)
        elif result.cell is not None and result.facts.skipped:
            image = read_image(path, 3, max_megapixels=options.style.max_megapixels)
    except (InputError, OutputError) as exc:
        if not (options.skips_unreadable and _is_of_one_result(exc)):
            raise
        failed = replace(result.facts, error=storable(str(exc)))
        return WrittenResult(failed, result.index, result.seconds, None)
    shown = (each for each in (result.source, image) if each is not None)
    cell = result.cell
    return WrittenResult(
        result.facts,
        result.index,
        result.seconds + time.perf_counter() - started,
        cell,
        # Made here, in the writers' threads, so that full images need not wait for their sheet.
        [] if cell is None else [thumbnail(each, cell) for each in shown],
        transparent=result.image is not None and _is_transparent(result.image),
    )


def _is_of_one_result(exc: InputError | OutputError) -> bool:
    """Whether an error concerns one result's name or size, so that others can still be written."""
    cause = exc.__cause__
    if isinstance(exc, InputError):
        return True
    # An encoder's error has no number.
    return isinstance(cause, OSError) and (cause.errno is None or cause.errno in _OWN_ERRORS)


def _is_transparent(image: ImageData) -> bool:
    return image.alpha is not None or image.pixels.shape[2] == 4
