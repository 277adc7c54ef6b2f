"""From options to an open source and sinks; everything is checked here, before any work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from munit_edge.errors import ConfigError, OutputError
from munit_edge.files.atomic import make_folder, sha256
from munit_edge.files.replacing import same_file
from munit_edge.files.results import (
    numbered_paths,
    refuse_to_replace_inputs,
    settings_hash,
    several_for_one,
)
from munit_edge.version import __version__
from munit_edge.video.av_api import pyav
from munit_edge.video.codecs import CONTAINERS, choose_encoding
from munit_edge.video.decoder import Notify
from munit_edge.video.file_source import FileSource
from munit_edge.video.job import Source
from munit_edge.video.live_source import LiveSource
from munit_edge.video.mux import COMMENT_PREFIX, comment_of
from munit_edge.video.options import DEFAULT_RETRIES, VideoOptions, is_live
from munit_edge.video.parts import Parts
from munit_edge.video.raw_source import RawSource
from munit_edge.video.segments import Track
from munit_edge.video.sinks import FileSink, RawSink, Sink

DEFAULT_SUFFIX = ".mp4"


def open_source(options: VideoOptions, channels: int, notify: Notify) -> Source:
    """Open the source that `options` name.

    Args:
        options: the run's.
        channels: of the source domain.
        notify: called with a line about each fault of the source.

    Raises:
        InputError: nothing can be decoded.
    """
    if options.from_pipe:
        return RawSource(sys.stdin.buffer, options.raw_size_hw, options.raw_rate, channels)
    if not is_live(options.input):
        return FileSource(Path(options.input), channels, notify)
    return LiveSource(
        options.input,
        channels,
        notify,
        options=options.ffmpeg_options,
        keep_all=options.keep_all,
        retries=DEFAULT_RETRIES if options.retries is None else options.retries,
        duration=options.duration,
    )


def pipe_sinks(num_styles: int) -> list[Sink]:
    """The sink for standard output.

    Raises:
        ConfigError: there are several styles.
    """
    if num_styles > 1:
        raise ConfigError(
            f"standard output takes one video and there are {num_styles} styles: choose one, or "
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
    notify: Notify,
) -> list[FileSink]:
    """The sinks for video files, one for each style; nothing is written yet.

    Args:
        options: the run's.
        source: the input.
        size_hw: height and width of the results in pixels.
        num_styles: number of results.
        read: files that must not be replaced.
        settings: hash of everything the frames depend on; see `video_hash`.
        lock: called with each result before its path is looked at.
        notify: called with a line about everything that a result cannot keep.

    Raises:
        MunitEdgeError: a result cannot be written as requested.
    """
    assert options.output is not None, "without an output the result goes to a pipe"
    paths = result_paths(options.input, options.output, num_styles, to_file=options.to_file)
    encoding = choose_encoding(paths[0], options.codec, options.crf)
    clip = source.clip
    lost = source.left_out(encoding.container)
    if lost:
        notify(f"{paths[0].name} cannot keep everything of {clip.name}: without {'; '.join(lost)}")
    if options.audio:
        source.check_audio(paths[0], encoding.container)
    if clip.pixel_aspect != 1 and not encoding.codec.keeps_aspect:
        notify(
            f"{paths[0].name} cannot store the pixel aspect {clip.pixel_aspect}: its pixels are "
            "square"
        )
    height, width = size_hw
    if encoding.codec.pixel_format == "yuv420p" and (height % 2 or width % 2):
        notify(
            f"results of {width} x {height} become {width + width % 2} x {height + height % 2}: "
            "the codec has even sizes only, so the last row or column is repeated"
        )
    # Before anything is looked at: otherwise a second run could start between check and use.
    for path in paths:
        lock(path)
    check_outputs(paths, read, options)
    if not options.to_file and (earlier := earlier_results(paths)):
        notify(
            f"{', '.join(map(str, earlier))}: from an earlier run with other styles, not replaced "
            "by this one"
        )
    track = Track(encoding, clip.time_base, clip.rate, clip.pixel_aspect)
    return [FileSink(path, track, f"{settings}-{index}") for index, path in enumerate(paths)]


def result_paths(source: str, output: Path, num_styles: int, *, to_file: bool) -> list[Path]:
    """The paths of the results.

    In a folder they are named after the input, and with several styles each gets its number
    (clip_00.mp4, clip_01.mp4).

    Args:
        source: path or address of the input.
        output: the output that the user named.
        num_styles: number of results.
        to_file: `output` is the file of the only result; else it is a folder.

    Raises:
        OutputError: there are several results and one file.
    """
    if to_file:
        if num_styles > 1:
            raise OutputError(several_for_one(output, [f"{num_styles} styles"], "choose one style"))
        return [output]
    # Results may not have the suffix of the input: not every container that is read is written.
    name = _name(source)
    stem = output / name.stem
    suffix = name.suffix if name.suffix.lower() in CONTAINERS else DEFAULT_SUFFIX
    if num_styles == 1:
        return [stem.with_name(stem.name + suffix)]
    return list(numbered_paths(stem, num_styles, suffix))


def earlier_results(paths: Sequence[Path]) -> list[Path]:
    """Complete results of earlier runs with other styles in the folder of this run's results.

    Args:
        paths: the results of this run: clip.mp4, or clip_00.mp4, clip_01.mp4, ...
    """
    # One style has no number, so one and several styles leave each other's results behind.
    stem = paths[0].stem if len(paths) == 1 else paths[0].stem.rpartition("_")[0]
    names = re.compile(rf"{re.escape(stem)}(_\d{{2,}})?({'|'.join(map(re.escape, CONTAINERS))})")
    folder = paths[0].parent
    return sorted(
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if names.fullmatch(path.name)
        and not any(same_file(path, each) for each in paths)
        # Only files that carry our comment: others of that name belong to the user.
        and not path.is_symlink()
        and (comment_of(path) or "").startswith(COMMENT_PREFIX)
    )


def check_outputs(outputs: Sequence[Path], read: Sequence[Path], options: VideoOptions) -> None:
    """Check that nothing would be replaced by mistake, and make the results' folder.

    Args:
        outputs: the results.
        read: files that the run reads.
        options: whether results may be replaced, and an interrupted run resumed.

    Raises:
        OutputError: something is in the way, or the folder cannot be made.
    """
    refuse_to_replace_inputs(outputs, read)
    for path in outputs:
        may_be_there = options.overwrite or options.resume
        Parts(path).check_removable()
        if os.path.lexists(path) and not may_be_there:
            raise OutputError(f"{path} exists already: name another output or pass --overwrite")
        if Parts(path).exist and not may_be_there:
            fix = "--resume continues it" if options.is_file else "its files play one by one"
            raise OutputError(
                f"{Parts(path).folder} is left from an interrupted run: {fix}, --overwrite "
                "removes it and starts over"
            )
        make_folder(path.parent)


def _name(source: str) -> Path:
    """File name of a result in a folder: that of the file, the camera or the address."""
    if source == "-":
        return Path("stdin")
    if not is_live(source):
        return Path(Path(source).name)
    # The query may hold a password.
    address = source.partition("?")[0].rstrip("/")
    words = "".join(char if char.isalnum() or char in "-_" else "_" for char in address)
    return Path(f"{words.strip('_')}{DEFAULT_SUFFIX}")


def begin(sinks: Sequence[FileSink], *, resume: bool) -> int:
    """Prepare the sinks for writing.

    Args:
        sinks: of one run.
        resume: continue an interrupted run, if there was one.

    Returns:
        How many frames all of them already have.

    Raises:
        OutputError: a result of another run is in the way, or the parts belong to another run.
    """
    if resume:
        for sink in sinks:
            # Complete ones come from a run that was killed before all of its results were.
            if os.path.lexists(sink.output) and not sink.is_complete:
                raise OutputError(
                    f"{sink.output} exists and was made with another input, model, style or "
                    "setting: name another output or pass --overwrite"
                )
    if not resume or not all(sink.parts.exist for sink in sinks):
        for sink in sinks:
            sink.begin()
        return 0
    for sink in sinks:
        sink.resume()
    # A run killed between two sinks leaves results of different length: all go back to the
    # shortest, since the frames are translated for all styles together.
    num_frames = min(sink.num_frames for sink in sinks)
    for sink in sinks:
        sink.rewind(num_frames)
    return num_frames


def are_complete(sinks: Sequence[FileSink]) -> bool:
    """Whether an earlier run with the same settings wrote all results."""
    return all(sink.is_complete for sink in sinks)


def video_hash(options: VideoOptions, **others: object) -> str:
    """A hash of everything that a result depends on.

    Args:
        options: the run's.
        others: what else it depends on, such as the model's identity and the style codes.
    """
    facts: dict[str, object] = {
        # Of the whole file: a resumed run must go on in exactly the same frames.
        "input": sha256(Path(options.input)) if options.is_file else options.input,
        "codec": options.codec,
        "crf": options.crf,
        "duration": options.duration,
        "stabilise": options.stabilise,
        "key seconds": [key.seconds for key in options.style_keys],
        "audio": options.audio,
        "munit-edge": __version__,
        # Another encoder version could write segments that cannot be joined to those that exist.
        "libraries": {name: list(version) for name, version in pyav().library_versions.items()},
        **others,
    }
    return settings_hash(facts)
