"""Sample data: two unpaired domains with known contents and styles.

Domain A has outlines of shapes on white, domain B the same kinds of shapes filled with a colour and
a texture. The shape (kind, place, size, rotation) is the content; colour and texture are the style.
`labels.json` describes each image, so that preserved content and varied style can be measured.

    DIR/
      trainA/00000.png ...   outlines
      trainB/00000.png ...   filled shapes, drawn independently of A's
      testA/  testB/         the same, for testing
      labels.json            `Labels`
"""

from __future__ import annotations

import colorsys
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from munit_edge.errors import ConfigError, InputError
from munit_edge.files.atomic import atomic_folder
from munit_edge.files.plain_data import read_json
from munit_edge.files.replacing import FolderKind, FolderTarget
from munit_edge.settings import StrictModel, validate

ShapeKind = Literal["circle", "square", "triangle", "star", "cross"]
Texture = Literal["plain", "stripes", "dots"]
FloatArray = npt.NDArray[np.float64]

SHAPE_KINDS: tuple[ShapeKind, ...] = get_args(ShapeKind)
TEXTURES: tuple[Texture, ...] = get_args(Texture)
LABELS_FILE = "labels.json"
SPLITS = ("trainA", "trainB", "testA", "testB")
MIN_SIZE = 16
MAX_SIZE = 1024
TEST_SHARE = 10
"""One test image for this many training images."""

SUPERSAMPLING = 2
"""Images are drawn this many times larger, with soft edges, and downsampled."""
OUTLINE_WIDTH = 0.06
"""As a fraction of the image's side."""
OUTLINE_GREY = 25
TEXTURE_PERIOD = 0.19
"""Distance between two stripes or dots as a fraction of the image's side: 6 pixels at 32."""
SHADE = 0.58
"""Brightness of stripes and dots relative to the fill."""
MARGIN = 0.05
"""Least white space between a shape and the border, as a fraction of the image's side."""


class Shape(StrictModel):
    """The content of one image; lengths are fractions of the image's side."""

    kind: ShapeKind
    """Kind of the shape."""
    centre: tuple[float, float]
    """x (to the right) and y (down) of the centre, 0 to 1."""
    radius: float = Field(gt=0, le=0.5)
    """Distance from the centre to the farthest corner."""
    rotation: float
    """Clockwise, in degrees."""


class Style(StrictModel):
    """The style of one image of domain B."""

    hue: float = Field(ge=0, lt=360)
    """Degrees on the colour circle: 0 red, 120 green, 240 blue."""
    saturation: float = Field(ge=0, le=1)
    """HSV saturation."""
    value: float = Field(ge=0, le=1)
    """HSV value."""
    texture: Texture
    """Pattern over the fill in a darker shade."""


class Label(StrictModel):
    """Content and style of one image."""

    shape: Shape
    """Its content."""
    style: Style | None = None
    """Its style; null in domain A."""


class Labels(StrictModel):
    """The content of `labels.json`."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    size: int = Field(ge=MIN_SIZE, le=MAX_SIZE)
    """Height and width of every image, in pixels."""
    seed: int
    """Seed of the images."""
    pictures: dict[str, Label]
    """By path below the folder, such as "testA/00003.png"."""


def write_sample_data(
    folder: Path,
    *,
    size: int = 64,
    count: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    on_image: Callable[[], None] = lambda: None,
) -> Labels:
    """Draw both domains into `folder`, completely or not at all.

    Image i of a split depends only on `seed` and i: another `count` adds or removes images, another
    `size` draws the same scenes larger or smaller.

    Args:
        folder: a new or empty folder.
        size: height and width in pixels, 16 to 1024.
        count: training images of each domain; a tenth as many are drawn for testing.
        seed: 0 or larger.
        overwrite: replace sample data that `folder` already has.
        on_image: called after each image.

    Raises:
        ConfigError: `size`, `count` or `seed` is out of range.
        OutputError: `folder` is not empty, or cannot be written.
    """
    _check_options(size, count, seed)
    target = FolderTarget(folder, SAMPLE_DATA, overwrite)
    target.check()
    labels: dict[str, Label] = {}
    with atomic_folder(folder, replacing=target.replacing) as partial:
        for split in SPLITS:
            (partial / split).mkdir()
        for name, label in sample_labels(count, seed):
            Image.fromarray(draw(label, size)).save(partial / name, compress_level=9)
            labels[name] = label
            on_image()
        result = Labels(size=size, seed=seed, pictures=labels)
        text = json.dumps(result.model_dump(mode="json"), indent=1)
        (partial / LABELS_FILE).write_text(text + "\n", encoding="utf-8")
    return result


def read_labels(folder: Path) -> Labels:
    """The labels of a folder made by `write_sample_data`.

    Raises:
        InputError: there is no `labels.json`.
        ConfigError: the file is damaged.
    """
    path = folder / LABELS_FILE
    try:
        return validate(Labels, read_json(path), str(path))
    except ConfigError as exc:
        kind = InputError if isinstance(exc.__cause__, OSError) else ConfigError
        raise kind(f"{exc}: make it with `munit-edge sample-data`") from exc


def num_images(split: str, count: int) -> int:
    """Number of images in a split if each domain has `count` training images."""
    return count if split.startswith("train") else max(1, count // TEST_SHARE)


def sample_labels(count: int, seed: int) -> Iterator[tuple[str, Label]]:
    """Names and labels of all images, split by split."""
    for split_index, split in enumerate(SPLITS):
        for index in range(num_images(split, count)):
            # A generator of its own, so that neither `count` nor other images change it.
            random = np.random.default_rng([seed, split_index, index])
            shape = _sample_shape(random)
            style = _sample_style(random) if split.endswith("B") else None
            yield f"{split}/{index:05d}.png", Label(shape=shape, style=style)


def draw(label: Label, size: int) -> npt.NDArray[np.uint8]:
    """Draw one image, uint8 [size, size, 3]: a filled shape, or an outline if it has no style."""
    fine = size * SUPERSAMPLING
    x, y = _coordinates(label.shape, fine)
    distance = _signed_distance(label.shape.kind, x, y, label.shape.radius)
    if label.style is None:
        # The band from the edge to OUTLINE_WIDTH inside it.
        ink = _coverage(np.abs(distance + OUTLINE_WIDTH / 2) - OUTLINE_WIDTH / 2, fine)
        colour = np.full((1, 1, 3), OUTLINE_GREY, np.float64)
    else:
        ink = _coverage(distance, fine)
        colour = _fill(label.style, x, y, fine)
    image = 255 + ink[..., None] * (colour - 255)
    return np.asarray(_reduce(image, size).round(), np.uint8)


def shape_mask(shape: Shape, size: int) -> FloatArray:
    """Share of each pixel that the shape covers, float64 [size, size] from 0 to 1."""
    fine = size * SUPERSAMPLING
    x, y = _coordinates(shape, fine)
    ink = _coverage(_signed_distance(shape.kind, x, y, shape.radius), fine)
    return _reduce(ink, size)


def _check_options(size: int, count: int, seed: int) -> None:
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(f"size is {size}: use {MIN_SIZE} to {MAX_SIZE} pixels")
    if not 1 <= count <= 100_000:
        raise ConfigError(f"count is {count}: use 1 to 100000 training images of each domain")
    if seed < 0:
        raise ConfigError(f"seed is {seed}: use 0 or larger")


def _files(data: Mapping[str, Any]) -> frozenset[str]:
    """The files that `labels.json` lists."""
    listed = data["pictures"]
    return frozenset([LABELS_FILE, *(listed if isinstance(listed, dict) else ())])


SAMPLE_DATA = FolderKind(
    name="folder of sample data",
    marker=LABELS_FILE,
    keys=frozenset(["size", "seed", "pictures"]),
    files=_files,
)
"""Describes folders made by `write_sample_data`."""


def _sample_shape(random: np.random.Generator) -> Shape:
    kind = SHAPE_KINDS[int(random.integers(len(SHAPE_KINDS)))]
    radius = _uniform(random, 0.3, 0.42)
    x, y = (_uniform(random, radius + MARGIN, 1 - radius - MARGIN) for _ in range(2))
    rotation = _uniform(random, -25, 25)
    return Shape(kind=kind, centre=(x, y), radius=radius, rotation=rotation)


def _sample_style(random: np.random.Generator) -> Style:
    return Style(
        hue=_uniform(random, 0, 360) % 360,
        saturation=_uniform(random, 0.7, 0.95),
        value=_uniform(random, 0.8, 0.98),
        texture=TEXTURES[int(random.integers(len(TEXTURES)))],
    )


def _uniform(random: np.random.Generator, low: float, high: float) -> float:
    """A rounded random number, so that the drawing matches the label exactly."""
    return round(low + (high - low) * float(random.random()), 4)


def _coordinates(shape: Shape, fine: int) -> tuple[FloatArray, FloatArray]:
    """Centres of the fine pixels (x, y) in the coordinates of the shape."""
    axis = (np.arange(fine) + 0.5) / fine
    x, y = np.meshgrid(axis - shape.centre[0], axis - shape.centre[1])
    cos, sin = math.cos(math.radians(shape.rotation)), math.sin(math.radians(shape.rotation))
    return x * cos + y * sin, y * cos - x * sin


def _signed_distance(kind: ShapeKind, x: FloatArray, y: FloatArray, radius: float) -> FloatArray:
    """Distance to the shape's edge, negative inside; unit: the image's side."""
    if kind == "circle":
        # A circle of the full radius would look larger than the other kinds.
        return np.asarray(np.hypot(x, y) - 0.85 * radius)
    return _polygon_distance(x, y, _corners(kind) * radius)


def _corners(kind: ShapeKind) -> FloatArray:
    """Corners of a polygon around the origin, float64 [corners, 2]; the farthest has radius 1."""
    if kind == "cross":
        # An arm is 0.4 times as wide as the shape; its outer corners have radius 1.
        reach, half = math.cos(math.atan(0.4)), math.sin(math.atan(0.4))
        arm = np.array([[-half, -reach], [half, -reach], [half, -half]])
        arms = [arm]
        for _ in range(3):  # a quarter turn each
            arms.append(np.stack([-arms[-1][:, 1], arms[-1][:, 0]], axis=1))
        return np.concatenate(arms)
    num_corners, inner = {"square": (4, 1.0), "triangle": (3, 1.0), "star": (10, 0.5)}[kind]
    first = math.pi / 4 if kind == "square" else 0.0
    angles = first + 2 * math.pi * np.arange(num_corners) / num_corners
    radii = np.where(np.arange(num_corners) % 2 == 0, 1.0, inner)
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def _polygon_distance(x: FloatArray, y: FloatArray, corners: FloatArray) -> FloatArray:
    """Signed distance to a polygon: distance to the nearest edge, sign by the even-odd rule."""
    squared = np.full_like(x, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        # Foot of the perpendicular, as a fraction of the edge; outside it the nearer end counts.
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        squared = np.minimum(squared, (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2)
        if ey != 0:
            # Whether a ray to the right crosses the edge.
            crosses = ((y < ay) != (y < by)) & (x < ax + (y - ay) * ex / ey)
            inside ^= crosses
    return np.where(inside, -1.0, 1.0) * np.sqrt(squared)


def _coverage(distance: FloatArray, fine: int) -> FloatArray:
    """Share of each fine pixel that is inside, from 0 to 1."""
    # The edge runs through a pixel as a ramp of one pixel's width.
    return np.clip(0.5 - distance * fine, 0, 1)


def _fill(style: Style, x: FloatArray, y: FloatArray, fine: int) -> FloatArray:
    """Colour of each fine pixel, float64 [fine, fine, 3], 0 to 255."""
    colour = 255 * np.array(colorsys.hsv_to_rgb(style.hue / 360, style.saturation, style.value))
    if style.texture == "plain":
        return np.broadcast_to(colour, (*x.shape, 3))
    period = TEXTURE_PERIOD
    across = np.abs((x + period / 2) % period - period / 2)  # to the nearest line x = n * period
    along = np.abs((y + period / 2) % period - period / 2)
    if style.texture == "stripes":
        distance = along - period / 4
    else:
        distance = np.hypot(across, along) - 0.32 * period
    dark = _coverage(distance, fine)[..., None]
    return np.asarray(colour * (1 - (1 - SHADE) * dark))


def _reduce(fine: FloatArray, size: int) -> FloatArray:
    """Mean of each SUPERSAMPLING x SUPERSAMPLING block."""
    blocks = fine.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, *fine.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)))
