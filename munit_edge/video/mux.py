"""Muxing segments, audio and extras into one file: packets are copied, nothing is re-encoded."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from munit_edge.errors import OutputError
from munit_edge.files.atomic import atomic_file
from munit_edge.video.audio import Audio, add_audio_streams
from munit_edge.video.av_api import file_name, pyav, reason
from munit_edge.video.codecs import VideoContainer
from munit_edge.video.extras import Extras, add_extras, describe
from munit_edge.video.parts import Segment


class _Timed(NamedTuple):
    """A packet with its decoding time."""

    seconds: float
    order: int
    packet: Any


def mux(
    output: Path,
    folder: Path,
    segments: Sequence[Segment],
    *,
    time_base: Fraction,
    rate: Fraction,
    last_duration: int,
    container: VideoContainer,
    audio: Audio | None,
    extras: Extras | None,
    comment: str,
) -> int:
    """Write `output`, completely or not at all.

    Args:
        output: the file.
        folder: folder of the segments.
        segments: at least one.
        time_base: length of one unit of the segments' time stamps, in seconds.
        rate: frames per second that the input declares.
        last_duration: how long the last frame is shown, in `time_base`.
        container: kind of `output`.
        audio: copied unchanged.
        extras: copied as far as the container can hold them.
        comment: added to the file's metadata, after the comment of the input.

    Returns:
        How many damaged packets of audio and extras were left out.

    Raises:
        OutputError: it cannot be written, or a segment does not match the ledger.
    """
    av = pyav()
    with atomic_file(output) as partial, contextlib.ExitStack() as stack:
        try:
            options = dict(container.final)
            file = av.open(file_name(partial), "w", format=container.format, options=options)
            stack.callback(file.close)
            # One encoder with one setting made all segments, so the first describes them all.
            with av.open(file_name(folder / segments[0].file)) as first:
                stream = file.add_stream_from_template(first.streams.video[0], opaque=True)
            stream.codec_context.framerate = _declared_rate(
                rate, segments, time_base, last_duration
            )
            streams = [_segment_packets(folder, segments, stream, time_base, last_duration)]
            streams += _copies(file, stream, audio, extras, container, stack)
            _add_comment(file.metadata, comment)
            num_damaged = _write(file, streams)
            # Inside `try`: closing writes the trailer or index, which can fail like any write.
            stack.pop_all().close()
        except av.FFmpegError as exc:
            if isinstance(exc, OSError):  # such as a full disk: `atomic_file` names the fix
                raise
            raise OutputError(f"{output} cannot be written: {reason(exc)}") from exc
    return num_damaged


def _copies(
    file: Any,
    video: Any,
    audio: Audio | None,
    extras: Extras | None,
    container: VideoContainer,
    stack: contextlib.ExitStack,
) -> list[Iterator[_Timed]]:
    """Add the streams of audio and extras to `file`; their packets, read as they are needed.

    The inputs stay open until `stack` closes. `video` is the stream of the translated video.
    """
    packets = []
    if audio is not None:
        source = stack.enter_context(pyav().open(file_name(audio.path)))
        copies = add_audio_streams(file, source)
        packets.append(_copied_packets(source, copies, audio, audio.since))
    if extras is not None:
        source = stack.enter_context(pyav().open(file_name(extras.path)))
        describe(video, source.streams[extras.video_index])
        copies = add_extras(file, source, extras, container)
        if copies:
            packets.append(_copied_packets(source, copies, extras, Fraction(0)))
    return packets


def _write(file: Any, streams: Sequence[Iterator[_Timed]]) -> int:
    """Mux the packets of all streams by time; return how many damaged ones were left out."""
    av = pyav()
    num_damaged = 0
    # Containers want packets in order of time over all streams; each stream is sorted already.
    for timed in heapq.merge(*streams, key=lambda timed: timed[:2]):
        try:
            file.mux(timed.packet)
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            if not timed.order:  # the video itself
                raise
            num_damaged += 1
    return num_damaged


COMMENT_PREFIX = "munit-edge "
"""Start of the comment in every complete result."""


def comment_of(path: Path) -> str | None:
    """The comment that `mux` added to a file; None: there is none, or it is not a video."""
    av = pyav()
    try:
        with av.open(file_name(path)) as file:
            metadata = {key.lower(): value for key, value in file.metadata.items()}
    except (av.FFmpegError, OSError):
        return None
    lines = metadata.get("comment", "").splitlines()
    return lines[-1] if lines else None


def _add_comment(tags: dict[str, str], comment: str) -> None:
    """Add our line after the comment of the input; it replaces our line of an earlier run."""
    kept = [tags.pop(key) for key in list(tags) if key.lower() == "comment"]
    ours = re.compile(re.escape(comment.partition(" ")[0]) + r" [0-9a-f]{64}-\d+")
    lines = [line for text in kept for line in text.splitlines() if not ours.fullmatch(line)]
    tags["comment"] = "\n".join([*lines, comment])


def _declared_rate(
    rate: Fraction, segments: Sequence[Segment], time_base: Fraction, last_duration: int
) -> Fraction:
    """Frames per second for the header: what the input declares, if the frames agree with it.

    Else their average: Matroska has no other field for the duration of a frame.
    """
    first, last = segments[0].stamps[0], segments[-1].stamps[-1]
    count = sum(len(segment.stamps) for segment in segments)
    # n frames have n - 1 steps. A percent is allowed for, or two units of the clock, whichever is
    # more: stamps in milliseconds are never exact.
    steps = (last - first) * time_base
    if abs(steps - (count - 1) / rate) <= max(2 * time_base, steps / 100):
        return rate.limit_denominator(1001)
    average = count / ((last - first + last_duration) * time_base)
    return average.limit_denominator(1001) or Fraction(1, round(1 / average))


def _segment_packets(
    folder: Path, segments: Sequence[Segment], stream: Any, time_base: Fraction, last_duration: int
) -> Iterator[_Timed]:
    """All packets of the segments, with the time stamps from the ledger."""
    stamps = itertools.chain.from_iterable(segment.stamps for segment in segments)
    # The same stamps one ahead: a frame lasts until the next one starts.
    following = itertools.islice(
        itertools.chain.from_iterable(segment.stamps for segment in segments), 1, None
    )
    for segment in segments:
        for packet in _video_packets(folder / segment.file, len(segment.stamps)):
            pts = next(stamps)
            packet.stream = stream
            packet.time_base = time_base
            # Equal, as there are no B-frames.
            packet.pts = packet.dts = pts
            packet.duration = next(following, pts + last_duration) - pts
            yield _Timed(float(pts * time_base), 0, packet)


def _video_packets(path: Path, expected: int) -> Iterator[Any]:
    count = 0
    with pyav().open(file_name(path)) as file:
        for packet in file.demux(file.streams.video[0]):
            if packet.size:
                count += 1
                yield packet
    if count != expected:
        raise OutputError(
            f"{path} is damaged: it has {count} frames and the ledger says {expected}; --overwrite "
            "starts over"
        )


def _copied_packets(
    source: Any, streams: dict[int, Any], origin: Audio | Extras, since: Fraction | None
) -> Iterator[_Timed]:
    """Packets for the output `streams`, whose keys are their stream indices in `source`."""
    for packet in source.demux([source.streams[index] for index in streams]):
        # The flush packet at the end of a stream is empty.
        if packet.dts is None or not packet.size:
            continue
        # Both stamps by the same whole number, so that their distance stays.
        shift = round(origin.shift / packet.time_base)
        packet.dts += shift
        # AVI stores no display times.
        packet.pts = packet.dts if packet.pts is None else packet.pts + shift
        seconds = float(packet.dts * packet.time_base)
        if since is not None and seconds < since:
            continue
        if origin.until is not None and seconds >= origin.until:
            return
        packet.stream = streams[packet.stream.index]
        yield _Timed(seconds, 1, packet)
