"""The values of a run over its iterations: an append-only file, and thinned curves to draw.

`curves.jsonl` has one JSON object per line: `iteration`, and each value under its name; null if it
was not finite. Each line is written in one call, so that a killed run loses at most the last one. A
resumed run drops all lines after the checkpoint that it continues from. Needs no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from munit_edge.files.appending import append_line, open_to_append
from munit_edge.files.atomic import atomic_file
from munit_edge.files.system_errors import output_errors

MAX_POINTS = 256
"""A curve has at most this many points, and half as many after thinning."""

_LARGEST = 1e300
_DIGITS = 6


class Point(NamedTuple):
    """Neighbouring values of a curve, combined."""

    iteration: float
    """The midpoint of their iterations."""
    mean: float
    low: float
    """The smallest value."""
    high: float
    """The largest value."""


@dataclass
class _Bucket:
    """Values that become one point."""

    first: int
    last: int
    count: int
    total: float
    low: float
    high: float

    def add(self, other: _Bucket) -> None:
        self.last = other.last
        self.count += other.count
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def point(self) -> Point:
        return Point((self.first + self.last) / 2, self.total / self.count, self.low, self.high)


class Curve:
    """One value over the iterations, thinned evenly as it grows: memory stays bounded."""

    def __init__(self) -> None:
        self._buckets: list[_Bucket] = []
        self._per_bucket = 1
        self.latest = math.nan
        """The last value."""

    def add(self, iteration: int, value: float) -> None:
        """Add a finite value of an iteration after all earlier ones."""
        self.latest = value
        new = _Bucket(iteration, iteration, 1, value, value, value)
        if self._buckets and self._buckets[-1].count < self._per_bucket:
            self._buckets[-1].add(new)
            return
        self._buckets.append(new)
        if len(self._buckets) > MAX_POINTS:
            self._thin()

    @property
    def points(self) -> list[Point]:
        """At most `MAX_POINTS`, each of equally many values except the last."""
        return [bucket.point() for bucket in self._buckets]

    def _thin(self) -> None:
        """Merge pairs of neighbours; an odd last one is filled by the next values."""
        self._per_bucket *= 2
        for one, other in zip(self._buckets[::2], self._buckets[1::2], strict=False):
            one.add(other)
        self._buckets = self._buckets[::2]


class Curves:
    """All curves of a run by name, in the order of their first values."""

    def __init__(self) -> None:
        self.by_name: dict[str, Curve] = {}
        self.last_iteration = 0
        """The iteration of the last values."""

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add the values of an iteration; those that are not finite are left out."""
        self.last_iteration = iteration
        for name, value in values.items():
            if math.isfinite(value):
                self.by_name.setdefault(name, Curve()).add(iteration, value)


class CurveFile:
    """The file of a run's values, open for appending."""

    def __init__(self, path: Path, iteration: int) -> None:
        """Keep the lines up to `iteration` and drop the rest.

        Raises:
            OutputError: the file cannot be written.
        """
        self.path = path
        self.curves = Curves()
        """The contents of the file, thinned."""
        # A resumed run repeats the iterations after its checkpoint, and with them their lines.
        with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as kept:
            for line, at, values in _lines(path):
                if at <= iteration:
                    kept.write(line + "\n")
                    self.curves.add(at, values)

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Append the values of an iteration.

        Raises:
            OutputError: the file cannot be written.
        """
        rounded = {name: _rounded(value) for name, value in values.items()}
        shown = {name: value if math.isfinite(value) else None for name, value in rounded.items()}
        line = json.dumps({"iteration": iteration} | shown, separators=(",", ":"))
        with output_errors(self.path), open_to_append(self.path) as file:
            append_line(file, line)
        self.curves.add(iteration, rounded)  # as read back after a resume


def read_curves(path: Path) -> Curves:
    """The values in a run's file, thinned; none if there is no file."""
    curves = Curves()
    for _, iteration, values in _lines(path):
        curves.add(iteration, values)
    return curves


def _lines(path: Path) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Each complete line with its iteration and values: a killed run may leave half a line."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                values: Any = json.loads(line)
                iteration = int(values.pop("iteration"))
            # Whatever a damaged line may be: not JSON, nested too deeply, no mapping, no number.
            except (
                AttributeError,
                LookupError,
                OverflowError,
                RecursionError,
                TypeError,
                ValueError,
            ):
                continue
            numbers = {k: float(v) for k, v in values.items() if _is_number(v)}
            yield line.rstrip("\n"), iteration, numbers


def _is_number(value: Any) -> bool:
    """Whether `value` is a number that can be drawn: finite and not huge."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < _LARGEST


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
