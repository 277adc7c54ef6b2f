"""`munit-edge train`: from two folders of pictures to a checkpoint."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from munit_edge.cli.errors import fail
from munit_edge.cli.progress import Progress, progress
from munit_edge.cli.streams import tell, warn, write_line
from munit_edge.interrupts import EXIT_CODE_BASE

if TYPE_CHECKING:
    from munit_edge.trainer.loop import TrainingResult, TrainingRun
    from munit_edge.trainer.torch_api import nn


def train(
    config: Annotated[
        Optional[Path],  # noqa: UP045 - Typer reads it on Python 3.10
        typer.Argument(
            metavar="[CONFIG.yaml]",
            help="Training configuration; one of NVlabs/MUNIT is taken as it is. Or --recipe.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="NAME",
            help="Train by a recipe instead: paper, improved, edge (small enough for devices) or "
            "demo (32 x 32 pixels).",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="DIR",
            help="Folder with trainA and trainB (testA and testB for the picture grids), or with "
            "images_a and images_b; no pairs needed.",
            show_default="as the configuration says",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", metavar="RUN", help="Run folder.", show_default="runs/NAME"),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the newest checkpoint in RUN, exactly as if it had never stopped.",
        ),
    ] = False,
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one setting, such as loss.cycle_weight=10; may be repeated.",
        ),
    ] = None,
    max_megapixels: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Skip larger pictures before decoding them (million pixels); the same as --set "
            "data.max_megapixels=...",
            show_default="as the configuration says, else 100",
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Where to compute; auto: the GPU where there is one."),
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that is in RUN already.")
    ] = False,
) -> None:
    """Train a model on two folders of pictures.

    Ctrl-C saves a checkpoint and stops; --resume goes on from there. RUN/index.html shows how it
    goes: picture grids, loss curves, speed, time left. Also: `tensorboard --logdir RUN`.

    On several GPUs: torchrun --nproc-per-node NUMBER -m munit_edge train ...
    """
    from munit_edge.trainer.config_files import find_config, read_train_config
    from munit_edge.trainer.prepare import prepare_run

    path = find_config(config, recipe)
    folder = output or Path("runs") / path.stem
    changes = list(settings or ())
    if max_megapixels is not None:
        changes.append(f"data.max_megapixels={max_megapixels}")
    run = prepare_run(
        read_train_config(path, changes, data),
        folder,
        device=device,
        resume=resume,
        overwrite=overwrite,
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
    with progress("training", total, done=done, tells_left=False) as bar:
        result = run.train(_Display(bar))
    _report(run, result)


def _take_part(run: TrainingRun) -> None:
    """Train as one of several processes, of which the first one reports."""
    with progress("training", run.remaining, quiet=True) as bar:
        result = run.train(_Display(bar))
    if result.stopped_by is not None:
        raise typer.Exit(EXIT_CODE_BASE + result.stopped_by)


class _Display:
    """The progress bar, and messages that do not disturb it."""

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
        f"generators: {_parameters(run.state.generators)}",
        f"discriminators: {_parameters(run.state.discriminators)}",
        f"training images: {counts[0]:,} of domain a, {counts[1]:,} of domain b",
        f"iterations: {run.config.iterations:,}" + (f", {done:,} done already" if done else ""),
        f"to look at: {run.folder.page}",
    ]


def _parameters(networks: nn.ModuleDict) -> str:
    each = [sum(p.numel() for p in networks[domain].parameters()) for domain in ("a", "b")]
    return f"{each[0]:,} + {each[1]:,} parameters"


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
            f"saved: {result.checkpoint}; go on with: {resume}",
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
