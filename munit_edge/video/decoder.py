"""Decoding one video stream: damaged and missing frames are reported, time stamps always rise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from munit_edge.closing import Closing
from munit_edge.errors import InputError
from munit_edge.images.io import Images
from munit_edge.video.audio import check_audio
from munit_edge.video.av_api import pyav, reason
from munit_edge.video.codecs import VideoContainer
from munit_edge.video.completeness import (
    End,
    FrameTrail,
    PacketTrail,
    Pause,
    has_index,
    missing_end,
    says_length_of_all,
)
from munit_edge.video.extras import left_out
from munit_edge.video.file_ends import broken_structure
from munit_edge.video.frames import upright_pixels
from munit_edge.video.notes import has_alpha_beside, notes_on
from munit_edge.video.orientation import orientation_of

Notify = Callable[[str], None]
"""Shows one line to the user."""

_DEFAULT_RATE = Fraction(25)
_CLOCK_STARTS_ANYWHERE = 0x0200
"""libavformat's AVFMT_TS_DISCONT: time stamps begin at any number, as in MPEG-TS."""


@dataclass(frozen=True)
class Decoded:
    """One decoded frame, before its pixels are converted."""

    frame: Any
    """PyAV's."""
    pts: int
    """Time stamp in the decoder's time base; above that of the previous frame."""
    duration: int
    """Duration in the decoder's time base, at least 1."""


class Decoder(Closing):
    """The first video stream of a file, device or address.

    The first frame is decoded at once, so that a video that cannot be decoded is refused before any
    other work.

    Args:
        target: path or address, as FFmpeg takes it.
        name: its name in messages.
        notify: called with a line about each damaged or missing part.
        format: FFmpeg's name for a format that it cannot recognise, such as "v4l2".
        options: FFmpeg's options for opening it.
        timeout_s: how long opening and each read may take; None: no limit.
        with_audio: pass audio packets to `on_audio` as they arrive.
        file: path of `target` if it is a complete file: missing frames are then looked for.

    Raises:
        InputError: it cannot be opened, or holds no video that can be decoded.
    """

    rate: Fraction
    """Frames per second: the average, or FFmpeg's guess."""
    time_base: Fraction
    """Length of one unit of a time stamp, in seconds."""
    seconds: Fraction | None
    """Duration; None: unknown, as for live sources."""
    clock_start: Fraction
    """Start of its clock in seconds if that may be any number; else 0."""
    video_index: int
    """Index of the stream that is decoded."""
    has_audio: bool
    """Whether there is an audio stream."""
    first_pts: int
    """Time stamp of the first frame."""
    upright_hw: tuple[int, int]
    """Height and width of the arrays from `pixels`: those of the first frame, upright."""
    pixel_aspect: Fraction
    """Width of a pixel divided by its height, upright."""

    def __init__(
        self,
        target: str,
        name: str,
        notify: Notify,
        *,
        format: str | None = None,  # noqa: A002 - as in PyAV
        options: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        with_audio: bool = False,
        file: Path | None = None,
    ) -> None:
        self._name = name
        self._notify = notify
        self.on_audio: Callable[[Any, Any], None] | None = None
        """Called with each audio packet and the container that it comes from."""
        self._with_audio = with_audio
        self.num_damaged = 0
        """Frames skipped so far because they cannot be decoded."""
        self.num_missing = 0
        """About how many frames are missing from the file, as far as is known."""
        self._file = file
        self.broke_off = False
        """Whether reading ended with an error, or earlier than the file should end."""
        self._container = _opened(
            target, name, format=format, options=dict(options or {}), timeout=timeout_s
        )
        try:
            self._stream = self._video_stream()
            self._clock_jumps = bool(self._container.format.flags & _CLOCK_STARTS_ANYWHERE)
            # Read now: PyAV must not be asked once the file is closed, maybe by another thread.
            self.rate = self._rate()
            self.time_base = self._stream.time_base or 1 / self.rate
            self.seconds = self._seconds()
            self.clock_start = self._clock_start()
            self.video_index = int(self._stream.index)
            self.has_audio = bool(self._container.streams.audio)
            self._declared_frames = int(self._stream.frames)
            self._format = str(self._container.format.name)
            self._packets_seen = PacketTrail(self._format, has_alpha=has_alpha_beside(self._stream))
            self._frames_seen = FrameTrail(
                self._packets_seen, 1 / self.rate, self._format, clock_jumps=self._clock_jumps
            )
            self._frames = self._in_order()
            self._first: Decoded | None = next(self._frames, None)
            if self._first is None:
                raise InputError(f"{name}: none of its video frames can be decoded")
            aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        except BaseException:
            self._container.close()
            raise
        self.first_pts = self._first.pts
        frame = self._first.frame
        # Not read from every frame: PyAV puts a frame and its side data into a reference cycle, and
        # the pixels then stay in memory until the garbage collector runs.
        self._rotation, self._orientation = frame.rotation, orientation_of(frame)
        self.upright_hw = self._orientation.swapped((frame.height, frame.width))
        self.pixel_aspect = 1 / aspect if self._orientation.swaps_axes else aspect
        for note in notes_on(frame, self._stream):
            notify(f"{name}: {note}")

    @property
    def num_frames(self) -> int | None:
        """Number of frames according to the file; None: unknown."""
        if self._declared_frames:
            return self._declared_frames
        return None if self.seconds is None else max(1, round(self.seconds * self.rate))

    def frames(self) -> Iterator[Decoded]:
        """All frames in display order; can be called once."""
        if self._first is not None:
            yield self._first
            self._first = None
        yield from self._frames

    def pixels(self, decoded: Decoded, channels: int) -> Images:
        """Pixels of a frame, uint8 [H, W, C]; see `upright_pixels`."""
        frame = decoded.frame
        if frame.rotation != self._rotation:  # the camera was turned while recording
            self._rotation, self._orientation = frame.rotation, orientation_of(frame)
        return upright_pixels(frame, self._orientation, self.upright_hw, channels)

    def check_audio(self, output: Path, container: VideoContainer) -> None:
        """Check that a container can hold the audio; see `munit_edge.video.audio.check_audio`."""
        if self.has_audio:
            check_audio(self._container, self._name, output, container)

    def left_out(self, container: VideoContainer) -> list[str]:
        """What a container cannot hold; see `munit_edge.video.extras.left_out`."""
        return left_out(self._container, self.video_index, container)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _rate(self) -> Fraction:
        return self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_RATE

    def _seconds(self) -> Fraction | None:
        duration = self._container.duration
        return Fraction(duration, 1_000_000) if duration else None

    def _clock_start(self) -> Fraction:
        start = self._container.start_time
        if start is None or not self._clock_jumps:
            return Fraction(0)
        return Fraction(start, 1_000_000)

    def _video_stream(self) -> Any:
        covers = pyav().stream.Disposition.attached_pic
        streams = self._container.streams
        found = [stream for stream in streams.video if not stream.disposition & covers]
        if not found:
            kinds = ", ".join(sorted({stream.type for stream in streams}))
            raise InputError(f"{self._name} has no video: it holds {kinds or 'nothing'}")
        best = streams.best("video")  # a cover image may come first without being marked as one
        stream = best if best in found else found[0]
        if stream.codec_context is None:
            raise InputError(f"{self._name}: this FFmpeg has no decoder for its video")
        # Frame threads would report damage some frames late.
        stream.thread_type = "SLICE"
        return stream

    def _in_order(self) -> Iterator[Decoded]:
        """Frames with rising time stamps, even if the file has none or wrong ones."""
        usual = max(1, round(1 / (self.rate * self.time_base)))
        earliest = None
        for frame in self._decoded():
            pts = frame.pts if frame.pts is not None else earliest
            pts = 0 if pts is None else pts
            if earliest is not None and pts < earliest - usual + 1:
                pts = earliest
            duration = int(getattr(frame, "duration", 0) or usual)
            earliest = pts + usual
            yield Decoded(frame, pts, duration)
        if earliest is not None and not self.broke_off:
            self._check_end(earliest * self.time_base)

    def _check_end(self, end: Fraction) -> None:
        """Detect a truncated file, whose data end without an error.

        Args:
            end: where the last frame ends, in seconds.
        """
        fault = None
        if self._file is not None:
            self._miss(self._frames_seen.end())
            self._packets_seen.check_end(self._file)
            fault = broken_structure(self._file, self._format)
            end = max(end, self._packets_seen.reached)
        is_damaged = bool(self.num_damaged or self.num_missing or self._packets_seen.evidence)
        missing = missing_end(
            end,
            self._promised_end(may_guess=is_damaged or fault is not None),
            frame_seconds=1 / self.rate,
            is_damaged=is_damaged,
            is_cut=fault is not None,
            is_exact=self._format == "ogg",
        )
        unread = self._num_unread()
        if missing is not None:
            self._break_off(end, missing, unread, fault)
        elif unread:
            self.num_missing += unread
            self._notify(f"{self._name} is damaged: about {_frames(unread)} missing")

    def _break_off(self, end: Fraction, missing: End, unread: int, fault: str | None) -> None:
        """Report that the file ends early."""
        self.broke_off = True
        num_frames = unread or missing.num_frames
        self.num_missing += num_frames
        facts = [f"its video ends at {float(end):.2f} s"]
        if missing.promised is not None:
            facts.append(f"but should go on to {float(missing.promised):.2f} s")
        if num_frames:
            facts.append(f"(about {_frames(num_frames)} missing)")
        if fault is not None:
            facts[-1] += f"; {fault}"
        self._notify(f"{self._name} ends early: {' '.join(facts)}")

    def _promised_end(self, *, may_guess: bool) -> Fraction | None:
        """Where the header says that the streams end, in seconds; None: it does not say.

        Args:
            may_guess: accept a duration that FFmpeg may have estimated from the bit rate.
        """
        stream = self._stream
        if says_length_of_all(self._format):
            # A stream has a duration of its own if FFmpeg guessed it or has read the whole file.
            believed = stream.duration is None or may_guess
            return self.seconds if believed and self._file is not None else None
        if self._clock_jumps and self._file is not None:
            return None  # it is FFmpeg's guess
        if not stream.duration or stream.start_time is None:
            return None
        end = stream.start_time + stream.duration
        if may_guess and self._format == "avi":  # FFmpeg shortens the duration with the file
            end = max(end, stream.start_time + self._declared_frames)
        return Fraction(end * self.time_base)

    def _num_unread(self) -> int:
        """Frames in the index of an MP4 or MOV file that were not read as packets."""
        if self._file is None or not has_index(self._format):
            return 0
        return max(0, len(self._stream.index_entries) - self._packets_seen.num_video_packets)

    def _decoded(self) -> Iterator[Any]:
        av = pyav()
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._leave_out(packet.pts)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._leave_out(frame.pts)
                else:
                    self._check_pause(frame)
                    yield frame

    def _check_pause(self, frame: Any) -> None:
        """Detect frames that are missing before this one."""
        if self._file is None or frame.pts is None:
            return
        self._miss(self._frames_seen.add(frame.pts * self.time_base))

    def _miss(self, pause: Pause | None) -> None:
        """Report missing frames."""
        if pause is not None:
            self.num_missing += pause.num_frames
            self._notify(
                f"{self._name} is damaged: about {_frames(pause.num_frames)} missing from "
                f"{float(pause.start):.2f} to {float(pause.end):.2f} s"
            )

    def _packets(self) -> Iterator[Any]:
        av = pyav()
        packets = self._container.demux(*self._streams_to_read())
        while True:
            try:
                packet = next(packets)
            except (StopIteration, IndexError):
                # PyAV raises IndexError at the end for a stream that appeared midway.
                return
            except (av.FFmpegError, OSError) as exc:
                self.broke_off = True
                self._notify(f"{self._name} ends early: {reason(exc)}")
                return
            is_video = packet.stream.index == self._stream.index
            if self._file is not None:
                self._packets_seen.add(packet, is_video=is_video)
            if is_video:
                yield packet
            elif self.on_audio is not None and packet.size and packet.dts is not None:
                self.on_audio(packet, self._container)

    def _streams_to_read(self) -> list[Any]:
        """The streams to read packets from: all of a file, since its duration is that of all."""
        if self._file is not None:
            return list(self._container.streams)
        return [self._stream, *(self._container.streams.audio if self._with_audio else ())]

    def _leave_out(self, pts: int | None) -> None:
        self.num_damaged += 1
        self._frames_seen.damage()
        when = "" if pts is None else f" at {float(pts * self.time_base):.2f} s"
        self._notify(f"{self._name}: the frame{when} is damaged and skipped")


def _frames(number: int) -> str:
    """Such as "1 frame is" or "2 frames are"."""
    return "1 frame is" if number == 1 else f"{number} frames are"


def _opened(target: str, name: str, **options: Any) -> Any:
    """The container of a source.

    Raises:
        InputError: it cannot be opened, or is not a video.
    """
    av = pyav()
    try:
        return av.open(target, **options)
    except (av.FFmpegError, OSError, UnicodeError) as exc:
        fix = (
            "it is damaged or not a video: copy it again, or check it with `ffprobe`"
            if isinstance(exc, av.error.InvalidDataError)
            else "check that it exists, that you may read it and, if live, that it is sending"
        )
        raise InputError(f"{name} cannot be read as video: {reason(exc)}; {fix}") from exc
