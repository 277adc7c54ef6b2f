"""`munit-edge evaluate`: how good a model is, in numbers, on a test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from munit_edge.cli.options import Device, Engine, ModelOrRun
from munit_edge.cli.outputs import check_files
from munit_edge.cli.parameters import checked, takes
from munit_edge.cli.progress import Progress, progress
from munit_edge.cli.streams import tell, warn, write_lines
from munit_edge.files.locks import writing_to

if TYPE_CHECKING:
    from munit_edge.evaluation.options import EvaluateOptions
    from munit_edge.evaluation.report import EvaluationReport


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The options of `munit-edge evaluate`, named as in `EvaluateOptions` and `NetworkFiles`."""

    model: ModelOrRun
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder that contains testA and testB.")]
    direction: Annotated[
        Literal["a2b", "b2a"] | None,
        typer.Option(help="Measure translations in this direction only.", show_default="both"),
    ] = None
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write all numbers to this file."),
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw styles, contents and pairs against what the paper proves (.png, .jpg or "
            ".webp).",
        ),
    ] = None
    size: Annotated[
        int | None,
        typer.Option(
            help="Resize the shorter side of images to this many pixels and crop the centre.",
            show_default="that of the smallest image, 256 at most",
        ),
    ] = None
    count: Annotated[
        int, typer.Option(help="Images of each domain, at most, spread over the file names.")
    ] = 100
    styles: Annotated[int, typer.Option(help="Random styles for each image.")] = 5
    seed: Annotated[int, typer.Option(help="Seed of the random styles, pairs and samples.")] = 0
    max_megapixels: Annotated[
        float,
        typer.Option(help="Leave out larger images before decoding them (million pixels)."),
    ] = 100.0
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="FID and KID with this network: weights of an Inception-v3 (.pth, .safetensors), "
            "or an .onnx graph that outputs features.",
        ),
    ] = None
    lpips: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="LPIPS diversity with these weights: AlexNet or VGG-16, and LPIPS's linear "
            "layers. In two files: give the option twice.",
        ),
    ] = None
    pairs: Annotated[
        int | None,
        typer.Option(
            help="Pairs of translations of each image for LPIPS.", show_default="19, the paper's"
        ),
    ] = None
    classifier_a: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="IS and CIS of translations to a with this classifier: weights of an "
            "Inception-v3, or an .onnx graph that outputs logits.",
        ),
    ] = None
    classifier_b: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="IS and CIS of translations to b: a classifier as for a."
        ),
    ] = None
    samples: Annotated[
        int | None,
        typer.Option(
            help="Translations of each image for IS and CIS.", show_default="100, the paper's"
        ),
    ] = None
    engine: Engine = "auto"
    device: Device = "auto"
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of --json and --plot.")
    ] = False


@takes(Parameters)
def evaluate(given: Parameters) -> None:
    """Measure a model on images that it was not trained on.

    With the model alone: how well content and style are recovered from its translations, how much
    styles change, and how far styles, contents and pairs are from the distributions that the
    paper proves for its optimum. With networks whose files you name: FID, KID, LPIPS diversity, IS
    and CIS. Each number is shown beside the one to compare it with.
    """
    from munit_edge.evaluation.options import EvaluateOptions
    from munit_edge.images.io import image_format
    from munit_edge.model.config import DIRECTIONS

    json_file, plot = given.json_file, given.plot
    if plot is not None:
        image_format(plot.suffix)  # refuses an unsupported suffix before the work
    networks = (given.features, *(given.lpips or ()), given.classifier_a, given.classifier_b)
    check_files(
        {"--json": json_file, "--plot": plot},
        overwrite=given.overwrite,
        inputs=(given.model, given.data, *networks),
    )
    directions = (given.direction,) if given.direction else DIRECTIONS
    options = checked(EvaluateOptions, given, directions=directions)
    with writing_to(json_file, plot):
        report = _measure(given.model, given.engine, given.device, options)
        _report(report, given)


def _report(report: EvaluationReport, given: Parameters) -> None:
    from munit_edge.evaluation.plots import propositions_plot
    from munit_edge.evaluation.report import as_text
    from munit_edge.files.atomic import atomic_file
    from munit_edge.images.io import ImageData, write_image

    for fault in report.unreadable:
        warn(f"left out: {fault}")
    if report.left_out:
        warn(f"left out: {report.left_out}")
    write_lines(as_text(report))
    if given.json_file is not None:
        with atomic_file(given.json_file, replace=given.overwrite) as partial:
            partial.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        tell(f"wrote {given.json_file}")
    if given.plot is not None:
        drawn = ImageData(propositions_plot(report.propositions))
        write_image(given.plot, drawn, replace=given.overwrite)
        tell(f"wrote {given.plot}")


def _measure(model: Path, engine: str, device: str, options: EvaluateOptions) -> EvaluationReport:
    from contextlib import ExitStack

    from munit_edge.evaluation.run import evaluate as measure
    from munit_edge.translator import Translator

    with ExitStack() as stack:
        translator = stack.enter_context(Translator.open(model, engine=engine, device=device))
        bar: list[Progress] = []

        def start(steps: int) -> None:
            bar.append(stack.enter_context(progress("measuring", steps)))

        return measure(
            translator,
            options,
            model=str(model),
            on_start=start,
            on_step=lambda: bar[0].advance(),
        )
