"""From options to an open source and sinks: everything that can be refused is refused here."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from munit_edge.errors import ConfigError, OutputError
from munit_edge.files.atomic import sha256
from munit_edge.version import __version__
from munit_edge.video.av_api import pyav
from munit_edge.video.codecs import choose_encoding
from munit_edge.video.decoder import Tell
from munit_edge.video.file_source import FileSource
from munit_edge.video.job import Source
from munit_edge.video.join import comment_of
from munit_edge.video.live_source import LiveSource
from munit_edge.video.options import DEFAULT_RETRIES, VideoOptions, is_live
from munit_edge.video.outputs import check_outputs, earlier_results, result_paths
from munit_edge.video.raw_source import RawSource
from munit_edge.video.segments import Track
from munit_edge.video.sinks import FileSink, RawSink, Sink, completed_comment


def open_source(options: VideoOptions, channels: int, tell: Tell) -> Source:
    """The frames that `options` ask for.

    Args:
        options: what the run wants.
        channels: of the source domain.
        tell: is told of what is wrong with the source, in one line each.

    Raises:
        InputError: there is nothing that can be decoded.
    """
    if options.from_pipe:
        return RawSource(sys.stdin.buffer, options.raw_size_hw, options.raw_rate, channels)
    if not is_live(options.input):
        return FileSource(Path(options.input), channels, tell)
    return LiveSource(
        options.input,
        channels,
        tell,
        options=options.ffmpeg_options,
        keep_all=options.keep_all,
        retries=DEFAULT_RETRIES if options.retries is None else options.retries,
        duration=options.duration,
    )


def pipe_sinks(num_styles: int) -> list[Sink]:
    """Standard output.

    Raises:
        ConfigError: there are several styles.
    """
    if num_styles > 1:
        raise ConfigError(
            f"standard output takes one video and there are {num_styles} styles: ask for one, or "
            "name a file or folder with -o"
        )
    return [RawSink(sys.stdout.buffer)]


def file_sinks(
    options: VideoOptions,
    source: Source,
    *,
    size_hw: tuple[int, int],
    num_styles: int,
    read: Sequence[Path],
    settings: str,
    lock: Callable[[Path], None],
    tell: Tell,
) -> list[FileSink]:
    """The video files that `options` ask for, one for each style; nothing is written yet.

    Args:
        options: what the run wants.
        source: the input.
        size_hw: height and width of the results in pixels.
        num_styles: number of results.
        read: files that must not be replaced.
        settings: hash of what the frames depend on; see `settings_hash`.
        lock: is called with each result before anything is looked up there.
        tell: is told of what a result cannot keep.

    Raises:
        MunitEdgeError: a result cannot be written as asked.
    """
    assert options.output is not None, "without an output the result goes to a pipe"
    paths = result_paths(options.input, options.output, num_styles, to_file=options.to_file)
    encoding = choose_encoding(paths[0], options.codec, options.crf)
    clip = source.clip
    lost = source.left_out(encoding.container)
    if lost:
        tell(f"{paths[0].name} goes without what {clip.name} has beside: {'; '.join(lost)}")
    if options.audio:
        source.check_sound(paths[0], encoding.container)
    if clip.pixel_aspect != 1 and not encoding.codec.keeps_aspect:
        tell(f"the result has square pixels: {paths[0].name} cannot say {clip.pixel_aspect}")
    height, width = size_hw
    if encoding.codec.pixel_format == "yuv420p" and (height % 2 or width % 2):
        tell(
            f"results of {width} x {height} become {width + width % 2} x {height + height % 2}: "
            "the codec holds even sizes only, so the last row or column is there twice"
        )
    for path in paths:
        lock(path)
    check_outputs(paths, read, options)
    if not options.to_file and (earlier := earlier_results(paths)):
        tell(
            f"{', '.join(map(str, earlier))}: of an earlier run with other styles, and not "
            "replaced by this one"
        )
    track = Track(encoding, clip.time_base, clip.rate, clip.pixel_aspect)
    return [FileSink(path, track, f"{settings}-{index}") for index, path in enumerate(paths)]


def begin(sinks: Sequence[FileSink], *, resume: bool) -> int:
    """Make the sinks ready to be written.

    Args:
        sinks: of one run.
        resume: take over what an interrupted run left, if it left something.

    Returns:
        How many frames they all have already.

    Raises:
        OutputError: a result of another run is in the way, or the parts belong to another run.
    """
    if resume:
        for sink in sinks:
            if sink.output.exists() and not sink.parts.exist:
                raise OutputError(
                    f"{sink.output} is there and is not of this input, model, style and setting: "
                    "name another output or pass --overwrite"
                )
    if not resume or not all(sink.parts.exist for sink in sinks):
        for sink in sinks:
            sink.begin()
        return 0
    for sink in sinks:
        sink.resume()
    num_frames = min(sink.num_frames for sink in sinks)
    for sink in sinks:
        sink.rewind(num_frames)
    return num_frames


def are_complete(sinks: Sequence[FileSink]) -> bool:
    """Whether an earlier run with the same settings has written all results."""
    return all(
        sink.output.is_file() and comment_of(sink.output) == completed_comment(sink.settings)
        for sink in sinks
    )


def settings_hash(options: VideoOptions, **others: object) -> str:
    """A hash of everything that a result depends on.

    Args:
        options: the run's.
        others: what else matters, such as the model's identity and the style codes' bytes.
    """
    facts: dict[str, object] = {
        "input": sha256(Path(options.input)) if options.is_file else options.input,
        "codec": options.codec,
        "crf": options.crf,
        "duration": options.duration,
        "stabilise": options.stabilise,
        "key seconds": [key.seconds for key in options.style_keys],
        "audio": options.audio,
        "munit-edge": __version__,
        "libraries": {name: list(version) for name, version in pyav().library_versions.items()},
        **others,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
