"""Incomplete videos are reported; complete ones of every kind are not suspected."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest

from munit_edge.video.file_source import FileSource

WEBM = {"codec": "libvpx", "audio": None}


def read(path: Path) -> tuple[FileSource, int, list[str]]:
    """A file read to its end: the source, how many frames came, and what was reported."""
    reported: list[str] = []
    source = FileSource(path, 3, reported.append)
    return source, sum(1 for _ in source.frames()), reported


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    end = int(len(data) * share)
    # Nothing shows that others followed a whole tag, and where tags end depends on the encoder.
    path.write_bytes(data[: _inside_a_tag(data, end) if path.suffix == ".flv" else end])
    return path


def _inside_a_tag(data: bytes, position: int) -> int:
    """One byte after the header of the FLV tag that `position` lies in."""
    following = 13
    while following <= position:
        tag = following
        following += 15 + int.from_bytes(data[tag + 1 : tag + 4], "big")
    return tag + 12


def blank(path: Path, share: float, num_bytes: int) -> Path:
    """Overwrite bytes with zeros from a share of the file on."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * share)
    data[start : start + num_bytes] = bytes(num_bytes)
    path.write_bytes(data)
    return path


CUT: dict[str, dict[str, object]] = {
    "clip.mkv": {"audio": None},
    "audio.mkv": {},
    "clip.webm": WEBM,
    "clip.flv": {"audio": None},
    "audio.flv": {},
    "clip.mp4": {"index_first": True},
    "clip.mov": {"index_first": True, "audio": None},
}


@pytest.mark.parametrize("share", [0.5, 0.7, 0.97])
@pytest.mark.parametrize("name", CUT)
def test_cut_files_say_what_is_missing(tmp_path: Path, name: str, share: float) -> None:
    whole = clips.make_clip(tmp_path / name, 50, keyframe_every=12, **CUT[name])  # type: ignore[arg-type]
    source, count, reported = read(cut(whole, share))
    assert source.broke_off
    assert "ends early: its video ends at" in reported[-1]
    assert "bytes are missing at its end" in reported[-1]
    if share < 0.9:
        assert count < 45
        assert "frames are missing)" in reported[-1]
        assert source.num_missing == pytest.approx(50 - count - source.num_damaged, abs=6)


def test_an_avi_file_that_is_cut(tmp_path: Path) -> None:
    def of_25_frames(stream: av.VideoStream) -> None:
        stream.codec_context.time_base = Fraction(1, 25)

    clip = write(tmp_path / "clip.avi", range(0, 2000, 40), codec="mpeg4", prepare=of_25_frames)
    assert read(clip)[1:] == (50, [])
    source, count, reported = read(cut(clip, 0.7))
    assert source.broke_off
    assert count < 45
    assert source.num_missing == pytest.approx(50 - count - source.num_damaged, abs=2)
    assert "bytes are missing at its end" in reported[-1]


def test_an_avi_file_with_damage_between_its_frames(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.avi", 30, codec="mpeg4", audio="mp2")
    assert read(clip)[1:] == (30, [])
    source, _, reported = read(blank(clip, 0.5, 2000))
    assert source.broke_off or source.num_damaged
    assert "damaged" in reported[-1]


def test_an_avi_file_whose_frames_are_stored_in_another_order(tmp_path: Path) -> None:
    def of_20_frames(stream: av.VideoStream) -> None:
        stream.codec_context.time_base = Fraction(1, 20)

    clip = write(tmp_path / "clip.avi", range(0, 2000, 50), prepare=of_20_frames)
    source, count, reported = read(clip)
    assert (count, source.num_missing, reported) == (40, 0, [])


@pytest.mark.parametrize("name", ["clip.mkv", "audio.mkv", "clip.webm"])
def test_damage_after_which_nothing_is_found_in_a_short_file(tmp_path: Path, name: str) -> None:
    clip = clips.make_clip(tmp_path / name, 40, keyframe_every=50, **CUT[name])  # type: ignore[arg-type]
    source, count, reported = read(blank(clip, 0.5, 400))
    assert count < 35
    assert source.broke_off
    assert source.num_missing == pytest.approx(40 - count - source.num_damaged, abs=3)
    assert "but should go on to" in reported[-1]


def test_a_fragmented_file_that_is_cut_inside_a_fragment(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 60, audio=None)
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = clips.remux(clip, tmp_path / "frag.mp4", options)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat", int(0.6 * len(data))) + 40])
    source, count, reported = read(path)
    assert source.broke_off
    assert count < 50
    assert "bytes are missing at its end" in reported[-1]


@pytest.mark.parametrize("num_bytes", [5, 8, 12, 15])
def test_a_fragmented_file_that_is_cut_inside_the_header_of_a_fragment(
    tmp_path: Path, num_bytes: int
) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 60, audio=None)
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = clips.remux(clip, tmp_path / "frag.mp4", options)
    data = path.read_bytes()
    box = data.index(b"moof", len(data) // 2) - 4
    path.write_bytes(data[: box + num_bytes])
    source, count, reported = read(path)
    assert source.broke_off
    assert count < 50
    assert "missing at its end" in reported[-1]


def test_a_transport_stream_that_is_cut_inside_a_packet(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.ts", 30, audio=None)
    assert read(clip)[2] == []
    data = clip.read_bytes()
    clip.write_bytes(data[: 188 * (len(data) // 376) + 100])
    source, _, reported = read(clip)
    assert source.broke_off
    assert "at least 88 bytes are missing at its end" in reported[-1]


@pytest.mark.parametrize("name", ["clip.mkv", "audio.mkv", "clip.webm", "clip.flv"])
def test_frames_lost_in_damage_are_counted(tmp_path: Path, name: str) -> None:
    clip = clips.make_clip(tmp_path / name, 100, keyframe_every=10, **CUT[name])  # type: ignore[arg-type]
    source, count, reported = read(blank(clip, 0.5, 1500))
    assert count < 97
    assert reported
    assert source.num_damaged + source.num_missing == pytest.approx(100 - count, abs=2)


def test_a_stream_cut_inside_a_frame(tmp_path: Path) -> None:
    for name, codec, pixel_format in (
        ("clip.mjpeg", "mjpeg", "yuvj420p"),
        ("clip.y4m", "wrapped_avframe", "yuv420p"),
        ("clip.mpg", "mpeg2video", "yuv420p"),
    ):
        clip = tmp_path / name
        with av.open(str(clip), "w") as file:
            stream = file.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
            for index in range(20):
                pixels = clips.colour_bars(index, 48, 64)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                file.mux(stream.encode(frame.reformat(format=pixel_format)))
            file.mux(stream.encode(None))
        assert read(clip)[1:] == (20, [])
        source, count, reported = read(cut(clip, 0.55))
        assert source.broke_off
        assert count < 20
        assert "bytes are missing at its end" in reported[-1]


def test_alpha_beside_the_packets_is_no_loss(tmp_path: Path) -> None:
    clip = tmp_path / "clip.webm"
    with av.open(str(clip), "w") as file:
        options = {"deadline": "realtime", "auto-alt-ref": "0", "g": "5"}
        stream = file.add_stream("libvpx", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        noise = np.random.default_rng(0)
        for index in range(20):
            pixels = noise.integers(0, 255, (48, 64, 4), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="yuva420p")
            frame.pts, frame.time_base = index * 40 + 500 * (index // 5), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    source, count, reported = read(clip)
    assert (count, source.num_missing) == (20, 0)
    assert len(reported) == 1  # of the alpha


# ----------------------------------------------------------------------------------------------
# Whole files

CONSTANT, UNEVEN = (512,), (512, 64, 3200, 512, 13_000, 512, 18_000)
WITH_TIME_STAMPS = ("mkv", "webm", "mp4", "mov", "flv", "ts")


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        *((f"clip.{suffix}", steps) for suffix in WITH_TIME_STAMPS for steps in (CONSTANT, UNEVEN)),
        ("clip.avi", CONSTANT),
    ],
)
def test_whole_files_are_not_suspected(tmp_path: Path, name: str, steps: Sequence[int]) -> None:
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(Path(name).suffix, "libx264")
    audio = {".webm": None, ".ts": "mp2", ".avi": "mp2"}.get(Path(name).suffix, "aac")
    clip = clips.make_clip(tmp_path / name, 24, codec=codec, audio=audio, steps=steps)
    source, count, reported = read(clip)
    assert (count, reported, source.broke_off, source.num_missing) == (24, [], False, 0)


def write(
    path: Path,
    stamps: Sequence[int],
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    prepare: Callable[[av.VideoStream], None] = lambda stream: None,
) -> Path:
    """A clip with one frame at each time stamp (milliseconds)."""
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        prepare(stream)
        for index, stamp in enumerate(stamps):
            pixels = clips.colour_bars(index, 48, 64)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


EVEN = range(0, 1600, 40)
VPX = {"deadline": "good", "cpu-used": "5", "b": "200k", "auto-alt-ref": "1", "lag-in-frames": "16"}
WHOLE: dict[str, tuple[str, dict[str, object]]] = {
    "hidden frames of VP8": ("a.webm", {"codec": "libvpx", "options": VPX}),
    "hidden frames of VP9": ("a.webm", {"codec": "libvpx-vp9", "options": VPX}),
    "B-frames": ("a.mkv", {"options": {"bf": "3", "g": "12"}}),
    "B-frames in a transport stream": ("a.ts", {"options": {"bf": "3", "g": "12"}}),
    "open groups of images": ("a.mkv", {"options": {"x264-params": "open-gop=1:keyint=8"}}),
    "interlaced": ("a.mkv", {"options": {"x264-params": "tff=1"}}),
    "interlaced in a transport stream": ("a.ts", {"options": {"x264-params": "tff=1"}}),
    "a live recording": ("a.webm", {"codec": "libvpx", "container": {"live": "1"}}),
    "a live recording with B-frames": ("a.mkv", {"container": {"live": "1"}}),
    "fragments": ("a.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
    "a late start": ("a.mkv", {"stamps": range(5000, 6600, 40)}),
    "a start before zero": ("a.mp4", {"stamps": range(-200, 1400, 40)}),
    "a screen that stands still": ("a.mkv", {"stamps": [*range(0, 400, 40), 9000, 9040, 30_000]}),
    "a clock that wraps": ("a.ts", {"container": {"output_ts_offset": "95443"}}),
    "one frame": ("a.mkv", {"stamps": [0]}),
    "three frames in minutes": ("a.mp4", {"stamps": [0, 60_000, 120_000]}),
}


@pytest.mark.parametrize("case", WHOLE)
def test_unusual_files_are_not_suspected(tmp_path: Path, case: str) -> None:
    name, options = WHOLE[case]
    arguments = {"stamps": EVEN, **options}
    clip = write(tmp_path / name, **arguments)  # type: ignore[arg-type]
    source, count, reported = read(clip)
    assert count >= 1
    assert (reported, source.broke_off, source.num_missing, source.num_damaged) == ([], False, 0, 0)


@pytest.mark.parametrize("factor", [0.5, 2])
def test_edit_lists_that_trim_or_go_beyond_the_end(tmp_path: Path, factor: float) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 50)
    data = bytearray(clip.read_bytes())
    position = -1
    while (position := data.find(b"elst", position + 1)) >= 0:
        duration = data[position + 12 : position + 16]
        changed = int(int.from_bytes(duration, "big") * factor)
        data[position + 12 : position + 16] = changed.to_bytes(4, "big")
    clip.write_bytes(data)
    source, count, reported = read(clip)
    assert count == (25 if factor < 1 else 50)
    assert (reported, source.broke_off, source.num_missing) == ([], False, 0)


def test_a_video_shorter_than_its_audio_is_whole(tmp_path: Path) -> None:
    for name in ("clip.mkv", "clip.mp4", "clip.flv"):
        path = tmp_path / name
        with av.open(str(path), "w") as file:
            video = file.add_stream("libx264", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            audio = file.add_stream("aac", rate=16_000, layout="mono")
            for index in range(10):
                pixels = clips.colour_bars(index, 48, 64)
                file.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            file.mux(video.encode(None))
            for start in range(0, 64_000, 1024):
                tone = np.zeros((1, 1024), np.int16)
                frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
                frame.sample_rate, frame.pts = 16_000, start
                file.mux(audio.encode(frame))
            file.mux(audio.encode(None))
        source, count, reported = read(path)
        assert (count, reported, source.broke_off) == (10, [], False)
