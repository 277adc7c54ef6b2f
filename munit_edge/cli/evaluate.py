"""`munit-edge evaluate`: how good a model is, in numbers, on a test set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from munit_edge.cli.outputs import check_files
from munit_edge.cli.progress import Progress, progress
from munit_edge.cli.streams import tell, warn, write_lines
from munit_edge.files.locks import writing_to

if TYPE_CHECKING:
    from munit_edge.evaluation.options import EvaluateOptions
    from munit_edge.evaluation.report import EvaluationReport


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="Model directory; with torch a checkpoint or run folder."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder that holds testA and testB."),
    ],
    direction: Annotated[
        Optional[Literal["a2b", "b2a"]],  # noqa: UP045 - Typer reads it on Python 3.10
        typer.Option(help="Measure translations in this direction only.", show_default="both"),
    ] = None,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", metavar="FILE", help="Write all numbers to this file too."),
    ] = None,
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Draw styles, contents and pairs against what the paper proves (.png, .jpg or "
            ".webp).",
        ),
    ] = None,
    size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Resize the shorter side of pictures to this many pixels and cut out the middle.",
            show_default="that of the smallest picture, 256 at most",
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(help="Pictures of each domain, at most, spread over the file names.")
    ] = 100,
    styles: Annotated[int, typer.Option(help="Random styles for each picture.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the random styles, pairs and samples.")] = 0,
    max_megapixels: Annotated[
        float,
        typer.Option(help="Leave out larger pictures before decoding them (million pixels)."),
    ] = 100.0,
    features: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="FID and KID with this network: weights of an Inception-v3 (.pth, .safetensors), "
            "or an .onnx graph that gives features.",
        ),
    ] = None,
    lpips: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="LPIPS diversity with these weights: AlexNet or VGG-16, and LPIPS's linear "
            "layers. In two files: give the option twice.",
        ),
    ] = None,
    pairs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Pairs of translations of each picture for LPIPS.", show_default="19, the paper's"
        ),
    ] = None,
    classifier_a: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="IS and CIS of translations to a with this classifier: weights of an "
            "Inception-v3, or an .onnx graph that gives logits.",
        ),
    ] = None,
    classifier_b: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE", help="IS and CIS of translations to b: a classifier as for a."
        ),
    ] = None,
    samples: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Translations of each picture for IS and CIS.", show_default="100, the paper's"
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="auto, onnxruntime, tensorrt, tensorrt-rtx or torch. auto: "
            "onnxruntime, or torch for a checkpoint."
        ),
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of --json and --plot.")
    ] = False,
) -> None:
    """Measure a model on pictures that it was not trained on.

    With no network but its own: what it finds again of content and style in its translations, how
    much styles change, and how far styles, contents and pairs are from the distributions that the
    paper proves for its optimum. With networks whose files you name: FID, KID, LPIPS diversity, IS
    and CIS. Each number stands beside what it is to be compared with.
    """
    from munit_edge.evaluation.options import EvaluateOptions
    from munit_edge.evaluation.plots import propositions_plot
    from munit_edge.evaluation.report import as_text
    from munit_edge.files.atomic import atomic_file
    from munit_edge.images.io import Picture, image_format, write_image
    from munit_edge.model.config import DIRECTIONS
    from munit_edge.settings import validate

    if plot is not None:
        image_format(plot.suffix)  # a name that cannot be written is told before the work
    networks = (features, *(lpips or ()), classifier_a, classifier_b)
    check_files(
        {"--json": json_file, "--plot": plot}, overwrite=overwrite, inputs=(model, data, *networks)
    )
    wishes = {
        "data": data,
        "directions": (direction,) if direction else DIRECTIONS,
        "size": size,
        "count": count,
        "styles": styles,
        "seed": seed,
        "max_megapixels": max_megapixels,
        "networks": {
            "features": features,
            "lpips": tuple(lpips or ()),
            "classifier_a": classifier_a,
            "classifier_b": classifier_b,
        },
        "pairs": pairs,
        "samples": samples,
    }
    options = validate(EvaluateOptions, wishes, "options of `munit-edge evaluate`")
    with writing_to(json_file, plot):
        report = _measure(model, engine, device, options)
        for fault in report.unreadable:
            warn(f"left out: {fault}")
        if report.left_out:
            warn(f"left out: {report.left_out}")
        write_lines(as_text(report))
        if json_file is not None:
            with atomic_file(json_file, replace=overwrite) as partial:
                partial.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
            tell(f"wrote {json_file}")
        if plot is not None:
            write_image(plot, Picture(propositions_plot(report.propositions)), replace=overwrite)
            tell(f"wrote {plot}")


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
