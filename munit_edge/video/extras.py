"""What a result takes over from its input in addition to video and audio.

These are tags (title, date, comment), chapters, subtitles and fonts, and each stream's language,
title and disposition. They are copied as far as the container of the result can hold them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from munit_edge.video.av_api import pyav
from munit_edge.video.codecs import VideoContainer

_TECHNICAL = (
    *(
        "encoder",
        "software",
        "metadatacreator",
        "duration",
        "number_of_frames",
        "number_of_bytes",
        "bps",
        "_statistics",
    ),
    *("major_brand", "minor_version", "compatible_brands", "vendor_id", "rotate"),
    *("alpha_mode", "stereo_mode", "timecode", "filename", "mimetype"),
)
"""Prefixes of tags that describe the file itself and would be wrong in another file."""
_UNKNOWN_LANGUAGE = "und"
_CHAPTER_BASE = Fraction(1, 1000)
_NAMES = {"subtitle": "subtitles", "attachment": "fonts and other attachments", "data": "data"}


@dataclass(frozen=True)
class Extras:
    """Where the extras of a result come from."""

    path: Path
    """The input."""
    video_index: int
    """Index of the stream that is translated."""
    shift: Fraction = Fraction(0)
    """Seconds to add to time stamps."""
    until: Fraction | None = None
    """Cut everything from this time on, in seconds after the shift; None: cut nothing."""


def tags_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """The tags of a file or stream that remain true in another file."""
    return {
        key: value
        for key, value in metadata.items()
        if value
        and not key.lower().startswith(_TECHNICAL)
        and (key.lower(), value) != ("language", _UNKNOWN_LANGUAGE)
    }


def copy_stream(file: Any, stream: Any) -> Any:
    """Add a stream like `stream` to `file`, with its tags and disposition.

    Raises:
        ValueError: the container cannot hold its codec.
    """
    copy = file.add_stream_from_template(stream, opaque=True)
    describe(copy, stream)
    return copy


def describe(copy: Any, stream: Any) -> None:
    """Copy the language, title and disposition of a stream to another one."""
    if stream.type != "attachment":
        copy.metadata.clear()
        copy.metadata.update(tags_of(stream.metadata))
    # The cover image stays behind, so no stream of the result may be marked as one.
    copy.disposition = int(stream.disposition & ~pyav().stream.Disposition.attached_pic)


def add_extras(file: Any, source: Any, extras: Extras, container: VideoContainer) -> dict[int, Any]:
    """Add all extras of `source` to `file`, except for the packets of subtitles.

    Args:
        file: the result; nothing has been written to it yet.
        source: PyAV's container of the input.
        extras: describes `source`.
        container: kind of `file`.

    Returns:
        The subtitle streams of `file`, by their index in `source`.
    """
    file.metadata.update(tags_of(source.metadata))
    file.set_chapters(_chapters(source, extras))
    copies = {}
    for stream in _further_streams(source):
        if _is_held(stream, container):
            copies[stream.index] = copy_stream(file, stream)
    return {index: copy for index, copy in copies.items() if copy.type == "subtitle"}


def left_out(source: Any, video_index: int, container: VideoContainer) -> list[str]:
    """The parts of an input that a container cannot hold, in words.

    Args:
        source: PyAV's container of the input.
        video_index: index of the stream that is translated.
        container: kind of the result.
    """
    disposition = pyav().stream.Disposition
    others = [stream for stream in source.streams.video if stream.index != video_index]
    covers = [stream for stream in others if stream.disposition & disposition.attached_pic]
    names = []
    if len(others) > len(covers):
        number = len(others) - len(covers)
        names.append(f"{number} more video stream{'s' if number > 1 else ''}")
    if covers:
        names.append("the cover image")
    chapters = source.chapters()
    kinds = [stream.type for stream in _further_streams(source) if not _is_held(stream, container)]
    if not chapters:  # MP4 stores chapter titles in a data stream
        kinds += [stream.type for stream in source.streams if stream.type == "data"]
    names += [_NAMES[kind] for kind in dict.fromkeys(kinds)]
    tags = tags_of(source.metadata)
    held_tags, holds_chapters = _held(tags, chapters, container)
    if chapters and not holds_chapters:
        names.append("chapters")
    lost = [key for key in tags if key.lower() not in held_tags]
    if lost:
        names.append(f"the tag{'s' if len(lost) > 1 else ''} {', '.join(lost)}")
    return names


def _further_streams(source: Any) -> Iterable[Any]:
    return (stream for stream in source.streams if stream.type in ("subtitle", "attachment"))


def _is_held(stream: Any, container: VideoContainer) -> bool:
    """Whether a container can hold a stream, found out by trying."""
    av = pyav()
    # As in `audio.check_audio`: only trying shows what this FFmpeg can store.
    trial = av.open(io.BytesIO(), "w", format=container.format)
    try:
        copy_stream(trial, stream)
        trial.start_encoding()
    except (av.FFmpegError, ValueError, NotImplementedError):
        return False
    finally:
        with contextlib.suppress(av.FFmpegError):
            trial.close()
    return True


def _held(
    tags: Mapping[str, str], chapters: list[Any], container: VideoContainer
) -> tuple[set[str], bool]:
    """Which tags a container can hold, in lower case, and whether it can hold chapters."""
    av = pyav()
    buffer = io.BytesIO()
    # A file of one frame is written and read back: some muxers drop tags and chapters silently.
    with av.open(buffer, "w", format=container.format) as trial:
        stream = trial.add_stream(
            "libvpx-vp9" if container.format == "webm" else "libx264", rate=25
        )
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        trial.metadata.update(tags)
        trial.set_chapters(chapters)
        frame = av.VideoFrame(16, 16, "yuv420p")
        trial.mux(stream.encode(frame))
        trial.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as written:
        return {key.lower() for key in written.metadata}, bool(written.chapters())


def _chapters(source: Any, extras: Extras) -> list[Any]:
    """The chapters of the input in the time of the result, up to its end."""
    chapters = []
    for chapter in source.chapters():
        base = chapter["time_base"] or _CHAPTER_BASE
        # Each chapter may have its own time base.
        shift = round(extras.shift / base)
        start, end = max(0, chapter["start"] + shift), chapter["end"] + shift
        if extras.until is not None:
            end = min(end, round(extras.until / base))
        if end > start:
            chapters.append({**chapter, "start": start, "end": end})
    return chapters
