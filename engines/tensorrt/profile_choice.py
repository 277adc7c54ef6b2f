"""Which of an engine's profiles takes the given shapes, and what to do if none does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from munit_edge.errors import InputError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class PlanProfile:
    """The shapes that one profile of an opened engine takes, by input."""

    smallest: Shapes
    """Smallest shape of each input."""
    optimum: Shapes
    """The shapes that it is fastest at."""
    largest: Shapes
    """Largest shape of each input."""

    def takes(self, shapes: Shapes) -> bool:
        """Whether all shapes are within the ranges."""
        return self.nearest(shapes) == dict(shapes)

    def nearest(self, shapes: Shapes) -> dict[str, Shape]:
        """The accepted shapes that differ least from `shapes`."""
        return {
            name: tuple(
                min(max(size, low), high)
                for size, low, high in zip(
                    shape, self.smallest[name], self.largest[name], strict=True
                )
            )
            for name, shape in shapes.items()
        }


@dataclass(frozen=True)
class PixelAxes:
    """Where the image's size is in a graph's inputs."""

    tensor: str
    """`image` or `content`."""
    height_axis: int
    """The width's is the next."""
    scale: int
    """Pixels of the image for each pixel of the tensor."""

    def describe(self, shapes: Shapes) -> tuple[int, int, int]:
        """Batch, and image height and width in pixels."""
        shape = shapes[self.tensor]
        height, width = shape[self.height_axis], shape[self.height_axis + 1]
        return shape[0], height * self.scale, width * self.scale


def batch_limits(profiles: Sequence[PlanProfile]) -> tuple[int, int]:
    """Smallest and largest batch of any profile."""
    low = min(shape[0] for profile in profiles for shape in profile.smallest.values())
    high = max(shape[0] for profile in profiles for shape in profile.largest.values())
    return low, high


def choose_profile(
    graph: str,
    profiles: Sequence[PlanProfile],
    shapes: Shapes,
    axes: PixelAxes,
    *,
    command: str,
    multiple: int,
) -> int:
    """The index of the profile that takes `shapes`; of several, the one with the nearest optimum.

    Args:
        graph: its name, for messages.
        profiles: of the engine.
        shapes: of the inputs.
        axes: where the image's size is.
        command: builds another engine, once sizes and batch are added.
        multiple: engines are built for multiples of this many pixels.

    Raises:
        InputError: no profile takes them; the message names the nearest shapes that one takes, and
            the command that builds another engine.
    """
    fitting = [index for index, profile in enumerate(profiles) if profile.takes(shapes)]
    if fitting:
        return min(fitting, key=lambda index: _distance(profiles[index].optimum, shapes))
    candidates = [profile.nearest(shapes) for profile in profiles]
    nearest = min(candidates, key=lambda candidate: _distance(candidate, shapes))
    asked, allowed = axes.describe(shapes), axes.describe(nearest)
    raise InputError(
        f"graph {graph} has no engine for {_text(asked)}: the nearest that it takes is "
        f"{_text(allowed)} (batch x height x width in pixels); resize the images (--size) or build "
        f"another engine with `{command} {_options(asked, multiple)}`"
    )


def _distance(one: Shapes, other: Shapes) -> float:
    """How much two sets of shapes differ, in doublings."""
    return sum(
        # Ratios, not differences: 256 to 512 is as far as 128 to 256.
        abs(math.log2(a / b))
        for name, shape in other.items()
        for a, b in zip(one[name], shape, strict=True)
    )


def _text(extent: tuple[int, int, int]) -> str:
    return " x ".join(map(str, extent))


def _options(extent: tuple[int, int, int], multiple: int) -> str:
    batch, *size = extent
    low, high = (
        [side - side % multiple for side in size],
        [-(-s // multiple) * multiple for s in size],
    )
    pair = [f"{height}x{width}" for height, width in (low, high)]
    # The multiples below and above the requested size; equal if it is one itself.
    sizes = f"--sizes {pair[0]}" if low == high else f"--min {pair[0]} --max {pair[1]}"
    return f"{sizes} --batch 1,{max(batch, 4)}"
