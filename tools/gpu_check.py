"""Every backend of this machine on its GPU: differences from the CPU, and latency per graph.

    python tools/gpu_check.py                       256 x 256, width 64, a model made for it (torch)
    python tools/gpu_check.py --model model         your own model directory, in its own precision
    python tools/gpu_check.py --device cpu --size 32 --width 4 --runs 3     tries the script itself

It runs every backend that it finds: torch, ONNX Runtime and the other engines of munit-edge. Calls
are timed from host memory to host memory, so that a call has ended when its time is taken. Exit
code 0: all agree; 1: an output differs or a backend fails; 2: there is no NVIDIA GPU, or nothing to
run.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from munit_edge.doctor.examine import Report, examine
from munit_edge.doctor.selftest import why_no_plans
from munit_edge.doctor.selftest_child import largest_difference, tolerance
from munit_edge.engines.base import GraphSet
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.probe import Answer, ask
from munit_edge.engines.table import ENGINE_FACTS
from munit_edge.errors import ConfigError, MunitEdgeError
from munit_edge.model.config import ModelConfig
from munit_edge.model.manifest import read_manifest
from munit_edge.settings import StrictModel
from munit_edge.styles.codes import sample_styles
from munit_edge.system import child
from munit_edge.system.latency import Latency, measure
from munit_edge.translator import Translator

EXIT_DIFFERS, EXIT_NOTHING_TO_RUN = 1, 2
TIMEOUT_S = 1800.0
WARMUP = 10

Arrays = Mapping[str, NDArray[Any]]


class Request(StrictModel):
    """The task of one process."""

    engine: str
    """"onnxruntime", "torch", or another engine of munit-edge."""
    device: str
    """"cpu" or "cuda:0"."""
    tf32: bool = False
    """Whether torch may use TF32, which is its own default on a GPU."""
    model: str
    """Model directory; for torch the checkpoint."""
    inputs: str
    """.npz with `image_a`, `image_b` and `style`."""
    outputs: str = ""
    """.npz with the CPU's outputs; "": this is the CPU, and it writes them to `write_to`."""
    write_to: str = ""
    """.npz to write."""
    runs: int = 1
    """Timed calls."""


class Row(StrictModel):
    """One graph, or one whole translation, on one backend."""

    engine: str
    """Backend."""
    precision: str
    """Of the graphs; "tf32": fp32 weights, and torch's own default on a GPU."""
    graph: str
    """`content_encoder_a`, `style_encoder_b`, `decoder_b` or the translation `a2b`."""
    worst: float | None = None
    """Largest difference from the CPU: 8-bit levels of an image, absolute of a code. None: the
    shape differs, or a number is not finite."""
    tolerance: float | None = None
    """Largest difference that passes; None: not judged, as in reduced precision."""
    latency: Latency
    """Host memory to host memory."""

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed."""
        return self.worst is not None and (self.tolerance is None or self.worst <= self.tolerance)


class Rows(StrictModel):
    """The answer of one process."""

    rows: tuple[Row, ...] = ()
    """Every graph."""
    fault: str = ""
    """Why the backend failed; "" if it did not."""


class Failure(StrictModel):
    """A backend that did not run."""

    engine: str
    """Which."""
    fault: str
    """Why."""


class CheckReport(StrictModel):
    """The JSON file."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    device: str
    """Where the backends ran."""
    size: int
    """Height and width of the image, in pixels."""
    batch: int
    """Images in a call."""
    model: ModelConfig
    """The networks."""
    rows: tuple[Row, ...]
    """What was measured."""
    failures: tuple[Failure, ...]
    """Backends that failed."""
    doctor: Report
    """The machine."""


def main() -> int:
    options = _options()
    if options.device != "cpu":
        driver = ask("driver")
        if not _facts_gpus(driver):
            words = driver.facts.gpu_fault if driver.facts else driver.fault
            why = words or "there is no NVIDIA driver (libcuda.so.1)"
            print(f"gpu-check needs an NVIDIA GPU: {why}", file=sys.stderr)
            return EXIT_NOTHING_TO_RUN
    machine = examine()
    answers: dict[str, Answer] = {answer.subject: answer for answer in machine.answers}
    with tempfile.TemporaryDirectory() as folder:
        try:
            return _check(options, machine, answers, Path(folder))
        except MunitEdgeError as exc:
            print(f"gpu-check cannot run: {exc}", file=sys.stderr)
            return EXIT_NOTHING_TO_RUN


def _absolute(path: str) -> Path:
    """The child processes have another working directory."""
    return Path(path).resolve()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Parity and latency of every backend on the GPU.")
    parser.add_argument("--device", default="cuda:0", help='"cpu" tries the script [cuda:0]')
    parser.add_argument("--size", type=int, default=256, help="image height and width [256]")
    parser.add_argument("--width", type=int, default=64, help="width of the model made [64]")
    parser.add_argument("--batch", type=int, default=1, help="images in a call [1]")
    parser.add_argument("--runs", type=int, default=100, help="timed calls of each graph [100]")
    parser.add_argument("--model", type=_absolute, help="model directory instead of a new model")
    parser.add_argument(
        "--checkpoint", type=_absolute, help="what --model was exported from, for torch"
    )
    parser.add_argument("--json", type=Path, help="result file [build/gpu-check/GPU-DATE.json]")
    return parser.parse_args()


def _check(
    options: argparse.Namespace, machine: Report, answers: dict[str, Answer], folder: Path
) -> int:
    checkpoint, model = _models(options, answers, folder)
    config = _config(checkpoint, model)
    inputs = _write_inputs(folder / "inputs.npz", config, options.size, options.batch)
    cpu_engine, cpu_model = ("onnxruntime", model) if model else ("torch", checkpoint)
    outputs = folder / "outputs.npz"
    reference = _ask(
        Request(
            engine=cpu_engine, device="cpu", model=str(cpu_model), inputs=inputs,
            write_to=str(outputs),
        )
    )  # fmt: skip
    if reference.fault:
        print(f"gpu-check cannot run: on the CPU: {reference.fault}", file=sys.stderr)
        return EXIT_NOTHING_TO_RUN
    rows: list[Row] = []
    failures: list[Failure] = []
    for request in _requests(options, machine, checkpoint, model):
        print(f"running {request.engine} on {request.device}", file=sys.stderr, flush=True)
        answer = _ask(
            request.model_copy(update={"inputs": inputs, "outputs": str(outputs)}),
        )
        rows += answer.rows
        if answer.fault:
            failures.append(Failure(engine=request.engine, fault=answer.fault))
    if not rows and not failures:
        print(
            "gpu-check found no backend that can use the GPU: see `munit-edge doctor`",
            file=sys.stderr,
        )
        return EXIT_NOTHING_TO_RUN
    report = CheckReport(
        device=options.device, size=options.size, batch=options.batch, model=config,
        rows=tuple(rows), failures=tuple(failures), doctor=machine,
    )  # fmt: skip
    _show(report)
    file = options.json or _result_file(answers, options.device)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    print(f"wrote {file}", file=sys.stderr)
    return EXIT_DIFFERS if failures or not all(row.passed for row in rows) else 0


def _models(
    options: argparse.Namespace, answers: dict[str, Answer], folder: Path
) -> tuple[Path | None, Path | None]:
    """Checkpoint and model directory; None for one that cannot be made here."""
    if options.model or options.checkpoint:
        if options.model and options.checkpoint:
            _check_same(options.checkpoint, options.model)
        return options.checkpoint, options.model
    from munit_edge.extras import require

    require("torch", "making a model to check (or name yours with --model)", extra="export")
    checkpoint = _write_checkpoint(folder / "checkpoint", ModelConfig(width=options.width))
    if not answers["onnxruntime"].facts:
        return checkpoint, None
    from munit_edge.export.model_directory import export_model
    from munit_edge.export.options import ExportOptions

    print("exporting the model", file=sys.stderr, flush=True)
    export_model(checkpoint, folder / "model", ExportOptions(stats_graphs=False))
    return checkpoint, folder / "model"


def _check_same(checkpoint: Path, model: Path) -> None:
    from munit_edge.trainer.checkpoint import open_checkpoint

    manifest = read_manifest(model)
    if open_checkpoint(checkpoint).weights_sha256(manifest.weights) != manifest.checkpoint_sha256:
        raise ConfigError(
            f"--model {model} was not exported from --checkpoint {checkpoint}: name its own"
        )


def _write_checkpoint(path: Path, config: ModelConfig) -> Path:
    from munit_edge.trainer.checkpoint import CheckpointInfo, build_generators, save_checkpoint
    from munit_edge.trainer.torch_api import torch

    torch.manual_seed(0)
    save_checkpoint(path, config, CheckpointInfo(), generators=build_generators(config))
    return path


def _config(checkpoint: Path | None, model: Path | None) -> ModelConfig:
    if model:
        return read_manifest(model).model
    from munit_edge.trainer.checkpoint import open_checkpoint

    assert checkpoint
    return open_checkpoint(checkpoint).config


def _write_inputs(path: Path, config: ModelConfig, size: int, batch: int) -> str:
    """Smooth images, like photos, and one style for each."""
    generator = np.random.Generator(np.random.PCG64(0))
    images = {}
    for domain in ("a", "b"):
        shape = (batch, -(-size // 8), -(-size // 8), config.channels(domain))
        coarse = generator.integers(0, 256, shape, dtype=np.uint8)
        images[f"image_{domain}"] = coarse.repeat(8, 1).repeat(8, 2)[:, :size, :size]
    np.savez(path, allow_pickle=False, style=sample_styles(batch, config.style_dim), **images)
    return str(path)


def _requests(
    options: argparse.Namespace,
    machine: Report,
    checkpoint: Path | None,
    model: Path | None,
) -> Iterator[Request]:
    answers: dict[str, Answer] = {answer.subject: answer for answer in machine.answers}
    common = {"device": options.device, "runs": options.runs, "inputs": ""}
    on_gpu = options.device != "cpu"
    for engine, facts in ENGINE_FACTS.items():
        path = checkpoint if facts.checkpoints else model
        answer = answers.get(engine)
        if path is None or answer is None or answer.facts is None:
            continue
        if not facts.builds_plans:
            if on_gpu and not answer.facts.gpus and not answer.facts.gpu_fault:
                continue  # a build for the CPU
        elif not on_gpu or why_no_plans(machine, engine):
            continue
        yield Request(engine=engine, model=str(path), **common)
        if engine == "torch" and on_gpu:
            yield Request(engine=engine, model=str(path), tf32=True, **common)


def _ask(request: Request) -> Rows:
    try:
        text = child.call("gpu_check.run_here", request.model_dump_json(), timeout_s=TIMEOUT_S)
    except child.ChildError as exc:
        return Rows(fault=str(exc))
    return Rows.model_validate_json(text)


def run_here(text: str) -> str:
    """In the child: one backend."""
    request = Request.model_validate_json(text)
    try:
        return Rows(rows=tuple(_run(request))).model_dump_json()
    except Exception as exc:  # whatever a backend raises is its result
        return Rows(fault=child.words(exc)).model_dump_json()


def _run(request: Request) -> Iterator[Row]:
    with open_graphs(
        Path(request.model), request.engine, request.device, tf32=request.tf32
    ) as graphs:
        given = _read(request.inputs)
        calls = dict(_calls(graphs, given, _read(request.outputs) if request.outputs else {}))
        if request.write_to:
            np.savez(request.write_to, allow_pickle=False, **{n: c() for n, c in calls.items()})
            return
        expected = _read(request.outputs)
        precisions = _precisions(request)
        for name, call in calls.items():
            precision = precisions.get(name, precisions["decoder_b"])
            got, wanted = call(), expected[name]
            yield Row(
                engine=request.engine,
                precision=precision,
                graph=name,
                worst=largest_difference(got, wanted),
                tolerance=_tolerance(wanted, request.device, precision),
                latency=measure(call, warmup=WARMUP, runs=request.runs),
            )


def _calls(
    graphs: GraphSet, given: Arrays, expected: Arrays
) -> Iterator[tuple[str, Callable[[], NDArray[Any]]]]:
    """The call for each output; the decoder gets the CPU's content: errors must not add up."""
    translator = Translator(graphs)
    image, reference, style = given["image_a"], given["image_b"], given["style"]
    content = translator.encode_content(image, "a")
    if expected:
        content = type(content)(expected["content_encoder_a"], content.size_hw)
    yield "content_encoder_a", lambda: np.asarray(translator.encode_content(image, "a").codes)
    yield "style_encoder_b", lambda: translator.encode_style(reference, "b")
    yield "decoder_b", lambda: translator.decode(content, style[:1], "b")
    yield "a2b", lambda: translator.translate(image, "a2b", styles=style[:1])


def _read(path: str) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _precisions(request: Request) -> dict[str, str]:
    if request.engine == "torch":
        return {"decoder_b": "tf32" if request.tf32 else "fp32"}
    entries = read_manifest(Path(request.model)).graphs
    return {entry.name: entry.precision for entry in entries}


def _tolerance(wanted: NDArray[Any], device: str, precision: str) -> float | None:
    if precision not in ("fp32", "tf32"):
        return None  # the export's own quality gate judges what the precision costs
    return tolerance("fp32", device, wanted)


def _show(report: CheckReport) -> None:
    for finding in report.doctor.findings:
        if finding.subject in ("platform", "GPU"):
            print(f"{finding.subject}: {finding.detail}")
    print(
        f"{report.size} x {report.size} pixels, batch {report.batch}, {report.model.architecture} "
        f"of width {report.model.width}; milliseconds, host memory to host memory\n"
    )
    print(f"{'engine':<14}{'precision':<11}{'graph':<20}{'p50':>9}{'p95':>9}{'n':>5}  difference")
    for row in report.rows:
        allowed = "not judged" if row.tolerance is None else f"allowed {row.tolerance:.2g}"
        worst = "not finite, or of another shape" if row.worst is None else f"{row.worst:.2g}"
        print(
            f"{row.engine:<14}{row.precision:<11}{row.graph:<20}{row.latency.p50_ms:>9.3f}"
            f"{row.latency.p95_ms:>9.3f}{row.latency.n:>5}  {worst} ({allowed})"
            f"{'' if row.passed else '  DIFFERS'}"
        )
    for failure in report.failures:
        print(f"{failure.engine:<14}FAILED: {failure.fault}")


def _facts_gpus(answer: Answer) -> tuple[str, ...]:
    return answer.facts.gpus if answer.facts else ()


def _result_file(answers: dict[str, Answer], device: str) -> Path:
    name = _facts_gpus(answers["driver"])[0] if device != "cpu" else "cpu"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return Path("build") / "gpu-check" / f"{slug}-{day}.json"


if __name__ == "__main__":
    sys.exit(main())
