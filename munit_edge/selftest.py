"""The self-test: a tiny model that is shipped with its expected outputs, on every engine here.

selftest_model/
    checkpoint/     seeded random weights, for torch and for the exporter
    model/          the same as a model directory, made by our exporter
    expected.npz    pictures, a style, and what torch on a CPU made of them

Each trial runs in a process of its own, so that an engine that crashes or hangs is a failed trial.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from munit_edge import child
from munit_edge.config import DOMAINS, StrictModel
from munit_edge.doctor import Report
from munit_edge.engines.base import GraphSet
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.probe import Answer, Subject
from munit_edge.errors import ModelError
from munit_edge.files import atomic_file
from munit_edge.latency import Latency, measure
from munit_edge.manifest import Precision, read_manifest
from munit_edge.translator import Translator

FOLDER = Path(__file__).with_name("selftest_model")
CHECKPOINT_FOLDER = "checkpoint"
GRAPHS_FOLDER = "model"
EXPECTED_FILE = "expected.npz"

CPU_CODE_TOLERANCE = 1e-4
"""Largest difference of a code on a CPU, as a part of its largest value (at least of 1)."""
GPU_CODE_TOLERANCE = 2e-2
"""The same on a GPU, where convolutions may multiply with 10 bits (TF32), and in fp16."""
CPU_LEVEL_TOLERANCE = 1.0
"""Largest difference of a picture on a CPU, in 8-bit levels: two roundings meet one half."""
GPU_LEVEL_TOLERANCE = 4.0
"""The same on a GPU, and in fp16."""

TIMEOUT_S = 600.0
"""Time for one trial: TensorRT builds six graphs, torch traces them."""

Expected = dict[str, NDArray[Any]]
Status = Literal["ok", "failed", "not tested"]
Task = Literal["run", "export", "build"]

PLAN_ENGINES: tuple[Subject, ...] = ("tensorrt", "tensorrt-rtx")
"""Engines that build plans, and need a GPU to run them."""
RTX_CAPABILITIES = tuple(f"({number})" for number in ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"))
"""Compute capabilities that TensorRT-RTX builds for, as the driver's answer ends with them."""
EXPORTED: tuple[Precision, ...] = ("fp32", "fp16")
"""Precisions that are exported; fp16 has to pass the export's own gate, too."""
BUILT_FOR = "8.6"
"""Compute capability for which TensorRT-RTX builds the plans that are only built."""


class Check(StrictModel):
    """One output against the expected one."""

    name: str
    """A graph, such as `decoder_b`, or a whole translation, `a2b` or `b2a`."""
    worst: float | None
    """Largest difference: 8-bit levels of a picture, absolute of a code. None: not comparable,
    since the shape differs or a number is not finite."""
    tolerance: float
    """Largest difference that passes."""
    latency: Latency
    """Time of one call with the small picture that is shipped: it tells nothing of other models."""

    @property
    def passed(self) -> bool:
        """Whether the output is the expected one."""
        return self.worst is not None and self.worst <= self.tolerance


class Trial(StrictModel):
    """What an engine is asked for."""

    name: str
    """Such as "onnxruntime cpu" or "export"."""
    engine: str
    """Engine that runs the graphs, or builds them."""
    device: str
    """Where: "cpu" or "cuda:0"."""
    task: Task = "run"
    """`run` the shipped graphs; `export` them again and run those; `build` plans, not run here."""
    precision: Precision = "fp32"
    """Of an export."""


class Result(StrictModel):
    """What came of a trial."""

    name: str
    """Name of the trial."""
    status: Status
    """`failed`: an output differs, or the engine did not run although it looked usable."""
    detail: str
    """What happened, in a line."""
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


def run_selftest(
    report: Report,
    *,
    folder: Path = FOLDER,
    on_trial: Callable[[str], None] = lambda name: None,
) -> SelftestReport:
    """Run the tiny model through every engine that the doctor found usable.

    Args:
        report: what the doctor found.
        folder: the model and its expected outputs.
        on_trial: called with the name of each trial that has ended.
    """
    results = []
    for planned in plan(report):
        result = planned if isinstance(planned, Result) else _run(planned, folder)
        results.append(result)
        on_trial(result.name)
    return SelftestReport(doctor=report, results=tuple(results))


def plan(report: Report) -> Iterator[Trial | Result]:
    """The trials for this machine; a result at once for what cannot be tried, with the reason."""
    told = {answer.subject: answer for answer in report.answers}
    for engine in ("onnxruntime", "torch"):
        reason = _unusable(told, engine)
        if reason:
            yield Result(name=engine, status="not tested", detail=reason)
            continue
        yield Trial(name=f"{engine} cpu", engine=engine, device="cpu")
        facts = told[engine].facts
        if facts and facts.gpus:
            yield Trial(name=f"{engine} cuda", engine=engine, device="cuda:0")
    for flavour in PLAN_ENGINES:
        reason = why_no_plans(report, flavour)
        if reason:
            yield Result(name=flavour, status="not tested", detail=reason)
        else:
            yield Trial(name=f"{flavour} cuda", engine=flavour, device="cuda:0")
    reason = _unusable(told, "torch", "onnxruntime") or _absent(report, "onnx", "onnxscript")
    if reason:
        yield Result(name="export", status="not tested", detail=reason)
    else:
        for precision in EXPORTED:
            yield Trial(
                name=f"export {precision}",
                engine="onnxruntime",
                device="cpu",
                task="export",
                precision=precision,
            )
    reason = _unusable(told, "tensorrt-rtx")
    if reason:
        yield Result(name="tensorrt-rtx build", status="not tested", detail=reason)
    else:
        yield Trial(name="tensorrt-rtx build", engine="tensorrt-rtx", device="cpu", task="build")


def why_no_plans(report: Report, flavour: Subject) -> str:
    """Why one of `PLAN_ENGINES` cannot be used on this machine; "" where it can."""
    told = {answer.subject: answer for answer in report.answers}
    return _unusable(told, flavour, "cuda-bindings") or _no_gpu_for(flavour, told["driver"])


def compute(graphs: GraphSet, given: Mapping[str, NDArray[Any]]) -> Expected:
    """Outputs of every graph and of both translations, by name."""
    return {name: call() for name, call in _calls(graphs, given)}


def write_report(path: Path, report: SelftestReport) -> None:
    """Write the report as JSON, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path) as partial:
        partial.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


def run_trial_here(request: str) -> str:
    """In the child: a trial and a folder as JSON in, the result as JSON out."""
    asked = _Request.model_validate_json(request)
    return _try(asked.trial, Path(asked.folder)).model_dump_json()


class _Request(StrictModel):
    trial: Trial
    folder: str


def _unusable(told: Mapping[Subject, Answer], *subjects: Subject) -> str:
    for subject in subjects:
        answer = told[subject]
        if not answer.installed:
            return f"{subject} is not installed"
        if answer.facts is None:
            return f"{subject} is broken, see above"
    return ""


def _no_gpu_for(engine: str, driver: Answer) -> str:
    gpus = driver.facts.gpus if driver.facts else ()
    if not gpus:
        return "there is no NVIDIA GPU that can be used"
    if engine == "tensorrt-rtx" and not gpus[0].endswith(RTX_CAPABILITIES):
        return f"TensorRT-RTX is for RTX cards, not for {gpus[0]}"
    return ""


def _absent(report: Report, *packages: str) -> str:
    absent = [name for name in packages if name not in report.packages]
    return f"not installed: {', '.join(absent)}" if absent else ""


def _run(trial: Trial, folder: Path) -> Result:
    request = _Request(trial=trial, folder=str(folder.resolve()))
    with tempfile.TemporaryDirectory() as cache:
        try:
            told = child.call(
                "munit_edge.selftest.run_trial_here",
                request.model_dump_json(),
                timeout_s=TIMEOUT_S,
                environment={"MUNIT_EDGE_CACHE": cache},  # nothing is left of plans built for this
            )
        except child.ChildError as exc:
            return Result(name=trial.name, status="failed", detail=str(exc))
    return Result.model_validate_json(told)


def _try(trial: Trial, folder: Path) -> Result:
    try:
        if trial.task == "build":
            return _build(trial, folder / GRAPHS_FOLDER)
        with tempfile.TemporaryDirectory() as scratch:
            model = _model(trial, folder, Path(scratch))
            with open_graphs(model, trial.engine, trial.device) as graphs:
                expected = _read_expected(folder / EXPECTED_FILE)
                exact = graphs.device == "cpu" and trial.precision == "fp32"
                checks = tuple(_checks(graphs, expected, exact=exact))
    except Exception as exc:  # whatever an engine raises is its result
        return Result(name=trial.name, status="failed", detail=child.words(exc))
    faults = [
        f"{check.name} differs by {'?' if check.worst is None else f'{check.worst:.3g}'} "
        f"(tolerance {check.tolerance:.3g})"
        for check in checks
        if not check.passed
    ]
    if faults:
        return Result(name=trial.name, status="failed", detail="; ".join(faults), checks=checks)
    return Result(name=trial.name, status="ok", detail=_summary(checks), checks=checks)


def _build(trial: Trial, model: Path) -> Result:
    """Plans of every graph through our own builder; a GPU is not needed, so none is run."""
    from munit_edge.engines.plan_cache import BuildRequest, find_or_build
    from munit_edge.engines.tensorrt_builder import BuildOptions

    manifest = read_manifest(model)
    options = BuildOptions(target="tensorrt-rtx", compute_capabilities=(BUILT_FOR,))
    plans = [
        find_or_build(model, manifest, entry, BuildRequest(options=options))
        for entry in manifest.graphs
    ]
    seconds = sum(plan.sidecar.build_seconds for plan in plans)
    detail = (
        f"{len(plans)} plans built in {seconds:.1f} s for compute capability {BUILT_FOR}; none was "
        "run"
    )
    return Result(name=trial.name, status="ok", detail=detail)


def _model(trial: Trial, folder: Path, scratch: Path) -> Path:
    if trial.task == "export":
        from munit_edge.export.model_directory import export_model
        from munit_edge.export.options import ExportOptions

        options = ExportOptions(stats_graphs=False)
        if trial.precision != "fp32":
            pictures = _write_pictures(_read_expected(folder / EXPECTED_FILE), scratch)
            options = ExportOptions(
                precision=trial.precision, calibration=pictures, stats_graphs=False
            )
        export_model(folder / CHECKPOINT_FOLDER, scratch / "model", options)
        return scratch / "model"
    return folder / (CHECKPOINT_FOLDER if trial.engine == "torch" else GRAPHS_FOLDER)


def _write_pictures(expected: Expected, folder: Path) -> tuple[Path, ...]:
    """The shipped pictures as files, a folder for each domain: the export's gate reads them."""
    for domain in DOMAINS:
        with atomic_file(folder / domain / "picture.png") as path:
            Image.fromarray(expected[f"image_{domain}"][0]).save(path)
    return tuple(folder / domain for domain in DOMAINS)


def _checks(graphs: GraphSet, expected: Expected, *, exact: bool) -> Iterator[Check]:
    for name, call in _calls(graphs, expected):
        got, wanted = call(), expected[name]
        if wanted.dtype == np.uint8:
            tolerance = CPU_LEVEL_TOLERANCE if exact else GPU_LEVEL_TOLERANCE
        else:
            part = CPU_CODE_TOLERANCE if exact else GPU_CODE_TOLERANCE
            tolerance = part * max(1.0, float(np.abs(wanted).max()))
        yield Check(
            name=name,
            worst=_difference(got, wanted),
            tolerance=tolerance,
            latency=measure(call, max_s=0.5),
        )


def _difference(got: NDArray[Any], wanted: NDArray[Any]) -> float | None:
    if got.shape != wanted.shape:
        return None
    worst = float(np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max())
    return worst if np.isfinite(worst) else None


def _calls(
    graphs: GraphSet, given: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, Callable[[], NDArray[Any]]]]:
    """Every output by name, and what makes it from `image_a`, `image_b` and `style`."""
    translator = Translator(graphs)
    for domain in DOMAINS:
        other = DOMAINS[1 - DOMAINS.index(domain)]
        image, style = given[f"image_{domain}"], given["style"]
        content = translator.encode_content(image, domain)
        yield f"content_encoder_{domain}", _bind(_codes, translator, image, domain)
        yield f"style_encoder_{domain}", _bind(translator.encode_style, image, domain)
        yield f"decoder_{domain}", _bind(translator.decode, content, style, domain)
        direction = f"{domain}2{other}"
        yield direction, _bind(translator.translate, image, direction, styles=style)


def _codes(translator: Translator, image: NDArray[Any], domain: Any) -> NDArray[Any]:
    return np.asarray(translator.encode_content(image, domain).codes)


def _bind(
    function: Callable[..., NDArray[Any]], *arguments: Any, **options: Any
) -> Callable[[], NDArray[Any]]:
    return lambda: function(*arguments, **options)


def _summary(checks: tuple[Check, ...]) -> str:
    levels = max(c.worst or 0.0 for c in checks if c.name in ("a2b", "b2a"))
    total = sum(c.latency.p50_ms for c in checks if c.name in ("a2b", "b2a")) / 2
    return (
        f"{len(checks)} outputs as expected; a translation differs by at most {levels:.2g} of 255 "
        f"levels and takes {total:.2f} ms"
    )


def _read_expected(path: Path) -> Expected:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path} cannot be read: install munit-edge again") from exc
