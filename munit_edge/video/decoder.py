"""Decoding one video stream: what is damaged or missing is told, time stamps always rise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from munit_edge.errors import InputError
from munit_edge.images.io import Images
from munit_edge.video.audio import check_sound
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

Tell = Callable[[str], None]
"""Says one line to the user."""

_DEFAULT_RATE = Fraction(25)
_CLOCK_STARTS_ANYWHERE = 0x0200
"""libavformat's AVFMT_TS_DISCONT: time stamps begin at any number, as in MPEG-TS."""


@dataclass(frozen=True)
class Decoded:
    """One decoded frame whose pixels have not been converted yet."""

    frame: Any
    """PyAV's."""
    pts: int
    """In the decoder's time base; above that of the frame before."""
    duration: int
    """In the decoder's time base, at least 1."""


class Decoder:
    """The first video stream of a file, device or address.

    The first frame is decoded at once, so what cannot be decoded is known before any other work.

    Args:
        target: path or address, as FFmpeg takes it.
        name: what messages call it.
        tell: is told of damaged frames.
        format: FFmpeg's name of the format where it cannot be recognised, such as "v4l2".
        options: FFmpeg's options for opening it.
        timeout_s: how long opening and each read may take; None: for ever.
        with_sound: hand audio packets to `on_sound` as they come.
        file: where `target` is a file that was closed by its writer: it is compared with what it
            promises, and what is missing is told.

    Raises:
        InputError: it cannot be opened, or holds no video that can be decoded.
    """

    rate: Fraction
    """Frames a second: the average, or FFmpeg's guess."""
    time_base: Fraction
    """Seconds of one unit of a time stamp."""
    seconds: Fraction | None
    """How long it is; None: it does not say, as live sources."""
    clock_start: Fraction
    """Seconds at which its clock begins, where that may be any number; else 0."""
    video_index: int
    """Index of the stream that is decoded."""
    has_sound: bool
    """Whether there is an audio stream."""
    first_pts: int
    """Time stamp of the first frame."""
    upright_hw: tuple[int, int]
    """Height and width of the pixels that `pixels` gives: of the first frame, upright."""
    pixel_aspect: Fraction
    """Width of a pixel divided by its height, upright."""

    def __init__(
        self,
        target: str,
        name: str,
        tell: Tell,
        *,
        format: str | None = None,  # noqa: A002 - as in PyAV
        options: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        with_sound: bool = False,
        file: Path | None = None,
    ) -> None:
        av = pyav()
        self._name = name
        self._tell = tell
        self.on_sound: Callable[[Any, Any], None] | None = None
        """Is given each audio packet and the container that it comes from."""
        self._with_sound = with_sound
        self.num_damaged = 0
        """Frames left out so far because they cannot be decoded."""
        self.num_missing = 0
        """Frames, about, that a file promises and does not hold, as far as that is known."""
        self._file = file
        self.broke_off = False
        """Whether reading ended before the end that the file names, or with an error."""
        try:
            self._container = av.open(
                target, format=format, options=dict(options or {}), timeout=timeout_s
            )
        except (av.FFmpegError, OSError, UnicodeError) as exc:
            mend = (
                "it is damaged or no video: copy it again, or see what `ffprobe` says of it"
                if isinstance(exc, av.error.InvalidDataError)
                else "check that it is there, that you may read it and, if live, that it sends"
            )
            raise InputError(f"{name} cannot be read as video: {reason(exc)}; {mend}") from exc
        try:
            self._stream = self._video_stream()
            self._clock_jumps = bool(self._container.format.flags & _CLOCK_STARTS_ANYWHERE)
            # Kept: once the file is closed, maybe by another thread, PyAV must not be asked.
            self.rate = self._rate()
            self.time_base = self._stream.time_base or 1 / self.rate
            self.seconds = self._seconds()
            self.clock_start = self._clock_start()
            self.video_index = int(self._stream.index)
            self.has_sound = bool(self._container.streams.audio)
            self._declared_frames = int(self._stream.frames)
            self._format = str(self._container.format.name)
            self._packets_seen = PacketTrail(self._format, has_alpha=has_alpha_beside(self._stream))
            self._frames_seen = FrameTrail(
                self._packets_seen,
                1 / self.rate,
                self._format,
                clock_jumps=self._clock_jumps,
            )
            self._frames = self._in_order()
            self._first: Decoded | None = next(self._frames, None)
            if self._first is None:
                raise InputError(f"{name}: not one frame of its video can be decoded")
            aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        except BaseException:
            self._container.close()
            raise
        self.first_pts = self._first.pts
        frame = self._first.frame
        # Not asked of every frame: PyAV ties a frame to its side data in a cycle, which keeps its
        # pixels until Python's collector comes by.
        self._rotation, self._orientation = frame.rotation, orientation_of(frame)
        self.upright_hw = self._orientation.swapped((frame.height, frame.width))
        self.pixel_aspect = 1 / aspect if self._orientation.swaps_axes else aspect
        for note in notes_on(frame, self._stream):
            tell(f"{name}: {note}")

    @property
    def num_frames(self) -> int | None:
        """How many frames there are, as far as the file says."""
        if self._declared_frames:
            return self._declared_frames
        return None if self.seconds is None else max(1, round(self.seconds * self.rate))

    def frames(self) -> Iterator[Decoded]:
        """All frames in the order in which they are shown; can be called once."""
        if self._first is not None:
            yield self._first
            self._first = None
        yield from self._frames

    def pixels(self, decoded: Decoded, channels: int) -> Images:
        """Pixels of a frame, uint8 [H, W, C]; see `upright_pixels`."""
        frame = decoded.frame
        if frame.rotation != self._rotation:  # a camera that was turned while it recorded
            self._rotation, self._orientation = frame.rotation, orientation_of(frame)
        return upright_pixels(frame, self._orientation, self.upright_hw, channels)

    def check_sound(self, output: Path, container: VideoContainer) -> None:
        """Check that a container holds the audio; see `munit_edge.video.audio.check_sound`."""
        if self.has_sound:
            check_sound(self._container, self._name, output, container)

    def left_out(self, container: VideoContainer) -> list[str]:
        """What a container cannot take over; see `munit_edge.video.extras.left_out`."""
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
        best = streams.best("video")  # a cover may come first, and say nothing of being one
        stream = best if best in found else found[0]
        if stream.codec_context is None:
            raise InputError(f"{self._name}: this FFmpeg has no decoder for its video")
        # Threads that decode several frames at once would tell of damage frames later.
        stream.thread_type = "SLICE"
        return stream

    def _in_order(self) -> Iterator[Decoded]:
        """Frames with time stamps that rise, also where the file has none or wrong ones."""
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
        """Notice a file that was cut off: its data end without an error.

        Args:
            end: seconds at which the last frame ends.
        """
        fault = None
        if self._file is not None:
            self._miss(self._frames_seen.end())
            self._packets_seen.look_behind(self._file)
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
            self._tell(f"{self._name} is damaged: about {_frames(unread)} missing")

    def _break_off(self, end: Fraction, missing: End, unread: int, fault: str | None) -> None:
        """Tell that the file ends too early."""
        self.broke_off = True
        num_frames = unread or missing.num_frames
        self.num_missing += num_frames
        told = [f"its video ends at {float(end):.2f} s"]
        if missing.promised is not None:
            told.append(f"and says that it goes to {float(missing.promised):.2f} s")
        if num_frames:
            told.append(f"(about {_frames(num_frames)} missing)")
        if fault is not None:
            told[-1] += f"; {fault}"
        self._tell(f"{self._name} breaks off: {' '.join(told)}")

    def _promised_end(self, *, may_guess: bool) -> Fraction | None:
        """Seconds up to which the header says that the streams go; None: it does not say.

        Args:
            may_guess: take FFmpeg's guess from the bit rate, too, where it may be one.
        """
        stream = self._stream
        if says_length_of_all(self._format):
            # FFmpeg gives streams a length where it had to guess, or has seen the whole file.
            believed = stream.duration is None or may_guess
            return self.seconds if believed and self._file is not None else None
        if self._clock_jumps and self._file is not None:
            return None  # FFmpeg's guess
        if not stream.duration or stream.start_time is None:
            return None
        end = stream.start_time + stream.duration
        if may_guess and self._format == "avi":  # FFmpeg shortens the length with the file
            end = max(end, stream.start_time + self._declared_frames)
        return Fraction(end * self.time_base)

    def _num_unread(self) -> int:
        """Frames that the index of an MP4 or MOV file lists and that did not come as packets."""
        if self._file is None or not has_index(self._format):
            return 0
        return max(0, len(self._stream.index_entries) - self._packets_seen.num_pictures)

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
        """Notice frames that vanished before this one."""
        if self._file is None or frame.pts is None:
            return
        self._miss(self._frames_seen.add(frame.pts * self.time_base))

    def _miss(self, pause: Pause | None) -> None:
        """Tell of frames that did not come."""
        if pause is not None:
            self.num_missing += pause.num_frames
            self._tell(
                f"{self._name} is damaged: about {_frames(pause.num_frames)} missing from "
                f"{float(pause.start):.2f} to {float(pause.end):.2f} s"
            )

    def _packets(self) -> Iterator[Any]:
        av = pyav()
        packets = self._container.demux(*self._heard())
        while True:
            try:
                packet = next(packets)
            except (StopIteration, IndexError):
                # IndexError: at the end PyAV knows no stream that came up on the way.
                return
            except (av.FFmpegError, OSError) as exc:
                self.broke_off = True
                self._tell(f"{self._name} breaks off: {reason(exc)}")
                return
            is_picture = packet.stream.index == self._stream.index
            if self._file is not None:
                self._packets_seen.add(packet, is_picture=is_picture)
            if is_picture:
                yield packet
            elif self.on_sound is not None and packet.size and packet.dts is not None:
                self.on_sound(packet, self._container)

    def _heard(self) -> list[Any]:
        """The streams whose packets are read: of a file all, since its length is that of all."""
        if self._file is not None:
            return list(self._container.streams)
        return [self._stream, *(self._container.streams.audio if self._with_sound else ())]

    def _leave_out(self, pts: int | None) -> None:
        self.num_damaged += 1
        self._frames_seen.damage()
        when = "" if pts is None else f" at {float(pts * self.time_base):.2f} s"
        self._tell(f"{self._name}: the frame{when} is damaged and left out")

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _frames(number: int) -> str:
    """1 frame is, 2 frames are."""
    return "1 frame is" if number == 1 else f"{number} frames are"
