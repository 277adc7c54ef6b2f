"""Alpha and HDR are reported; colour matrix and range are respected."""

from collections.abc import Callable
from pathlib import Path

import av
import clips
import numpy as np
import pytest

from munit_edge.video.file_source import FileSource

PQ, HLG, BT2020 = 16, 18, 9
BT709, BT601 = 1, 5
LIMITED, FULL = 1, 2


def clip_of(
    path: Path,
    codec: str,
    pixel_format: str,
    options: dict[str, str] | None = None,
    prepare: Callable[[av.VideoStream], None] = lambda stream: None,
    convert: Callable[[av.VideoFrame], av.VideoFrame] | None = None,
) -> Path:
    """Two frames of colour bars in a pixel format."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        prepare(stream)
        for index in range(2):
            pixels = clips.colour_bars(index, 48, 64)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if convert is not None:
                frame = convert(frame)
            file.mux(stream.encode(frame.reformat(format=pixel_format)))
        file.mux(stream.encode(None))
    return path


def notes_of(path: Path) -> list[str]:
    reported: list[str] = []
    FileSource(path, 3, reported.append)
    return reported


VP = {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "0"}


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "options"),
    [
        ("a.webm", "libvpx", "yuva420p", VP),
        ("a.webm", "libvpx-vp9", "yuva420p", VP),
        ("a.mov", "prores_ks", "yuva444p10le", {"profile": "4444"}),
        ("a.mov", "png", "rgba", None),
        ("a.mov", "qtrle", "argb", None),
        ("a.mkv", "ffv1", "bgra", None),
    ],
)
def test_alpha_is_named(
    tmp_path: Path, name: str, codec: str, pixel_format: str, options: dict[str, str] | None
) -> None:
    (line,) = notes_of(clip_of(tmp_path / name, codec, pixel_format, options))
    assert "has an alpha channel, which is ignored" in line


def test_opaque_video_is_not_called_transparent(tmp_path: Path) -> None:
    assert notes_of(clip_of(tmp_path / "a.mov", "qtrle", "rgb24")) == []
    assert notes_of(clip_of(tmp_path / "a.mkv", "ffv1", "bgr0")) == []


@pytest.mark.parametrize(
    ("curve", "primaries", "expected"),
    [
        (PQ, BT2020, "it is HDR (PQ)"),
        (HLG, BT2020, "it is HDR (HLG)"),
        (BT709, BT2020, "its colours are BT.2020"),
        (BT709, BT709, None),
    ],
)
def test_hdr_is_named(tmp_path: Path, curve: int, primaries: int, expected: str | None) -> None:
    def tag(stream: av.VideoStream) -> None:
        stream.codec_context.color_trc = curve
        stream.codec_context.color_primaries = primaries
        stream.codec_context.colorspace = BT2020 if primaries == BT2020 else BT709

    clip = clip_of(tmp_path / "a.mkv", "libx264", "yuv420p10le", prepare=tag)
    reported = notes_of(clip)
    assert [expected in line for line in reported] == ([] if expected is None else [True])


@pytest.mark.parametrize("matrix", [BT709, BT601, BT2020])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
def test_colour_matrix_and_range_are_respected(
    tmp_path: Path, matrix: int, colour_range: int
) -> None:
    def tag(stream: av.VideoStream) -> None:
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = colour_range

    def convert(frame: av.VideoFrame) -> av.VideoFrame:
        return frame.reformat(
            format="yuv444p",
            src_color_range=FULL,
            dst_colorspace=matrix,
            dst_color_range=colour_range,
        )

    clip = clip_of(
        tmp_path / "a.mp4", "libx264", "yuv444p", {"crf": "1"}, prepare=tag, convert=convert
    )
    pixels = next(FileSource(clip, 3, print).frames()).pixels.astype(int)
    assert np.abs(pixels - clips.colour_bars(0, 48, 64)).mean() < 3
