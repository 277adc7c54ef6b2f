"""A video file as a source of frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from munit_edge.errors import InputError
from munit_edge.files.paths import exists
from munit_edge.images.io import Images
from munit_edge.video.audio import Audio
from munit_edge.video.av_api import file_name
from munit_edge.video.codecs import VideoContainer
from munit_edge.video.decoder import Decoded, Decoder, Notify
from munit_edge.video.extras import Extras
from munit_edge.video.frames import Clip, Frame


class FileSource:
    """The frames of a video file.

    Raises:
        InputError: it does not exist, or holds no video that can be decoded.
    """

    def __init__(self, path: Path, channels: int, notify: Notify) -> None:
        if not exists(path):
            raise InputError(f"{path} does not exist: name a video file")
        self._channels = channels
        self._decoder = Decoder(file_name(path), str(path), notify, file=path)
        decoder = self._decoder
        # Results start at 0 where the clock may begin anywhere; audio and extras are shifted alike.
        self._shift = -round(decoder.clock_start / decoder.time_base)
        self.clip = Clip(
            name=str(path),
            size_hw=decoder.upright_hw,
            time_base=decoder.time_base,
            rate=decoder.rate,
            pixel_aspect=decoder.pixel_aspect,
            first_pts=decoder.first_pts + self._shift,
            num_frames=decoder.num_frames,
            audio=Audio(path, -decoder.clock_start) if decoder.has_audio else None,
            extras=Extras(path, decoder.video_index, -decoder.clock_start),
        )

    num_dropped = 0

    @property
    def num_damaged(self) -> int:
        """Frames skipped so far because they cannot be decoded."""
        return self._decoder.num_damaged

    @property
    def num_missing(self) -> int:
        """About how many frames so far are missing from the file."""
        return self._decoder.num_missing

    @property
    def broke_off(self) -> bool:
        """Whether the file ended early, or with an error."""
        return self._decoder.broke_off

    def check_audio(self, output: Path, container: VideoContainer) -> None:
        """Check that a container can hold the audio; see `munit_edge.video.audio.check_audio`."""
        self._decoder.check_audio(output, container)

    def left_out(self, container: VideoContainer) -> list[str]:
        """What a container cannot hold; see `munit_edge.video.extras.left_out`."""
        return self._decoder.left_out(container)

    def record_audio(self, path: Path) -> None:
        """Do nothing: the audio is read from the file again."""

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """The frames in display order, after the first `skip`."""
        with self._decoder as decoder:
            for index, decoded in enumerate(decoder.frames()):
                # Decoded all the same: seeking does not find the same frame in every format.
                if index >= skip:
                    pts = decoded.pts + self._shift
                    yield Frame(self._pixels(decoded), pts, decoded.duration)

    def stop(self) -> None:
        """Do nothing: reading a file never waits."""

    def _pixels(self, decoded: Decoded) -> Images:
        return self._decoder.pixels(decoded, self._channels)
