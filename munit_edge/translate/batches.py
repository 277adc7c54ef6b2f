"""The second stage of a run: neighbours of one size share a batch, a failing image fails alone."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace

from munit_edge.errors import InputError
from munit_edge.files.names import storable
from munit_edge.images.io import ImageData
from munit_edge.styles.choose import StyleSet
from munit_edge.translate.images import ImageTranslator
from munit_edge.translate.reading import InputFacts, ReadInput
from munit_edge.translate.sheets import cell_for
from munit_edge.translate.tiles import OnPart


@dataclass(frozen=True)
class Result:
    """One result on its way to the disk, or an input that needs nothing written."""

    facts: InputFacts
    index: int = 0
    """Index of the style."""
    image: ImageData | None = None
    """None: an earlier run wrote it, or there is none."""
    seconds: float = 0.0
    """Time of the engine."""
    source: ImageData | None = None
    """The input's image, if a contact sheet needs it."""
    cell: int | None = None
    """Size of thumbnails in pixels; None: there is no contact sheet."""

    @property
    def pixels(self) -> int:
        """Pixels that wait to be written, at least 1."""
        held = (image for image in (self.image, self.source) if image is not None)
        return 1 + sum(image.pixels[..., 0].size for image in held)


class Batches:
    """Translates inputs in order, as many at once as the engine works best with.

    Args:
        translator: translates images of one padded size.
        styles: the styles of all images.
        survived: errors of one input after which the run continues without it.
        skips_unreadable: whether it also continues after an input that could not be read.
    """

    def __init__(
        self,
        translator: ImageTranslator,
        styles: StyleSet,
        survived: type[InputError],
        *,
        skips_unreadable: bool,
    ) -> None:
        self._translator = translator
        self._styles = styles
        self._survived = survived
        self._skips_unreadable = skips_unreadable

    def translate(
        self, reads: Generator[ReadInput, None, None], on_part: OnPart, *, sheets: bool
    ) -> Generator[Result, None, None]:
        """Every result, input after input, and one item for each input that has none.

        Args:
            reads: the inputs; closed at the end, also at an early one.
            on_part: called with the number of inputs done, fractions included, and a note.
            sheets: whether contact sheets show the inputs.
        """
        cell, before = None, 0
        with contextlib.closing(reads):
            for group in self._groups(reads):
                first = group[0]
                # All sheets of a run have the cells that suit its first image.
                if sheets and cell is None and first.image is not None:
                    cell = cell_for(self._styles, first.image)
                if first.facts.error is not None:
                    # As the last style: an input is complete when its last result has come.
                    yield Result(first.facts, len(self._styles.codes) - 1)
                elif first.facts.skipped:
                    yield from self._earlier_results(first, cell)
                else:
                    yield from self._translate_group(group, cell, before, on_part)
                before += len(group)

    def _groups(self, reads: Iterable[ReadInput]) -> Iterator[list[ReadInput]]:
        """Neighbours that share a batch; inputs that need no engine are alone.

        The last group is one with an error, unless errors are skipped.
        """
        group: list[ReadInput] = []
        try:
            for read in reads:
                if group and not self._fits(read, group):
                    yield group
                    group = []
                if read.padded is not None:
                    group.append(read)
                    continue
                yield [read]
                if read.facts.error is not None and not self._skips_unreadable:
                    return
        except Exception:
            if group:  # read before the error: their results are complete before it is raised
                yield group
            raise
        if group:
            yield group

    def _fits(self, read: ReadInput, group: list[ReadInput]) -> bool:
        first = group[0]
        if read.padded is None or read.padded != first.padded:
            return False
        # Equal after padding, yet one may be just above the limit for tiles.
        if read.facts.tiles != first.facts.tiles:
            return False
        height, width = read.padded
        return (len(group) + 1) * height * width <= self._translator.pixels_at_once

    def _translate_group(
        self, group: list[ReadInput], cell: int | None, before: int, on_part: OnPart
    ) -> Iterator[Result]:
        """Every result of a group; an image that cannot be translated fails alone.

        Args:
            group: inputs of one size.
            cell: size of thumbnails in pixels; None: there is no contact sheet.
            before: number of inputs before the group.
            on_part: called with the number of inputs done, fractions included.
        """
        num_styles = len(self._styles.codes)
        done = 0
        try:
            for result in self._translate_together(group, cell, before, on_part):
                yield result
                done += 1
        except self._survived as exc:
            if len(group) == 1:
                facts = replace(group[0].facts, error=storable(str(exc)))
                yield Result(facts, num_styles - 1)
                return
            # The error does not say which image of the batch caused it: try each alone, from the
            # first one whose results were not all yielded.
            first, made = divmod(done, num_styles)
            for number, read in enumerate(group[first:], first):
                for result in self._translate_group([read], cell, before + number, on_part):
                    if number > first or result.index >= made:  # the others were yielded already
                        yield result

    def _translate_together(
        self, group: list[ReadInput], cell: int | None, before: int, on_part: OnPart
    ) -> Iterator[Result]:
        images = [read.image for read in group if read.image is not None]
        name = group[0].facts.planned.path

        def report(done: float, note: str) -> None:
            on_part(before + done, f"{name.name}: {note}" if note else name.name)

        results = self._translator.translate(images, str(name), report)
        num_styles = len(self._styles.codes)
        for number, (image, seconds) in enumerate(results):
            read, index = group[number // num_styles], number % num_styles
            # The first result carries the input's image, so that a thumbnail is made only once.
            source = read.image if index == 0 and cell is not None else None
            yield Result(read.facts, index, image, seconds, source, cell)

    def _earlier_results(self, read: ReadInput, cell: int | None) -> Iterator[Result]:
        """Results of an earlier run: the last style alone, or all if a sheet shows them."""
        num_styles = len(self._styles.codes)
        for index in range(0 if cell is not None else num_styles - 1, num_styles):
            source = read.image if index == 0 and cell is not None else None
            yield Result(read.facts, index, source=source, cell=cell)
