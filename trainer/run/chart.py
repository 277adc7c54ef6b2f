"""Thinned curves as inline SVG: no script, no network, colours from the page's style sheet.

The style sheet colours the classes `s0`, `s1` (series), `band`, `grid`, `tick` and `level`. Needs
no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from munit_edge.trainer.run.curves import Point

WIDTH, HEIGHT = 380, 190
"""Size of a chart in SVG units; the page scales it."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 8, 22
_LOG_RATIO = 25.0
"""A scale is logarithmic if the largest value is this many times the median."""


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    label: str
    points: Sequence[Point]
    """At least one."""


@dataclass(frozen=True)
class Level:
    """A reference value for a curve, drawn as a dashed line."""

    label: str
    value: float


@dataclass(frozen=True)
class Axis:
    """The mapping from values to positions along one side of a chart."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """The position of `value`, clipped to the ends."""
        low, high, at = (self._scaled(v) for v in (self.low, self.high, value))
        part = min(1.0, max(0.0, (at - low) / (high - low)))
        return self.start + part * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        """About `count` round values between the ends."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high, count)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.log else value


def chart(
    title: str, series: Sequence[Series], last_iteration: int, level: Level | None = None
) -> str:
    """An SVG element.

    Args:
        title: the label for screen readers.
        series: the lines, each with a band from the smallest to the largest value of each point.
        last_iteration: the right end; the left one is 0.
        level: a reference value; drawn if the curves come near it.
    """
    x = Axis(0, max(1, last_iteration), _LEFT, WIDTH - _RIGHT)
    # By the means: a single high value in a band would flatten the lines.
    y = value_axis([p.mean for s in series for p in s.points], level)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" '
        f'data-x="{x.high:g}" data-low="{y.low:.6g}" data-high="{y.high:.6g}" '
        f'data-log="{int(y.log)}" data-box="{_LEFT} {_TOP} {WIDTH - _RIGHT} {HEIGHT - _BOTTOM}">'
    ]
    parts += [_grid_line(y.place(value), tick_text(value)) for value in y.ticks(4)]
    parts += [_x_tick(x.place(value), tick_text(value)) for value in x.ticks(4)]
    if level is not None and y.low <= level.value <= y.high:
        at = y.place(level.value)
        parts.append(f'<path class="level" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>')
    # All bands before all lines: later elements cover earlier ones.
    for number, one in enumerate(series):
        parts.append(_band(one.points, x, y, number))
    for number, one in enumerate(series):
        parts.append(_line(one, x, y, number))
    return "".join([*parts, "</svg>"])


def value_axis(values: Sequence[float], level: Level | None = None) -> Axis:
    """An axis for finite values, at least one: logarithmic if a few are far above the others."""
    low, high = min(values), max(values)
    middle = sorted(values)[len(values) // 2]
    log = low > 0 and high > _LOG_RATIO * middle
    if level is not None and low / 2 <= level.value <= 2 * high:
        low, high = min(low, level.value), max(high, level.value)
    if not log:
        # An axis starts at 0 if at most half of it is empty then; equal values get some room.
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = 0.0 if 0 <= low <= high / 2 else low - room, high + room
    elif high <= low:
        high = 10 * low
    return Axis(low, high, HEIGHT - _BOTTOM, _TOP, log)


def tick_text(value: float) -> str:
    """A short number: 0.05, 1.25, 300, 20k, 1.5M; 1e-05."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}"


def _ticks(low: float, high: float, count: int) -> list[float]:
    # The smallest round step that gives at most `count` intervals; 0.1 % and 1e-9 are for rounding.
    raw = (high - low) / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = size * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * size >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.6g}") for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every: Callable[[Sequence[int]], list[float]] = lambda factors: [  # noqa: E731
        float(f"{f}e{p}") for p in powers for f in factors if low <= f * 10.0**p <= high
    ]
    tens = every((1,))
    return tens if len(tens) > 2 else every((1, 3))


def _grid_line(at: float, label: str) -> str:
    return (
        f'<path class="grid" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>'
        f'<text class="tick" x="{_LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _x_tick(at: float, label: str) -> str:
    anchor = "end" if at > WIDTH - _RIGHT - 12 else "middle"
    y = HEIGHT - _BOTTOM + 15
    return f'<text class="tick" x="{at:.1f}" y="{y}" text-anchor="{anchor}">{label}</text>'


def _band(points: Sequence[Point], x: Axis, y: Axis, number: int) -> str:
    if all(p.low == p.high for p in points):
        return ""
    upper = [f"{x.place(p.iteration):.1f},{y.place(p.high):.1f}" for p in points]
    lower = [f"{x.place(p.iteration):.1f},{y.place(p.low):.1f}" for p in reversed(points)]
    return f'<polygon class="band s{number}" points="{" ".join(upper + lower)}"/>'


def _line(series: Series, x: Axis, y: Axis, number: int) -> str:
    places = [(x.place(p.iteration), y.place(p.mean)) for p in series.points]
    if len(places) == 1:
        ((cx, cy),) = places
        return f'<circle class="s{number}" cx="{cx:.1f}" cy="{cy:.1f}" r="3"/>'
    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
    name = escape(series.label)
    return f'<polyline class="s{number}" data-label="{name}" points="{points}"/>'
