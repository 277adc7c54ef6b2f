"""Audio on its way from the input to the result: copied, never decoded."""

from __future__ import annotations

import contextlib
import io
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from munit_edge.errors import OutputError
from munit_edge.files.system_errors import output_errors
from munit_edge.video.av_api import file_name, pyav
from munit_edge.video.codecs import VideoContainer
from munit_edge.video.extras import copy_stream


@dataclass(frozen=True)
class Sound:
    """The audio streams of a file."""

    path: Path
    """Where they are."""
    shift: Fraction = Fraction(0)
    """Seconds to add to their time stamps."""
    since: Fraction | None = None
    """Seconds (after the shift) before which they are cut off; None: they are not."""
    until: Fraction | None = None
    """Seconds (after the shift) at which they are cut off; None: they are kept to their end."""


class SoundRecorder:
    """Keeps the audio of a live source in a file until the result is joined.

    Args:
        path: a Matroska file, which holds every codec; its time stamps are in milliseconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file: Any = None
        self._streams: list[Any] = []
        self._newest: list[int] = []
        self._closed = False

    @property
    def is_empty(self) -> bool:
        """Whether no packet has come."""
        return self._file is None

    def add(self, packet: Any, source: Any, shift: Fraction) -> None:
        """Keep a packet.

        Args:
            packet: PyAV's, of an audio stream.
            source: the container that it comes from.
            shift: seconds to add to its time stamps.

        Raises:
            OutputError: it cannot be written.
        """
        number = [stream.index for stream in source.streams.audio].index(packet.stream.index)
        dts = round((packet.dts * packet.time_base + shift) * 1000)
        with self._lock, output_errors(self.path):
            if self._closed or dts < 0:
                return
            if self._file is None:
                self._file = pyav().open(file_name(self.path), "w", format="matroska")
                self._streams = list(add_sound_streams(self._file, source).values())
                self._newest = [-1] * len(self._streams)
            # After the source came back it may be another one, with other streams.
            known = number < len(self._streams) and _codec(self._streams[number]) == _codec(
                packet.stream
            )
            if known and dts > self._newest[number]:
                self._newest[number] = dts
                packet.stream = self._streams[number]
                packet.time_base = Fraction(1, 1000)
                packet.pts = packet.dts = dts
                self._file.mux(packet)

    def close(self) -> None:
        """Complete the file; packets that come later are dropped."""
        with self._lock, output_errors(self.path):
            if self._file is not None and not self._closed:
                self._file.close()
            self._closed = True


def check_sound(source: Any, name: str, output: Path, container: VideoContainer) -> None:
    """Check that a container holds the audio of an input, before any work.

    Args:
        source: PyAV's container of the input.
        name: what messages call it.
        output: the result.
        container: what it is.

    Raises:
        OutputError: it does not.
    """
    av = pyav()
    codecs = ", ".join(sorted({_codec(stream) for stream in source.streams.audio}))
    trial = av.open(io.BytesIO(), "w", format=container.format)
    try:
        add_sound_streams(trial, source)
        trial.start_encoding()
    except (av.FFmpegError, ValueError) as exc:
        raise OutputError(
            f"{output.suffix} files do not hold the audio of {name} ({codecs}): name a .mkv "
            "file, or leave the audio out with --no-audio"
        ) from exc
    finally:
        with contextlib.suppress(av.FFmpegError):
            trial.close()


def add_sound_streams(file: Any, source: Any) -> dict[int, Any]:
    """A stream of `file` for each audio stream of `source`, by the index of the latter."""
    return {stream.index: copy_stream(file, stream) for stream in source.streams.audio}


def _codec(stream: Any) -> str:
    return str(stream.codec_context.name)
