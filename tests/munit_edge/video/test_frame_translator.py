"""Single frames, independent or with steady statistics; on torch, so nothing is exported."""

from collections.abc import Iterator
from pathlib import Path

import clips
import numpy as np
import pytest
from numpy.typing import NDArray

from munit_edge import Translator
from munit_edge.video.exposure import Flicker, FlickerMeter
from munit_edge.video.frame_translator import PlainFrames, SteadyFrames

Frames = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def translator(tiny_checkpoint: Path) -> Iterator[Translator]:
    with Translator.open(tiny_checkpoint, engine="torch") as opened:
        yield opened


def still_scene(
    num_frames: int, *, exposure: float = 0, noise: float = 0, blink: bool = False
) -> Frames:
    """A scene that is still, except for the requested changes."""
    rng = np.random.default_rng(0)
    scene = clips.colour_bars(0, 48, 64) * 0.7
    frames = []
    for index in range(num_frames):
        frame = scene.copy()
        if blink and index // 2 % 2:
            frame[:16, :16] = 255
        frame = frame * (1 + exposure * rng.normal()) + rng.normal(0, noise, frame.shape)
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return frames


def flicker(translate: PlainFrames | SteadyFrames, frames: Frames, styles: object) -> Flicker:
    meter = FlickerMeter()
    for index, frame in enumerate(frames):
        meter.add(frame, translate(frame, styles, index / 25)[0])  # type: ignore[arg-type]
    assert meter.flicker is not None
    return meter.flicker


def test_steady_frames_flicker_less(translator: Translator) -> None:
    styles = translator.sample_styles(1)
    frames = still_scene(24, exposure=0.05, noise=4, blink=True)
    plain = flicker(PlainFrames(translator, "a2b"), frames, styles)
    steady = flicker(SteadyFrames(translator, "a2b"), frames, styles)
    assert plain.still == steady.still > 0.7
    assert steady.output < 0.8 * plain.output


def test_a_scene_that_stands_still_is_translated_as_without(translator: Translator) -> None:
    styles = translator.sample_styles(2)
    steady = SteadyFrames(translator, "a2b")
    for index, frame in enumerate(still_scene(3)):
        expected = translator.translate(frame[None], "a2b", styles=styles)[0]
        result = steady(frame, styles, index / 25)
        assert result.shape == expected.shape
        assert np.abs(result.astype(int) - expected).max() <= 1


def test_averages_start_again_after_a_cut(translator: Translator) -> None:
    styles = translator.sample_styles(1)
    steady = SteadyFrames(translator, "a2b")
    for index, frame in enumerate(still_scene(4, blink=True)):
        steady(frame, styles, index / 25)
    other = np.ascontiguousarray(255 - clips.colour_bars(9, 48, 64)[:, ::-1])
    expected = translator.translate(other[None], "a2b", styles=styles)[0]
    result = steady(other, styles, 5 / 25)
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_a_restored_state_continues_equally(translator: Translator) -> None:
    styles = translator.sample_styles(1)
    frames = still_scene(6, exposure=0.05, noise=4, blink=True)
    whole, first, second = (SteadyFrames(translator, "a2b") for _ in range(3))
    expected = [whole(frame, styles, index / 25) for index, frame in enumerate(frames)]
    assert first.state() is None
    for index in range(3):
        first(frames[index], styles, index / 25)
    state = first.state()
    assert state is not None
    second.restore(state)
    for index in range(3, 6):
        np.testing.assert_array_equal(second(frames[index], styles, index / 25), expected[index])


def test_flicker_counts_what_stands_still_only() -> None:
    meter = FlickerMeter()
    frames = still_scene(6, blink=True)
    for frame in frames:
        meter.add(frame, frame)
    assert meter.flicker == Flicker(input=0, output=0, still=meter.flicker.still)  # type: ignore[union-attr]
    assert 0.8 < meter.flicker.still < 1  # type: ignore[union-attr]
    meter = FlickerMeter()
    for index, frame in enumerate(still_scene(3)):
        meter.add(frame, np.full_like(frame, 100 + 10 * (index % 2)))
    assert meter.flicker == Flicker(input=0, output=10, still=1)
    meter = FlickerMeter()
    meter.add(frames[0], frames[0])
    assert meter.flicker is None
