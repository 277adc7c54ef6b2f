"""Results of `munit-edge benchmark`: the data, and as text, Markdown and a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

from munit_edge.benchmark.child import Measured, Part
from munit_edge.doctor.examine import Report
from munit_edge.images.bar_chart import ChartGroup, ChartRow, bar_chart, short_number
from munit_edge.images.io import Images
from munit_edge.model.config import Direction, GraphKind
from munit_edge.settings import StrictModel

MEASURES = ("images per second", "peak memory, MiB")
"""Columns of the chart."""
_MEBI = 1 << 20
_MAX_FAULT = 160


class Subject(StrictModel):
    """A model on an engine and a device."""

    model: str
    """Its directory, as named by the user."""
    precision: str
    """Precision of its convolutions: fp32, tf32 (10-bit mantissa), fp16, int8, ..."""
    engine: str
    """Name of the backend."""
    device: str
    """"cpu", or "cuda:0"; "" where the engine cannot be used at all."""

    @property
    def label(self) -> str:
        """A short name."""
        return " ".join(filter(None, (self.model, self.precision, self.engine, self.device)))


class Case(StrictModel):
    """The size of one measurement."""

    size_hw: tuple[int, int]
    """Height and width of the images, in pixels."""
    batch: int
    """Images per call."""
    styles: int
    """Styles for each image."""

    @property
    def label(self) -> str:
        """A short name."""
        height, width = self.size_hw
        styles = "1 style" if self.styles == 1 else f"{self.styles} styles"
        return f"{height} x {width}, batch {self.batch}, {styles}"


class BenchmarkRow(StrictModel):
    """One graph, or a whole translation, of one model on one engine."""

    subject: Subject
    """Model, engine, device."""
    case: Case
    """Size, batch, styles."""
    part: Part
    """The graph; `translation`: from images to images in memory."""
    name: str
    """Such as `content_encoder_a` or `a2b`."""
    file_bytes: int | None = None
    """Size of the graphs' ONNX files; None: a checkpoint."""
    measured: Measured | None = None
    """None: it failed."""
    images_per_s: float | None = None
    """Output images (for an encoder, codes) per second, from the median latency."""
    psnr_db: float | None = None
    """PSNR against the translations in fp32, 100 if they are equal; None: not compared."""
    is_reference: bool = False
    """Whether the other rows are compared with this one's translations."""
    fault: str | None = None
    """Why there is no measurement; None: there is one."""


class BenchmarkReport(StrictModel):
    """The output of `munit-edge benchmark --json`."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    direction: Direction
    """Source and target domain."""
    picture: str
    """"drawn" for generated images, or the path of a photo."""
    cores: int
    """Cores that this process may use."""
    threads_wanted: int | None
    """OMP_NUM_THREADS; None: not set, each engine chooses."""
    power_modes: tuple[str, ...]
    """Power modes as the system reports them."""
    load_average: tuple[float, float]
    """One-minute load average before and after the benchmark."""
    rows: tuple[BenchmarkRow, ...]
    """All measurements, including failed ones."""
    notes: tuple[str, ...]
    """What was not measured, and why."""
    doctor: Report
    """The machine, its engines and their versions."""


def graph_name(part: Part, direction: Direction) -> str:
    """`content_encoder_a`, ... or the direction for a whole translation."""
    if part == "translation":
        return direction
    kind: GraphKind = part
    # "a2b": content of the source, style and decoder of the target.
    return f"{kind}_{direction[0] if kind == 'content_encoder' else direction[2]}"


def as_text(report: BenchmarkReport) -> str:
    """For a terminal."""
    lines = list(_card(report))
    for case, rows in _by_case(report):
        lines += ["", case.label]
        lines += ["  " + line for line in _aligned(list(_table(report, rows)))]
    lines += ["", *report.notes] if report.notes else []
    return "\n".join(lines)


def as_markdown(report: BenchmarkReport) -> str:
    """For documents: the machine, then a table for each size, batch and number of styles."""
    lines = [f"- {line}" for line in _card(report)]
    for case, rows in _by_case(report):
        heading, *body = _table(report, rows)
        lines += ["", f"### {case.label}", ""]
        lines += [_markdown_row(heading), _markdown_row(["---"] * len(heading))]
        lines += [_markdown_row(row) for row in body]
    lines += ["", *(f"- {note}" for note in report.notes)] if report.notes else []
    return "\n".join(lines)


def as_chart(report: BenchmarkReport) -> Images:
    """Bars of whole translations: images per second, and peak memory. uint8 [H, W, 3]."""
    groups = [
        ChartGroup(case.label, tuple(_chart_row(row) for row in rows if row.part == "translation"))
        for case, rows in _by_case(report)
    ]
    subtitle = "\n".join([*_card(report), "Bars in a group share one scale."])
    return bar_chart(f"munit-edge benchmark, {report.direction}", subtitle, MEASURES, groups)


def _chart_row(row: BenchmarkRow) -> ChartRow:
    label = row.subject.label
    if row.measured is None:
        return ChartRow(label, (None, None), note=f"failed: {row.fault}")
    return ChartRow(label, (row.images_per_s, row.measured.peak_memory_bytes / _MEBI))


def _card(report: BenchmarkReport) -> Iterator[str]:
    """Date, machine and versions, line by line."""
    examined = report.doctor
    system = examined.machine.platform
    threads = report.threads_wanted
    python = examined.machine.python.version
    yield f"{examined.created[:10]}, munit-edge {examined.munit_edge}, Python {python}"
    yield (
        f"{system.processor or system.machine}, {report.cores} cores, threads: "
        f"{'chosen by each engine' if threads is None else f'{threads} (OMP_NUM_THREADS)'}; "
        f"{system.system}"
    )
    jetson, smi = examined.machine.jetson, examined.machine.smi
    if jetson:
        yield f"{jetson.board or 'Jetson'}, JetPack {jetson.jetpack or 'unknown'}"
    for gpu in smi.gpus if smi else ():
        yield f"{gpu.name}, driver {gpu.driver}"
    before, after = report.load_average
    yield (
        f"power mode: {', '.join(report.power_modes) or 'unknown'}; "
        f"load average {before:.1f} before, {after:.1f} at the end"
    )
    engines = {row.subject.engine for row in report.rows}
    versions = [
        f"{answer.subject} {answer.facts.version}"
        for answer in examined.answers
        if answer.subject in engines and answer.facts
    ]
    if versions:
        yield ", ".join(versions)


def _by_case(report: BenchmarkReport) -> Iterator[tuple[Case, list[BenchmarkRow]]]:
    cases = list(dict.fromkeys((row.case.size_hw, row.case.batch) for row in report.rows))
    # `groupby` takes neighbours only; sizes stay in the order given.
    rows = sorted(
        report.rows,
        key=lambda row: (cases.index((row.case.size_hw, row.case.batch)), row.case.styles),
    )
    for _, group in groupby(rows, key=lambda row: row.case):
        found = list(group)
        yield found[0].case, found


def _table(report: BenchmarkReport, rows: Sequence[BenchmarkRow]) -> Iterator[list[str]]:
    on_gpu = any(row.measured and row.measured.gpu_memory_bytes is not None for row in report.rows)
    compared = any(row.psnr_db is not None or row.is_reference for row in report.rows)
    yield [
        *("model", "precision", "engine", "device", "graph"),
        *("p50 ms", "p90 ms", "p99 ms", "n", "images/s", "first ms", "file MB", "peak MiB"),
        *(["GPU MiB"] if on_gpu else []),
        *(["PSNR dB"] if compared else []),
    ]
    for row in rows:
        subject = row.subject
        cells = [subject.model, subject.precision, subject.engine, subject.device, row.name]
        if row.measured is None:
            yield [*cells, f"failed: {_shortened(row.fault or '')}"]
            continue
        found, latency = row.measured, row.measured.latency
        times = (latency.p50_ms, latency.p90_ms, latency.p99_ms)
        cells += [*(short_number(time) for time in times), str(latency.n)]
        cells += [short_number(row.images_per_s or 0), short_number(found.first_ms)]
        cells.append("" if row.file_bytes is None else f"{row.file_bytes / 1e6:.1f}")
        cells.append(_mebibytes(found.peak_memory_bytes))
        cells += [_mebibytes(found.gpu_memory_bytes)] if on_gpu else []
        cells += [_psnr(row)] if compared else []
        yield cells


def _psnr(row: BenchmarkRow) -> str:
    if row.is_reference:
        return "reference"
    return "" if row.psnr_db is None else f"{row.psnr_db:.1f}"


def _mebibytes(num_bytes: int | None) -> str:
    return "" if num_bytes is None else f"{num_bytes / _MEBI:.0f}"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_FAULT else f"{text[: _MAX_FAULT - 3]}..."


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in full) for column in range(len(rows[0]))]
    for column in range(5):  # the names, which failed rows have, too
        widths[column] = max(len(row[column]) for row in rows)
    for row in rows:
        named = [f"{cell:<{width}}" for cell, width in zip(row[:5], widths[:5], strict=True)]
        if len(row) == len(widths):
            named += [f"{cell:>{w}}" for cell, w in zip(row[5:], widths[5:], strict=True)]
        else:
            named += row[5:]
        yield "  ".join(named).rstrip()


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
