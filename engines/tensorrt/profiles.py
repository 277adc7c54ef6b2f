"""Optimisation profiles: the batches and sizes that a TensorRT engine is built for.

A profile counts images; the shapes of every graph of a model follow from it. An engine takes shapes
between the smallest and the largest of one of its profiles, and is fastest at the optimum.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from munit_edge.errors import ConfigError
from munit_edge.model.manifest import GraphEntry, Manifest, SizeRules, TensorEntry
from munit_edge.settings import StrictModel
from munit_edge.text import parse_size_hw

DEFAULT_OPT_HW = (256, 256)
DEFAULT_MAX_HW = (512, 512)
DEFAULT_BATCH = (1, 1, 4)
"""Smallest, optimum, largest. The optimum is 1: one photo in one style, or a frame of a camera,
comes alone, and its latency is noticed; docs/jetson.md has the reasons."""

Batches = tuple[int, int, int]
"""Smallest, optimum and largest number of images at once."""


class Extent(StrictModel):
    """A number of images and their size."""

    batch: int = Field(ge=1)
    """Images at once."""
    height: int = Field(ge=1)
    """Image height in pixels."""
    width: int = Field(ge=1)
    """Image width in pixels."""

    def __str__(self) -> str:
        return f"{self.batch} x {self.height} x {self.width}"


class Profile(StrictModel):
    """The range of one optimisation profile; `declare_profiles` makes and checks it."""

    min: Extent
    """Smallest batch, height and width."""
    opt: Extent
    """What kernels are chosen for."""
    max: Extent
    """Largest batch, height and width."""

    def __str__(self) -> str:
        if self.min == self.max:
            return str(self.min)
        return f"{self.min} to {self.max}, best at {self.opt}"


class ShapeRange(StrictModel):
    """The shapes that one input may have."""

    min: tuple[int, ...]
    """Smallest."""
    opt: tuple[int, ...]
    """What kernels are chosen for."""
    max: tuple[int, ...]
    """Largest."""


GraphProfile = dict[str, ShapeRange]
"""One profile of one graph: the shapes of each input by name."""


def declare_profiles(
    manifest: Manifest,
    *,
    sizes: str | None = None,
    smallest: str | None = None,
    optimum: str | None = None,
    largest: str | None = None,
    batch: str | None = None,
) -> tuple[Profile, ...]:
    """Profiles from the options of the command line, checked against what the model takes.

    Args:
        manifest: the model's.
        sizes: "256,512" or "256x384,512": one profile for each, of exactly that size, height
            first. Excludes the next three.
        smallest: "HxW" of one profile with a range; by default the smallest that the model takes.
        optimum: "HxW"; by default 256x256, clamped between the other two.
        largest: "HxW"; by default 512x512, or the optimum if that is larger.
        batch: "4": exactly four images at once; "1,4": one to four, best at one; "1,2,4": one to
            four, best at two. Default: 1,4.

    Raises:
        ConfigError: a value cannot be parsed, min > opt or opt > max, or the model does not take a
            size.
    """
    if sizes is not None and (smallest or optimum or largest):
        raise ConfigError("--sizes sets exact sizes: leave out --min, --opt and --max, or --sizes")
    rules = manifest.sizes
    fixed_batch, fixed_hw = _fixed(manifest)
    batches = _parse_batch(batch, fixed_batch)
    if sizes is not None:
        exact = [_parse_size("--sizes", word, rules) for word in sizes.split(",")]
        return tuple(_profile(size, size, size, batches) for size in dict.fromkeys(exact))
    # Omitted values are those that the export fixed, else defaults that keep the order.
    least = smallest_side(rules)
    low = _parse_size("--min", smallest, rules) if smallest else _or((least, least), fixed_hw)
    high = _parse_size("--max", largest, rules) if largest else None
    if optimum:
        best = _parse_size("--opt", optimum, rules)
    else:
        best = _or(_at_least(_on_grid(DEFAULT_OPT_HW, rules), low), fixed_hw)
        if high:
            # The default optimum must not exceed a --max that was given.
            best = min(best[0], high[0]), min(best[1], high[1])
    if high is None:
        high = _or(_at_least(_on_grid(DEFAULT_MAX_HW, rules), best), fixed_hw)
    elif not optimum:
        _check_order("--min", low, "--max", high)
    _check_order("--min", low, "--opt", best)
    _check_order("--opt", best, "--max", high)
    return (_profile(low, best, high, batches),)


def smallest_side(rules: SizeRules) -> int:
    """The smallest height and width in pixels that all graphs of a model take."""
    side = max(rules.content_minimum, rules.style_minimum)
    return -(-side // rules.multiple) * rules.multiple


def graph_profiles(
    manifest: Manifest, entry: GraphEntry, profiles: Sequence[Profile]
) -> tuple[GraphProfile, ...]:
    """The profiles of one graph's inputs; () if no input has a free size.

    Args:
        manifest: the model's.
        entry: the graph.
        profiles: for the whole model; those that are equal for this graph are merged.

    Raises:
        ConfigError: the graph was exported for one size or batch, and a profile has another.
    """
    # A graph of fixed shapes needs no profile; the request is checked all the same.
    if all(isinstance(size, int) for tensor in entry.inputs for size in tensor.shape):
        for profile in profiles:
            for tensor in entry.inputs:
                _fits_fixed_part(tensor, entry, _ranges(tensor, profile, manifest))
        return ()
    found: list[GraphProfile] = []
    for profile in profiles:
        shapes = {}
        for tensor in entry.inputs:
            shapes[tensor.name] = _ranges(tensor, profile, manifest)
            _fits_fixed_part(tensor, entry, shapes[tensor.name])
        if shapes not in found:
            found.append(shapes)
    return tuple(found)


def _profile(
    low: tuple[int, int], best: tuple[int, int], high: tuple[int, int], batches: Batches
) -> Profile:
    return Profile(
        min=Extent(batch=batches[0], height=low[0], width=low[1]),
        opt=Extent(batch=batches[1], height=best[0], width=best[1]),
        max=Extent(batch=batches[2], height=high[0], width=high[1]),
    )


def _fixed(manifest: Manifest) -> tuple[int | None, tuple[int | None, int | None]]:
    """Batch, and image height and width, where the export fixed them."""
    shape = manifest.graph("content_encoder", "a").inputs[0].shape
    # uint8 images are NHWC, float32 ones NCHW. All graphs of an export have the same sizes.
    axes = (0, 1, 2) if manifest.io == "uint8" else (0, 2, 3)
    batch, height, width = (
        size if isinstance(size, int) else None for size in (shape[axis] for axis in axes)
    )
    return batch, (height, width)


def _or(size: tuple[int, int], fixed: tuple[int | None, int | None]) -> tuple[int, int]:
    return fixed[0] or size[0], fixed[1] or size[1]


def _parse_batch(text: str | None, fixed: int | None) -> Batches:
    if text is None:
        return (fixed, fixed, fixed) if fixed else DEFAULT_BATCH
    words = [word.strip() for word in text.split(",")]
    numbers = [int(word) for word in words if re.fullmatch(r"[0-9]{1,6}", word)]
    if len(numbers) != len(words) or len(words) > 3 or sorted(numbers) != numbers or not numbers[0]:
        raise ConfigError(
            f"--batch {text!r} cannot be used: write the number of images at once as 4, as a range "
            "1,4 (best at the smaller number), or as smallest, best and largest 1,2,4, each at "
            "least 1"
        )
    # Of "1,4" and "4" the smallest is the optimum; of "1,2,4" the one in the middle.
    return numbers[0], numbers[-2 if len(numbers) == 3 else 0], numbers[-1]


def _parse_size(option: str, text: str, rules: SizeRules) -> tuple[int, int]:
    size = parse_size_hw(text)
    if size is None:
        raise ConfigError(
            f"{option} {text!r} is not a size: write pixels as 256, or height x width as 256x384"
        )
    least = smallest_side(rules)
    if any(side < least or side % rules.multiple for side in size):
        near = _on_grid(size, rules)
        raise ConfigError(
            f"{option} {text.strip()} cannot be used: this model takes multiples of "
            f"{rules.multiple} pixels, at least {least}; the nearest is {near[0]}x{near[1]}"
        )
    return size


def _check_order(name: str, low: tuple[int, int], other: str, high: tuple[int, int]) -> None:
    if low[0] > high[0] or low[1] > high[1]:
        raise ConfigError(
            f"{name} {low[0]}x{low[1]} is larger than {other} {high[0]}x{high[1]}: use heights "
            "and widths with --min <= --opt <= --max"
        )


def _on_grid(size: tuple[int, int], rules: SizeRules) -> tuple[int, int]:
    least, multiple = smallest_side(rules), rules.multiple
    height, width = (max(least, round(side / multiple) * multiple) for side in size)
    return height, width


def _at_least(size: tuple[int, int], low: tuple[int, int]) -> tuple[int, int]:
    return max(size[0], low[0]), max(size[1], low[1])


def _ranges(tensor: TensorEntry, profile: Profile, manifest: Manifest) -> ShapeRange:
    low, best, high = (
        _shape(tensor, extent, manifest) for extent in (profile.min, profile.opt, profile.max)
    )
    return ShapeRange(min=low, opt=best, max=high)


def _shape(tensor: TensorEntry, extent: Extent, manifest: Manifest) -> tuple[int, ...]:
    if tensor.name == "style":
        # One style for each content: `results` is `batch` here, so one number covers both.
        return extent.batch, manifest.model.style_dim
    if tensor.name == "norm_stats":
        return extent.batch, _number(tensor.shape[1]), 2
    if tensor.name in ("content", "core"):
        multiple = manifest.sizes.multiple
        height, width = extent.height // multiple, extent.width // multiple
        return extent.batch, _number(tensor.shape[1]), height, width
    if manifest.io == "uint8":
        return extent.batch, extent.height, extent.width, _number(tensor.shape[3])
    return extent.batch, _number(tensor.shape[1]), extent.height, extent.width


def _number(size: int | str) -> int:
    assert isinstance(size, int), "channels are always fixed"
    return size


def _fits_fixed_part(tensor: TensorEntry, entry: GraphEntry, wanted: ShapeRange) -> None:
    """Raise if a size that the export fixed differs from the profile's."""
    for axis, size in enumerate(tensor.shape):
        if isinstance(size, int) and not wanted.min[axis] == size == wanted.max[axis]:
            raise ConfigError(
                f"graph {entry.name} was exported with '{tensor.name}' of shape "
                f"{_text(tensor.shape)}, and the profile has {_text(wanted.min)} to "
                f"{_text(wanted.max)}: build for that size and batch, or export again without "
                "--batch, --height and --width"
            )


def _text(shape: Sequence[int | str]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
