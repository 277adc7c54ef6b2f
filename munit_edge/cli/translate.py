"""`munit-edge translate`: images in, many translations out."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from munit_edge.cli.parameters import checked, takes
from munit_edge.cli.progress import progress
from munit_edge.cli.streams import tell, warn, write_bytes, write_json, write_line
from munit_edge.cli.translate_parameters import Parameters
from munit_edge.cli.translate_video import translate_if_video
from munit_edge.errors import OutputError, UnreadableImageError
from munit_edge.files.locks import writing_into, writing_to
from munit_edge.files.names import storable, stored_name
from munit_edge.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from munit_edge.engines.base import GraphSet
    from munit_edge.images.folders import ImageFile
    from munit_edge.images.left_out import LeftOut
    from munit_edge.images.watch import FolderWatch
    from munit_edge.system.threads import Ahead
    from munit_edge.translate.leftovers import Leftovers
    from munit_edge.translate.options import TranslateOptions
    from munit_edge.translate.run import TranslatedInput, TranslateJob
    from munit_edge.translator import Translator

MAX_LISTED = 3
"""Paths that a line lists; the others are counted."""


@takes(Parameters)
def translate(given: Parameters) -> None:
    """Translate images to the other domain, in several styles.

    Prints the paths of the results, one per line. The exit code is 1 if an image could not be
    read, 2 after any other error.
    """
    from munit_edge.system.blas import import_numpy_without_threads
    from munit_edge.system.heap import keep_heap_small

    keep_heap_small()
    import_numpy_without_threads()
    with given.model_ahead() as model, warnings.catch_warnings():
        # Imported while the model is being opened.
        from munit_edge.translate.options import TranslateOptions

        if translate_if_video(given, model):
            return
        options = checked(TranslateOptions, given, **given.destination())
        # Pillow's warnings about odd metadata are of no use here; damaged pixels are errors.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        if options.from_stdin:
            _translate_stream(given, options, model)
        else:
            _translate_files(given, options, model)


@dataclass
class _Tally:
    """Outcomes of the inputs so far."""

    done: int = 0
    results: int = 0
    skipped: int = 0
    failed: int = 0
    tiles: Counter[tuple[int, str | None]] = field(default_factory=Counter)
    """Number of images by the tiles that they were cut into."""

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
        """The tally as one line."""
        text = f"{counted(self.done, 'image')} translated"
        text += f", {counted(self.results, 'result')} in {output}"
        for (tile, statistics), number in sorted(self.tiles.items()):
            text += f"; {number} of them in tiles of at most {tile} pixels a side ({statistics})"
        if self.skipped:
            text += f"; {counted(self.skipped, 'image')} skipped, done before"
        if self.failed:
            text += f"; {counted(self.failed, 'image')} could not be read"
        return text


def _translate_files(given: Parameters, options: TranslateOptions, model: Ahead[GraphSet]) -> None:
    from munit_edge.images.folders import find_images
    from munit_edge.images.left_out import LeftOut
    from munit_edge.images.watch import FolderWatch
    from munit_edge.translate.log import recording_folders
    from munit_edge.translator import Translator

    assert options.output is not None, "the options were checked"
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
        translator = stack.enter_context(Translator(model.take(), given.model))
        job = _job(translator, options)
        if coming is None:
            _translate(job, files, options, tally)
        else:
            _watch(job, coming, options, tally)
    _report_notes(job, options)
    seconds = time.monotonic() - started
    busy = f"engine busy {job.engine_seconds / seconds:.0%}"
    facts = f"{seconds:.1f} s, {busy}, {translator.runs_on}"
    tell(f"{tally.summary(options.output)} ({facts})")
    if tally.failed:
        raise typer.Exit(1)


def _job(translator: Translator, options: TranslateOptions) -> TranslateJob:
    from munit_edge.model.config import split_direction

    if options.style.style_images:
        translator.open_ahead("style_encoder", split_direction(options.style.direction)[1])
    # Imported meanwhile.
    from munit_edge.styles.choose import choose_styles
    from munit_edge.translate.run import TranslateJob

    styles = choose_styles(
        options.style,
        translator.config,
        translator.encode_style,
        translator.saved_styles,
        warn,
        default=options.default_styles,
    )
    return TranslateJob(translator, styles, options, tell)


def _watch(
    job: TranslateJob, coming: FolderWatch, options: TranslateOptions, tally: _Tally
) -> None:
    """Translate new images until Ctrl-C."""
    from munit_edge.images.watch import POLL_S

    folders = ", ".join(map(str, options.inputs))
    with contextlib.suppress(KeyboardInterrupt):
        tell(f"watching {folders}: Ctrl-C stops")
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


def _report_notes(job: TranslateJob, options: TranslateOptions) -> None:
    if job.flattened:
        warn(f"{counted(job.flattened, 'image')} with transparency was laid on white for JPEG")
    _report_frames(job)
    if job.leftovers is not None:
        _report_leftovers(job.leftovers, removed=options.overwrite)
    for sheet in job.sheets:
        tell(f"contact sheet: {sheet}")


def _report_frames(job: TranslateJob) -> None:
    if job.frames:
        warn(job.frames.notice("translated"))


def _report_leftovers(leftovers: Leftovers, *, removed: bool) -> None:
    found, foreign = leftovers.found, leftovers.foreign
    if found and removed:
        tell(f"removed {counted(len(found), 'result')} of earlier runs: {_listed(found)}")
    elif found:
        warn(
            f"{counted(len(found), 'result')} of earlier runs with other settings remain beside "
            f"the new ones; --overwrite removes them: {_listed(found)}"
        )
    if foreign:
        warn(
            f"{counted(len(foreign), 'result')} of other inputs of the same name remain beside "
            f"the new ones: {_listed(foreign)}"
        )


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - MAX_LISTED} more" if len(paths) > MAX_LISTED else ""
    return ", ".join(map(str, paths[:MAX_LISTED])) + more


def _report_left_out(left_out: LeftOut, options: TranslateOptions, tally: _Tally) -> None:
    """Report files that the search of the folders left out; unreadable ones count as inputs."""
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
        raise UnreadableImageError(f"{outcome.error} (--on-error skip continues with the others)")
    warn(f"skipped: {outcome.error}")


def _translate_stream(given: Parameters, options: TranslateOptions, model: Ahead[GraphSet]) -> None:
    from munit_edge.translator import Translator

    if sys.stdout.isatty():
        raise OutputError("the result is an image: redirect standard output to a file or a program")
    with Translator(model.take(), given.model) as translator:
        job = _job(translator, options)
        data = sys.stdin.buffer.read()
        with progress("translating", 1) as bar:
            result = job.translate_bytes(data, "standard input", bar.reach)
        write_bytes(result)
        _report_frames(job)
