"""Translating one video: reading, translating and writing overlap, and memory stays flat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

from munit_edge.errors import InputError
from munit_edge.images.io import Images, resize_shorter
from munit_edge.settings import StrictModel
from munit_edge.styles.codes import Styles
from munit_edge.system.threads import Prefetch
from munit_edge.video import sinks as segmented
from munit_edge.video.codecs import VideoContainer
from munit_edge.video.exposure import Flicker, FlickerMeter
from munit_edge.video.frames import Clip, Frame, to_rgb
from munit_edge.video.sinks import Sink
from munit_edge.video.style_track import StyleTrack

AHEAD = 3
"""Frames that wait before each step, at most."""

Translate = Callable[[Images, Styles, float], Images]
"""uint8 [H, W, C], codes [S, style_dim] and a time in seconds to uint8 [S, H, W, C]."""


class Source(Protocol):
    """Where frames come from."""

    clip: Clip

    @property
    def num_damaged(self) -> int:
        """Frames left out so far because they cannot be decoded."""

    @property
    def num_missing(self) -> int:
        """Frames so far, about, that a file promises and does not hold."""

    @property
    def num_dropped(self) -> int:
        """Frames left out so far because newer ones had come."""

    @property
    def broke_off(self) -> bool:
        """Whether the frames ended before the end that was promised, or with an error."""

    def check_sound(self, output: Path, container: VideoContainer) -> None:
        """Check that a container holds the audio; see `munit_edge.video.audio.check_sound`."""

    def left_out(self, container: VideoContainer) -> list[str]:
        """What a container cannot take over; see `munit_edge.video.extras.left_out`."""

    def record_sound(self, path: Path) -> None:
        """Keep audio that cannot be read again in this file; called before `frames`."""

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """The frames after the first `skip`; can be called once."""

    def stop(self) -> None:
        """No more frames are wanted; called by another thread than that of `frames`."""


class VideoSummary(StrictModel):
    """What became of one video: the line of `--json`."""

    input: str
    """Path or address."""
    outputs: tuple[str, ...]
    """The results, one for each style in order."""
    size: tuple[int, int] | None
    """Height and width of the results in pixels."""
    frames: int
    """Frames of each result."""
    resumed_at: int
    """How many of them an earlier run had translated."""
    damaged: int
    """Frames of the input that could not be decoded and were left out."""
    missing: int
    """Frames, about, that a file promises and does not hold: lost in damage, or cut off."""
    dropped: int
    """Frames of a live source that were dropped because newer ones had come."""
    seconds: float
    """Time that this run took."""
    fps: float
    """Frames translated a second in this run."""
    flicker: Flicker | None
    """Of the frames of this run and the first style; null: nothing stood still."""
    ended: str
    """Why it ended: "end", "duration", "interrupted" or "broken off"."""


class _Result(NamedTuple):
    """One translated frame."""

    frame: Frame
    images: Images
    """uint8 [S, H, W, C]."""
    state: bytes | None
    """What the frames behind it depend on, at the end of a segment."""


class VideoJob:
    """Translates the frames of one source with one set of styles.

    Args:
        source: the frames.
        sinks: where the results go, one for each style.
        translate: computes a frame.
        track: the styles, one for each sink.
        size: resize the shorter side to so many pixels; None: as it is.
        duration: stop after so many seconds of video; None: at the end.
        state: gives what the next frame depends on beside itself, if there is something.
    """

    def __init__(
        self,
        source: Source,
        sinks: Sequence[Sink],
        translate: Translate,
        track: StyleTrack,
        *,
        size: int | None = None,
        duration: float | None = None,
        state: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self._source = source
        self._sinks = sinks
        self._translate = translate
        self._track = track
        self._size = size
        self._state = state
        self._num_translated = 0
        self._duration = None if duration is None else Fraction(str(duration))  # 0.2 is 1/5
        self._meter = FlickerMeter()
        self._started = time.monotonic()
        self._resumed_at = 0
        self._size_hw: tuple[int, int] | None = None
        self._until: Fraction | None = None
        self.num_frames = 0
        """Frames of each result so far."""
        self.ended = "end"
        """Why it ended."""

    def run(self, skip: int, stop: Callable[[], bool]) -> Iterator[int]:
        """Translate the frames after the first `skip`; yields the number of frames so far.

        Ends when `stop` says so, too. Call `settle` behind it, or `abandon` after an error.

        Raises:
            InputError: the source broke off in a way that is an error; the sinks hold all frames
                before that.
        """
        self.num_frames = self._num_translated = self._resumed_at = skip
        decoded = Prefetch(self._source.frames(skip), AHEAD)
        translated = Prefetch(map(self._results, self._in_time(decoded)), AHEAD)
        try:
            for result in translated.until(stop):
                self._write(result)
                yield self.num_frames
            if stop():
                self.ended = "interrupted"
            elif self._source.broke_off:
                self.ended = "broken off"
        finally:
            self._source.stop()
            decoded.close()
            translated.close()

    def settle(self, *, sound: bool) -> int:
        """Complete the results; those of a file that was interrupted are left for `--resume`.

        Args:
            sound: copy the audio.

        Returns:
            How many packets of sound and subtitles are damaged, and were left out.
        """
        clip = self._source.clip
        if self.ended == "interrupted" and not clip.is_live:
            self.abandon()
            return 0
        audio = None
        if sound and clip.sound is not None:
            audio = replace(clip.sound, until=self._until)
        extras = None if clip.extras is None else replace(clip.extras, until=self._until)
        return max([sink.finish(audio, extras) for sink in self._sinks], default=0)

    def abandon(self) -> None:
        """Leave the results as they are: what has been written stays playable."""
        for sink in self._sinks:
            sink.abandon()

    def summary(self) -> VideoSummary:
        """What became of it."""
        seconds = time.monotonic() - self._started
        return VideoSummary(
            input=self._source.clip.name,
            outputs=tuple(str(sink.output) for sink in self._sinks if sink.output is not None),
            size=self._size_hw,
            frames=self.num_frames,
            resumed_at=self._resumed_at,
            damaged=self._source.num_damaged,
            missing=self._source.num_missing,
            dropped=self._source.num_dropped,
            seconds=round(seconds, 3),
            fps=round((self.num_frames - self._resumed_at) / max(seconds, 1e-9), 2),
            flicker=self._meter.flicker,
            ended=self.ended,
        )

    def _in_time(self, frames: Prefetch[Frame]) -> Iterator[tuple[float, Frame]]:
        """Each frame with its seconds after the first one, up to the duration."""
        clip = self._source.clip
        for frame in frames:
            seconds = (frame.pts - clip.first_pts) * clip.time_base
            if self._duration is not None and seconds >= self._duration:
                self._until = frame.pts * clip.time_base
                self.ended = "duration"
                return
            yield float(seconds), frame

    def _results(self, timed: tuple[float, Frame]) -> _Result:
        seconds, frame = timed
        pixels = frame.pixels
        if self._size is not None:
            pixels = resize_shorter(pixels, self._size)
        try:
            images = self._translate(pixels, self._track.at(seconds), seconds)
        except MemoryError as exc:
            height, width = pixels.shape[:2]
            raise InputError(
                f"a frame of {width} x {height} pixels needs more memory than there is: make it "
                "smaller with --size"
            ) from exc
        self._num_translated += 1
        state = None
        if self._num_translated % segmented.SEGMENT_FRAMES == 0:
            state = self._state()
        return _Result(Frame(pixels, frame.pts, frame.duration), images, state)

    def _write(self, result: _Result) -> None:
        frame = result.frame
        rgb = [to_rgb(pixels) for pixels in result.images]
        for sink, pixels in zip(self._sinks, rgb, strict=True):
            if result.state is not None:
                sink.keep_state(result.state)
            sink.write(pixels, frame.pts, frame.duration)
        self._meter.add(to_rgb(frame.pixels), rgb[0])
        self._size_hw = rgb[0].shape[0], rgb[0].shape[1]
        self.num_frames += 1
