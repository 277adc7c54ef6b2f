"""A segment plays while it is still being written, so it plays however the program ends."""

import shutil
from fractions import Fraction
from pathlib import Path

import clips
import pytest

from munit_edge.video.codecs import choose_encoding
from munit_edge.video.segments import SegmentWriter, Track


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_what_has_left_the_encoder_plays(tmp_path: Path, suffix: str) -> None:
    path, copy = tmp_path / f"segment{suffix}", tmp_path / f"copy{suffix}"
    encoding = choose_encoding(path, None, None)
    writer = SegmentWriter(path, Track(encoding, Fraction(1, 25), Fraction(25), Fraction(1)))
    for index in range(70):
        writer.write(clips.colour_bars(index, 24, 32), 1000 + index)
    shutil.copy(path, copy)
    shown = clips.shown(copy)
    # x264 looks about 40 frames ahead; the first frame is shown at 0.
    assert shown == [Fraction(index, 25) for index in range(len(shown))]
    assert len(shown) >= 20
    assert len(clips.frames(copy)) == len(shown)
    writer.close()
    assert len(clips.shown(path)) == 70
