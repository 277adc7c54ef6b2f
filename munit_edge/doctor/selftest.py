"""The self-test: a tiny model with its expected outputs, on every engine of this machine.

selftest_model/
    checkpoint/             seeded random weights, for torch and for the exporter
    model/                  its model directory, made by our exporter
    model_PRECISION/        the same in reduced precision, without the graphs that only b2a needs
    expected.npz            images, a style, and the outputs of torch on a CPU
    expected_PRECISION.npz  outputs of the 8-bit graphs, computed by the operators' definitions

Each trial runs in a process of its own (`munit_edge.doctor.selftest_child`), so that an engine that
crashes or hangs is a failed trial.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from munit_edge.doctor.examine import Report
from munit_edge.engines.probe import Answer, Subject
from munit_edge.engines.table import ENGINE_FACTS, EngineName
from munit_edge.files.atomic import atomic_file
from munit_edge.files.unfinished import scratch_folder
from munit_edge.model.precision import PRECISION_FACTS, PRECISIONS, Precision
from munit_edge.settings import StrictModel
from munit_edge.system import child
from munit_edge.system.latency import Latency

FOLDER = Path(__file__).with_name("selftest_model")
CHECKPOINT_FOLDER = "checkpoint"

TIMEOUT_S = 600.0
"""Time for one trial: TensorRT builds six graphs, torch traces them."""

Status = Literal["ok", "failed", "not tested"]
Task = Literal["run", "export", "build"]

EXPORTED: tuple[Precision, ...] = ("fp32", "fp16", "int8")
"""Precisions that are exported; all but fp32 must also pass the export's own quality gate."""


class Check(StrictModel):
    """One output against the expected one."""

    name: str
    """A graph, such as `decoder_b`, or a whole translation, `a2b` or `b2a`."""
    worst: float | None
    """Largest difference: 8-bit levels of an image, absolute of a code. None: not comparable,
    since the shape differs or a number is not finite."""
    tolerance: float
    """Largest difference that passes."""
    latency: Latency
    """Time of one call with the small shipped image: not comparable with other models."""

    @property
    def passed(self) -> bool:
        """Whether the output is the expected one."""
        return self.worst is not None and self.worst <= self.tolerance


class Trial(StrictModel):
    """One task for an engine."""

    name: str
    """Such as "onnxruntime cpu int8" or "export fp32"."""
    engine: EngineName
    """Engine that runs the graphs, or builds them."""
    device: str
    """Where: "cpu" or "cuda:0"."""
    task: Task = "run"
    """`run` the shipped graphs; `export` them again and run those; `build` plans, not run here."""
    precision: Precision = "fp32"
    """Of the graphs."""


class Result(StrictModel):
    """The result of a trial."""

    name: str
    """Name of the trial; of the engine if none of its trials was run."""
    status: Status
    """`failed`: an output differs, or the engine did not run although it looked usable; `not
    tested`: it is not installed, or does not have the precision."""
    detail: str
    """What happened, in one line."""
    checks: tuple[Check, ...] = ()
    """Every output that was compared."""


class SelftestReport(StrictModel):
    """What `munit-edge doctor --selftest` writes: attach it to an issue."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    doctor: Report
    """The machine."""
    results: tuple[Result, ...]
    """One for each trial."""

    @property
    def failed(self) -> tuple[Result, ...]:
        """The trials that failed."""
        return tuple(result for result in self.results if result.status == "failed")


class Request(StrictModel):
    """The task of the child process."""

    trial: Trial
    """The trial."""
    folder: str
    """The model and its expected outputs."""


def graphs_folder(precision: Precision) -> str:
    """Name of the folder of the shipped graphs in one precision."""
    return "model" if precision == "fp32" else f"model_{precision}"


def run_selftest(
    report: Report,
    *,
    folder: Path = FOLDER,
    on_begin: Callable[[str], None] = lambda name: None,
    on_trial: Callable[[str], None] = lambda name: None,
) -> SelftestReport:
    """Run the tiny model through every engine that the doctor found usable, in every precision.

    Args:
        report: what the doctor found.
        folder: the model and its expected outputs.
        on_begin: called with the name of each trial before it is run.
        on_trial: called with the name of each trial that has ended.
    """
    results = []
    for planned in trials(report):
        on_begin(planned.name)
        result = planned if isinstance(planned, Result) else run_trial(planned, folder)
        results.append(result)
        on_trial(result.name)
    return SelftestReport(doctor=report, results=tuple(results))


def run_trial(trial: Trial, folder: Path = FOLDER, *, timeout_s: float = TIMEOUT_S) -> Result:
    """Run one trial in a process of its own; whatever happens there, this returns.

    Args:
        trial: the task.
        folder: the model and its expected outputs.
        timeout_s: the process is ended after this many seconds, and the trial has failed.
    """
    request = Request(trial=trial, folder=str(folder.resolve()))
    with scratch_folder() as cache:
        try:
            text = child.call(
                "munit_edge.doctor.selftest_child.run_trial_here",
                request.model_dump_json(),
                timeout_s=timeout_s,
                # Engines built for the trial are removed with the folder.
                environment={"MUNIT_EDGE_CACHE": str(cache)},
            )
        except child.ChildError as exc:
            return Result(name=trial.name, status="failed", detail=str(exc))
    return Result.model_validate_json(text)


def trials(report: Report) -> Iterator[Trial | Result]:
    """The trials for this machine; instead of those that cannot be run a result with the reason."""
    for engine, device, reason in _places(report):
        # Weights of a checkpoint are float32.
        precisions = PRECISIONS[:1] if ENGINE_FACTS[engine].checkpoints else PRECISIONS
        name = f"{engine} {device.partition(':')[0]}"
        for trial in _in_precisions(name, engine, device, "run", precisions):
            if reason is None and (old := _too_old_for(trial.precision, engine, report)):
                yield Result(name=trial.name, status="not tested", detail=old)
            elif reason is None:
                yield trial
        if reason is not None:
            yield Result(name=engine, status="not tested", detail=reason)
    answers = _by_subject(report)
    if reason := _unusable(answers, "torch", "onnxruntime") or _absent(report):
        yield Result(name="export", status="not tested", detail=reason)
    else:
        yield from _in_precisions("export", "onnxruntime", "cpu", "export", EXPORTED)
    for name, engine_facts in ENGINE_FACTS.items():
        if not engine_facts.builds_without_gpu:
            continue
        if reason := _unusable(answers, name):
            yield Result(name=f"{name} build", status="not tested", detail=reason)
        else:
            yield from _in_precisions(f"{name} build", name, "cpu", "build", PRECISIONS)


def _in_precisions(
    name: str, engine: EngineName, device: str, task: Task, precisions: Sequence[Precision]
) -> Iterator[Trial]:
    for precision in precisions:
        yield Trial(
            name=f"{name} {precision}", engine=engine, device=device, task=task, precision=precision
        )


def why_no_plans(report: Report, flavour: EngineName) -> str | None:
    """Why an engine that builds plans cannot be used on this machine; None if it can."""
    answers = _by_subject(report)
    return _unusable(answers, flavour, "cuda-bindings") or _no_gpu_for(flavour, answers["driver"])


def write_report(path: Path, report: SelftestReport, *, replace: bool = True) -> None:
    """Write the report as JSON, completely or not at all.

    Raises:
        OutputError: it cannot be written, or exists and `replace` is false.
    """
    with atomic_file(path, replace=replace) as partial:
        partial.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


class _Place(NamedTuple):
    """An engine on a device."""

    engine: EngineName
    device: str
    reason: str | None
    """Why it cannot be used; None if it can."""


def _places(report: Report) -> Iterator[_Place]:
    answers = _by_subject(report)
    for engine, row in ENGINE_FACTS.items():
        if row.builds_plans:
            yield _Place(engine, "cuda:0", why_no_plans(report, engine))
            continue
        facts = answers[engine].facts
        reason = _unusable(answers, engine)
        for device in facts.devices if facts else ("cpu",):
            yield _Place(engine, device, reason)
        if facts and facts.gpus:
            yield _Place(engine, "cuda:0", None)


def _by_subject(report: Report) -> dict[Subject, Answer]:
    return {answer.subject: answer for answer in report.answers}


def _unusable(answers: dict[Subject, Answer], *subjects: Subject) -> str | None:
    for subject in subjects:
        answer = answers[subject]
        if not answer.installed:
            return f"{subject} is not installed"
        if answer.facts is None:
            return f"{subject} is broken, see above"
    return None


def _no_gpu_for(engine: EngineName, driver: Answer) -> str | None:
    gpus = driver.facts.gpus if driver.facts else ()
    if not gpus:
        return "there is no usable NVIDIA GPU"
    row = ENGINE_FACTS[engine]
    # The driver's answer ends with the capability, such as "NVIDIA H100 (9.0)".
    if row.capabilities and not gpus[0].endswith(tuple(f"({c})" for c in row.capabilities)):
        return f"{row.title} is for RTX cards, not for {gpus[0]}"
    return None


def _too_old_for(precision: Precision, engine: EngineName, report: Report) -> str | None:
    """Why this version of an engine does not run a precision; None if it does."""
    row, opset = ENGINE_FACTS[engine], PRECISION_FACTS[precision].oldest_opset
    if row.old_versions is None or opset <= row.old_versions.opset:
        return None
    facts = _by_subject(report)[engine].facts
    version = facts.version if facts else ""
    if tuple(map(int, re.findall(r"\d+", version)[:2])) >= row.old_versions.before:
        return None
    return (
        f"{row.title} {version} is documented for opsets up to {row.old_versions.opset}, and "
        f"{precision} graphs have opset {opset}"
    )


def _absent(report: Report) -> str | None:
    absent = [name for name in ("onnx", "onnxscript") if name not in report.packages]
    return f"not installed: {', '.join(absent)}" if absent else None
