"""Every engine of this machine on its GPU: differences from the CPU, and latency per graph.

    python tools/gpu_check.py                       256 x 256, width 64, a model made for it (torch)
    python tools/gpu_check.py --model model --model model-fp16      your own exports of one model
    python tools/gpu_check.py --device cpu --size 32 --width 4 --runs 3     tries the script itself

It needs no network, and ends within `--minutes`: what does not fit is listed as not run. It runs
every engine that it finds, first on the model, then, in every precision, on the tiny one of the
self-test. Calls are timed from host memory to host memory, so that a call has ended when its time
is taken. The result is a file of evidence (tools/evidence.py), without names, paths and serial
numbers. Exit code 0: all agree; 1: an output differs or an engine fails; 2: there is no NVIDIA GPU,
or nothing to run.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from engine_code import engine_hashes, source
from evidence import (
    FOLDER,
    Backend,
    Card,
    Code,
    Evidence,
    Host,
    NotRun,
    Row,
    Subject,
    difference,
    scrubbed,
)
from gpu_measure import Making, Request, Rows, write_inputs

from munit_edge.doctor.examine import Report, examine
from munit_edge.doctor.selftest import Result, Trial, run_trial, trials, why_no_plans
from munit_edge.engines.devices import Device
from munit_edge.engines.probe import Answer, ask
from munit_edge.engines.table import ENGINE_FACTS, EngineName
from munit_edge.errors import ConfigError, MunitEdgeError
from munit_edge.files.atomic import atomic_file
from munit_edge.model.config import ModelConfig
from munit_edge.model.manifest import Manifest, read_manifest
from munit_edge.model.precision import PRECISIONS, Precision
from munit_edge.system import child
from munit_edge.system.machine import gpu_clock_mhz, power_modes

EXIT_DIFFERS, EXIT_NOTHING_TO_RUN = 1, 2
RESULTS = Path("build") / "gpu-check"


class Model(NamedTuple):
    """An export to measure."""

    precision: Precision
    path: Path
    manifest: Manifest


class Task(NamedTuple):
    """One engine on one model."""

    engine: str
    precision: str
    path: Path
    reference: str
    """Where the outputs come from that it is compared with."""
    outputs: Path
    tf32: bool = False


class Clock:
    """The time that is left."""

    def __init__(self, minutes: float) -> None:
        self.began = time.monotonic()
        self._end = self.began + 60 * minutes

    @property
    def left_s(self) -> float:
        """Seconds until the end; at least 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def spent_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began


class Check:
    """A check that is under way: what was measured, and what was not."""

    def __init__(
        self, options: argparse.Namespace, clock: Clock, machine: Report, folder: Path
    ) -> None:
        self.options, self.clock, self.machine, self.folder = options, clock, machine, folder
        self.answers: dict[str, Answer] = {answer.subject: answer for answer in machine.answers}
        self.card = _card(options.device, machine)
        self.rows: list[Row] = []
        self.selftest: list[Row] = []
        self.failures: list[NotRun] = []
        self.not_run: list[NotRun] = []

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU; on the CPU the script is tried."""
        return bool(self.options.device != "cpu")

    @property
    def is_seeded(self) -> bool:
        """Whether the model is made here."""
        return not (self.options.model or self.options.checkpoint)

    # The model

    def models(self) -> tuple[Path | None, list[Model]]:
        """The checkpoint and the exports: those that the options name, or new ones."""
        options = self.options
        if not self.is_seeded:
            models = [_opened(path) for path in options.model]
            _check_same(options.checkpoint, models)
            return options.checkpoint, models
        checkpoint = self.folder / "checkpoint"
        making = Making(checkpoint=str(checkpoint), width=options.width)
        if fault := self._make(making):
            self._left_out("every engine", "", fault)
            return None, []
        return checkpoint, list(self._exports(making))

    def _exports(self, making: Making) -> Iterator[Model]:
        if not self.answers["onnxruntime"].facts:
            self._left_out("every engine but torch", "", "exporting a model needs ONNX Runtime")
            return
        for precision in self.options.precision:
            _say(f"exporting the model in {precision}")
            folder = self.folder / f"model-{precision}"
            update = {"model": str(folder), "precision": precision, "images": str(self.folder)}
            if fault := self._make(making.model_copy(update=update)):
                self._left_out("every engine but torch", precision, fault)
            else:
                yield _opened(folder)

    def _make(self, making: Making) -> str:
        if not self.clock.left_s:
            return self._late
        try:
            return child.call(
                "gpu_measure.make_here", making.model_dump_json(), timeout_s=self.clock.left_s
            )
        except child.ChildError as exc:
            return str(exc)

    # The measurements

    def measure(self, config: ModelConfig, checkpoint: Path | None, models: list[Model]) -> None:
        """Run every engine on the model, and compare it with the CPU."""
        options = self.options
        inputs = self.folder / "inputs.npz"
        write_inputs(inputs, config, options.size, options.batch)
        for task in self._tasks(inputs, checkpoint, models):
            _say(f"running {task.engine} {task.precision} on {options.device}")
            answer = self._ask(
                Request(
                    engine=task.engine, device=options.device, tf32=task.tf32,
                    model=str(task.path), inputs=str(inputs), outputs=str(task.outputs),
                    reference=task.reference, runs=options.runs,
                    card=self.card.name if self.card else "",
                )
            )  # fmt: skip
            self.rows += answer.rows
            if answer.fault == self._late:
                self._left_out(task.engine, task.precision, answer.fault)
            elif answer.fault:
                self._failed(task.engine, task.precision, answer.fault)

    def _tasks(self, inputs: Path, checkpoint: Path | None, models: list[Model]) -> Iterator[Task]:
        engines = list(self._usable_engines())
        references: dict[str, tuple[str, Path]] = {}
        for model in models:
            if found := self._reference("onnxruntime", model.precision, model.path, inputs):
                references[model.precision] = found
            # bf16 has no kernels on the CPU: it is compared with the first precision.
            reference = found or next(iter(references.values()), None)
            if reference is None:
                why = "there are no outputs of the CPU to compare with"
                self._left_out("every engine", model.precision, why)
                continue
            for engine in engines:
                if not ENGINE_FACTS[engine].checkpoints:
                    yield Task(engine, model.precision, model.path, *reference)
        if checkpoint and "torch" in engines:
            reference = references.get("fp32") or self._reference(
                "torch", "fp32", checkpoint, inputs
            )
            if reference:
                yield Task("torch", "fp32", checkpoint, *reference)
                if self.on_gpu:
                    yield Task("torch", "tf32", checkpoint, *reference, tf32=True)

    def _reference(
        self, engine: str, precision: str, path: Path, inputs: Path
    ) -> tuple[str, Path] | None:
        """Outputs of the CPU, and what they are; None if it cannot compute them."""
        outputs = self.folder / f"outputs-{engine}-{precision}.npz"
        answer = self._ask(
            Request(
                engine=engine, device="cpu", model=str(path), inputs=str(inputs),
                write_to=str(outputs),
            )
        )  # fmt: skip
        if answer.fault:
            self._left_out(f"{engine} on the CPU", precision, answer.fault)
            return None
        return f"{engine} {precision} on the CPU", outputs

    def _usable_engines(self) -> Iterator[EngineName]:
        kind = Device.parse(self.options.device).kind
        for engine, row in ENGINE_FACTS.items():
            if kind not in row.devices:
                continue
            answer = self.answers[engine]
            if answer.facts is None:
                self._left_out(engine, "", answer.fault or "not installed")
            elif row.builds_plans and (reason := why_no_plans(self.machine, engine)):
                self._left_out(engine, "", reason)
            elif self.on_gpu and not row.builds_plans and not _is_for_gpus(answer):
                self._left_out(engine, "", "this build runs on the CPU only")
            else:
                yield engine

    def run_selftest(self) -> None:
        """Run the tiny model on every engine in every precision."""
        for planned in trials(self.machine):
            if isinstance(planned, Result) or planned.task != "run":
                continue
            if (planned.device != "cpu") == self.on_gpu:
                self._try(planned)

    def _try(self, trial: Trial) -> None:
        if not self.clock.left_s:
            self._left_out(trial.engine, trial.precision, f"self-test: {self._late}")
            return
        _say(f"self-test: {trial.name}")
        trial = trial.model_copy(update={"device": self.options.device})
        result = run_trial(trial, timeout_s=self.clock.left_s)
        self.selftest += [
            Row(
                engine=trial.engine,
                precision=trial.precision,
                graph=check.name,
                reference="expected outputs of the self-test",
                worst=check.worst,
                tolerance=check.tolerance,
                latency=check.latency,
            )
            for check in result.checks
        ]
        if result.status == "not tested" or (not result.checks and not self.clock.left_s):
            self._left_out(trial.engine, trial.precision, f"self-test: {result.detail}")
        elif result.status == "failed" and not result.checks:
            self._failed(trial.engine, trial.precision, f"self-test: {result.detail}")

    def _ask(self, request: Request) -> Rows:
        if not self.clock.left_s:
            return Rows(fault=self._late)
        try:
            text = child.call(
                "gpu_measure.run_here",
                request.model_dump_json(),
                timeout_s=self.clock.left_s,
                environment=self._environment,
            )
        except child.ChildError as exc:
            return Rows(fault=str(exc) if self.clock.left_s else self._late)
        return Rows.model_validate_json(text)

    # The result

    def evidence(self, subject: Subject | None, code: Code, load_before: float) -> Evidence:
        """Everything together."""
        options = self.options
        created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        return Evidence(
            created=created, seconds=round(self.clock.spent_s, 1), device=options.device,
            size=options.size, batch=options.batch, card=self.card,
            host=_host(self.machine, load_before), backends=dict(_backends(self.answers)),
            packages=dict(_relevant(self.machine.packages)), code=code, subject=subject,
            rows=tuple(self.rows), selftest=tuple(self.selftest), failures=tuple(self.failures),
            not_run=tuple(self.not_run),
        )  # fmt: skip

    @property
    def _environment(self) -> dict[str, str]:
        """Engines built for a model that is removed at the end do not stay in the user's cache."""
        return {"MUNIT_EDGE_CACHE": str(self.folder / "cache")} if self.is_seeded else {}

    @property
    def _late(self) -> str:
        return f"the {self.options.minutes:g} minutes were over (--minutes)"

    def _left_out(self, engine: str, precision: str, why: str) -> None:
        self.not_run.append(NotRun(engine=engine, precision=precision, why=scrubbed(why)))

    def _failed(self, engine: str, precision: str, why: str) -> None:
        self.failures.append(NotRun(engine=engine, precision=precision, why=scrubbed(why)))


def main() -> int:
    options = _options()
    clock, load_before = Clock(options.minutes), os.getloadavg()[0]
    try:
        if options.device != "cpu" and (why := _why_no_gpu(Device.parse(options.device).index)):
            print(f"gpu-check needs an NVIDIA GPU: {why}", file=sys.stderr)
            return EXIT_NOTHING_TO_RUN
        with tempfile.TemporaryDirectory() as folder:
            evidence = _check(Check(options, clock, examine(), Path(folder)), load_before)
        if not (evidence.rows or evidence.selftest or evidence.failures):
            _show_missing(evidence.not_run)
            raise ConfigError("no engine can use this device: see `munit-edge doctor`")
        _show(evidence)
        _write(options.json or RESULTS / evidence.file_name, evidence)
    except MunitEdgeError as exc:
        print(f"gpu-check cannot run: {exc}", file=sys.stderr)
        return EXIT_NOTHING_TO_RUN
    return 0 if evidence.passed else EXIT_DIFFERS


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Parity and latency of every engine on the GPU.")
    parser.add_argument("--device", default="cuda:0", help='"cpu" tries the script [cuda:0]')
    parser.add_argument("--size", type=int, default=256, help="image height and width [256]")
    parser.add_argument("--width", type=int, default=64, help="width of the model made [64]")
    parser.add_argument("--batch", type=int, default=1, help="images in a call [1]")
    parser.add_argument("--runs", type=int, default=100, help="timed calls of each graph [100]")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything [9]")
    parser.add_argument(
        "--precision", action="append", choices=PRECISIONS,
        help="of the model made; give it again for another one [fp32 fp16]",
    )  # fmt: skip
    parser.add_argument(
        "--model", type=_absolute, action="append", default=[],
        help="model directory instead of a new model; again for another export of it",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", type=_absolute, help="what --model was exported from, for torch"
    )
    parser.add_argument("--json", type=Path, help=f"result file [{RESULTS}/GPU-DATE.json]")
    options = parser.parse_args()
    options.precision = options.precision or ["fp32", "fp16"]
    options.device = "cuda:0" if options.device == "cuda" else options.device
    return options


def _is_for_gpus(answer: Answer) -> bool:
    return answer.facts is not None and bool(answer.facts.gpus or answer.facts.gpu_fault)


def _absolute(path: str) -> Path:
    """The child processes have another working directory."""
    return Path(path).resolve()


def _why_no_gpu(index: int) -> str:
    """Why there is no GPU of this index; "" if there is one."""
    driver = ask("driver")
    gpus = driver.facts.gpus if driver.facts else ()
    if gpus:
        return "" if index < len(gpus) else f"this machine has {len(gpus)}, counted from cuda:0"
    why = (driver.facts.gpu_fault if driver.facts else None) or driver.fault
    return why or "there is no NVIDIA driver (libcuda.so.1)"


def _check(check: Check, load_before: float) -> Evidence:
    # Before the measurements: what is on the disk now is what they import.
    code, now = engine_hashes(), source()
    checkpoint, models = check.models()
    subject = None
    if checkpoint or models:
        subject = _subject(checkpoint, models, seeded=check.is_seeded)
        check.measure(subject.config, checkpoint, models)
    check.run_selftest()
    about = Code(
        version=check.machine.munit_edge, commit=now.commit, modified=now.modified, engines=code
    )
    return check.evidence(subject, about, load_before)


def _opened(path: Path) -> Model:
    manifest = read_manifest(path)
    return Model(manifest.graph("decoder", "b").precision, path, manifest)


def _check_same(checkpoint: Path | None, models: list[Model]) -> None:
    """Check that all are the same model, each in another precision."""
    for model in models:
        if model.manifest.checkpoint_sha256 != models[0].manifest.checkpoint_sha256:
            raise ConfigError(
                f"--model {model.path} and {models[0].path} are exports of different checkpoints: "
                "check one model at a time"
            )
    for model in models:
        if sum(other.precision == model.precision for other in models) > 1:
            raise ConfigError(f"--model is given twice in {model.precision}: leave one out")
    if checkpoint and models:
        from munit_edge.trainer.checkpoint import open_checkpoint

        manifest = models[0].manifest
        found = open_checkpoint(checkpoint).weights_sha256(manifest.weights)
        if found != manifest.checkpoint_sha256:
            raise ConfigError(
                f"--model {models[0].path} was not exported from --checkpoint {checkpoint}: name "
                "its own"
            )


def _subject(checkpoint: Path | None, models: list[Model], *, seeded: bool) -> Subject:
    graphs = {
        model.precision: {entry.name: entry.content_sha256 for entry in model.manifest.graphs}
        for model in models
    }
    if models:
        manifest = models[0].manifest
        config, sha256 = manifest.model, manifest.checkpoint_sha256
    else:
        from munit_edge.trainer.checkpoint import open_checkpoint

        assert checkpoint
        opened = open_checkpoint(checkpoint)
        config, sha256 = opened.config, opened.weights_sha256()
    return Subject(config=config, sha256=sha256, seeded=seeded, graphs=graphs)


def _card(device: str, machine: Report) -> Card | None:
    if device == "cpu":
        return None
    (driver,) = (answer for answer in machine.answers if answer.subject == "driver")
    assert driver.facts  # `_why_no_gpu`
    found = driver.facts.gpus[Device.parse(device).index]
    match = re.fullmatch(r"(.*) \((\d+\.\d+)\)", found)
    name, capability = (match[1], match[2]) if match else (found, "")
    smi = machine.machine.smi.gpus if machine.machine.smi else ()
    memory = next((gpu.memory_mib for gpu in smi if gpu.name == name), None)
    clock = gpu_clock_mhz(name)
    return Card(
        name=name,
        compute_capability=capability,
        memory_mib=memory,
        driver=smi[0].driver if smi else "",
        cuda=driver.facts.version,
        max_clock_mhz=clock[1] if clock else None,
    )


def _host(machine: Report, load_before: float) -> Host:
    platform, jetson = machine.machine.platform, machine.machine.jetson
    return Host(
        system=platform.system,
        instruction_set=platform.machine,
        processor=platform.processor,
        num_cores=platform.num_cores,
        board=jetson.board if jetson else "",
        l4t=jetson.l4t if jetson else "",
        jetpack=jetson.jetpack if jetson else "",
        python=machine.machine.python.version,
        power_modes=power_modes(),
        load_average=(load_before, os.getloadavg()[0]),
    )


def _backends(answers: Mapping[str, Answer]) -> Iterator[tuple[str, Backend]]:
    for subject, answer in answers.items():
        if answer.facts and subject != "driver":
            fault = answer.facts.gpu_fault
            yield (
                subject,
                Backend(
                    version=answer.facts.version,
                    cuda=answer.facts.cuda,
                    gpu_fault=scrubbed(fault) if fault else None,
                ),
            )


def _relevant(packages: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What takes part in a translation or an export."""
    for name, version in packages.items():
        if re.fullmatch(r"numpy|torch|onnx.*|openvino.*|tensorrt.*|cuda-.*|nvidia-.*", name):
            yield name, version


def _show(evidence: Evidence) -> None:
    card, host = evidence.card, evidence.host
    where = f"{card.name}, driver {card.driver}, CUDA up to {card.cuda}" if card else "CPU"
    print(
        f"{where}; {host.system} {host.instruction_set}; {host.processor}, {host.num_cores} cores"
    )
    if evidence.subject:
        config = evidence.subject.config
        print(
            f"{evidence.size} x {evidence.size} pixels, batch {evidence.batch}, "
            f"{config.architecture} of width {config.width}; milliseconds, host memory to host "
            "memory"
        )
    for title, rows in (("", evidence.rows), ("self-test, a tiny model", evidence.selftest)):
        if rows:
            print(f"\n{title}" if title else "")
            _show_rows(rows)
    for failure in evidence.failures:
        print(f"{failure.engine:<14}{failure.precision:<11}FAILED: {failure.why}")
    _show_missing(evidence.not_run)


def _show_rows(rows: tuple[Row, ...]) -> None:
    print(f"{'engine':<14}{'precision':<11}{'graph':<20}{'p50':>9}{'p95':>9}{'n':>5}  difference")
    for row in rows:
        print(
            f"{row.engine:<14}{row.precision:<11}{row.graph:<20}{row.latency.p50_ms:>9.3f}"
            f"{row.latency.p95_ms:>9.3f}{row.latency.n:>5}  {difference(row)}"
            f"{'' if row.passed else '  DIFFERS'}"
        )


def _show_missing(not_run: tuple[NotRun, ...]) -> None:
    for missing in not_run:
        print(
            f"not run: {' '.join(filter(None, (missing.engine, missing.precision)))}: {missing.why}"
        )


def _write(file: Path, evidence: Evidence) -> None:
    with atomic_file(file) as partial:
        partial.write_text(evidence.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _say(f"wrote {file}")
    if evidence.device != "cpu":
        page = FOLDER.relative_to(FOLDER.parents[1]) / "README.md"
        _say(
            "It holds no names, paths or serial numbers. Please send it, whatever it says: attach "
            f"it to an issue, or add it to {page.parent} ({page} says how)."
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
