"""`munit-edge translate`: pictures in, many translations out."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional, TypedDict

import typer

from munit_edge.cli.progress import progress
from munit_edge.cli.streams import tell, warn, write_bytes, write_json, write_line
from munit_edge.cli.translate_video import translate_if_video
from munit_edge.errors import OutputError, UnreadableImageError
from munit_edge.files.locks import writing_into, writing_to
from munit_edge.files.names import storable, stored_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from munit_edge.images.folders import ImageFile
    from munit_edge.images.left_out import LeftOut
    from munit_edge.images.watch import FolderWatch
    from munit_edge.translate.leftovers import Leftovers
    from munit_edge.translate.options import TranslateOptions
    from munit_edge.translate.run import TranslatedInput, TranslateJob

MAX_LISTED = 3
"""Paths that a line names; the rest are counted."""


class OpenOptions(TypedDict):
    """How the model is opened; see `Translator.open`."""

    engine: str
    device: str
    tf32: bool
    cuda_graph: bool


def translate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Model directory of `munit-edge export`; with --engine torch a checkpoint or run.",
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Pictures, folders of pictures, or - for one picture on standard input; or one "
            "video: a file, a camera (/dev/video0), an address (rtsp://...), or - with --raw-size.",
        ),
    ],
    direction: Annotated[Literal["a2b", "b2a"], typer.Option(help="From which domain to which.")],
    output: Annotated[
        Optional[str],  # noqa: UP045 - Typer reads it on Python 3.10; a Path has no slash at its end
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Folder of the results: OUT/NAME_00.png, NAME_01.png, ... for NAME.jpg, in "
            "folders as they were found. Two inputs of one name become NAME_jpg and NAME_png. Or "
            "the file of one result: OUT.png, .jpg, .webp; of video .mp4, .m4v, .mov, .mkv, .webm.",
            show_default="standard output for the input -",
        ),
    ] = None,
    styles: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Random styles, as many results for each picture; every picture gets the same.",
            show_default="4; 1 for the input -, for a file and for video",
        ),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Seed of the random styles: the same one gives the same results, byte for byte, "
            "where engine, device and tiles are the same.",
            show_default="0",
        ),
    ] = None,
    style_image: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            metavar="REF",
            help="Picture of the target domain to take the style from, instead of random styles. "
            "May be given several times.",
        ),
    ] = None,
    style: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NAME|FILE",
            help="A style of `munit-edge styles save`, instead of or after those of REF; can be "
            "given again.",
        ),
    ] = None,
    spread: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="N random styles that lie well apart, instead of --styles."),
    ] = None,
    interpolate: Annotated[
        Optional[tuple[str, str]],  # noqa: UP045
        typer.Option(
            metavar="FROM TO",
            help="Styles on the way between two, each a saved style's NAME or FILE, or a seed.",
        ),
    ] = None,
    frames: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="How many styles --interpolate gives, both ends included.", show_default="8"
        ),
    ] = None,
    size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Resize the shorter side of inputs and references to this many pixels; results "
            "have that size.",
            show_default="results have the size of their input",
        ),
    ] = None,
    grid: Annotated[
        bool,
        typer.Option(
            "--grid",
            help="Write OUT/contact_sheet.png too (24 inputs each): inputs, references, results. "
            "With the input - the contact sheet is the result.",
        ),
    ] = False,
    format: Annotated[  # noqa: A002
        Optional[Literal["png", "jpg", "webp"]],  # noqa: UP045
        typer.Option(
            help="Format of the results. JPEG holds no transparency: white instead.",
            show_default="png; of a file as its suffix says",
        ),
    ] = None,
    on_error: Annotated[
        Optional[Literal["stop", "skip"]],  # noqa: UP045
        typer.Option(
            help="What to do when a picture cannot be read. Exit code 1 in the end either way.",
            show_default="skip if an INPUT is a folder, else stop",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that are there already.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Look in the folders below a folder too.")
    ] = False,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object a line for each input: input, outputs, size (height, "
            "width), styles, tile, tile_stats, seconds, error, skipped.",
        ),
    ] = False,
    max_megapixels: Annotated[
        float,
        typer.Option(help="Refuse larger pictures before decoding them (million pixels)."),
    ] = 100.0,
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N",
            help="Cut large pictures into tiles, so that memory does not grow with the picture. "
            "auto: those that memory does not hold whole. N: those larger than N pixels a side, "
            "into tiles of at most that.",
        ),
    ] = "auto",
    tile_stats: Annotated[
        Literal["thumbnail", "exact"],
        typer.Option(
            help="What pictures in tiles are normalised by: the statistics of a thumbnail, or "
            "exactly those of the picture, which takes passes over it that measure.",
        ),
    ] = "thumbnail",
    jobs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Threads that read pictures, and as many that write results, while the engine "
            "works. The results are the same with any number.",
            show_default="one for each core, 8 at most",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Keep results that are done: OUT/munit-edge-log.jsonl says from which file, "
            "model, styles and settings each was made. The rest is made anew. Video: go on where "
            "an interrupted run with the same settings ended.",
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on with pictures that come into the folders later, until Ctrl-C. A file is "
            "complete when it has not changed for a second. Results that are done are kept.",
        ),
    ] = False,
    engine: Annotated[
        Literal["auto", "onnxruntime", "tensorrt", "tensorrt-rtx", "torch"],
        typer.Option(
            help="What runs the model. auto: ONNX Runtime for a model directory. TensorRT builds "
            "plans that it does not find, which takes minutes (`munit-edge export trt`)."
        ),
    ] = "auto",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N. Only auto chooses by itself.")
    ] = "auto",
    tf32: Annotated[
        bool,
        typer.Option(
            "--tf32",
            help="Let an NVIDIA GPU round what float32 convolutions multiply to TF32's 10 bits: "
            "faster, and no longer what other engines compute. TensorRT then takes plans of "
            "`munit-edge export trt --tf32`.",
        ),
    ] = False,
    cuda_graph: Annotated[
        bool,
        typer.Option(
            "--cuda-graph",
            help="Record the GPU's work and start it with one call when pictures of one size "
            "follow each other (TensorRT only).",
        ),
    ] = False,
    style_keys: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="S:STYLE,...",
            help="Video: one style that moves, such as 0:calm,4.5:storm: seconds, and a saved "
            "style's name or file, or a seed.",
        ),
    ] = None,
    stabilise: Annotated[
        bool,
        typer.Option(
            "--stabilise",
            help="Video: average the norms' statistics over half a second, against flicker.",
        ),
    ] = False,
    codec: Annotated[
        Optional[Literal["h264", "hevc", "vp9", "ffv1"]],  # noqa: UP045
        typer.Option(
            help="Video: codec of the results; ffv1 is lossless.",
            show_default="h264; vp9 in .webm",
        ),
    ] = None,
    crf: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Video: quality of the codec: 0 is best, 51 (vp9: 63) worst.",
            show_default="h264 18, hevc 20, vp9 24",
        ),
    ] = None,
    no_audio: Annotated[
        bool,
        typer.Option("--no-audio", help="Video: leave the audio out."),
    ] = False,
    raw_size: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="WxH",
            help="The input - is raw RGB video, 3 bytes a pixel, of this width and height.",
        ),
    ] = None,
    raw_fps: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="N",
            help="Frames a second of that, such as 25 or 30000/1001.",
            show_default="25",
        ),
    ] = None,
    queue: Annotated[
        bool,
        typer.Option(
            "--queue",
            help="Cameras and addresses: keep every frame, and lag where translating is slower; "
            "else old frames are dropped.",
        ),
    ] = False,
    retries: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Cameras and addresses: tries in a row to open one that has vanished.",
            show_default="10",
        ),
    ] = None,
    source_option: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="KEY=VALUE",
            help="Cameras and addresses: an option of FFmpeg's input, such as video_size=640x480. "
            "Can be given again.",
        ),
    ] = None,
    duration: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Video: stop after so many seconds of video.",
            show_default="at its end",
        ),
    ] = None,
) -> None:
    """Translate pictures to the other domain, in several styles.

    Prints the paths of the results, one a line. The exit code is 1 when a picture could not be
    read, 2 after any other error.
    """
    from munit_edge.cli.output_names import names_file
    from munit_edge.settings import validate_options
    from munit_edge.system.heap import keep_heap_small
    from munit_edge.translate.options import TranslateOptions

    keep_heap_small()

    wishes = {
        "inputs": inputs,
        "output": None if output is None else Path(output),
        "to_file": output is not None and names_file(output),
        "direction": direction,
        "styles": styles,
        "seed": seed,
        "style_images": style_image or (),
        "saved_styles": tuple(style or ()),
        "spread": spread,
        "interpolate": interpolate,
        "frames": frames,
        "size": size,
        "grid": grid,
        "format": format,
        "on_error": on_error,
        "overwrite": overwrite,
        "recursive": recursive,
        "json_lines": json_lines,
        "max_megapixels": max_megapixels,
        "tile": tile,
        "tile_stats": tile_stats,
        "jobs": jobs,
        "resume": resume,
        "watch": watch,
    }
    opened: OpenOptions = {
        "engine": engine,
        "device": device,
        "tf32": tf32,
        "cuda_graph": cuda_graph,
    }
    video = {
        "style_keys": style_keys,
        "stabilise": stabilise,
        "codec": codec,
        "crf": crf,
        "audio": not no_audio,
        "raw_size": raw_size,
        "raw_fps": raw_fps,
        "keep_all": queue,
        "retries": retries,
        "source_options": tuple(source_option or ()),
        "duration": duration,
    }
    if translate_if_video(model, wishes, video, opened):
        return
    options = validate_options(TranslateOptions, wishes)
    with warnings.catch_warnings():
        # What Pillow says of odd metadata is of no use here; damaged pixels are errors.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        if options.from_stdin:
            _translate_stream(model, options, opened)
        else:
            _translate_files(model, options, opened)


@dataclass
class _Tally:
    """What became of the inputs so far."""

    done: int = 0
    results: int = 0
    skipped: int = 0
    failed: int = 0
    tiles: Counter[tuple[int, str | None]] = field(default_factory=Counter)
    """Pictures by the tiles that they were cut into."""

    def count(self, outcome: TranslatedInput) -> None:
        """Add one input."""
        if outcome.error is not None:
            self.failed += 1
        elif outcome.skipped:
            self.skipped += 1
        else:
            self.done += 1
            if outcome.tile is not None:
                self.tiles[outcome.tile, outcome.tile_stats] += 1
            self.results += len(outcome.outputs)

    def summary(self, output: Path) -> str:
        """In words."""
        text = f"{_counted(self.done, 'picture')} translated"
        text += f", {_counted(self.results, 'result')} in {output}"
        for (tile, statistics), number in sorted(self.tiles.items()):
            text += f"; {number} of them in tiles of at most {tile} pixels a side ({statistics})"
        if self.skipped:
            text += f"; {_counted(self.skipped, 'picture')} skipped, done before"
        if self.failed:
            text += f"; {_counted(self.failed, 'picture')} could not be read"
        return text


def _translate_files(model: Path, options: TranslateOptions, opened: OpenOptions) -> None:
    from munit_edge.images.folders import find_images
    from munit_edge.images.left_out import LeftOut
    from munit_edge.images.watch import FolderWatch
    from munit_edge.styles.choose import choose_styles
    from munit_edge.translate.log import recording_folders
    from munit_edge.translate.run import TranslateJob
    from munit_edge.translator import Translator

    assert options.output is not None, "the options are checked"
    started = time.monotonic()
    files: list[ImageFile] = []
    coming = None
    tally = _Tally()
    if options.watch:
        coming = FolderWatch(options.inputs, options.output, recursive=options.recursive)
    else:
        left_out = LeftOut()
        files = find_images(
            options.inputs,
            recursive=options.recursive,
            exclude=None if options.to_file else options.output,
            left_out=left_out,
        )
        _report_left_out(left_out, options, tally)
    with contextlib.ExitStack() as stack:
        if options.to_file:
            stack.enter_context(writing_to(options.output))
            for folder in recording_folders(options.output):
                stack.enter_context(writing_into(folder))
        else:
            stack.enter_context(writing_into(options.output))
        translator = stack.enter_context(Translator.open(model, **opened))
        styles = choose_styles(translator, options, warn)
        job = TranslateJob(translator, styles, options, tell)
        if coming is None:
            _translate(job, files, options, tally)
        else:
            _watch(job, coming, options, tally)
    _tell_the_rest(job, options)
    seconds = time.monotonic() - started
    busy = f"engine busy {job.engine_seconds / seconds:.0%}"
    facts = f"{seconds:.1f} s, {busy}, {translator.engine} on {translator.device}"
    tell(f"{tally.summary(options.output)} ({facts})")
    if tally.failed:
        raise typer.Exit(1)


def _watch(
    job: TranslateJob, coming: FolderWatch, options: TranslateOptions, tally: _Tally
) -> None:
    """Translate what comes until Ctrl-C."""
    from munit_edge.images.watch import POLL_S

    folders = ", ".join(map(str, options.inputs))
    with contextlib.suppress(KeyboardInterrupt):
        tell(f"watching {folders}: Ctrl-C ends")
        while True:
            files, left_out = coming.look_around()
            _report_left_out(left_out, options, tally)
            if files:
                _translate(job, files, options, tally)
            time.sleep(POLL_S)


def _translate(
    job: TranslateJob, files: Sequence[ImageFile], options: TranslateOptions, tally: _Tally
) -> None:
    """Translate files, report each, and count them."""
    plan = job.plan(files)
    with (
        progress("translating", len(files), quiet=options.watch) as bar,
        contextlib.closing(job.run(plan, bar.reach)) as outcomes,
    ):
        for outcome in outcomes:
            bar.advance(note=Path(outcome.input).name)
            tally.count(outcome)
            _report(outcome, options)


def _tell_the_rest(job: TranslateJob, options: TranslateOptions) -> None:
    if job.flattened:
        warn(f"{_counted(job.flattened, 'picture')} with transparency was laid on white for JPEG")
    _tell_of_frames(job)
    if job.leftovers is not None:
        _tell_leftovers(job.leftovers, removed=options.overwrite)
    for sheet in job.sheets:
        tell(f"contact sheet: {sheet}")


def _tell_of_frames(job: TranslateJob) -> None:
    if job.frames:
        warn(job.frames.notice("translated"))


def _tell_leftovers(leftovers: Leftovers, *, removed: bool) -> None:
    found, foreign = leftovers.found, leftovers.foreign
    if found and removed:
        tell(f"removed {_counted(len(found), 'result')} of earlier runs: {_listed(found)}")
    elif found:
        warn(
            f"{_counted(len(found), 'result')} of earlier runs with other settings stay beside the "
            f"new ones, and --overwrite removes them: {_listed(found)}"
        )
    if foreign:
        warn(
            f"{_counted(len(foreign), 'result')} of other inputs of the same name stay beside the "
            f"new ones: {_listed(foreign)}"
        )


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - MAX_LISTED} more" if len(paths) > MAX_LISTED else ""
    return ", ".join(map(str, paths[:MAX_LISTED])) + more


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _report_left_out(left_out: LeftOut, options: TranslateOptions, tally: _Tally) -> None:
    """What the search of the folders passed over; what it could not read counts as an input."""
    from munit_edge.translate.run import TranslatedInput

    for path, fault in left_out.faults.items():
        failed = TranslatedInput(
            input=stored_name(path), styles=0, seconds=0.0, error=storable(fault)
        )
        tally.count(failed)
        _report(failed, options)
    if kinds := str(left_out):
        warn(f"left out: {kinds}")


def _report(outcome: TranslatedInput, options: TranslateOptions) -> None:
    if options.json_lines:
        write_json(outcome.model_dump_json())
    elif not outcome.skipped:
        for path in outcome.outputs:
            write_line(path)
    if outcome.error is None:
        return
    if not options.skips_unreadable:
        raise UnreadableImageError(f"{outcome.error} (--on-error skip goes on with the others)")
    warn(f"skipped: {outcome.error}")


def _translate_stream(model: Path, options: TranslateOptions, opened: OpenOptions) -> None:
    from munit_edge.styles.choose import choose_styles
    from munit_edge.translate.run import TranslateJob
    from munit_edge.translator import Translator

    if sys.stdout.isatty():
        raise OutputError("the result is a picture: send standard output to a file or a program")
    data = sys.stdin.buffer.read()
    with Translator.open(model, **opened) as translator:
        job = TranslateJob(translator, choose_styles(translator, options, warn), options, tell)
        with progress("translating", 1) as bar:
            result = job.translate_bytes(data, "standard input", bar.reach)
        write_bytes(result)
        _tell_of_frames(job)
