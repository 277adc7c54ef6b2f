"""Raw RGB frames from a pipe, as `ffmpeg -f rawvideo -pix_fmt rgb24` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from munit_edge.errors import InputError
from munit_edge.video.codecs import VideoContainer
from munit_edge.video.frames import Clip, Frame, with_channels


class RawSource:
    """Frames of a fixed size and rate from a stream of bytes."""

    num_damaged = 0
    num_missing = 0
    num_dropped = 0
    broke_off = False

    def __init__(
        self, stream: IO[bytes], size_hw: tuple[int, int], rate: Fraction, channels: int
    ) -> None:
        self._stream = stream
        self._size_hw = size_hw
        self._channels = channels
        self.clip = Clip(
            "standard input",
            size_hw,
            time_base=1 / rate,
            rate=rate,
            pixel_aspect=Fraction(1),
            is_live=True,
        )

    def check_audio(self, output: Path, container: VideoContainer) -> None:
        """Do nothing: raw frames have no audio."""

    def left_out(self, container: VideoContainer) -> list[str]:
        """Nothing: there are only frames."""
        return []

    def record_audio(self, path: Path) -> None:
        """Do nothing: raw frames have no audio."""

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """The frames after the first `skip`.

        Raises:
            InputError: the stream ends inside a frame, or before the first one; whole frames
                before it have been yielded.
        """
        height, width = self._size_hw
        wanted = height * width * 3
        index = 0
        # A buffered stream blocks until all bytes are there, so less means that the pipe has ended.
        while data := self._stream.read(wanted):
            if len(data) < wanted:
                raise InputError(
                    f"standard input ends inside frame {index}: {len(data)} bytes arrived, and a "
                    f"frame of --raw-size {width}x{height} has {wanted}; earlier frames are kept"
                )
            if index >= skip:
                rgb = np.frombuffer(data, np.uint8).reshape(height, width, 3)
                yield Frame(with_channels(rgb, self._channels), index, 1)
            index += 1
        if not index:
            raise InputError("standard input is empty: there is no frame to translate")

    def stop(self) -> None:
        """Do nothing: the thread that waits for bytes ends with the program."""
