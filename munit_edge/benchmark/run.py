"""Speed, memory and quality of models on every engine of this machine.

Each measurement runs in a process of its own, so the first call is really the first, memory is that
of one graph (or one translation), and an engine that crashes or hangs is one failed row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from munit_edge.benchmark.child import CONTENT_FILE, INPUTS_FILE, Answer, Measured, Part, Request
from munit_edge.benchmark.contestants import (
    Contestant,
    common_config,
    find_contestants,
    find_reference,
)
from munit_edge.benchmark.inputs import write_inputs
from munit_edge.benchmark.options import BenchmarkOptions, SizeHW
from munit_edge.benchmark.report import BenchmarkReport, BenchmarkRow, Case, Subject, graph_name
from munit_edge.doctor.examine import Report
from munit_edge.engines.table import builds_plans
from munit_edge.files.names import stored_name
from munit_edge.files.unfinished import scratch_folder
from munit_edge.images.difference import mean_squared_error, psnr_db
from munit_edge.images.io import Images
from munit_edge.model.config import Direction, Domain, GraphKind, split_direction
from munit_edge.model.manifest import is_model_directory, read_manifest
from munit_edge.system import child
from munit_edge.system.limits import usable_cores
from munit_edge.system.machine import power_modes

PREPARE_TIMEOUT_S = 3600.0
"""Time limit for building a model's engines, in seconds; building is not measured."""
PARTS: tuple[Part, ...] = ("content_encoder", "style_encoder", "decoder", "translation")


def run_benchmark(
    options: BenchmarkOptions,
    examined: Report,
    *,
    on_start: Callable[[int], None] = lambda total: None,
    on_row: Callable[[BenchmarkRow], None] = lambda row: None,
) -> BenchmarkReport:
    """Measure every model on every engine that is found, one after the other.

    Args:
        options: models, engines, sizes and limits.
        examined: the doctor's report about this machine.
        on_start: called with the number of rows.
        on_row: called with each finished row.

    Raises:
        ConfigError: an engine is unknown or has nothing to run, or the models do not match.
        InputError, ModelError: a model cannot be read.
    """
    contestants, left_out = find_contestants(options, examined)
    config = common_config(options, [c.path for c in contestants])
    reference = find_reference(options)
    # Before the measurements, which are load themselves.
    load_before = os.getloadavg()[0]
    num_tables = len(options.sizes) * len(options.batches)
    on_start(num_tables * sum(len(list(_work(options, c))) for c in contestants))
    rows: list[BenchmarkRow] = []
    # Faults by subject, across sizes and batches: engines are built once.
    prepared: dict[str, str | None] = {}
    with scratch_folder() as folder:
        for size in options.sizes:
            for batch in options.batches:
                write_inputs(folder / INPUTS_FILE, config, options, size, batch)
                bench = _Bench(options, folder, reference, size, batch, prepared)
                for contestant in contestants:
                    for row in bench.rows(contestant):
                        rows.append(row)
                        on_row(row)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return BenchmarkReport(
        direction=options.direction,
        picture=str(options.image or "drawn"),
        cores=usable_cores(),
        threads_wanted=int(threads) if threads.isdigit() else None,
        power_modes=power_modes(),
        load_average=(load_before, os.getloadavg()[0]),
        rows=tuple(rows),
        notes=(*left_out, *_missing_psnr(rows, reference)),
        doctor=examined,
    )


class _Bench:
    """All measurements with one size and batch."""

    def __init__(
        self,
        options: BenchmarkOptions,
        folder: Path,
        reference: Path | None,
        size: SizeHW,
        batch: int,
        prepared: dict[str, str | None],
    ) -> None:
        self._options = options
        self._folder = folder
        self._reference = reference
        self._size, self._batch = size, batch
        self._prepared = prepared
        self._references: dict[int, tuple[str, Images] | None] = {}

    def rows(self, contestant: Contestant) -> Iterator[BenchmarkRow]:
        """A row for each part and number of styles; one for the translation if it cannot run."""
        for styles, part in _work(self._options, contestant):
            case = Case(size_hw=self._size, batch=self._batch, styles=styles)
            row = BenchmarkRow(
                subject=contestant.subject,
                case=case,
                part=part,
                name=graph_name(part, self._options.direction),
                file_bytes=_file_bytes(contestant.path, part, self._options.direction),
            )
            fault = contestant.fault or self._prepare(contestant)
            yield row.model_copy(
                update={"fault": fault} if fault else self._measured(contestant, row)
            )

    def _measured(self, contestant: Contestant, row: BenchmarkRow) -> dict[str, Any]:
        kept = {"content_encoder": CONTENT_FILE, "translation": "translation.npy"}
        request = self._request(contestant, row.part, row.case.styles, kept.get(row.part, ""))
        answer = self._ask(request)
        if answer.measured is None:
            return {"fault": answer.fault}
        outcome: dict[str, Any] = {"measured": answer.measured}
        # An encoder gives one code for each image; the others one image for each style.
        num = row.case.batch * (1 if row.part.endswith("encoder") else row.case.styles)
        outcome["images_per_s"] = 1000 * num / answer.measured.latency.p50_ms
        if row.part == "translation":
            outcome |= self._compared(contestant, row, answer.measured)
        return outcome

    def _compared(
        self, contestant: Contestant, row: BenchmarkRow, found: Measured
    ) -> dict[str, Any]:
        subject = contestant.subject
        if contestant.path == self._reference and _is_reference_engine(subject):
            return {"is_reference": True}
        expected = self._reference_translation(row.case.styles)
        # None, or another checkpoint: nothing to compare with.
        if expected is None or expected[0] != found.model_id:
            return {}
        got = np.load(self._folder / "translation.npy")
        return {"psnr_db": psnr_db(mean_squared_error(got, expected[1]))}

    def _reference_translation(self, styles: int) -> tuple[str, Images] | None:
        """The model's identity and its translations in fp32 on the CPU; None: unavailable."""
        if self._reference is not None and styles not in self._references:
            name = "wanted.npy"
            contestant = Contestant(
                subject=Subject(model="", precision="fp32", engine="onnxruntime", device="cpu"),
                path=self._reference,
            )
            request = self._request(contestant, "translation", styles, name)
            # One call: after it the time is up.
            answer = self._ask(request.model_copy(update={"runs": 1, "seconds": 1e-9}))
            found = answer.measured
            self._references[styles] = (
                None if found is None else (found.model_id, np.load(self._folder / name))
            )
        return self._references.get(styles)

    def _request(self, contestant: Contestant, part: Part, styles: int, kept: str) -> Request:
        return Request(
            model=stored_name(os.path.realpath(contestant.path)),
            engine=contestant.subject.engine,
            device=contestant.subject.device,
            tf32=self._options.tf32 and contestant.subject.device.startswith("cuda"),
            cpu_precision=contestant.cpu_precision,
            direction=self._options.direction,
            part=part,
            styles=styles,
            folder=str(self._folder),
            write_to=kept,
            runs=self._options.runs,
            seconds=self._options.seconds,
        )

    def _ask(self, request: Request) -> Answer:
        if request.part == "content_encoder":
            # Else the decoder would get the content of an earlier contestant if this one fails.
            (self._folder / CONTENT_FILE).unlink(missing_ok=True)
        elif request.part == "decoder" and not (self._folder / CONTENT_FILE).exists():
            return Answer(fault="the content encoder failed, and there is nothing to decode")
        return ask("munit_edge.benchmark.child.measure_here", request, self._options.timeout_s)

    def _prepare(self, contestant: Contestant) -> str | None:
        """Build engines before the measurements; return why that failed, or None."""
        if not builds_plans(contestant.subject.engine):
            return None
        key = contestant.subject.label
        if key not in self._prepared:
            request = self._request(contestant, "translation", 1, "")
            answer = ask("munit_edge.benchmark.child.prepare_here", request, PREPARE_TIMEOUT_S)
            self._prepared[key] = answer.fault
        return self._prepared[key]


def ask(function: str, request: Request, timeout_s: float) -> Answer:
    """Call a function of `munit_edge.benchmark.child` in a new process.

    Args:
        function: dotted name; it takes a `Request` and returns an `Answer`, both as JSON.
        request: its argument.
        timeout_s: time after which the process is ended, in seconds.
    """
    try:
        text = child.call(function, request.model_dump_json(), timeout_s=timeout_s)
    except child.ChildError as exc:
        return Answer(fault=str(exc))
    return Answer.model_validate_json(text)


def _work(options: BenchmarkOptions, contestant: Contestant) -> Iterator[tuple[int, Part]]:
    """Numbers of styles and parts; encoders do not depend on the styles and come once."""
    for index, styles in enumerate(options.styles):
        for part in PARTS:
            repeated = index > 0 and part.endswith("encoder")
            if part == "translation" or not (repeated or contestant.fault):
                yield styles, part


def _is_reference_engine(subject: Subject) -> bool:
    return subject.engine == "onnxruntime" and subject.device == "cpu"


def _missing_psnr(rows: Sequence[BenchmarkRow], reference: Path | None) -> Iterator[str]:
    if reference is None:
        yield (
            "there is no PSNR: none of the models is an fp32 model directory, name one with "
            "--reference"
        )
        return
    lacking = {
        row.subject.label: None
        for row in rows
        if row.part == "translation" and row.measured and row.psnr_db is None
        if not row.is_reference
    }
    if lacking:
        yield (
            f"no PSNR for {', '.join(lacking)}: {reference} is from another checkpoint, or did not "
            "run in ONNX Runtime on the CPU"
        )


def _file_bytes(path: Path, part: Part, direction: Direction) -> int | None:
    if not is_model_directory(path):
        return None
    manifest = read_manifest(path)
    source, target = split_direction(direction)
    graphs: dict[Part, tuple[tuple[GraphKind, Domain], ...]] = {
        "content_encoder": (("content_encoder", source),),
        "style_encoder": (("style_encoder", target),),
        "decoder": (("decoder", target),),
        "translation": (("content_encoder", source), ("decoder", target)),
    }
    files = [file for graph in graphs[part] for file in manifest.graph(*graph).files]
    return sum((path / file).stat().st_size for file in files)
