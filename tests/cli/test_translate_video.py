"""`munit-edge translate` on video, with a tiny exported model and clips of a few frames."""

import json
import sys
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
from command_line import invoke
from hang_guard import HANG_S
from rtsp_server import RtspServer
from typer.testing import Result

from munit_edge import Translator
from munit_edge.video import live_source
from munit_edge.video.parts import Parts


def run(model: Path, *arguments: object, stdin: bytes | None = None) -> Result:
    return invoke("translate", model, *arguments, "--direction", "a2b", stdin=stdin)


def refused(model: Path, *arguments: object, stdin: bytes | None = None) -> str:
    """The one line that a refused run ends with."""
    result = run(model, *arguments, stdin=stdin)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


# ----------------------------------------------------------------------------------------------
# Files


def test_a_file_keeps_its_time_stamps_and_its_audio(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 12, steps=(512, 700, 512))
    result = run(tiny_model, clip, "-o", tmp_path / "out.mp4", "--seed", 3, "--crf", 0)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'out.mp4'}\n"
    assert "12 frames translated" in result.stderr
    out = tmp_path / "out.mp4"
    assert clips.shown(out) == clips.shown(clip)
    assert clips.packets(out, "audio") == clips.packets(clip, "audio")
    assert [p.duration for p in clips.packets(out, "video")][:-1] == list(
        np.diff(np.array(clips.shown(clip)))
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]


def test_frames_are_those_of_the_translator(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mkv", 5, codec="ffv1", pixel_format="bgr0")
    result = run(tiny_model, clip, "-o", tmp_path / "out.mkv", "--seed", 3, "--codec", "ffv1")
    assert result.exit_code == 0, result.output
    with Translator.open(tiny_model) as translator:
        styles = translator.sample_styles(1, seed=3)
        images = np.stack(clips.frames(clip))
        expected = translator.translate(images, "a2b", styles=styles)[:, 0]
    np.testing.assert_array_equal(np.stack(clips.frames(tmp_path / "out.mkv")), expected)
    audio, expected_audio = (clips.packets(path, "audio") for path in (tmp_path / "out.mkv", clip))
    assert [(p.pts, p.data) for p in audio] == [(p.pts, p.data) for p in expected_audio]


def test_several_styles_make_several_files(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 3)
    result = run(tiny_model, clip, "-o", tmp_path / "out", "--styles", 2, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    paths = [tmp_path / "out" / f"clip_{index:02d}.mp4" for index in range(2)]
    assert summary["outputs"] == [str(path) for path in paths]
    assert (summary["frames"], summary["size"], summary["damaged"]) == (3, [24, 32], 0)
    assert summary["ended"] == "end"
    assert summary["flicker"]["input"] > 0
    first, second = (np.stack(clips.frames(path)).astype(int) for path in paths)
    assert np.abs(first - second).mean() > 1
    assert clips.packets(paths[1], "audio") == clips.packets(clip, "audio")


def test_odd_sizes_and_the_size_option(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 2, size=(64, 44))
    result = run(tiny_model, clip, "-o", tmp_path / "out.mp4", "--size", 21)
    assert result.exit_code == 0, result.output
    assert "results of 30 x 21 become 30 x 22" in result.stderr
    assert clips.frames(tmp_path / "out.mp4")[0].shape == (22, 30, 3)


def test_the_duration_cuts_video_and_audio(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 12)
    out = tmp_path / "out.mp4"
    result = run(tiny_model, clip, "-o", out, "--duration", "0.2", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ended"] == "duration"
    assert clips.shown(out) == clips.shown(clip)[:5]
    audio = clips.packets(out, "audio")
    assert 0.1 < max(packet.pts for packet in audio) < 0.2


def test_the_style_moves_along_keys(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mkv", 5, codec="ffv1", pixel_format="bgr0")
    out = tmp_path / "out.mkv"
    words = (clip, "-o", out, "--codec", "ffv1", "--style-keys", "0:3,0.16:9")
    result = run(tiny_model, *words)
    assert result.exit_code == 0, result.output
    images = np.stack(clips.frames(clip))
    with Translator.open(tiny_model) as translator:
        for index, seed in ((0, 3), (4, 9)):
            styles = translator.sample_styles(1, seed=seed)
            expected = translator.translate(images[index][None], "a2b", styles=styles)[0, 0]
            np.testing.assert_array_equal(clips.frames(out)[index], expected)


def test_a_damaged_frame_is_reported_and_left_out(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 12)
    stamps = clips.shown(clip)
    clips.damage(clip, 8)
    out = tmp_path / "out.mp4"
    result = run(tiny_model, clip, "-o", out, "--json")
    assert result.exit_code == 1, result.output
    summary = json.loads(result.stdout)
    kept = clips.shown(out)
    assert summary["damaged"] == 12 - len(kept) > 0
    assert set(kept) < set(stamps)
    assert "is damaged and skipped" in result.stderr
    assert clips.packets(out, "audio") == clips.packets(clip, "audio")


# ----------------------------------------------------------------------------------------------
# Pipes


@pytest.mark.parametrize("suffix", [".mkv", ".flv"])
def test_a_cut_file_is_translated_and_reported(
    tiny_model: Path, tmp_path: Path, suffix: str
) -> None:
    clip = clips.make_clip(tmp_path / f"clip{suffix}", 40)
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 6 // 10])
    result = run(tiny_model, clip, "-o", tmp_path / "out.mkv", "--json")
    assert result.exit_code == 1, result.output
    summary = json.loads(result.stdout)
    assert summary["ended"] == "broken off"
    assert 0 < summary["frames"] == len(clips.frames(tmp_path / "out.mkv"))
    assert summary["missing"] == pytest.approx(40 - summary["frames"], abs=4)
    assert "ends early: its video ends at" in result.stderr
    assert f"about {summary['missing']} missing in the input" in result.stderr


def test_raw_frames_go_through_a_pipe(tiny_model: Path, tmp_path: Path) -> None:
    images = np.stack([clips.colour_bars(index, 24, 32) for index in range(3)])
    result = run(tiny_model, "-", "--raw-size", "32x24", "--seed", 1, stdin=images.tobytes())
    assert result.exit_code == 0, result.output
    with Translator.open(tiny_model) as translator:
        styles = translator.sample_styles(1, seed=1)
        expected = translator.translate(images, "a2b", styles=styles)[:, 0]
    assert result.stdout_bytes == expected.tobytes()


def test_raw_frames_become_a_file(tiny_model: Path, tmp_path: Path) -> None:
    images = np.stack([clips.colour_bars(index, 24, 32) for index in range(3)])
    out = tmp_path / "out.mkv"
    words = ("-", "--raw-size", "32x24", "--raw-fps", "10", "-o", out)
    result = run(tiny_model, *words, stdin=images.tobytes())
    assert result.exit_code == 0, result.output
    assert clips.shown(out) == [Fraction(0), Fraction(1, 10), Fraction(2, 10)]


def test_a_raw_stream_that_ends_inside_a_frame(tiny_model: Path, tmp_path: Path) -> None:
    images = np.stack([clips.colour_bars(index, 24, 32) for index in range(3)])
    out = tmp_path / "out.mp4"
    data = images.tobytes()[:-100]
    result = run(tiny_model, "-", "--raw-size", "32x24", "-o", out, stdin=data)
    assert result.exit_code == 2, result.output
    assert "ends inside frame 2: 2204 bytes arrived" in result.stderr
    assert len(clips.frames(out)) == 2


def test_an_empty_pipe_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    words = ("-", "--raw-size", "32x24", "-o", tmp_path / "out.mp4")
    assert "standard input is empty" in refused(tiny_model, *words, stdin=b"")
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------
# What is refused, before anything is written


def test_what_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 2)
    audio_only = tmp_path / "audio.mp4"
    with av.open(str(clip)) as source, av.open(str(audio_only), "w") as file:
        stream = file.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                file.mux(packet)
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    before = sorted(tmp_path.iterdir())
    out = tmp_path / "out.mp4"
    for words, message in {
        (audio_only, "-o", out): "has no video: it holds audio",
        (text, "-o", out): "cannot be read as video",
        (tmp_path / "none.mp4", "-o", out): "does not exist",
        (clip, "-o", tmp_path / "out.webm"): "do not hold the audio",
        (clip, "-o", tmp_path / "out.webm", "--codec", "h264"): "do not hold h264",
        (clip, "-o", tmp_path / "out.mp4", "--codec", "ffv1"): "do not hold ffv1",
        (clip, "-o", clip, "--overwrite"): "is an input and would be replaced",
        (clip, "-o", out, "--crf", 99): "--crf 99 is out of range",
        (clip, clip, "-o", out): "name one input",
        (clip, "-o", out, "--grid"): "--grid is for images",
        (clip, "-o", out, "--tile", 64): "--tile is for images",
        (clip, "-o", out, "--format", "jpg"): "--format is for images",
        (clip, "-o", text / "sub"): "cannot write",
        (clip, "-o", out, "--raw-fps", 5): "--raw-fps is for raw RGB",
        (clip, "--styles", 2): "takes one video and there are 2 styles",
        (clip, "-o", out, "--style-keys", "0:1"): "two keys or more",
        (clip, "-o", out, "--style-keys", "0:1,2:x"): "holds no style 'x'",
        (clip, "-o", out, "--style-keys", "0:1,2:3", "--seed", 3): "leave out --seed",
        (clip, "-o", out, "--queue"): "--queue is for cameras and addresses",
        (clip, "-o", out, "--stabilise"): "_stats",
        ("/dev/video77", "-o", out): "No such file or directory",
        ("/dev/video77", "-o", out, "--resume"): "does not allow",
        ("/dev/video77", "-o", out, "--source-option", "x"): "give KEY=VALUE",
        ("-", "--raw-size", "0x4", "-o", out): "such as 640x480",
        ("-", "--raw-size", "4x4", "--raw-fps", "1/0", "-o", out): "--raw-fps is '1/0'",
        (tmp_path, "-o", out, "--crf", 3): "--crf is for video",
        (clip, "-o", tmp_path / "out.gif"): "video is written to .mp4, .m4v, .mov, .mkv, .webm",
        (clip, "-o", tmp_path / "out.avi"): "not to '.avi'",
        (clip, "-o", tmp_path / "out.png"): "not to '.png'",
        (clip, "-o", out, "--styles", 2): "takes one result, but there are 2 styles",
    }.items():
        assert message in refused(tiny_model, *words, stdin=b""), words
    assert sorted(tmp_path.iterdir()) == before


def test_a_result_is_not_replaced_unasked(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 2)
    out = tmp_path / "out.mp4"
    out.write_text("mine")
    assert "exists already" in refused(tiny_model, clip, "-o", out)
    assert out.read_text() == "mine"
    result = run(tiny_model, clip, "-o", out, "--overwrite")
    assert result.exit_code == 0, result.output
    Parts(out).folder.mkdir()
    out.unlink()
    assert "--resume continues it" in refused(tiny_model, clip, "-o", out)


def test_a_slash_makes_a_folder(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 2)
    result = run(tiny_model, clip, "-o", f"{tmp_path}/new.mp4/")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/new.mp4/clip.mp4\n")


def test_results_of_earlier_styles_are_named(tiny_model: Path, tmp_path: Path) -> None:
    clip, out = clips.make_clip(tmp_path / "clip.mp4", 2), tmp_path / "out"
    assert run(tiny_model, clip, "-o", out, "--styles", 3).exit_code == 0
    clips.make_clip(out / "clip_07.mp4", 2)  # of the user
    result = run(tiny_model, clip, "-o", out, "--styles", 2, "--seed", 9, "--overwrite")
    assert result.exit_code == 0, result.output
    assert f"{out / 'clip_02.mp4'}: from an earlier run with other styles" in result.stderr
    assert "clip_07.mp4" not in result.stderr
    result = run(tiny_model, clip, "-o", out, "--seed", 9)
    names = ", ".join(str(out / f"clip_{index:02d}.mp4") for index in range(3))
    assert f"{names}: from an earlier run" in result.stderr


def test_parts_that_hold_other_files_stay(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 2)
    folder = Parts(tmp_path / "out.mp4").folder
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    message = refused(tiny_model, clip, "-o", tmp_path / "out.mp4", "--overwrite")
    assert "holds other files than parts (notes.txt)" in message
    assert (folder / "notes.txt").read_text() == "mine"


def test_an_interrupted_run_resumes(tiny_model: Path, tmp_path: Path) -> None:
    clip = clips.make_clip(tmp_path / "clip.mp4", 4)
    words = (clip, "-o", tmp_path / "out.mp4", "--style-keys")
    Parts(tmp_path / "out.mp4").begin("of another run")
    message = refused(tiny_model, *words, "0:1,1:2", "--resume")
    assert "begun with another input, model, style or setting" in message
    assert run(tiny_model, *words, "0:1,1:2", "--overwrite").exit_code == 0
    done = (tmp_path / "out.mp4").read_bytes()
    result = run(tiny_model, *words, "0:1,1:2", "--resume")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'out.mp4'}\n")
    assert "already complete" in result.stderr
    assert (tmp_path / "out.mp4").read_bytes() == done
    message = refused(tiny_model, *words, "0:1,0.1:2", "--resume")
    assert "exists and was made with another input, model, style or setting" in message
    assert (tmp_path / "out.mp4").read_bytes() == done


def test_a_stream_is_translated_until_the_duration(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_source, "TIMEOUT_S", HANG_S)
    server = RtspServer(num_frames=60, connections=1)
    words = (server.address, "-o", tmp_path, "--queue", "--duration", 1, "--stabilise")
    assert "_stats: export the model again" in refused(tiny_model, *words)
    assert list(tmp_path.iterdir()) == []
    server = RtspServer(num_frames=60, connections=1)
    result = run(tiny_model, server.address, "-o", tmp_path, "--queue", "--duration", 1, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["frames"], summary["dropped"], summary["ended"]) == (25, 0, "duration")
    port = server.address.split(":")[2].partition("/")[0]
    assert summary["outputs"] == [str(tmp_path / f"rtsp___127_0_0_1_{port}_clip.mp4")]
    assert clips.shown(Path(summary["outputs"][0])) == [Fraction(i, 25) for i in range(25)]


def test_without_pyav_the_fix_is_named(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    message = refused(tiny_model, tmp_path / "clip.mp4", "-o", tmp_path / "out.mp4")
    assert "pip install 'munit-edge[video]'" in message
