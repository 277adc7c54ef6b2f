"""What a video file promises against what came of it: frames that vanish without an error.

A pause in the time stamps alone proves nothing: frame rates vary, and recorders leave out frames
that show nothing new. Frames count as missing where there is evidence beside the pause: damage that
the decoder or the format noticed, or bytes that belong to no packet.
"""

from __future__ import annotations

import contextlib
import statistics
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

_ORDINARY_BYTES = 64
"""Headers between two packets take up to so many bytes."""
_UNUSUAL = 4
"""And up to so many times the median of those before."""
_CLOCK_JUMP_S = 10
"""A longer pause in a stream whose clock starts anywhere is another clock, such as after a cut."""
_NEAR_FRAMES = 2
"""Evidence counts for pauses that begin or end so many frames beside it."""

_CHAINED = frozenset({"matroska", "flv"})
"""Formats whose packets lie one behind the other, with small headers between them, and whose
header says the length of all streams together."""
_ELEMENTS = tuple(
    bytes.fromhex(name)
    for name in ("1c53bb6b", "1f43b675", "1254c367", "114d9b74", "1043a770", "1941a469", "1549a966")
)
"""What may follow the clusters of Matroska: an index, more clusters, tags and the like."""
_STEADY = frozenset({"mxf", "gxf"})
"""Formats of a constant frame rate: each pause is a loss."""
_PLACEHOLDER_BYTES = 16
"""A packet of at most so many bytes may say that nothing is new, and give no frame."""


def says_length_of_all(format_name: str) -> bool:
    """Whether the header says how long all streams are together, and not each of them."""
    return not _CHAINED.isdisjoint(format_name.split(","))


def has_index(format_name: str) -> bool:
    """Whether an index lists each packet before it is read: MP4 and MOV."""
    return "mov" in format_name.split(",")


class Pause(NamedTuple):
    """Frames that did not come."""

    start: Fraction
    """Seconds; end of the frame before."""
    end: Fraction
    """Seconds; begin of the frame behind."""
    num_frames: int
    """How many fit in there, less those that were told as damaged."""


class PacketTrail:
    """Follows the packets of a file, in the order of their bytes, and keeps evidence of loss.

    Args:
        format_name: FFmpeg's names of the format.
        has_alpha: alpha lies beside the packets, in bytes that are no loss.
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
        """Seconds at which the last packet of any stream ends."""
        self.num_pictures = 0
        """Packets of the video stream."""
        self.evidence: list[Fraction] = []
        """Seconds at which something is wrong."""
        self.waiting: list[Fraction] = []
        """Seconds of the frames that packets promise and that have not come yet."""

    def add(self, packet: Any, *, is_picture: bool) -> None:
        """Follow one packet of PyAV."""
        if not packet.size:
            return
        self.num_pictures += is_picture
        stamp = packet.dts if packet.pts is None else packet.pts
        seconds = self._seconds if stamp is None else stamp * packet.time_base
        if stamp is not None:
            end = (stamp + (packet.duration or 0)) * packet.time_base
            self.reached = max(self.reached, end)
        shows = packet.size > _PLACEHOLDER_BYTES and not packet.is_discard
        if is_picture and shows and packet.pts is not None and not self._guesses_pts(packet):
            self.waiting.append(packet.pts * packet.time_base)
        if packet.is_corrupt or (self._follows_bytes and self._skips(packet)):
            self.evidence += [moment for moment in (self._seconds, seconds) if moment is not None]
        self._seconds = seconds

    def _guesses_pts(self, packet: Any) -> bool:
        """Whether FFmpeg guesses when the packet is shown: AVI does not store it."""
        return self._is_avi and bool(packet.stream.codec_context.has_b_frames)

    def look_behind(self, file: Path) -> None:
        """Look at what is behind the last packet: an element of Matroska, or damage."""
        if self._end < 0 or not self._is_matroska:
            return
        with contextlib.suppress(OSError), file.open("rb") as opened:
            opened.seek(self._end)
            behind = opened.read(_ORDINARY_BYTES)
            # Behind the packet may be more of its group, and padding.
            if len(behind) == _ORDINARY_BYTES and not any(name in behind for name in _ELEMENTS):
                self.evidence.append(self.reached)

    def _skips(self, packet: Any) -> bool:
        """Whether more bytes than headers lie between this packet and the one before."""
        position, size = packet.pos, packet.size
        if position is None or position < 0:
            return False
        if position == self._position:  # several packets in one block
            self._end += size
            return False
        between = position - self._end if self._end >= 0 else 0
        self._position, self._end = position, position + size
        usual = statistics.median(self._headers) if between > _ORDINARY_BYTES else 0
        self._headers.append(max(0, between))
        return between > _ORDINARY_BYTES + _UNUSUAL * usual


class FrameTrail:
    """Follows the frames that come out of the decoder.

    Args:
        packets: the packets that went into it.
        frame_seconds: how long a frame is shown as a rule.
        format_name: FFmpeg's names of the format.
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
        """A frame was told as damaged and left out."""
        self._num_damaged += 1

    def add(self, seconds: Fraction) -> Pause | None:
        """A frame that is shown from here on; returns what is missing before it."""
        last, told = self._last, self._num_damaged
        swallowed = self._swallowed(seconds) - told
        self._last, self._num_damaged = seconds, 0
        if last is None or seconds - last < self._usual * 3 / 2:
            return None
        if self._clock_jumps and seconds - last > _CLOCK_JUMP_S:
            return None
        near = _NEAR_FRAMES * self._usual
        evidence = (last - near <= moment <= seconds + near for moment in self._packets.evidence)
        missing = swallowed
        if told or self._is_steady or any(evidence):
            missing = round((seconds - last) / self._usual) - 1 - told
        return Pause(last + self._usual, seconds, missing) if missing > 0 else None

    def end(self) -> Pause | None:
        """No more frames come; returns what the decoder kept for itself."""
        if self._last is None:
            return None
        end = max(self._packets.waiting, default=self._last) + self._usual
        missing = self._swallowed(end + self._usual) - self._num_damaged
        return Pause(self._last + self._usual, end, missing) if missing > 0 else None

    def _swallowed(self, seconds: Fraction) -> int:
        """Packets behind the last frame and before this moment that gave none."""
        waiting = self._packets.waiting
        self._packets.waiting = [moment for moment in waiting if moment > seconds]
        if self._last is None:
            return 0
        # The second field of a frame, or a hidden one, stands close to the frame.
        first = self._last + self._usual * 3 / 5
        return sum(first < moment < seconds - self._usual * 3 / 5 for moment in waiting)


class End(NamedTuple):
    """What is missing at the end of a file."""

    reached: Fraction
    """Seconds at which what came ends."""
    promised: Fraction | None
    """Seconds up to which the header says that it goes; None: it does not say."""
    num_frames: int
    """Frames that are missing, about; 0: not known."""


def missing_end(
    reached: Fraction,
    promised: Fraction | None,
    *,
    frame_seconds: Fraction,
    is_damaged: bool,
    is_cut: bool,
    is_exact: bool = False,
) -> End | None:
    """Judge the end of a file; None: it is where it should be.

    Headers are not exact, and a last frame may be shown for long: less than a second, or than a
    twentieth, is believed to be missing only where something else is wrong, too.

    Args:
        reached: seconds at which what came ends.
        promised: seconds up to which the header says that it goes; None: it does not say.
        frame_seconds: how long a frame is shown as a rule.
        is_damaged: whether there was damage before.
        is_cut: whether the file is shorter than its structure says.
        is_exact: the format has no header with a guess: its last page says where it ends.
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
