"""Frames that a video file should have and that are lost without a decoding error.

A gap in the time stamps alone proves nothing: frame rates vary, and recorders skip frames that show
nothing new. Frames count as missing only if there is other evidence near the gap: damage reported
by the decoder or the demuxer, or bytes that belong to no packet.
"""

from __future__ import annotations

import contextlib
import statistics
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

_ORDINARY_BYTES = 64
"""Headers between two packets usually take at most this many bytes."""
_UNUSUAL = 4
"""Bytes between packets are suspicious beyond this multiple of the median so far."""
_CLOCK_JUMP_S = 10
"""A longer gap in a stream whose clock may start anywhere is a clock change, such as at a cut."""
_NEAR_FRAMES = 2
"""Evidence counts for gaps that begin or end within this many frames of it."""

_CHAINED = frozenset({"matroska", "flv"})
"""Formats that store packets one after another with small headers between them, and whose header
has the duration of the whole file, not of each stream."""
_ELEMENTS = tuple(
    bytes.fromhex(name)
    for name in ("1c53bb6b", "1f43b675", "1254c367", "114d9b74", "1043a770", "1941a469", "1549a966")
)
"""IDs of elements that may follow a Matroska cluster: index, another cluster, tags and so on."""
_STEADY = frozenset({"mxf", "gxf"})
"""Formats with a constant frame rate: every gap is a loss."""
_PLACEHOLDER_BYTES = 16
"""A packet this small may only say that nothing has changed, and give no frame."""


def says_length_of_all(format_name: str) -> bool:
    """Whether the header has the duration of the whole file instead of each stream's."""
    return not _CHAINED.isdisjoint(format_name.split(","))


def has_index(format_name: str) -> bool:
    """Whether an index lists all packets before they are read: MP4 and MOV."""
    return "mov" in format_name.split(",")


class Pause(NamedTuple):
    """A gap: frames that are missing."""

    start: Fraction
    """End of the frame before, in seconds."""
    end: Fraction
    """Start of the frame after, in seconds."""
    num_frames: int
    """How many fit into the gap, minus those already reported as damaged."""


class PacketTrail:
    """Follows the packets of a file in byte order and collects evidence of loss.

    Args:
        format_name: FFmpeg's names for the format.
        has_alpha: alpha is stored outside the packets, in bytes that are not a loss.
    """

    def __init__(self, format_name: str, *, has_alpha: bool) -> None:
        is_chained = not _CHAINED.isdisjoint(format_name.split(","))
        self._follows_bytes = is_chained and not has_alpha
        self._is_avi = format_name == "avi"
        self._is_matroska = self._follows_bytes and "matroska" in format_name.split(",")
        self._headers: deque[int] = deque(maxlen=64)
        self._position, self._end = -1, -1
        self._seconds: Fraction | None = None
        self.reached = Fraction(0)
        """End of the last packet of any stream, in seconds."""
        self.num_video_packets = 0
        """Packets of the video stream so far."""
        self.evidence: list[Fraction] = []
        """Times at which something is wrong, in seconds."""
        self.waiting: list[Fraction] = []
        """Display times of frames whose packet was read but which are not decoded yet."""

    def add(self, packet: Any, *, is_video: bool) -> None:
        """Follow one packet of PyAV."""
        if not packet.size:
            return
        self.num_video_packets += is_video
        stamp = packet.dts if packet.pts is None else packet.pts
        seconds = self._seconds if stamp is None else stamp * packet.time_base
        if stamp is not None:
            end = (stamp + (packet.duration or 0)) * packet.time_base
            self.reached = max(self.reached, end)
        shows = packet.size > _PLACEHOLDER_BYTES and not packet.is_discard
        # `FrameTrail` takes it off when this frame, or a later one, comes out of the decoder.
        if is_video and shows and packet.pts is not None and not self._guesses_pts(packet):
            self.waiting.append(packet.pts * packet.time_base)
        # Both neighbours in time: the loss lies somewhere between them.
        if packet.is_corrupt or (self._follows_bytes and self._skips(packet)):
            self.evidence += [moment for moment in (self._seconds, seconds) if moment is not None]
        self._seconds = seconds

    def _guesses_pts(self, packet: Any) -> bool:
        """Whether FFmpeg guesses the display time: AVI does not store it."""
        return self._is_avi and bool(packet.stream.codec_context.has_b_frames)

    def check_end(self, file: Path) -> None:
        """Check the bytes after the last packet: a Matroska element, or damage."""
        if self._end < 0 or not self._is_matroska:
            return
        with contextlib.suppress(OSError), file.open("rb") as opened:
            opened.seek(self._end)
            after = opened.read(_ORDINARY_BYTES)
            # The rest of the packet's block group and padding may come first.
            if len(after) == _ORDINARY_BYTES and not any(name in after for name in _ELEMENTS):
                self.evidence.append(self.reached)

    def _skips(self, packet: Any) -> bool:
        """Whether more bytes than headers take lie between this packet and the previous one."""
        position, size = packet.pos, packet.size
        if position is None or position < 0:
            return False
        if position == self._position:  # several packets in one block
            self._end += size
            return False
        between = position - self._end if self._end >= 0 else 0
        self._position, self._end = position, position + size
        # The median follows each writer's own headers, and one gap does not raise it.
        usual = statistics.median(self._headers) if between > _ORDINARY_BYTES else 0
        self._headers.append(max(0, between))
        return between > _ORDINARY_BYTES + _UNUSUAL * usual


class FrameTrail:
    """Follows the frames that come out of the decoder.

    Args:
        packets: the packets that went into it.
        frame_seconds: usual duration of a frame.
        format_name: FFmpeg's names for the format.
        clock_jumps: the format's clock may start anywhere.
    """

    def __init__(
        self,
        packets: PacketTrail,
        frame_seconds: Fraction,
        format_name: str,
        *,
        clock_jumps: bool,
    ) -> None:
        self._packets = packets
        self._usual = frame_seconds
        self._is_steady = not _STEADY.isdisjoint(format_name.split(","))
        self._clock_jumps = clock_jumps
        self._last: Fraction | None = None
        self._num_damaged = 0

    def damage(self) -> None:
        """Note that a frame was reported as damaged and skipped."""
        self._num_damaged += 1

    def add(self, seconds: Fraction) -> Pause | None:
        """Note a frame by its display time; return what is missing before it."""
        last, damaged = self._last, self._num_damaged
        # Frames reported as damaged also gave no frame; they are not counted a second time.
        swallowed = self._swallowed(seconds) - damaged
        self._last, self._num_damaged = seconds, 0
        # Time stamps may be off by up to half a frame.
        if last is None or seconds - last < self._usual * 3 / 2:
            return None
        if self._clock_jumps and seconds - last > _CLOCK_JUMP_S:
            return None
        near = _NEAR_FRAMES * self._usual
        evidence = (last - near <= moment <= seconds + near for moment in self._packets.evidence)
        missing = swallowed
        # With evidence the whole gap is a loss; without it, only packets that gave no frame count.
        if damaged or self._is_steady or any(evidence):
            missing = round((seconds - last) / self._usual) - 1 - damaged
        return Pause(last + self._usual, seconds, missing) if missing > 0 else None

    def end(self) -> Pause | None:
        """Note the end of the stream; return the frames that the decoder never gave."""
        if self._last is None:
            return None
        # The last packets that were read say how far the video should go.
        end = max(self._packets.waiting, default=self._last) + self._usual
        missing = self._swallowed(end + self._usual) - self._num_damaged
        return Pause(self._last + self._usual, end, missing) if missing > 0 else None

    def _swallowed(self, seconds: Fraction) -> int:
        """Packets between the last frame and this time that gave no frame."""
        waiting = self._packets.waiting
        self._packets.waiting = [moment for moment in waiting if moment > seconds]
        if self._last is None:
            return 0
        # The second field of a frame, or a hidden frame, is close to it in time.
        first = self._last + self._usual * 3 / 5
        return sum(first < moment < seconds - self._usual * 3 / 5 for moment in waiting)


class End(NamedTuple):
    """The early end of a file."""

    reached: Fraction
    """Where the decoded video ends, in seconds."""
    promised: Fraction | None
    """Where the header says that it ends, in seconds; None: it does not say."""
    num_frames: int
    """About how many frames are missing; 0: unknown."""


def missing_end(
    reached: Fraction,
    promised: Fraction | None,
    *,
    frame_seconds: Fraction,
    is_damaged: bool,
    is_cut: bool,
    is_exact: bool = False,
) -> End | None:
    """Decide whether a file ends early; None: it does not.

    Headers are not exact, and a last frame may be shown for a long time. So a difference of less
    than a second, or than a twentieth of the duration, counts only if something else is wrong, too.

    Args:
        reached: where the decoded video ends, in seconds.
        promised: where the header says that it ends, in seconds; None: it does not say.
        frame_seconds: usual duration of a frame.
        is_damaged: whether there was damage before.
        is_cut: whether the file is shorter than its structure requires.
        is_exact: the duration is not an estimate in a header: the last page of the file states it.
    """
    missing = Fraction(0) if promised is None else promised - reached
    allowed = frame_seconds * 3 / 2
    if not is_damaged and not is_cut and not is_exact and promised is not None:
        allowed = max(Fraction(1), promised / 20, allowed)
    is_missing = promised is not None and missing > allowed
    if not is_missing and not is_cut:
        return None
    num_frames = round(missing / frame_seconds) if is_missing else 0
    return End(reached, promised if is_missing else None, num_frames)
