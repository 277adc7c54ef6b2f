"""Display matrices: frames are upright in all eight orientations, in every container."""

import math
from collections.abc import Callable
from pathlib import Path

import clips
import numpy as np
import pytest

from munit_edge.images.io import Images
from munit_edge.video.file_source import FileSource

Shown = Callable[[Images], Images]

ORIENTATIONS: dict[str, tuple[tuple[int, int, int, int], Shown]] = {
    "upright": ((1, 0, 0, 1), lambda image: image),
    "turned right": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "turned by half": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "turned left": ((0, -1, 1, 0), np.rot90),
    "left and right": ((-1, 0, 0, 1), np.fliplr),
    "top and bottom": ((1, 0, 0, -1), np.flipud),
    "transpose": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "transverse": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
}


def first_frame(path: Path) -> tuple[Images, list[str], tuple[int, int]]:
    """Pixels of the first frame, what was reported of the file, and the clip's size."""
    reported: list[str] = []
    source = FileSource(path, 3, reported.append)
    return next(source.frames()).pixels, reported, source.clip.size_hw


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *((name, suffix) for name in ORIENTATIONS for suffix in (".mp4", ".mkv")),
        ("transpose", ".mov"),
    ],
)
def test_all_eight_orientations(tmp_path: Path, name: str, suffix: str) -> None:
    matrix, shown = ORIENTATIONS[name]
    clip = clips.make_clip(tmp_path / "stored.mp4", 2, size=(64, 32), audio=None)
    stored = first_frame(clip)[0]
    clips.set_matrix(clip, matrix)
    if suffix != ".mp4":
        clip = clips.remux(clip, tmp_path / f"clip{suffix}")
    pixels, reported, size_hw = first_frame(clip)
    np.testing.assert_array_equal(pixels, shown(stored))
    assert size_hw == pixels.shape[:2]
    assert reported == []


COS = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("matrix", "expected", "shown"),
    [
        ((COS, COS, -COS, COS), "rotates the image by 45 degrees", "upright"),
        ((0, 0, 0, 1), "is singular", "upright"),
        ((1, 1, 1, 1), "is singular", "upright"),
        ((1, 0.5, 0, 1), "only quarter turns and mirroring are supported", "upright"),
        ((2, 0, 0, 2), "scales the image by 2 x 2", "upright"),
        ((0, 0.5, -0.5, 0), "scales the image by 0.5 x 0.5", "turned right"),
    ],
)
def test_other_matrices_are_named(
    tmp_path: Path, matrix: tuple[float, ...], expected: str, shown: str
) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 2, size=(64, 32), audio=None)
    stored = first_frame(clip)[0]
    pixels, reported, _ = first_frame(clips.set_matrix(clip, matrix))
    np.testing.assert_array_equal(pixels, ORIENTATIONS[shown][1](stored))
    (line,) = reported
    assert expected in line
    assert line.startswith(str(clip))
