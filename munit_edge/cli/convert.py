"""`munit-edge convert`: convert a public MUNIT checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from munit_edge.cli.networks import parameter_counts
from munit_edge.cli.streams import warn, write_line
from munit_edge.files.locks import writing_to

if TYPE_CHECKING:
    from munit_edge.model.config import ModelConfig
    from munit_edge.trainer.foreign.convert import Conversion


def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="gen_*.pt of NVlabs/MUNIT (with dis_*.pt beside it, if present) or "
            "*_checkpoint.pt of NVlabs/imaginaire. No code in it is run.",
        ),
    ],
    config: Annotated[
        Path,
        typer.Option(metavar="CONFIG.yaml", help="The model's YAML file of that program."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="Checkpoint folder to make.")
    ],
    weights: Annotated[
        Literal["average", "live"] | None,
        typer.Option(
            help="average: keep the EMA beside the live weights; exports then use it. "
            "live: leave it out.",
            show_default="average if the file has one",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing OUT.")
    ] = False,
) -> None:
    """Convert a checkpoint of NVlabs/MUNIT or NVlabs/imaginaire.

    The licences of the program and of the released weights still apply: mostly non-commercial use.
    """
    from munit_edge.trainer.foreign.convert import convert_checkpoint

    with writing_to(output):
        done = convert_checkpoint(checkpoint, config, output, weights=weights, overwrite=overwrite)
    for note in done.notes:
        warn(note)
    for line in _report(done):
        write_line(line)
    write_line(f"checkpoint: {output}")
    write_line(f"licence: {done.licence_note}")
    write_line(f"next: munit-edge export onnx {output} -o MODEL")


def _report(done: Conversion) -> list[str]:
    iteration = "unknown" if done.iteration is None else str(done.iteration)
    kept = "live weights and their EMA" if done.average else "live weights"
    lines = [
        f"from: {done.program}, iteration {iteration}",
        f"architecture: {_describe(done.config)}",
        f"generators: {parameter_counts(done.generators)} ({kept})",
    ]
    if done.discriminators is not None:
        kind = done.config.discriminator.kind
        lines.append(f"discriminators: {parameter_counts(done.discriminators)} ({kind})")
    return lines


def _describe(config: ModelConfig) -> str:
    return (
        f"{config.architecture}, channels {config.channels_a} and {config.channels_b}, "
        f"width {config.width}, {config.num_downsamples} downsamplings, "
        f"{config.num_res_blocks} residual blocks, style {config.style_dim}"
    )
