"""`munit-edge train`: from two folders of images to a checkpoint."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from munit_edge.cli.errors import fail
from munit_edge.cli.networks import parameter_counts
from munit_edge.cli.parameters import takes
from munit_edge.cli.progress import Progress, progress
from munit_edge.cli.streams import tell, warn, write_line
from munit_edge.interrupts import EXIT_CODE_BASE

if TYPE_CHECKING:
    from munit_edge.trainer.loop import TrainingResult, TrainingRun


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The options of `munit-edge train`."""

    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.yaml]",
            help="Training configuration; one of NVlabs/MUNIT works too. Or --recipe.",
            show_default=False,
        ),
    ] = None
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Train by a recipe instead: paper, improved, edge (small enough for devices) or "
            "demo (32 x 32 pixels).",
            show_default=False,
        ),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with trainA and trainB (testA and testB for the image grids), or with "
            "images_a and images_b; no pairs needed.",
            show_default="from the configuration",
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="RUN", help="Run folder.", show_default="runs/NAME"),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue from the newest checkpoint in RUN, exactly as if never stopped.",
        ),
    ] = False
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one setting, such as loss.cycle_weight=10. Can be given several times.",
        ),
    ] = None
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            help="Skip larger images before decoding them (million pixels); the same as --set "
            "data.max_megapixels=...",
            show_default="from the configuration, else 100",
        ),
    ] = None
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Where to compute; auto: the GPU if there is one."),
    ] = "auto"
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing run in RUN.")
    ] = False


@takes(Parameters)
def train(given: Parameters) -> None:
    """Train a model on two folders of images.

    Ctrl-C saves a checkpoint and stops; --resume continues from there. RUN/index.html shows the
    progress: image grids, loss curves, speed, time left. Also: `tensorboard --logdir RUN`.

    On several GPUs: torchrun --nproc-per-node NUMBER -m munit_edge train ...
    """
    from munit_edge.trainer.config_files import find_config, read_train_config
    from munit_edge.trainer.prepare import prepare_run

    path = find_config(given.config, given.recipe)
    changes = list(given.settings or ())
    if given.max_megapixels is not None:
        changes.append(f"data.max_megapixels={given.max_megapixels}")
    run = prepare_run(
        read_train_config(path, changes, given.data),
        given.output or Path("runs") / path.stem,
        device=given.device,
        resume=given.resume,
        overwrite=given.overwrite,
        source=path,
    )
    if not run.processes.is_first:
        _take_part(run)
        return
    for line in _facts(run):
        tell(line)
    for domain, found in run.sets.items():
        for text in filter(None, (*found.left_out.faults.values(), str(found.left_out))):
            warn(f"left out of domain {domain}: {text}")
    done, total = run.state.iteration, run.config.iterations
    with progress("training", total, done=done, shows_left=False) as bar:
        result = run.train(_Display(bar))
    _report(run, result)


def _take_part(run: TrainingRun) -> None:
    """Train as one of several distributed processes, of which only the first reports."""
    with progress("training", run.remaining, quiet=True) as bar:
        result = run.train(_Display(bar))
    if result.stopped_by is not None:
        raise typer.Exit(EXIT_CODE_BASE + result.stopped_by)


class _Display:
    """The progress bar, and messages printed above it."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._bar.advance(steps, note)

    def message(self, text: str) -> None:
        tell(text)


def _facts(run: TrainingRun) -> list[str]:
    counts = [len(run.sets[domain].names) for domain in ("a", "b")]
    done = run.state.iteration
    count = run.processes.count
    return [
        f"device: {run.device}" + (f", the first of {count} processes" if count > 1 else ""),
        f"generators: {parameter_counts(run.state.generators)}",
        f"discriminators: {parameter_counts(run.state.discriminators)}",
        f"training images: {counts[0]:,} of domain a, {counts[1]:,} of domain b",
        f"iterations: {run.config.iterations:,}" + (f", {done:,} done already" if done else ""),
        f"to look at: {run.folder.page}",
    ]


def _report(run: TrainingRun, result: TrainingResult) -> None:
    from munit_edge.trainer.run.page import speed_words

    folder = run.folder
    if result.broken_images:
        tell(f"skipped {result.broken_images} images that could not be read in this session")
    if result.first_frames:
        tell(result.first_frames)
    if result.flat_images:
        tell(f"images of one colour only: {result.flat_images}; remove them if they are not wanted")
    if result.skipped_updates:
        tell(f"skipped {result.skipped_updates} updates whose losses or gradients were not finite")
    if result.stopped_by is not None:
        resume = (
            f"munit-edge train {_quoted(folder.config_file)} -o {_quoted(folder.path)} --resume"
        )
        if run.processes.count > 1:
            resume = "the same command and --resume"
        fail(
            f"stopped by {result.stopped_by.name} after iteration {result.iteration}; checkpoint "
            f"saved: {result.checkpoint}; continue with: {resume}",
            EXIT_CODE_BASE + result.stopped_by,
        )
    speed = speed_words(result.images_per_second)
    write_line(f"trained {result.iteration:,} iterations, {speed}")
    write_line(f"checkpoint: {result.checkpoint}")
    to_export = folder.path  # its newest checkpoint
    if result.best is not None and result.best != result.checkpoint:
        write_line(f"best checkpoint by {run.config.best_by}: {result.best}")
        to_export = result.best
    write_line(f"to look at: {folder.page}")
    write_line(f"next: munit-edge export onnx {_quoted(to_export)} -o MODEL")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
