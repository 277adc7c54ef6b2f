"""`munit-edge translate` on video; `cli.translate` declares the options."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from munit_edge.cli.parameters import checked, given_names
from munit_edge.cli.progress import progress
from munit_edge.cli.streams import tell, warn, write_json, write_line
from munit_edge.errors import ConfigError, InputError, OutputError
from munit_edge.files.locks import writing_to
from munit_edge.interrupts import EXIT_CODE_BASE, StopRequest, stop_requests, uninterrupted
from munit_edge.text import counted

if TYPE_CHECKING:
    from munit_edge.cli.translate_parameters import Parameters
    from munit_edge.engines.base import GraphSet
    from munit_edge.styles.options import StyleOptions
    from munit_edge.system.threads import Ahead
    from munit_edge.translator import Translator
    from munit_edge.video.frames import Clip
    from munit_edge.video.job import Source, VideoJob, VideoSummary
    from munit_edge.video.options import VideoOptions
    from munit_edge.video.sinks import FileSink, Sink
    from munit_edge.video.style_track import StyleTrack


def translate_if_video(given: Parameters, model: Ahead[GraphSet]) -> bool:
    """Translate, if the input is video.

    Args:
        given: the options.
        model: the model, taken if the input is video.

    Returns:
        Whether it is video; if not, nothing has been done.

    Raises:
        ConfigError: options for video are given for images, or vice versa.
    """
    from munit_edge.settings import option_fields
    from munit_edge.styles.options import StyleOptions
    from munit_edge.translate.options import TranslateOptions
    from munit_edge.video.options import VideoOptions, is_video
    from munit_edge.video.style_track import parse_keys

    of_images, of_video = option_fields(TranslateOptions), option_fields(VideoOptions)
    only_video = given_names(given, [name for name in of_video if name not in of_images])
    if not any(is_video(text) for text in given.inputs) and given.raw_size is None:
        if only_video:
            raise ConfigError(
                f"{' and '.join(only_video)} is for video, and no input is: videos end in .mp4, "
                ".mkv, .mov and the like, raw RGB on standard input needs --raw-size"
            )
        return False
    if len(given.inputs) > 1:
        raise ConfigError("a video is translated alone: name one input")
    shared = {"inputs", *option_fields(StyleOptions), *of_video}
    only_images = given_names(given, [name for name in of_images if name not in shared])
    if only_images:
        raise ConfigError(f"{' and '.join(only_images)} is for images: leave it out for video")
    keys = parse_keys(given.style_keys) if given.style_keys else ()
    if keys:
        _refuse_other_styles(given)
    style = checked(StyleOptions, given)
    options = checked(
        VideoOptions, given, input=given.inputs[0], style_keys=keys, **given.destination()
    )
    _translate(given, style, options, model)
    return True


def _refuse_other_styles(given: Parameters) -> None:
    fields = ["style_images", "saved_styles", "styles", "seed", "spread", "interpolate"]
    others = given_names(given, fields)
    if others:
        raise ConfigError(f"--style-keys names its styles itself: leave out {' and '.join(others)}")


def _translate(
    given: Parameters, style: StyleOptions, options: VideoOptions, model: Ahead[GraphSet]
) -> None:
    from munit_edge.model.config import split_direction
    from munit_edge.translator import Translator
    from munit_edge.video.av_api import pyav
    from munit_edge.video.frame_translator import PlainFrames, SteadyFrames
    from munit_edge.video.job import VideoJob
    from munit_edge.video.plan import open_source

    if options.to_pipe and sys.stdout.isatty():
        raise OutputError("the result is raw RGB: redirect standard output to a program, or use -o")
    pyav()
    with contextlib.ExitStack() as stack:
        translator = stack.enter_context(Translator(model.take(), given.model))
        domain, _ = split_direction(style.direction)
        source = open_source(options, translator.config.channels(domain), warn)
        track = _styles(translator, style, options)
        files = None
        if not options.to_pipe:
            files = _files(translator, track, style, options, source, stack)
        if files and options.resume and _complete_already(files):
            return
        kind = SteadyFrames if options.stabilise else PlainFrames
        frames = kind(translator, style.direction)
        if source.clip.is_live and not options.from_pipe:
            # Before the first frame, so that none is dropped while the engine opens its graphs.
            frames.warm_up(_result_size(source.clip, style), track.at(0))
        with uninterrupted():  # otherwise parts without a frame would remain
            sinks, skip = _begin(files, track, options)
            for sink in sinks:
                stack.callback(sink.abandon)
        if files and options.audio:
            # Among the parts that are removed last.
            source.record_audio(files[-1].parts.audio_path)
        if files and skip and isinstance(frames, SteadyFrames):
            frames.restore(files[0].state)
        job = VideoJob(
            source,
            sinks,
            frames,
            track,
            size=style.size,
            duration=options.duration,
            state=frames.state,
        )
        _run(job, skip, source.clip, options, translator.runs_on)


def _styles(translator: Translator, style: StyleOptions, options: VideoOptions) -> StyleTrack:
    from munit_edge.model.config import split_direction
    from munit_edge.styles.choose import choose_styles
    from munit_edge.video.style_track import FixedStyles, MovingStyle

    if options.style_keys:
        _, target = split_direction(style.direction)
        saved = translator.saved_styles
        return MovingStyle(options.style_keys, lambda style: saved.read_one(style, target))
    styles = choose_styles(
        style, translator.config, translator.encode_style, translator.saved_styles, warn, default=1
    )
    return FixedStyles(styles.codes)


def _files(
    translator: Translator,
    track: StyleTrack,
    style: StyleOptions,
    options: VideoOptions,
    source: Source,
    stack: contextlib.ExitStack,
) -> list[FileSink]:
    from munit_edge.video.plan import file_sinks, video_hash

    settings = video_hash(
        options,
        model=translator.export_id,
        engine=[translator.engine, translator.device],
        direction=style.direction,
        styles=track.codes.tolist(),
        size=style.size,
    )
    return file_sinks(
        options,
        source,
        size_hw=_result_size(source.clip, style),
        num_styles=track.num_styles,
        read=[*style.style_images, *([Path(options.input)] if options.is_file else [])],
        settings=settings,
        lock=lambda path: stack.enter_context(writing_to(path)),
        notify=warn,
    )


def _result_size(clip: Clip, style: StyleOptions) -> tuple[int, int]:
    from munit_edge.images.sizes import shorter_side_to

    return shorter_side_to(clip.size_hw, style.size) if style.size else clip.size_hw


def _complete_already(files: Sequence[FileSink]) -> bool:
    from munit_edge.video.plan import are_complete

    if not are_complete(files):
        return False
    tell("already complete: nothing to translate")
    for file in files:
        file.clear()  # parts that a run killed at its very end left
        write_line(str(file.output))
    return True


def _begin(
    files: Sequence[FileSink] | None, track: StyleTrack, options: VideoOptions
) -> tuple[list[Sink], int]:
    """The sinks, and the number of frames that they have already."""
    from munit_edge.video.plan import begin, pipe_sinks

    if files is None:
        return pipe_sinks(track.num_styles), 0
    return list(files), begin(files, resume=options.resume)


def _run(job: VideoJob, skip: int, clip: Clip, options: VideoOptions, where: str) -> None:
    """Run the job and report; exit code 1 after damage, 130 or 143 after a signal."""
    failure, num_lost = None, 0
    with stop_requests() as request:
        try:
            _follow(job, skip, clip, request)
        except InputError as exc:
            failure = exc
        if failure is None or (job.num_frames and not options.is_file):
            num_lost = job.settle(audio=options.audio)
    if num_lost:
        warn(f"audio or subtitles are damaged: {counted(num_lost, 'packet')} left out")
    summary = job.summary()
    if summary.frames:
        _report(summary, options, where)
    if failure is not None:
        raise failure
    if summary.ended == "interrupted" and options.is_file and request.signal is not None:
        raise typer.Exit(EXIT_CODE_BASE + request.signal)
    if num_lost or summary.damaged or summary.missing or summary.ended == "broken off":
        raise typer.Exit(1)


def _follow(job: VideoJob, skip: int, clip: Clip, request: StopRequest) -> None:
    """Translate with a progress display."""
    started = time.monotonic()
    with progress("translating", clip.num_frames) as bar:
        bar.advance(skip)
        for count in job.run(skip, lambda: request.signal is not None):
            seconds = max(time.monotonic() - started, 1e-9)
            bar.advance(note=_pace(count, skip, seconds, clip.num_frames))


def _pace(count: int, skip: int, seconds: float, total: int | None) -> str:
    """Frames per second and, if known, the time left."""
    fps = (count - skip) / seconds
    if total is None or total <= count:
        return f"{fps:.2f} frames/s"
    minutes, rest = divmod(round((total - count) / fps), 60)
    return f"{fps:.2f} frames/s, {minutes}:{rest:02d} min left"


def _report(summary: VideoSummary, options: VideoOptions, where: str) -> None:
    if options.json_lines:
        write_json(summary.model_dump_json())
    elif summary.ended != "interrupted" or not options.is_file:
        for path in summary.outputs:
            write_line(path)
    tell(_line(summary, where))
    if summary.ended == "interrupted" and options.is_file:
        tell("interrupted: --resume continues with the existing parts")


def _line(summary: VideoSummary, where: str) -> str:
    parts = [f"{counted(summary.frames, 'frame')} translated"]
    if summary.resumed_at:
        parts.append(f"{summary.resumed_at} of them by an earlier run")
    if summary.damaged:
        parts.append(f"{summary.damaged} damaged left out")
    if summary.missing:
        parts.append(f"about {summary.missing} missing in the input")
    if summary.dropped:
        parts.append(f"{summary.dropped} dropped")
    if summary.flicker is not None:
        flicker = summary.flicker
        parts.append(f"flicker {flicker.output:.2f} (input {flicker.input:.2f})")
    text = "; ".join(parts)
    return f"{text} ({summary.seconds:.1f} s, {summary.fps:.2f} frames/s, {where})"
