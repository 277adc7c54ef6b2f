"""Where translated frames go: a video file, or raw RGB for the next program of a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Protocol

from munit_edge.errors import OutputError
from munit_edge.files.system_errors import output_errors
from munit_edge.images.io import Images
from munit_edge.video.audio import Audio
from munit_edge.video.extras import Extras
from munit_edge.video.mux import COMMENT_PREFIX, comment_of, mux
from munit_edge.video.parts import Parts, Segment
from munit_edge.video.segments import SegmentWriter, Track

SEGMENT_FRAMES = 100
"""Frames of a segment: the most that an interrupted run has to repeat."""


class Sink(Protocol):
    """Receives the frames of one result."""

    @property
    def output(self) -> Path | None:
        """The file that is written; None: a pipe."""

    def write(self, rgb: Images, pts: int, duration: int) -> None:
        """Append a frame, uint8 [H, W, 3]."""

    def keep_state(self, state: bytes) -> None:
        """Save the state after the next frame; called before the last frame of a segment."""

    def finish(self, audio: Audio | None, extras: Extras | None = None) -> int:
        """Complete the result after the last frame.

        Returns:
            How many damaged packets of audio and extras were left out.
        """

    def clear(self) -> None:
        """Remove what `finish` needed; called once all results of the run are complete."""

    def abandon(self) -> None:
        """Leave the result incomplete; what has been written stays playable."""


class FileSink:
    """A video file, written as segments that are muxed at the end.

    Raises:
        OutputError: something cannot be written.
    """

    def __init__(self, output: Path, track: Track, settings: str) -> None:
        self._output = output
        self.parts = Parts(output)
        self._track = track
        self.settings = settings
        self._segments: list[Segment] = []
        self._writer: SegmentWriter | None = None
        self._last_duration = 1

    @property
    def output(self) -> Path:
        """The file that is written."""
        return self._output

    @property
    def num_frames(self) -> int:
        """Frames in complete segments."""
        return sum(len(segment.stamps) for segment in self._segments)

    @property
    def is_complete(self) -> bool:
        """Whether the file is there, and made with the same settings."""
        comment = comment_of(self.output) if self.output.is_file() else None
        return comment == completed_comment(self.settings)

    def begin(self) -> None:
        """Start with no frames."""
        self.parts.begin(self.settings)

    def resume(self) -> None:
        """Take over the complete segments of an interrupted run."""
        self._segments = self.parts.read(self.settings)

    def rewind(self, num_frames: int) -> None:
        """Drop segments after the first `num_frames`, so that all results have the same frames."""
        # Whole segments: all sinks end theirs at the same frames.
        while self.num_frames > num_frames:
            self._segments.pop()
        self.parts.rewind(self._segments, self.settings)

    def write(self, rgb: Images, pts: int, duration: int) -> None:
        """Append a frame, uint8 [H, W, 3]; all have one size."""
        if self._writer is None:
            path = self.parts.unfinished_path(len(self._segments))
            self._writer = SegmentWriter(path, self._track)
        self._writer.write(rgb, pts)
        self._last_duration = duration
        if len(self._writer.stamps) == SEGMENT_FRAMES:
            self._end_segment()

    def keep_state(self, state: bytes) -> None:
        """Save the state after the segment that is being written."""
        self.parts.save_state(len(self._segments), state)

    @property
    def state(self) -> bytes:
        """The state after the last complete segment."""
        return self.parts.read_state(len(self._segments) - 1)

    def finish(self, audio: Audio | None, extras: Extras | None = None) -> int:
        """Mux all segments, the audio and the extras; the parts stay until `clear`."""
        self._end_segment()
        if not self._segments:
            self.parts.remove()
            raise OutputError(f"{self.output} would have no frames: nothing was translated")
        return mux(
            self.output,
            self.parts.folder,
            self._segments,
            time_base=self._track.time_base,
            rate=self._track.rate,
            last_duration=self._segments[-1].last_duration,
            container=self._track.encoding.container,
            audio=audio,
            extras=extras,
            comment=completed_comment(self.settings),
        )

    def clear(self) -> None:
        """Remove the parts."""
        self.parts.remove()

    def abandon(self) -> None:
        """Close the segment that is being written; the next run repeats its frames."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        # Nothing was kept, so an empty folder of parts would only be in the way.
        elif not self._segments:
            self.parts.remove()

    def _end_segment(self) -> None:
        if self._writer is not None:
            self._writer.close()
            # Only now is it in the ledger; an interrupted run repeats at most this segment.
            self._segments.append(
                self.parts.add(len(self._segments), self._writer.stamps, self._last_duration)
            )
            self._writer = None


class RawSink:
    """Raw RGB, 3 bytes per pixel and no headers, for a program that knows size and rate."""

    output = None

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, rgb: Images, pts: int, duration: int) -> None:
        """Append a frame, uint8 [H, W, 3]; its time stamp is lost."""
        with output_errors(Path("standard output")):
            self._stream.write(rgb.tobytes())
            # The next program gets the frame now, not when the buffer is full.
            self._stream.flush()

    def keep_state(self, state: bytes) -> None:
        """Do nothing: a pipe cannot be resumed."""

    def finish(self, audio: Audio | None, extras: Extras | None = None) -> int:
        """Do nothing."""
        return 0

    def clear(self) -> None:
        """Do nothing."""

    def abandon(self) -> None:
        """Do nothing."""


def completed_comment(settings: str) -> str:
    """Comment in the metadata of a complete file, by which a later run recognises it."""
    return f"{COMMENT_PREFIX}{settings}"
