"""Small video clips that tests make themselves, and what they look at in results."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from munit_edge.video.frames import clear_padding

SAMPLE_RATE = 16_000
BARS = np.array([(200, 40, 40), (40, 180, 60), (50, 60, 210), (220, 220, 60)], np.uint8)


class Packet(NamedTuple):
    pts: Fraction
    """Seconds."""
    duration: Fraction
    """Seconds."""
    data: bytes


def colour_bars(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """Colour bars with a white square that moves: uint8 [H, W, 3]."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = BARS[np.arange(width) * len(BARS) // width]
    side = height // 4
    left = index * 2 % (width - side)
    image[side : 2 * side, left : left + side] = 255
    return image


def make_clip(
    path: Path,
    num_frames: int = 12,
    size: tuple[int, int] = (32, 24),
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    audio: str | None = "aac",
    steps: Sequence[int] = (512,),
    first: int = 0,
    aspect: Fraction | None = None,
    keyframe_every: int = 6,
    index_first: bool = False,
) -> Path:
    """Write a clip of `colour_bars`, width x height pixels, in a time base of 1/12800 s.

    Args:
        path: the suffix names the container.
        num_frames: how many.
        size: width and height.
        codec: FFmpeg's encoder.
        pixel_format: FFmpeg's name.
        audio: FFmpeg's encoder of a tone of the same length; None: no audio.
        steps: time from frame to frame, repeated.
        first: time stamp of the first frame.
        aspect: width of a pixel divided by its height.
        keyframe_every: frames.
        index_first: MP4 with the index before the frames.
    """
    width, height = size
    time_base = Fraction(1, 12_800)
    container_options = {"movflags": "+faststart"} if index_first else {}
    with av.open(str(path), "w", options=container_options) as file:
        options = {"g": str(keyframe_every)}
        video: Any = file.add_stream(codec, rate=25, options=options)
        video.width, video.height, video.pix_fmt = width, height, pixel_format
        video.codec_context.time_base = time_base
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        tone: Any = None
        if audio is not None:
            tone = file.add_stream(audio, rate=SAMPLE_RATE, layout="mono")
        pts = first
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(colour_bars(index, height, width), format="rgb24")
            if pixel_format == "yuv420p":
                frame = frame.reformat(format=pixel_format)
                clear_padding(frame)
            frame.pts, frame.time_base = pts, time_base
            pts += steps[index % len(steps)]
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if tone is not None:
            _add_tone(file, tone, float(pts * time_base))
    return path


def _add_tone(file: Any, stream: Any, seconds: float) -> None:
    for start in range(0, int(seconds * SAMPLE_RATE), 1024):
        wave = 8_000 * np.sin(2 * np.pi * 440 / SAMPLE_RATE * np.arange(start, start + 1024))
        frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def packets(path: Path, kind: str) -> list[Packet]:
    """The packets of the first stream of a kind ("video" or "audio"), in their order."""
    with av.open(str(path)) as file:
        stream = next(stream for stream in file.streams if stream.type == kind)
        return [
            Packet(p.pts * p.time_base, p.duration * p.time_base, bytes(p))
            for p in file.demux(stream)
            if p.size
        ]


def shown(path: Path) -> list[Fraction]:
    """When each frame of a video is shown (seconds)."""
    return sorted(packet.pts for packet in packets(path, "video"))


def frames(path: Path) -> list[NDArray[np.uint8]]:
    """The decoded frames of a video, uint8 [H, W, 3]."""
    with av.open(str(path)) as file:
        return [np.asarray(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]


def set_matrix(path: Path, matrix: Sequence[float]) -> Path:
    """Write the four numbers a, b, c, d of a display matrix into the header of an MP4 file."""
    a, b, c, d = (round(value * (1 << 16)) for value in matrix)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version and flags, times, layer, volume: then the matrix
    assert struct.unpack(">9i", data[start : start + 36])[0] == 1 << 16
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def remux(source: Path, path: Path, options: dict[str, str] | None = None) -> Path:
    """Copy the packets of the first video stream into another container."""
    with av.open(str(source)) as read, av.open(str(path), "w", options=options or {}) as file:
        stream = read.streams.video[0]
        copied = file.add_stream_from_template(stream, opaque=True)
        copied.codec_context.framerate = stream.average_rate
        for packet in read.demux(stream):
            if packet.size:
                packet.stream = copied
                file.mux(packet)
    return path


def damage(path: Path, index: int) -> Path:
    """Fill the packet of one frame with zeros, in place."""
    with av.open(str(path)) as file:
        found = [(p.pos, p.size) for p in file.demux(video=0) if p.size]
    position, size = found[index]
    data = bytearray(path.read_bytes())
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    return path
