"""A video job without a model: what happens to frames, time stamps and interrupted runs."""

import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
import numpy as np
import pytest
import video_runs

from munit_edge.errors import OutputError
from munit_edge.video import sinks
from munit_edge.video.codecs import CodecName
from munit_edge.video.parts import LEDGER, Parts
from munit_edge.video.sinks import FileSink

HELPERS = Path(clips.__file__).parent


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "SEGMENT_FRAMES", 5)


def test_an_interrupted_run_resumes_to_the_same_file(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 18, steps=(512, 400, 600))
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    assert video_runs.translate_clip(clip, whole) == 0
    video_runs.translate_clip(clip, out, stop_at=12)
    assert not out.exists()
    names = sorted(path.name for path in Parts(out).folder.iterdir())
    assert names[1:] == ["part_00000.mp4", "part_00001.mp4", "part_00002.unfinished.mp4"]
    counts = [len(clips.frames(Parts(out).folder / name)) for name in names[1:]]
    assert counts[:2] == [5, 5]
    assert counts[2] >= 2
    assert video_runs.translate_clip(clip, out, resume=True) == 10
    assert clips.packets(out, "video") == clips.packets(whole, "video")
    assert clips.packets(out, "audio") == clips.packets(clip, "audio")
    assert clips.shown(out) == clips.shown(clip)
    assert not Parts(out).exist


@pytest.mark.parametrize(
    ("name", "codec"),
    [("o.mp4", "hevc"), ("o.mp4", "vp9"), ("o.mov", "h264"), ("o.webm", "vp9"), ("o.mkv", "ffv1")],
)
def test_segments_of_every_codec_are_muxed(tmp_path: Path, name: str, codec: CodecName) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 12, audio=None)
    out = tmp_path / name
    job, skip, _ = video_runs.file_job(clip, out, codec=codec)
    list(job.run(skip, lambda: False))
    job.settle(audio=True)
    assert clips.shown(out) == clips.shown(clip)
    for frame, original in zip(clips.frames(out), clips.frames(clip), strict=True):
        assert np.abs(255 - frame.astype(int) - original).mean() < 12


def test_names_that_look_like_addresses(working_folder: Path) -> None:
    clips.make_clip(working_folder / "plain.mp4", 6).rename("take:2.mp4")
    video_runs.translate_clip(Path("take:2.mp4"), Path("out:2.mp4"))
    (working_folder / "out:2.mp4").rename("out.mp4")
    assert len(clips.frames(working_folder / "out.mp4")) == 6


class Counting:
    """Writes into each frame how many came before it, as statistics over time would."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, pixels: np.ndarray, styles: np.ndarray, seconds: float) -> np.ndarray:
        self.count += 1
        return np.full_like(pixels, 10 * self.count)[None]

    def state(self) -> bytes:
        return bytes([self.count])


def test_what_frames_depend_on_is_resumed(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 18)
    out = tmp_path / "out.mp4"
    before, after = Counting(), Counting()
    job, skip, _ = video_runs.file_job(clip, out, translate=before, state=before.state)
    for _ in job.run(skip, lambda: job.num_frames >= 12):
        pass
    job.settle(audio=True)
    assert sorted(path.name for path in Parts(out).folder.glob("state*")) == [
        "state_00000.npz",
        "state_00001.npz",
    ]
    job, skip, sink = video_runs.file_job(
        clip, out, translate=after, state=after.state, resume=True
    )
    after.count = sink.state[0]
    assert after.count == skip == 10
    list(job.run(skip, lambda: False))
    job.settle(audio=True)
    levels = [frame.mean() for frame in clips.frames(out)]
    np.testing.assert_allclose(levels, 10 * np.arange(1, 19), atol=3)


def test_what_was_killed_plays_and_resumes(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mkv", 150, size=(64, 48))
    out = tmp_path / "out.mkv"
    program = f"import sys; sys.path.insert(0, {str(HELPERS)!r}); import video_runs as v; "
    program += "from munit_edge.video import sinks; sinks.SEGMENT_FRAMES = 5; v.main(*sys.argv[1:])"
    command = [sys.executable, "-c", program, str(clip), str(out)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, bufsize=1) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for line in child.stdout:
            if line == "23\n":
                child.kill()
                break
            child.stdin.write("\n")
    assert child.returncode == -signal.SIGKILL
    folder = Parts(out).folder
    written = [len(clips.frames(path)) for path in sorted(folder.glob("part_0000[0-3].mkv"))]
    assert written == [5, 5, 5, 5]
    skipped = video_runs.translate_clip(clip, out, resume=True)
    assert skipped >= 20
    assert len(clips.frames(out)) == 150
    assert clips.shown(out) == clips.shown(clip)


@pytest.mark.parametrize(
    ("owner", "name", "call", "frames_kept"),
    [
        (FileSink, "finish", 2, 10),
        (sinks, "mux", 2, 12),
        (FileSink, "clear", 1, None),
        (FileSink, "clear", 2, None),
    ],
)
def test_a_run_killed_between_two_results_resumes(
    owner: Any,
    name: str,
    call: int,
    frames_kept: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first result is complete then; the second is not, or parts of both are still there."""
    clip = clips.make_clip(tmp_path / "clip.mp4", 12, steps=(512,), size=(64, 48))
    whole = [tmp_path / f"whole_{index}.mp4" for index in range(2)]
    video_runs.translate_to(clip, whole)
    outs = [tmp_path / f"out_{index}.mp4" for index in range(2)]
    with monkeypatch.context() as patch:
        _kill_at(owner, name, call, patch)
        with pytest.raises(_KilledError):
            video_runs.translate_to(clip, outs)
    assert outs[0].exists()
    assert video_runs.translate_to(clip, outs, resume=True) == frames_kept
    for out, expected in zip(outs, whole, strict=True):
        assert clips.shown(out) == clips.shown(expected)
        with av.open(str(out)) as resumed, av.open(str(expected)) as uninterrupted:
            assert resumed.streams.video[0].duration == uninterrupted.streams.video[0].duration
    assert not list(tmp_path.glob("*.parts"))


class _KilledError(BaseException):
    pass


def _kill_at(owner: Any, name: str, call: int, patch: pytest.MonkeyPatch) -> None:
    """End the run at the n-th call of a function."""
    function: Any = getattr(owner, name)
    calls: list[str] = []

    def counting(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            raise _KilledError
        return function(*arguments, **options)

    patch.setattr(owner, name, counting)


def test_a_file_of_somebody_else_is_no_result_to_resume(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mkv", 12, size=(64, 48))
    out = tmp_path / "out.mkv"
    video_runs.translate_clip(clip, out, stop_at=6)
    out.write_bytes(b"theirs")
    with pytest.raises(OutputError, match=r"out\.mkv exists and was made with another input"):
        video_runs.translate_clip(clip, out, resume=True)
    assert out.read_bytes() == b"theirs"


def test_parts_of_another_run_are_refused(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 8)
    out = tmp_path / "out.mp4"
    video_runs.translate_clip(clip, out, stop_at=7)
    with pytest.raises(OutputError, match="begun with another input"):
        video_runs.file_job(clip, out, settings="other", resume=True)
    ledger = Parts(out).folder / LEDGER
    text = ledger.read_text()
    ledger.write_text(text + '{"file": "part_000')  # cut off while it was written
    assert video_runs.file_job(clip, out, resume=True)[1] == 5
    ledger.write_text("{}\n" + text)
    with pytest.raises(OutputError, match=r"is damaged .*--overwrite starts over"):
        video_runs.file_job(clip, out, resume=True)


def test_a_segment_that_was_changed_is_not_muxed(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 8)
    out = tmp_path / "out.mp4"
    video_runs.translate_clip(clip, out, stop_at=6)
    other = clips.make_clip(tmp_path / "other.mp4", 3)
    (Parts(out).folder / "part_00000.mp4").write_bytes(other.read_bytes())
    with pytest.raises(OutputError, match="it has 3 frames and the ledger says 5"):
        video_runs.translate_clip(clip, out, resume=True)


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, turned: int) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 2, size=(64, 32), aspect=Fraction(4, 3))
    upright = np.rot90(clips.frames(clip)[0], {90: -1, 180: 2, 270: 1}[turned])
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turned]
    clips.set_matrix(clip, (cos, sin, -sin, cos))
    out = tmp_path / "out.mp4"
    video_runs.translate_clip(clip, out)
    result = clips.frames(out)[0]
    assert result.shape == upright.shape
    assert np.abs(255 - result.astype(int) - upright).mean() < 8
    with av.open(str(out)) as file:
        aspect = file.streams.video[0].sample_aspect_ratio
    assert aspect == (Fraction(4, 3) if turned == 180 else Fraction(3, 4))


def test_a_clock_that_starts_anywhere_starts_at_zero(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.ts", 6, audio="mp2", first=128_000)
    assert clips.shown(clip)[0] > 10
    out = tmp_path / "out.mp4"
    video_runs.translate_clip(clip, out)
    steps = np.diff(np.array(clips.shown(out)))
    assert set(steps) == {Fraction(1, 25)}
    between = clips.packets(clip, "audio")[0].pts - clips.shown(clip)[0]
    assert clips.packets(out, "audio")[0].pts - clips.shown(out)[0] == pytest.approx(
        float(between), abs=1e-4
    )
    assert min(clips.shown(out)[0], clips.packets(out, "audio")[0].pts) == pytest.approx(
        0, abs=1e-4
    )


def test_damage_is_left_out_and_time_stamps_stay(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 20, keyframe_every=1)
    expected = clips.shown(clip)
    clips.damage(clip, 7)
    job, skip, _ = video_runs.file_job(clip, tmp_path / "out.mp4")
    assert list(job.run(skip, lambda: False))[-1] == 19
    job.settle(audio=True)
    summary = job.summary()
    assert (summary.damaged, summary.frames, summary.ended) == (1, 19, "end")
    assert clips.shown(tmp_path / "out.mp4") == expected[:7] + expected[8:]


def test_a_file_that_ends_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 60, audio=None, index_first=True)
    data = clip.read_bytes()
    clip.write_bytes(data[: -len(data) // 2])
    job, skip, _ = video_runs.file_job(clip, tmp_path / "out.mp4")
    count = list(job.run(skip, lambda: False))[-1]
    job.settle(audio=True)
    assert job.summary().ended == "broken off"
    assert "clip.mp4 ends early: its video ends at" in capsys.readouterr().out
    assert 5 <= len(clips.frames(tmp_path / "out.mp4")) == count < 50


def test_an_error_of_the_engine_ends_the_run(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 8)

    def broken(pixels: object, styles: object, seconds: float) -> np.ndarray:
        raise MemoryError

    job, skip, _ = video_runs.file_job(clip, tmp_path / "out.mp4", translate=broken)
    with pytest.raises(Exception, match="make it smaller with --size"):
        list(job.run(skip, lambda: False))
    job.abandon()
    assert not Parts(tmp_path / "out.mp4").exist


def test_damaged_audio_costs_its_packets_not_the_result(tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.ts", 25)
    data = bytearray(clip.read_bytes())
    mark = data.index(b"\xff\xf1", len(data) // 2)  # a header of AAC
    data[mark : mark + 4] = bytes(4)
    clip.write_bytes(data)
    out = tmp_path / "out.mp4"
    assert video_runs.translate_clip(clip, out) == 0
    assert len(clips.frames(out)) == 25
    assert 5 < len(clips.packets(out, "audio")) < len(clips.packets(clip, "audio"))
