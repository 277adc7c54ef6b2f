"""Live sources. A thread that serves MPEG-TS over TCP stands in for cameras and RTSP servers."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import clips
import numpy as np
import pytest
import video_runs
from hang_guard import HANG_S, wait_until
from rtsp_server import RtspServer

from munit_edge.errors import InputError, OutputError
from munit_edge.video import live_source
from munit_edge.video.codecs import choose_encoding
from munit_edge.video.job import VideoJob
from munit_edge.video.live_source import LiveSource
from munit_edge.video.parts import Parts
from munit_edge.video.segments import Track
from munit_edge.video.sinks import FileSink


class Server:
    """Serves one piece of data to each connection and closes it; refuses those after the last."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"
        self._pieces = pieces
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._socket:
            for piece in self._pieces:
                connection, _ = self._socket.accept()
                with connection, contextlib.suppress(ConnectionError):  # the reader has gone
                    for start in range(0, len(piece), 1316):
                        connection.sendall(piece[start : start + 1316])


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_source, "TIMEOUT_S", HANG_S)
    monkeypatch.setattr(live_source, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(live_source, "_LONGEST_PAUSE_S", 0.02)


@pytest.fixture
def stream(tmp_path: Path) -> bytes:
    """An MPEG-TS of 12 frames, whose clock starts at some 11 seconds."""
    return clips.make_clip(tmp_path / "clip.ts", 12, audio=None, first=128_000).read_bytes()


def open_live(address: str, reported: list[str], **options: object) -> LiveSource:
    settings: dict[str, object] = {"options": {}, "keep_all": True, "retries": 2, **options}
    return LiveSource(address, 3, reported.append, **settings)  # type: ignore[arg-type]


def live_job(source: LiveSource, out: Path, translate: object = video_runs.invert) -> VideoJob:
    clip = source.clip
    track = Track(choose_encoding(out, None, None), clip.time_base, clip.rate, clip.pixel_aspect)
    sink = FileSink(out, track, "live")
    sink.begin()
    return VideoJob(source, [sink], translate, video_runs.STYLE)  # type: ignore[arg-type]


def test_a_source_that_is_lost_and_comes_back(stream: bytes, tmp_path: Path) -> None:
    server = Server([stream, stream])
    reported: list[str] = []
    source = open_live(server.address, reported)
    job = live_job(source, tmp_path / "out.mp4")
    video_runs.finish(job)
    assert job.num_frames == 24
    assert reported == [
        f"lost the connection to {server.address}: trying again",
        f"connected to {server.address} again",
        f"lost the connection to {server.address}: trying again",
        f"could not connect to {server.address} again in 2 attempts",
    ]
    assert job.summary().ended == "broken off"
    shown = clips.shown(tmp_path / "out.mp4")
    assert len(shown) == 24
    assert shown[0] == 0
    assert {b - a for a, b in itertools.pairwise(shown[:12])} == {Fraction(1, 25)}
    assert shown[12] > shown[11]
    result = clips.frames(tmp_path / "out.mp4")
    expected = 255 - clips.colour_bars(11, 24, 32).astype(int)
    assert np.abs(result[23] - expected).mean() < 12


def test_audio_is_copied_across_a_break(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.ts", 25, audio="mp2", first=128_000)
    source = open_live(Server([clip.read_bytes()] * 2).address, [])
    job = live_job(source, tmp_path / "out.mp4")
    source.record_audio(Parts(tmp_path / "out.mp4").audio_path)
    video_runs.finish(job)
    expected, found = (clips.packets(path, "audio") for path in (clip, tmp_path / "out.mp4"))
    begins = clips.shown(clip)[0]
    heard = [packet for packet in expected if packet.pts >= begins]
    count = len(heard)
    assert 2 * count - 2 <= len(found) <= 2 * count + 2
    for packet in found[:3]:
        same = [other for other in heard if other.data == packet.data]
        assert min(abs(other.pts - begins - packet.pts) for other in same) < 0.002
    shown = clips.shown(tmp_path / "out.mp4")
    assert abs(found[-1].pts - shown[-1]) < 0.2
    assert not Parts(tmp_path / "out.mp4").exist


def test_audio_that_the_result_cannot_hold_is_refused_first(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.ts", 6, audio="mp2")
    source = open_live(Server([clip.read_bytes()]).address, [])
    out = tmp_path / "out.webm"
    with pytest.raises(OutputError, match=r"do not hold the audio of tcp://.* \(mp2\)"):
        source.check_audio(out, choose_encoding(out, None, None).container)


def test_rtsp_that_breaks_and_comes_back(tmp_path: Path) -> None:
    server = RtspServer(num_frames=60, connections=2)
    reported: list[str] = []
    source = open_live(server.address, reported)
    job = live_job(source, tmp_path / "out.mp4")
    video_runs.finish(job)
    assert [transport.partition(";")[0] for transport in server.plays] == ["RTP/AVP/TCP"] * 2
    assert reported[1] == f"connected to {server.address} again"
    shown = clips.shown(tmp_path / "out.mp4")
    assert len(shown) == job.num_frames > 100
    assert shown == sorted(set(shown))
    index = round(shown[20] * 25)
    expected = 255 - clips.colour_bars(index, 24, 32).astype(int)
    assert np.abs(clips.frames(tmp_path / "out.mp4")[20] - expected).mean() < 12


def test_old_frames_are_dropped_rather_than_lagging(stream: bytes, tmp_path: Path) -> None:
    def slow(pixels: np.ndarray, styles: np.ndarray, seconds: float) -> np.ndarray:
        wait_until(lambda: source.num_dropped > 0, "no frame is dropped")
        return video_runs.invert(pixels, styles, seconds)

    source = open_live(Server([stream]).address, [], keep_all=False, retries=0)
    job = live_job(source, tmp_path / "out.mp4", slow)
    video_runs.finish(job)
    summary = job.summary()
    assert summary.dropped >= 1
    assert summary.frames + summary.dropped == 12
    assert len(clips.frames(tmp_path / "out.mp4")) == summary.frames


def test_stopping_ends_with_a_file_that_plays(stream: bytes, tmp_path: Path) -> None:
    source = open_live(Server([stream] * 50).address, [])
    job = live_job(source, tmp_path / "out.mp4")
    list(job.run(0, lambda: job.num_frames >= 15))
    job.settle(audio=True)
    assert job.summary().ended == "interrupted"
    assert len(clips.frames(tmp_path / "out.mp4")) == job.num_frames >= 15


def test_a_source_that_is_not_there_is_an_error_at_once() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # the port is taken, and nobody listens
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(InputError, match=r"tcp://.* cannot be read .*: Connection refused"):
            open_live(address, [])
    with pytest.raises(InputError, match=r"/dev/video77 cannot be read as video: No such file"):
        open_live("/dev/video77", [])


def test_options_reach_ffmpeg(stream: bytes) -> None:
    with pytest.raises(InputError, match="cannot be read as video"):
        open_live(Server([stream]).address, [], options={"format_whitelist": "matroska"})


def test_a_damaged_stream_goes_on_with_rising_time_stamps(stream: bytes) -> None:
    broken = bytearray(stream)
    broken[len(stream) // 2 : len(stream) // 2 + 188 * 3] = bytes(188 * 3)
    source = open_live(Server([bytes(broken)]).address, [], retries=0)
    stamps = [frame.pts for frame in source.frames()]
    assert 6 < len(stamps) < 12
    assert stamps == sorted(set(stamps))
    assert stamps[-1] in (36_000, 39_600)


def test_a_source_that_sends_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_source, "TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(InputError, match="it sent nothing for too long"):
            open_live(address, [])
