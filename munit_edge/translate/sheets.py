"""Contact sheets of a run: thumbnails in, a sheet written whenever one is full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from munit_edge.images.contact_sheet import Column, Row, cell_size, contact_sheet, thumbnail
from munit_edge.images.io import ImageData, Images, write_image
from munit_edge.styles.choose import StyleSet

SHEET_ROWS = 24
"""Inputs on one contact sheet; further inputs go to further sheets."""


class Sheets:
    """Collects rows of thumbnails into contact sheets.

    Args:
        paths: paths of the sheets, enough for all rows; empty: nothing is collected.
        styles: the columns.
        replace: whether existing sheets of those names may be replaced.

    Attributes:
        written: paths of the sheets written so far.
    """

    def __init__(self, paths: Sequence[Path], styles: StyleSet, *, replace: bool = False) -> None:
        self._paths = paths
        self._styles = styles
        self._replace = replace
        self._rows: list[Row] = []
        self.written: list[Path] = []

    def add(self, label: str, thumbnails: Sequence[Images], cell: int) -> bool:
        """Add an input with its results; write the sheet when it is full.

        Args:
            label: the input's name.
            thumbnails: of the input, then one for each style.
            cell: side in pixels of the square that they were fitted into, always the same.

        Returns:
            Whether a sheet was written.
        """
        if not self._paths:
            return False
        self._rows.append(Row(label, tuple(thumbnails)))
        return len(self._rows) == SHEET_ROWS and self.write(cell)

    def write(self, cell: int) -> bool:
        """Write the rows collected so far; return whether there were any."""
        if self._rows:
            sheet = contact_sheet(columns(self._styles, cell), self._rows, cell)
            path = self._paths[len(self.written)]
            write_image(path, ImageData(sheet), replace=self._replace)
            self.written.append(path)
            self._rows = []
            return True
        return False


def cell_for(styles: StyleSet, image: ImageData) -> int:
    """Side of a sheet's cells (pixels) where `image` is the first."""
    return cell_size(len(styles.codes), max(image.pixels.shape[:2]))


def columns(styles: StyleSet, cell: int) -> list[Column]:
    """The sheet's columns: one for each style, with its reference image if there is one."""
    return [
        Column(label, None if reference is None else thumbnail(reference, cell))
        for label, reference in zip(styles.labels, styles.references, strict=True)
    ]
