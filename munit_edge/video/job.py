"""Translating one video: reading, translating and writing overlap, with bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

from munit_edge.errors import InputError
from munit_edge.images.io import Images
from munit_edge.images.sizes import resize_shorter
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
"""Largest number of frames that wait before each step."""

Translate = Callable[[Images, Styles, float], Images]
"""Maps uint8 [H, W, C], codes [S, style_dim] and a time in seconds to uint8 [S, H, W, C]."""


class Source(Protocol):
    """Where frames come from."""

    clip: Clip

    @property
    def num_damaged(self) -> int:
        """Frames skipped so far because they cannot be decoded."""

    @property
    def num_missing(self) -> int:
        """About how many frames so far are missing from the file."""

    @property
    def num_dropped(self) -> int:
        """Frames dropped so far because newer ones had arrived."""

    @property
    def broke_off(self) -> bool:
        """Whether the frames ended early, or with an error."""

    def check_audio(self, output: Path, container: VideoContainer) -> None:
        """Check that a container can hold the audio; see `munit_edge.video.audio.check_audio`."""

    def left_out(self, container: VideoContainer) -> list[str]:
        """What a container cannot hold; see `munit_edge.video.extras.left_out`."""

    def record_audio(self, path: Path) -> None:
        """Save audio that cannot be read again to this file; called before `frames`."""

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """The frames after the first `skip`; can be called once."""

    def stop(self) -> None:
        """End `frames`; called from another thread."""


class VideoSummary(StrictModel):
    """The outcome of one video: the line of `--json`."""

    input: str
    """Path or address."""
    outputs: tuple[str, ...]
    """The results, one for each style in order."""
    size: tuple[int, int] | None
    """Height and width of the results in pixels."""
    frames: int
    """Frames of each result."""
    resumed_at: int
    """How many of them an earlier run translated."""
    damaged: int
    """Frames of the input that could not be decoded and were skipped."""
    missing: int
    """About how many frames are missing from the file: lost in damage, or cut off."""
    dropped: int
    """Frames of a live source that were dropped because newer ones had arrived."""
    seconds: float
    """Duration of this run."""
    fps: float
    """Frames translated per second in this run."""
    flicker: Flicker | None
    """Flicker in the frames of this run with the first style; null: nothing was still."""
    ended: str
    """Why it ended: "end", "duration", "interrupted" or "broken off"."""


class _Result(NamedTuple):
    """One translated frame."""

    frame: Frame
    images: Images
    """uint8 [S, H, W, C]."""
    state: bytes | None
    """State that later frames depend on, at the end of a segment; else None."""


class VideoJob:
    """Translates the frames of one source with one set of styles.

    Args:
        source: the frames.
        sinks: where the results go, one for each style.
        translate: translates a frame.
        track: the styles, one for each sink.
        size: resize the shorter side to this many pixels; None: do not resize.
        duration: stop after this many seconds of video; None: at the end.
        state: returns the state that the next frame depends on; None: there is none.
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
        """Translate the frames after the first `skip`; yield the number of frames so far.

        Also ends when `stop` returns true. Call `settle` afterwards, or `abandon` after an error.

        Raises:
            InputError: the source failed; the sinks have all frames before that.
        """
        self.num_frames = self._num_translated = self._resumed_at = skip
        # Three threads: decoding, the engine, and this one, which encodes. A full queue stops the
        # stage before it, so only a few frames are in memory however slow a stage is.
        decoded = Prefetch(self._source.frames(skip), AHEAD)
        translated = Prefetch(map(self._results, self._in_time(decoded)), AHEAD)
        try:
            for result in translated.until(stop):
                self._write(result)
                yield self.num_frames
            # `until` also ends without an error because of `stop`: it does not say which it was.
            if stop():
                self.ended = "interrupted"
            elif self._source.broke_off:
                self.ended = "broken off"
        finally:
            # First: otherwise closing would wait for a live source that sends nothing.
            self._source.stop()
            decoded.close()
            translated.close()

    def settle(self, *, audio: bool) -> int:
        """Complete the results; after an interruption those of a file are left for `--resume`.

        Args:
            audio: copy the audio.

        Returns:
            How many damaged packets of audio and subtitles were left out.
        """
        clip = self._source.clip
        # A live source cannot be read again: what there is of it is the result.
        if self.ended == "interrupted" and not clip.is_live:
            self.abandon()
            return 0
        tracks = (
            replace(clip.audio, until=self._until) if audio and clip.audio is not None else None
        )
        extras = None if clip.extras is None else replace(clip.extras, until=self._until)
        num_damaged = max([sink.finish(tracks, extras) for sink in self._sinks], default=0)
        # Not before: a run killed in between resumes with the parts of every result.
        for sink in self._sinks:
            sink.clear()
        return num_damaged

    def abandon(self) -> None:
        """Leave the results incomplete; what has been written stays playable."""
        for sink in self._sinks:
            sink.abandon()

    def summary(self) -> VideoSummary:
        """The outcome."""
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
        """Each frame with its time in seconds after the first one, up to the duration."""
        clip = self._source.clip
        for frame in frames:
            seconds = (frame.pts - clip.first_pts) * clip.time_base
            if self._duration is not None and seconds >= self._duration:
                # Audio and extras are cut at the first frame that is left out.
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
        # The state belongs to the end of a segment, since a resumed run starts there. It is taken
        # here, in the engine's thread, before the next frame changes it.
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
