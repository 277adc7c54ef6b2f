"""`munit-edge benchmark`: how fast, how large and how good models are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from munit_edge.cli.outputs import check_files
from munit_edge.cli.progress import Progress, progress
from munit_edge.cli.streams import tell, warn, write_json, write_lines
from munit_edge.errors import ConfigError
from munit_edge.files.locks import writing_to

if TYPE_CHECKING:
    from munit_edge.benchmark.options import BenchmarkOptions
    from munit_edge.benchmark.report import BenchmarkReport, BenchmarkRow

EXIT_NOTHING_MEASURED = 1


def benchmark(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="Model directories to compare, such as fp32, fp16 and int8 exports of one "
            "checkpoint. A checkpoint or run folder is measured in torch.",
        ),
    ],
    direction: Annotated[
        Literal["a2b", "b2a"], typer.Option(help="From which domain to which.")
    ] = "a2b",
    sizes: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Sizes of the pictures in pixels, with commas: 256 for a square, 480x640 for "
            "height x width.",
        ),
    ] = "256",
    batch: Annotated[
        str, typer.Option(metavar="LIST", help="Pictures in a call, with commas: 1,4.")
    ] = "1",
    styles: Annotated[
        str, typer.Option(metavar="LIST", help="Styles for each picture, with commas: 1,10.")
    ] = "1",
    engine: Annotated[
        Optional[list[str]],  # noqa: UP045 - Typer reads it on Python 3.10
        typer.Option(
            help="Only this engine: onnxruntime, tensorrt, tensorrt-rtx or "
            "torch. May be given several times.",
            show_default="every one that is found",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or all that are found.")] = "all",
    tf32: Annotated[
        bool,
        typer.Option(
            "--tf32", help="Let GPUs round float32 to TF32 in convolutions, as `translate --tf32`."
        ),
    ] = False,
    reference: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="DIR",
            help="fp32 model directory of the same checkpoint, for the PSNR column.",
            show_default="the first fp32 one among MODEL...",
        ),
    ] = None,
    image: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="PHOTO",
            help="Translate this photo, cut and resized to each size.",
            show_default="drawn pictures, as of sample-data",
        ),
    ] = None,
    runs: Annotated[int, typer.Option(help="Counted calls of each graph, at most.")] = 100,
    seconds: Annotated[
        float,
        typer.Option(help="Stop counting calls after so many seconds; one is always counted."),
    ] = 2.0,
    timeout: Annotated[
        float, typer.Option(help="Give a measurement up after so many seconds; its row says so.")
    ] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown instead of tables.")
    ] = False,
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Draw a chart of whole translations too: pictures a second, and peak memory "
            "(.png, .jpg or .webp).",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of --plot.")
    ] = False,
) -> None:
    """Measure models on every engine that is found here.

    Time, memory, file size, and PSNR against fp32: graph by graph and as whole translations (a2b:
    pictures in memory to pictures in memory). Each row comes from a new process: its first call
    includes opening the model, and its peak memory is its own. Times are p50, p90 and p99 after a
    warm-up. An engine that fails is a row with the reason. Exit code 1 if nothing could be
    measured.
    """
    from munit_edge.benchmark.options import BenchmarkOptions, parse_numbers, parse_sizes
    from munit_edge.images.io import image_format
    from munit_edge.settings import validate_options

    if as_json and as_markdown:
        raise ConfigError("--json and --markdown are two ways to print: choose one")
    if plot is not None:
        image_format(plot.suffix)  # a name that cannot be written is told before the work
    check_files({"--plot": plot}, overwrite=overwrite, inputs=(*models, reference, image))
    wishes = {
        "models": tuple(models),
        "reference": reference,
        "direction": direction,
        "sizes": parse_sizes(sizes),
        "batches": parse_numbers(batch, "--batch"),
        "styles": parse_numbers(styles, "--styles"),
        "engines": tuple(dict.fromkeys(engine or ())),
        "device": device,
        "tf32": tf32,
        "image": image,
        "runs": runs,
        "seconds": seconds,
        "timeout_s": timeout,
    }
    options = validate_options(BenchmarkOptions, wishes, {"timeout_s": "--timeout"})
    with writing_to(plot):
        report = _measure(options)
        _show(report, as_json=as_json, as_markdown=as_markdown)
        if plot is not None:
            _draw(report, plot, replace=overwrite)
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
    from munit_edge.images.io import Picture, write_image

    write_image(plot, Picture(benchmark_report.as_chart(report)), replace=replace)
    tell(f"wrote {plot}")
