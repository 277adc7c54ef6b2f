"""Display matrices: how decoded frames have to be turned and mirrored to be upright.

A matrix (a b u, c d v, x y w) moves the pixel (p, q) to (a p + c q + x, b p + d q + y): right and
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
    """Rows become columns first."""
    mirrors_x: bool = False
    """Then left and right change places."""
    mirrors_y: bool = False
    """And top and bottom."""

    def upright(self, pixels: Images) -> Images:
        """Pixels [H, W, C] as they are to be seen; a view."""
        if self.swaps_axes:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.mirrors_y else 1, :: -1 if self.mirrors_x else 1]

    def swapped(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width after the turn; also those before it, from those after it."""
        return (size_hw[1], size_hw[0]) if self.swaps_axes else size_hw


def orientation_of(frame: Any) -> Orientation:
    """How a frame of PyAV is to be shown; as it is where its matrix is none of the eight."""
    matrix = _matrix(frame)
    return Orientation() if matrix is None else _read(matrix)[0]


def odd_matrix(frame: Any) -> str | None:
    """What a frame's display matrix asks for beside one of the eight orientations, in words."""
    matrix = _matrix(frame)
    return None if matrix is None else _read(matrix)[1]


def _matrix(frame: Any) -> tuple[int, ...] | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else _MATRIX.unpack(bytes(data)[: _MATRIX.size])


def _read(matrix: tuple[int, ...]) -> tuple[Orientation, str | None]:
    a, b, u, c, d, v, _, _, w = matrix
    stays = "the picture stays as it is stored"
    scale = max(abs(a), abs(b), abs(c), abs(d))
    numbers = " ".join(f"{value / _ONE:g}" for value in (a, b, c, d))
    if abs(a * d - b * c) <= _NEAR * scale**2:
        return Orientation(), f"its display matrix ({numbers}) is singular: {stays}"
    if u or v:
        return Orientation(), f"its display matrix ({numbers}) changes the perspective: {stays}"
    straight = max(abs(b), abs(c)) <= _NEAR * min(abs(a), abs(d))
    swapped = max(abs(a), abs(d)) <= _NEAR * min(abs(b), abs(c))
    if not straight and not swapped:
        degrees = math.degrees(math.atan2(b, a))
        is_turn = abs(a * c + b * d) <= _NEAR * scale**2
        does = f"turns the picture by {degrees:.0f} degrees" if is_turn else "skews the picture"
        return Orientation(), (
            f"its display matrix ({numbers}) {does}, and only quarter turns and mirrors are "
            f"followed: {stays}"
        )
    along_x, along_y = (c, b) if swapped else (a, d)
    found = Orientation(swapped, along_x < 0, along_y < 0)
    unit = _ONE * (w / _ONE_W if w else 1)
    scales = abs(along_x) / unit, abs(along_y) / unit
    if max(abs(value - 1) for value in scales) <= _NEAR:
        return found, None
    return found, (
        f"its display matrix ({numbers}) scales the picture by {scales[0]:g} x {scales[1]:g}: it "
        "is turned and mirrored as the matrix says, and keeps its size"
    )
