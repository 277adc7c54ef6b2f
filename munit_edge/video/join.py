"""Joining segments and sound into one file: packets are copied, nothing is encoded again."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from munit_edge.errors import OutputError
from munit_edge.files import atomic_file
from munit_edge.video.av_api import file_name, pyav, reason
from munit_edge.video.codecs import VideoContainer
from munit_edge.video.parts import Segment
from munit_edge.video.sound import Sound, add_sound_streams


class _Timed(NamedTuple):
    """A packet, and when it is decoded."""

    seconds: float
    order: int
    packet: Any


def join(
    output: Path,
    folder: Path,
    segments: Sequence[Segment],
    *,
    time_base: Fraction,
    last_duration: int,
    container: VideoContainer,
    sound: Sound | None,
    comment: str,
) -> None:
    """Write `output`, whole or not at all.

    Args:
        output: the file.
        folder: where the segments are.
        segments: at least one.
        time_base: seconds of one unit of the segments' stamps.
        last_duration: how long the last frame is shown, in `time_base`.
        container: what `output` is.
        sound: goes along as it is.
        comment: is kept in the file's metadata.

    Raises:
        OutputError: it cannot be written, or a segment is not what the ledger says.
    """
    av = pyav()
    with atomic_file(output) as partial, contextlib.ExitStack() as stack:
        try:
            options = dict(container.final)
            file = av.open(file_name(partial), "w", format=container.format, options=options)
            stack.callback(file.close)
            file.metadata["comment"] = comment
            with av.open(file_name(folder / segments[0].file)) as first:
                stream = file.add_stream_from_template(first.streams.video[0], opaque=True)
            streams = [_picture_packets(folder, segments, stream, time_base, last_duration)]
            if sound is not None:
                source = stack.enter_context(av.open(file_name(sound.path)))
                streams.append(_sound_packets(source, add_sound_streams(file, source), sound))
            for timed in heapq.merge(*streams, key=lambda timed: timed[:2]):
                file.mux(timed.packet)
            stack.pop_all().close()
        except av.FFmpegError as exc:
            if isinstance(exc, OSError):
                raise
            raise OutputError(f"{output} cannot be written: {reason(exc)}") from exc


COMMENT_PREFIX = "munit-edge "
"""What the comment of every complete result begins with."""


def comment_of(path: Path) -> str | None:
    """What `join` was told to keep in a file's metadata; None: nothing, or it is no video."""
    av = pyav()
    try:
        with av.open(file_name(path)) as file:
            metadata = {key.lower(): value for key, value in file.metadata.items()}
    except (av.FFmpegError, OSError):
        return None
    return metadata.get("comment")


def _picture_packets(
    folder: Path, segments: Sequence[Segment], stream: Any, time_base: Fraction, last_duration: int
) -> Iterator[_Timed]:
    """All packets of the segments, with the time stamps of the ledger."""
    stamps = itertools.chain.from_iterable(segment.stamps for segment in segments)
    following = itertools.islice(
        itertools.chain.from_iterable(segment.stamps for segment in segments), 1, None
    )
    for segment in segments:
        for packet in _video_packets(folder / segment.file, len(segment.stamps)):
            pts = next(stamps)
            packet.stream = stream
            packet.time_base = time_base
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
            "starts anew"
        )


def _sound_packets(source: Any, streams: dict[int, Any], sound: Sound) -> Iterator[_Timed]:
    """The audio packets of `source`, for the streams that they go to."""
    for packet in source.demux(*source.streams.audio):
        if packet.dts is None or not packet.size:
            continue
        shift = round(sound.shift / packet.time_base)
        packet.dts += shift
        packet.pts = packet.dts if packet.pts is None else packet.pts + shift
        seconds = float(packet.dts * packet.time_base)
        if sound.since is not None and seconds < sound.since:
            continue
        if sound.until is not None and seconds >= sound.until:
            return
        packet.stream = streams[packet.stream.index]
        yield _Timed(seconds, 1, packet)
