"""One segment of a result: a short video file that plays on its own, even if it is truncated."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from munit_edge.closing import Closing
from munit_edge.files.system_errors import output_errors
from munit_edge.images.io import Images
from munit_edge.video.av_api import file_name, pyav
from munit_edge.video.codecs import Encoding
from munit_edge.video.frames import encodable, pad_to_even, tag_colours


@dataclass(frozen=True)
class Track:
    """Properties shared by all segments of one result."""

    encoding: Encoding
    time_base: Fraction
    """Length of one unit of the time stamps, in seconds."""
    rate: Fraction
    """Frames per second, for the encoder's decisions; the time stamps may differ."""
    pixel_aspect: Fraction
    """Width of a pixel divided by its height."""


class SegmentWriter(Closing):
    """Encodes frames into one file. Its time stamps start at 0.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, track: Track) -> None:
        self._path = path
        self._track = track
        self.stamps: list[int] = []
        """Time stamps of the frames so far, in the track's time base."""
        container = track.encoding.container
        with output_errors(path):
            self._file = pyav().open(
                file_name(path), "w", format=container.format, options=dict(container.crash_safe)
            )
        self._stream = self._file.add_stream(
            track.encoding.codec.encoder,
            # FFmpeg's fractions have 32 bits, and averages may need more; 30000/1001 stays exact.
            rate=track.rate.limit_denominator(1001),
            options=_encoder_options(track.encoding),
        )

    def write(self, rgb: Images, pts: int) -> None:
        """Append a frame.

        Args:
            rgb: uint8 [H, W, 3], all frames of one size; odd sizes become even by repeating the
                last row and column.
            pts: its time stamp, above that of the previous frame.
        """
        codec = self._track.encoding.codec
        frame = encodable(
            pad_to_even(rgb) if codec.pixel_format == "yuv420p" else rgb, codec.pixel_format
        )
        if not self.stamps:
            self._prepare(frame.height, frame.width)
        self.stamps.append(pts)
        # From 0 in each segment, so that it plays on its own; `mux` puts the true stamps back.
        frame.pts, frame.time_base = pts - self.stamps[0], self._track.time_base
        self._mux(frame)

    def close(self) -> None:
        """Write the frames that the encoder still holds, and complete the file."""
        if self.stamps:
            self._mux(None)
        with output_errors(self._path):
            self._file.close()

    def _prepare(self, height: int, width: int) -> None:
        """Set up the stream for the size of the first frame."""
        context = self._stream.codec_context
        context.height, context.width = height, width
        context.pix_fmt = self._track.encoding.codec.pixel_format
        context.time_base = self._track.time_base
        context.sample_aspect_ratio = self._track.pixel_aspect
        # Frames leave the encoder in display order, so a truncated file ends with a whole frame.
        context.max_b_frames = 0
        if context.pix_fmt.startswith("yuv"):
            tag_colours(context)

    def _mux(self, frame: object) -> None:
        with output_errors(self._path):
            self._file.mux(self._stream.encode(frame))


def _encoder_options(encoding: Encoding) -> dict[str, str]:
    options = dict(encoding.codec.options)
    if encoding.crf is not None:
        options["crf"] = str(encoding.crf)
    return options
