"""Audio from the input to the result: copied, never decoded."""

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
class Audio:
    """The audio streams of a file."""

    path: Path
    """The file."""
    shift: Fraction = Fraction(0)
    """Seconds to add to their time stamps."""
    since: Fraction | None = None
    """Cut everything before this time, in seconds after the shift; None: cut nothing."""
    until: Fraction | None = None
    """Cut everything from this time on, in seconds after the shift; None: cut nothing."""


class AudioRecorder:
    """Keeps the audio of a live source in a file until the result is muxed.

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
        """Whether no packet has been added."""
        return self._file is None

    def add(self, packet: Any, source: Any, shift: Fraction) -> None:
        """Keep a packet.

        Args:
            packet: PyAV's, of an audio stream.
            source: PyAV's container that it comes from.
            shift: seconds to add to its time stamps.

        Raises:
            OutputError: it cannot be written.
        """
        number = [stream.index for stream in source.streams.audio].index(packet.stream.index)
        # In milliseconds, the clock of Matroska.
        dts = round((packet.dts * packet.time_base + shift) * 1000)
        # The decoding thread adds packets while another thread may close the file.
        with self._lock, output_errors(self.path):
            # Audio from before the first frame of the first connection has nothing to belong to.
            if self._closed or dts < 0:
                return
            # Only now: a source may announce audio that never comes.
            if self._file is None:
                self._file = pyav().open(file_name(self.path), "w", format="matroska")
                self._streams = list(add_audio_streams(self._file, source).values())
                self._newest = [-1] * len(self._streams)
            # After a reconnection the source may have other streams.
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
        """Complete the file; later packets are dropped."""
        with self._lock, output_errors(self.path):
            if self._file is not None and not self._closed:
                self._file.close()
            self._closed = True


def check_audio(source: Any, name: str, output: Path, container: VideoContainer) -> None:
    """Check, before any work, that an output container can hold the audio of an input.

    Args:
        source: PyAV's container of the input.
        name: name of the input in messages.
        output: path of the result.
        container: its kind.

    Raises:
        OutputError: it cannot.
    """
    av = pyav()
    codecs = ", ".join(sorted({_codec(stream) for stream in source.streams.audio}))
    # Found out by trying, in memory: FFmpeg has no reliable list of what a container holds.
    trial = av.open(io.BytesIO(), "w", format=container.format)
    try:
        add_audio_streams(trial, source)
        trial.start_encoding()
    except (av.FFmpegError, ValueError) as exc:
        raise OutputError(
            f"{output.suffix} files do not hold the audio of {name} ({codecs}): name a .mkv "
            "file, or leave the audio out with --no-audio"
        ) from exc
    finally:
        with contextlib.suppress(av.FFmpegError):
            trial.close()


def add_audio_streams(file: Any, source: Any) -> dict[int, Any]:
    """Add a stream to `file` for each audio stream of `source`; keys are the source's indices."""
    return {stream.index: copy_stream(file, stream) for stream in source.streams.audio}


def _codec(stream: Any) -> str:
    return str(stream.codec_context.name)
