"""Display matrices: how to rotate and mirror decoded frames so that they are upright.

A matrix (a b u, c d v, x y w) moves the pixel (p, q) to (a p + c q + x, b p + d q + y); right and
down are positive. Its eight forms of zeros and ones are the eight orientations.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from munit_edge.images.io import Images

_MATRIX = struct.Struct("=9i")
_ONE, _ONE_W = 1 << 16, 1 << 30
_NEAR = 0.01
"""Share of a matrix's scale that counts as zero: about half a degree."""


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations."""

    swaps_axes: bool = False
    """Transpose first: rows become columns."""
    mirrors_x: bool = False
    """Then swap left and right."""
    mirrors_y: bool = False
    """And swap top and bottom."""

    def upright(self, pixels: Images) -> Images:
        """Turn pixels [H, W, C] upright; a view."""
        if self.swaps_axes:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.mirrors_y else 1, :: -1 if self.mirrors_x else 1]

    def swapped(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width after the turn, or, given those, before it."""
        return (size_hw[1], size_hw[0]) if self.swaps_axes else size_hw


def orientation_of(frame: Any) -> Orientation:
    """The orientation of PyAV's frame; the default one if its matrix is none of the eight."""
    matrix = _matrix(frame)
    return Orientation() if matrix is None else _read(matrix)[0]


def matrix_note(frame: Any) -> str | None:
    """What a frame's display matrix does that is not one of the eight orientations, in words."""
    matrix = _matrix(frame)
    return None if matrix is None else _read(matrix)[1]


def _matrix(frame: Any) -> tuple[int, ...] | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else _MATRIX.unpack(bytes(data)[: _MATRIX.size])


def _read(matrix: tuple[int, ...]) -> tuple[Orientation, str | None]:
    # x and y move a turned image back into view: arrays need no such shift.
    a, b, u, c, d, v, _, _, w = matrix
    unchanged = "the image stays as stored"
    scale = max(abs(a), abs(b), abs(c), abs(d))
    numbers = " ".join(f"{value / _ONE:g}" for value in (a, b, c, d))
    # The determinant, in units of the squared scale.
    if abs(a * d - b * c) <= _NEAR * scale**2:
        return Orientation(), f"its display matrix ({numbers}) is singular: {unchanged}"
    if u or v:
        return Orientation(), f"its display matrix ({numbers}) changes the perspective: {unchanged}"
    straight = max(abs(b), abs(c)) <= _NEAR * min(abs(a), abs(d))
    swapped = max(abs(a), abs(d)) <= _NEAR * min(abs(b), abs(c))
    if not straight and not swapped:
        degrees = math.degrees(math.atan2(b, a))
        # Both axes of the image remain perpendicular.
        is_turn = abs(a * c + b * d) <= _NEAR * scale**2
        does = f"rotates the image by {degrees:.0f} degrees" if is_turn else "skews the image"
        return Orientation(), (
            f"its display matrix ({numbers}) {does}, and only quarter turns and mirroring are "
            f"supported: {unchanged}"
        )
    along_x, along_y = (c, b) if swapped else (a, d)
    found = Orientation(swapped, along_x < 0, along_y < 0)
    # 16.16 fixed point for a to d, 2.30 for w, which divides all of them.
    unit = _ONE * (w / _ONE_W if w else 1)
    scales = abs(along_x) / unit, abs(along_y) / unit
    if max(abs(value - 1) for value in scales) <= _NEAR:
        return found, None
    return found, (
        f"its display matrix ({numbers}) scales the image by {scales[0]:g} x {scales[1]:g}: it "
        "is rotated and mirrored as the matrix says, and keeps its size"
    )
