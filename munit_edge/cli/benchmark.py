"""`munit-edge benchmark`: how fast, how large and how good models are on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from munit_edge.cli.options import CpuPrecision, Direction, Tf32
from munit_edge.cli.outputs import check_files
from munit_edge.cli.parameters import checked, takes
from munit_edge.cli.progress import Progress, progress
from munit_edge.cli.streams import tell, warn, write_json, write_lines
from munit_edge.engines.table import ENGINE_FACTS
from munit_edge.errors import ConfigError
from munit_edge.files.locks import writing_to

if TYPE_CHECKING:
    from munit_edge.benchmark.options import BenchmarkOptions
    from munit_edge.benchmark.report import BenchmarkReport, BenchmarkRow

EXIT_NOTHING_MEASURED = 1


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The options of `munit-edge benchmark`, named as in `BenchmarkOptions`."""

    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="Model directories to compare, such as fp32, fp16 and int8 exports of one "
            "checkpoint. A checkpoint or run folder is measured in torch.",
        ),
    ]
    direction: Direction = "a2b"
    sizes: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Image sizes in pixels, with commas: 256 for a square, 480x640 for height x "
            "width.",
        ),
    ] = "256"
    batches: Annotated[
        str,
        typer.Option("--batch", metavar="LIST", help="Images in a call, with commas: 1,4."),
    ] = "1"
    styles: Annotated[
        str, typer.Option(metavar="LIST", help="Styles for each image, with commas: 1,10.")
    ] = "1"
    engines: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            help=f"Only this engine: {', '.join(ENGINE_FACTS)}. Can be given several times.",
            show_default="all that are found",
        ),
    ] = None
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:N, gpu, npu, or all that are found.")
    ] = "all"
    tf32: Tf32 = False
    cpu_precision: CpuPrecision = None
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="fp32 model directory of the same checkpoint, for the PSNR column.",
            show_default="the first fp32 one among MODEL...",
        ),
    ] = None
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="PHOTO",
            help="Translate this photo, cropped and resized to each size.",
            show_default="drawn images, as of sample-data",
        ),
    ] = None
    runs: Annotated[int, typer.Option(help="Counted calls of each graph, at most.")] = 100
    seconds: Annotated[
        float,
        typer.Option(help="Stop counting calls after this many seconds; one always counts."),
    ] = 2.0
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            help="Abandon a measurement after this many seconds; its row says so.",
        ),
    ] = 600.0
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown instead of tables.")
    ] = False
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw a chart of whole translations: images per second, and peak memory "
            "(.png, .jpg or .webp).",
        ),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --plot.")] = (
        False
    )


@takes(Parameters)
def benchmark(given: Parameters) -> None:
    """Measure models on every engine that is found here.

    Time, memory, file size, and PSNR against fp32: graph by graph and as whole translations (a2b:
    images in memory to images in memory). Each row comes from a new process: its first call
    includes opening the model, and its peak memory is its own. Times are p50, p90 and p99 after a
    warm-up. An engine that fails is a row with the reason. Exit code 1 if nothing could be
    measured.
    """
    from munit_edge.benchmark.options import BenchmarkOptions, parse_numbers, parse_sizes
    from munit_edge.images.io import image_format

    plot = given.plot
    if given.as_json and given.as_markdown:
        raise ConfigError("--json and --markdown are two ways to print: choose one")
    if plot is not None:
        image_format(plot.suffix)  # refuses an unsupported suffix before the work
    inputs = (*given.models, given.reference, given.image)
    check_files({"--plot": plot}, overwrite=given.overwrite, inputs=inputs)
    options = checked(
        BenchmarkOptions,
        given,
        sizes=parse_sizes(given.sizes),
        batches=parse_numbers(given.batches, "--batch"),
        styles=parse_numbers(given.styles, "--styles"),
        engines=tuple(dict.fromkeys(given.engines or ())),
    )
    with writing_to(plot):
        report = _measure(options)
        _show(report, as_json=given.as_json, as_markdown=given.as_markdown)
        if plot is not None:
            _draw(report, plot, replace=given.overwrite)
    if all(row.measured is None for row in report.rows):
        warn("nothing could be measured: see `munit-edge doctor`")
        raise typer.Exit(EXIT_NOTHING_MEASURED)


def _measure(options: BenchmarkOptions) -> BenchmarkReport:
    from contextlib import ExitStack

    from munit_edge.benchmark.run import run_benchmark
    from munit_edge.doctor.examine import examine

    tell("looking for engines")
    examined = examine()
    with ExitStack() as stack:
        bar: list[Progress] = []

        def start(total: int) -> None:
            bar.append(stack.enter_context(progress("measuring", total)))

        def advance(row: BenchmarkRow) -> None:
            bar[0].advance(note=f"{row.subject.label}, {row.case.label}, {row.name}")

        return run_benchmark(options, examined, on_start=start, on_row=advance)


def _show(report: BenchmarkReport, *, as_json: bool, as_markdown: bool) -> None:
    from munit_edge.benchmark import report as benchmark_report

    if as_json:
        write_json(report.model_dump_json(indent=2))
    elif as_markdown:
        write_lines(benchmark_report.as_markdown(report))
    else:
        write_lines(benchmark_report.as_text(report))


def _draw(report: BenchmarkReport, plot: Path, *, replace: bool) -> None:
    from munit_edge.benchmark import report as benchmark_report
    from munit_edge.images.io import ImageData, write_image

    write_image(plot, ImageData(benchmark_report.as_chart(report)), replace=replace)
    tell(f"wrote {plot}")
