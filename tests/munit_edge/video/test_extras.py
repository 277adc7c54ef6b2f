"""What results keep of their input: rates, languages, tags, chapters, subtitles."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
import pytest
import video_runs

from munit_edge.video.codecs import CONTAINERS, CodecName
from munit_edge.video.file_source import FileSource

Disposition = av.stream.Disposition


def translated(clip: Path, out: Path, codec: CodecName | None = None) -> Any:
    """The result of a job, opened."""
    job, skip, _ = video_runs.file_job(clip, out, codec=codec)
    video_runs.finish(job, skip)
    return av.open(str(out))


WRITTEN = [
    (suffix, codec) for suffix, container in CONTAINERS.items() for codec in container.codecs
]


@pytest.mark.parametrize(("suffix", "codec"), WRITTEN)
@pytest.mark.parametrize("name", ["clip.mp4", pytest.param("clip.mkv", marks=pytest.mark.slow)])
def test_results_declare_the_rate_of_the_input(
    tmp_path: Path, suffix: str, codec: CodecName, name: str
) -> None:
    clip = clips.make_clip(tmp_path / name, 12, audio=None)
    out = tmp_path / f"out{suffix}"
    with translated(clip, out, codec) as file:
        (stream,) = file.streams.video
        assert [stream.average_rate, stream.guessed_rate, stream.base_rate] == [25, 25, 25]
        assert file.duration == 480_000
    durations = {packet.duration for packet in clips.packets(out, "video")}
    assert durations == {Fraction(1, 25)}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_an_uneven_rate_becomes_the_average(tmp_path: Path, suffix: str) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 20, audio=None, steps=(512, 2560))
    with translated(clip, tmp_path / f"out{suffix}") as file:
        (stream,) = file.streams.video
        assert float(stream.average_rate) == pytest.approx(25 / 3, rel=0.08)
        assert float(stream.guessed_rate) <= 25
        assert float(stream.base_rate) <= 50
    shown = clips.shown(tmp_path / f"out{suffix}")
    for found, expected in zip(shown, clips.shown(clip), strict=True):
        assert abs(found - expected) <= Fraction(1, 1000)


def test_a_rate_that_is_not_a_whole_number(tmp_path: Path) -> None:
    clip = tmp_path / "film.mp4"
    with av.open(str(clip), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(24_000, 1001))
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for index in range(12):
            pixels = clips.colour_bars(index, 24, 32)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    for name in ("out.mkv", "out.webm", "out.mp4"):
        with translated(clip, tmp_path / name) as file:
            assert file.streams.video[0].average_rate == Fraction(24_000, 1001)


def talking_clip(path: Path, *, subtitles: str | None = None, font: bool = False) -> Path:
    """A clip with tags, chapters, two audio streams, and subtitles if their codec is given."""
    plain = clips.make_clip(path.with_name("plain.mkv"), 25, audio="libopus")
    with av.open(str(plain)) as source, av.open(str(path), "w") as file:
        video, audio = source.streams.video[0], source.streams.audio[0]
        copies = [file.add_stream_from_template(video, opaque=True)]
        copies[0].codec_context.framerate = video.average_rate
        for language, title in (("deu", "Deutsch"), ("eng", "Comments")):
            copy = file.add_stream_from_template(audio, opaque=True)
            copy.metadata.update(language=language, title=title)
            copies.append(copy)
        copies[2].disposition = Disposition.default | Disposition.comment
        text = None
        if subtitles is not None:
            text = file.add_stream(subtitles)
            text.codec_context.subtitle_header = ASS_HEADER
            text.metadata["language"] = "fra"
            text.disposition = Disposition.forced
        if font:
            file.add_attachment("font.ttf", "application/x-truetype-font", b"font")
        file.metadata.update(title="Walk", date="2020", comment="by hand", artist="Ann")
        file.metadata["creation_time"] = "2020-05-17T12:00:00.000000Z"
        begin, end = {"title": "Begin"}, {"title": "End"}
        base = Fraction(1, 1000)
        file.set_chapters(
            [
                {"id": 1, "start": 0, "end": 400, "time_base": base, "metadata": begin},
                {"id": 2, "start": 400, "end": 1000, "time_base": base, "metadata": end},
            ]
        )
        for packet in source.demux(video, audio):
            if packet.size and packet.stream.index == video.index:
                packet.stream = copies[0]
                file.mux(packet)
            elif packet.size:
                stamps = packet.pts, packet.dts, packet.duration, packet.time_base
                for copy in copies[1:]:
                    again = av.Packet(bytes(packet))
                    again.pts, again.dts, again.duration, again.time_base = stamps
                    again.stream = copy
                    file.mux(again)
        if text is not None:
            words = av.Packet(b"0,0,Default,,0,0,0,,Bonjour" if subtitles == "ass" else b"Bonjour")
            words.pts = words.dts = 100
            words.duration, words.time_base, words.stream = 500, base, text
            file.mux(words)
    return path


ASS_HEADER = b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n[Events]\n"


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_languages_titles_and_dispositions_of_audio_are_kept(tmp_path: Path, suffix: str) -> None:
    clip = talking_clip(tmp_path / "clip.mkv")
    with translated(clip, tmp_path / f"out{suffix}") as file:
        german, english = file.streams.audio
        assert [german.language, english.language] == ["deu", "eng"]
        assert not german.disposition & Disposition.default
        assert english.disposition & Disposition.default
        if suffix == ".mkv":  # the others have no place for this one
            assert english.disposition & Disposition.comment
        if suffix != ".mp4":
            assert [s.metadata["title"] for s in (german, english)] == ["Deutsch", "Comments"]
        assert file.streams.video[0].metadata.get("language") in (None, "und")


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".webm"])
def test_tags_and_chapters_are_kept(tmp_path: Path, suffix: str) -> None:
    clip = talking_clip(tmp_path / "clip.mkv")
    if suffix == ".mov":
        clip = clips.remux(clip, tmp_path / "clip.mp4")
        with_tags = {}
    else:
        with_tags = {"title": "Walk", "artist": "Ann", "date": "2020"}
    with translated(clip, tmp_path / f"out{suffix}") as file:
        tags = {key.lower(): value for key, value in file.metadata.items()}
        assert with_tags.items() <= tags.items()
        lines = tags["comment"].splitlines()
        assert lines[-1].startswith("munit-edge same")
        if with_tags:
            assert lines[0] == "by hand"
            assert tags["creation_time"].startswith("2020-05-17T12:00:00")
            spans = [
                (c["metadata"]["title"], c["start"] * c["time_base"], c["end"] * c["time_base"])
                for c in file.chapters()
            ]
            middle = Fraction(2, 5)
            assert spans == [("Begin", 0, middle), ("End", middle, 1)]


def test_subtitles_and_fonts_are_kept_or_named(tmp_path: Path) -> None:
    clip = talking_clip(tmp_path / "clip.mkv", subtitles="ass", font=True)
    with translated(clip, tmp_path / "out.mkv") as file:
        (words,) = file.streams.subtitles
        assert words.language == "fra"
        assert words.disposition & Disposition.forced
        assert [s.type for s in file.streams if s.type == "attachment"] == ["attachment"]
    assert clips.packets(tmp_path / "out.mkv", "subtitle") == clips.packets(clip, "subtitle")
    source = FileSource(clip, 3, print)
    assert source.left_out(CONTAINERS[".mkv"]) == []
    assert source.left_out(CONTAINERS[".mp4"]) == ["subtitles", "fonts and other attachments"]


def test_tags_that_a_container_does_not_hold_are_named(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as file:
        file.metadata.update({"title": "Walk", "FAVOURITE": "yes"})
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        file.mux(stream.encode(av.VideoFrame(32, 24, "yuv420p")))
        file.mux(stream.encode(None))
    source = FileSource(clip, 3, print)
    assert source.left_out(CONTAINERS[".mkv"]) == []
    assert source.left_out(CONTAINERS[".mp4"]) == ["the tag FAVOURITE"]


def test_a_cover_before_the_video_is_not_the_video(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as file:
        cover = file.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 96, 96, "yuvj420p"
        video = file.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        file.mux(cover.encode(av.VideoFrame(96, 96, "yuvj420p")))
        for _ in range(8):
            file.mux(video.encode(av.VideoFrame(32, 24, "yuv420p")))
        file.mux(video.encode(None))
        file.mux(cover.encode(None))
    source = FileSource(clip, 3, print)
    assert source.left_out(CONTAINERS[".mkv"]) == ["1 more video stream"]
    assert len(list(source.frames())) == 8
    assert source.clip.size_hw == (24, 32)
