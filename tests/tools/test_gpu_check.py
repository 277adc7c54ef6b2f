"""`tools/gpu_check.py`: all of it but the GPU, on the CPU with tiny models."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import gpu_check
import gpu_measure
import numpy as np
import pytest
from engine_code import CHECKOUT
from evidence import Row, keepable, read_evidence
from evidence_files import a_row
from gpu_check import Check, Clock
from gpu_measure import Rows

from munit_edge.doctor.examine import Report, examine
from munit_edge.doctor.selftest import CHECKPOINT_FOLDER, FOLDER, Result, Trial, graphs_folder
from munit_edge.engines.probe import SUBJECTS, Answer, Facts, ask
from munit_edge.engines.table import ENGINE_FACTS, EngineName, fastest_on_cpu
from munit_edge.model.manifest import MANIFEST_FILE
from munit_edge.model.precision import PRECISIONS, Precision
from munit_edge.system.nvidia_smi import SmiFacts, SmiGpu
from munit_edge.version import __version__

SCRIPT = CHECKOUT / "tools" / "gpu_check.py"
MODEL = FOLDER / graphs_folder("fp32")
ON_CPU = ("--device", "cpu", "--size", "32", "--runs", "3", "--model", str(MODEL))
GRAPHS = ("content_encoder_a", "style_encoder_b", "decoder_b", "a2b")
NAME = "Alice-Jones"


@pytest.fixture(scope="module")
def machine() -> Report:
    return examine()


def on_this_cpu(*precisions: Precision) -> list[tuple[EngineName, Precision]]:
    """The engines that compute them on the CPU of this machine, in the table's order."""
    return [
        (engine, precision)
        for precision in precisions
        for engine in ENGINE_FACTS
        if engine in fastest_on_cpu(precision)
    ]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER)


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The script in this process."""
    monkeypatch.setattr(sys, "argv", ["gpu_check", *arguments])
    return gpu_check.main()


def without_running(monkeypatch: pytest.MonkeyPatch, machine: Report, answer: Rows) -> None:
    """No engine is run: each gives `answer`, and the self-test passes without a check."""
    monkeypatch.setattr(gpu_check, "examine", lambda: machine)
    monkeypatch.setattr(Check, "_ask", lambda self, request: Rows() if request.write_to else answer)
    monkeypatch.setattr(gpu_check, "run_trial", nothing_tried)


def nothing_tried(trial: Trial, timeout_s: float) -> Result:
    """In place of a trial of the self-test: it passes without a check."""
    return Result(name=trial.name, status="ok", detail="")


def with_gpu(machine: Report) -> Report:
    """The same machine with a GPU, which torch and TensorRT-RTX can use."""
    driver = Answer(
        subject="driver",
        installed=True,
        facts=Facts(version="13.0", gpus=("NVIDIA L4 (8.9)", "NVIDIA A2 (8.6)")),
    )
    gpu = SmiGpu(name="NVIDIA L4", driver="580.65.06", memory_mib=23034, compute_capability="8.9")
    answers = []
    for answer in machine.answers:
        if answer.subject == "torch" and answer.facts:
            facts = answer.facts.model_copy(update={"gpus": driver.facts and driver.facts.gpus})
            answer = answer.model_copy(update={"facts": facts})
        answers.append(driver if answer.subject == "driver" else answer)
    seen = machine.machine.model_copy(update={"smi": SmiFacts(gpus=(gpu,))})
    return machine.model_copy(update={"machine": seen, "answers": tuple(answers)})


# ----------------------------------------------------------------------------------------------
# What is measured


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run of the whole script on the CPU, and its file."""
    file = tmp_path_factory.mktemp("real") / "result.json"
    fp16 = FOLDER / graphs_folder("fp16")
    checkpoint = FOLDER / CHECKPOINT_FOLDER
    done = run(*ON_CPU, "--model", fp16, "--checkpoint", checkpoint, "--json", file)
    assert done.returncode == 0, done.stdout + done.stderr
    return done, file


@pytest.mark.slow
def test_every_engine_is_compared_and_timed(
    real: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, file = real
    evidence = read_evidence(file)
    subjects = [*on_this_cpu("fp32"), *on_this_cpu("fp16"), ("torch", "fp32")]
    assert [(row.engine, row.precision, row.graph) for row in evidence.rows] == [
        (*subject, graph) for subject in subjects for graph in GRAPHS
    ]
    for row in evidence.rows:
        assert row.reference == f"onnxruntime {row.precision} on the CPU"
        assert (row.latency.n, row.clock_mhz) == (3, None)
        assert 0 < row.latency.p50_ms <= row.latency.p95_ms
        assert f"{row.latency.p50_ms:.3f}" in done.stdout
        assert row.worst is not None
        assert (row.tolerance is None) == (row.precision == "fp16")
    assert {(row.engine, row.precision) for row in evidence.selftest} == {
        *on_this_cpu(*PRECISIONS),
        ("torch", "fp32"),
    }
    assert evidence.passed
    assert evidence.subject
    assert set(evidence.subject.graphs) == {"fp32", "fp16"}
    assert not evidence.subject.seeded
    manifest = json.loads((MODEL / MANIFEST_FILE).read_text())
    assert evidence.subject.sha256 == manifest["checkpoint_sha256"]
    assert evidence.code.version == __version__
    assert f"wrote {file}" in done.stderr
    assert "Please send it" not in done.stderr, "it was made on the CPU"


@pytest.mark.slow
def test_a_model_is_made_and_exported(
    machine: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    monkeypatch.setattr(gpu_check, "examine", lambda: machine)
    monkeypatch.setattr(gpu_check, "run_trial", nothing_tried)
    size = ("--size", "32", "--width", "2", "--runs", "1", "--precision", "fp16")
    assert main(monkeypatch, "--device", "cpu", *size, "--json", str(file)) == 0
    evidence = read_evidence(file)
    assert {(row.engine, row.precision) for row in evidence.rows} == {
        *on_this_cpu("fp16"),
        ("torch", "fp32"),
    }
    references = {row.engine: row.reference for row in evidence.rows}
    assert references == {
        "onnxruntime": "onnxruntime fp16 on the CPU",
        "openvino": "onnxruntime fp16 on the CPU",
        "torch": "torch fp32 on the CPU",  # fp32 is judged, so not by fp16
    }
    assert evidence.subject
    assert (evidence.subject.config.width, evidence.subject.seeded) == (2, True)


def test_the_clock_is_asked_for_while_the_engine_works(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def clock(card: str) -> tuple[int, int]:
        begun = len(calls)
        while len(calls) < begun + 3:
            pass
        return 1980, 2040

    monkeypatch.setattr(gpu_measure, "gpu_clock_mhz", clock)
    assert gpu_measure._clock_under(lambda: calls.append(1), "NVIDIA L4") == 1980
    monkeypatch.setattr(gpu_measure, "gpu_clock_mhz", lambda card: None)
    assert gpu_measure._clock_under(lambda: None, "NVIDIA L4") is None


def test_what_is_judged() -> None:
    image, code = np.zeros((1, 1, 4, 4, 3), np.uint8), np.full((1, 8), 5, np.float32)
    assert gpu_measure.tolerance(image, "cpu", "fp32") == 1.0
    assert gpu_measure.tolerance(image, "cuda:0", "tf32") == 4.0
    assert gpu_measure.tolerance(code, "cpu", "fp32") == pytest.approx(5e-4)
    assert gpu_measure.tolerance(code, "cuda:0", "fp16") is None
    assert gpu_measure.largest_difference(image, image + 3) == 3.0
    assert gpu_measure.largest_difference(image, image[:, 0]) is None
    assert gpu_measure.largest_difference(code * np.float32("nan"), code) is None


@pytest.mark.parametrize(
    ("answer", "code", "printed"),
    [
        (Rows(rows=(a_row(engine="torch"),)), 0, ""),
        (Rows(rows=(a_row(engine="torch", worst=1.1),)), 1, "DIFFERS"),
        (Rows(rows=(a_row(engine="torch", worst=None),)), 1, "not finite"),
        (Rows(fault="out of memory"), 1, "FAILED: out of memory"),
    ],
    ids=["all agree", "differs", "not finite", "fails"],
)
def test_a_difference_and_a_failing_engine_end_with_code_1(
    answer: Rows, code: int, printed: str, machine: Report, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    without_running(monkeypatch, machine, answer)
    file = tmp_path / "x.json"
    assert main(monkeypatch, *ON_CPU, "--json", str(file)) == code
    assert printed in capsys.readouterr().out
    assert read_evidence(file).passed == (code == 0)


# ----------------------------------------------------------------------------------------------
# On a GPU, which is a double


def test_what_a_gpu_runs_and_the_file_that_it_gives(
    machine: Report, monkeypatch: pytest.MonkeyPatch, working_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    there = with_gpu(machine)
    without_running(monkeypatch, there, Rows(rows=(a_row(engine="torch"),)))
    monkeypatch.setattr(gpu_check, "ask", lambda subject: there.answers[0])
    monkeypatch.setattr(gpu_check, "gpu_clock_mhz", lambda name: (300, 2040))
    arguments = ("--model", str(MODEL), "--checkpoint", str(FOLDER / CHECKPOINT_FOLDER))
    assert main(monkeypatch, *arguments, "--device", "cuda") == 0
    (file,) = (working_folder / "build" / "gpu-check").iterdir()
    evidence = read_evidence(file)
    assert file.name == evidence.file_name == f"nvidia-l4-{evidence.created[:10]}.json"
    assert evidence.device == "cuda:0"
    assert evidence.card
    assert (evidence.card.name, evidence.card.compute_capability) == ("NVIDIA L4", "8.9")
    assert (evidence.card.driver, evidence.card.memory_mib) == ("580.65.06", 23034)
    assert (evidence.card.cuda, evidence.card.max_clock_mhz) == ("13.0", 2040)
    assert {(item.engine, item.why) for item in evidence.not_run} >= {
        ("onnxruntime", "this build runs on the CPU only"),
        ("tensorrt", "not installed"),
    }
    said = capsys.readouterr().err
    assert "running torch fp32 on cuda:0" in said
    assert "running torch tf32 on cuda:0" in said
    ending = said.splitlines()[-2:]
    assert ending[0] == f"wrote {Path('build') / 'gpu-check' / file.name}"
    assert "Please send it" in ending[1]
    assert "docs/evidence/README.md" in ending[1]


@pytest.mark.gpu
def test_a_real_gpu_gives_a_file_that_can_be_kept(working_folder: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--size", "64", "--width", "8", "--runs", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 2 and "no engine can use this device" in done.stderr:
        pytest.skip("no engine can use the GPU")
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (working_folder / "build" / "gpu-check").iterdir()
    assert keepable(file).card
    assert str(file.name) in done.stderr


def test_the_gpu_must_be_there(
    machine: Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = with_gpu(machine)
    monkeypatch.setattr(gpu_check, "ask", lambda subject: there.answers[0])
    assert main(monkeypatch, "--device", "cuda:2") == 2
    expected = "gpu-check needs an NVIDIA GPU: this machine has 2, counted from cuda:0\n"
    assert capsys.readouterr().err == expected
    assert main(monkeypatch, "--device", "gpu") == 2
    assert capsys.readouterr().err.startswith("gpu-check cannot run: device 'gpu' is not known")


def test_a_machine_without_a_gpu_gets_one_line() -> None:
    driver = ask("driver")
    if driver.facts and driver.facts.gpus:
        pytest.skip("there is a GPU here")
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("gpu-check needs an NVIDIA GPU: ")


# ----------------------------------------------------------------------------------------------
# What is left out


def options(**changes: Any) -> Namespace:
    fields = {
        "device": "cpu", "size": 32, "width": 2, "batch": 1, "runs": 1, "minutes": 9.0,
        "precision": ["fp32"], "model": [], "checkpoint": None,
    }  # fmt: skip
    return Namespace(**{**fields, **changes})


def test_what_does_not_fit_into_the_time_is_listed(
    machine: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(*arguments: object, **options: object) -> str:
        raise AssertionError("it was run")

    monkeypatch.setattr(gpu_check.child, "call", never)
    monkeypatch.setattr(gpu_check, "examine", lambda: machine)
    file = tmp_path / "x.json"
    assert main(monkeypatch, *ON_CPU, "--minutes", "0", "--json", str(file)) == 2
    check = Check(options(minutes=0), Clock(0), machine, tmp_path)
    assert check.models() == (None, [])
    check.run_selftest()
    assert {item.why for item in check.not_run} == {
        "the 0 minutes were over (--minutes)",
        "self-test: the 0 minutes were over (--minutes)",
    }


def test_an_engine_that_hangs_is_ended_in_time(
    machine: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both the process that hangs and those that would come after it."""
    waited: list[float] = []

    def hang(function: str, argument: str, *, timeout_s: float, environment: object) -> str:
        waited.append(timeout_s)
        clock._end = 0.0
        raise gpu_check.child.ChildError(f"it gave no answer within {timeout_s:g} s")

    monkeypatch.setattr(gpu_check.child, "call", hang)
    clock = Clock(0.5)
    check = Check(options(model=[MODEL], minutes=0.5), clock, machine, tmp_path)
    _, models = check.models()
    check.measure(models[0].manifest.model, None, models)
    assert len(waited) == 1
    assert 0 < waited[0] <= 30
    assert (check.rows, check.failures) == ([], [])
    late = [item for item in check.not_run if item.why == "the 0.5 minutes were over (--minutes)"]
    assert [(item.engine, item.precision) for item in late] == [("onnxruntime on the CPU", "fp32")]


def test_a_precision_without_a_reference_of_its_own_takes_the_first(
    machine: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ask_engine(self: Check, request: gpu_measure.Request) -> Rows:
        if request.write_to and "bf16" in request.model:
            return Rows(fault="no bf16 convolutions")
        return Rows()

    monkeypatch.setattr(Check, "_ask", ask_engine)
    models = [FOLDER / graphs_folder(precision) for precision in ("fp32", "bf16")]
    others = [Answer(subject=s, installed=False) for s in SUBJECTS if s != "onnxruntime"]
    found = [answer for answer in machine.answers if answer.subject == "onnxruntime"]
    machine = machine.model_copy(update={"answers": (*found, *others)})
    check = Check(options(model=models), Clock(9), machine, tmp_path)
    _, opened = check.models()
    tasks = list(check._tasks(tmp_path / "inputs.npz", None, opened))
    assert [(task.engine, task.precision, task.reference) for task in tasks] == [
        ("onnxruntime", "fp32", "onnxruntime fp32 on the CPU"),
        ("onnxruntime", "bf16", "onnxruntime fp32 on the CPU"),
    ]
    assert [(item.engine, item.why) for item in check.not_run if item.precision == "bf16"] == [
        ("onnxruntime on the CPU", "no bf16 convolutions")
    ]


@pytest.mark.parametrize(("own", "kept"), [([], False), ([MODEL], True)], ids=["made", "own"])
def test_engines_of_a_model_that_is_made_do_not_stay(
    own: list[Path], kept: bool, machine: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[dict[str, str]] = []

    def call(function: str, argument: str, *, timeout_s: float, environment: dict[str, str]) -> str:
        given.append(environment)
        return Rows().model_dump_json()

    monkeypatch.setattr(gpu_check.child, "call", call)
    request = gpu_measure.Request(engine="torch", device="cpu", model="", inputs="")
    Check(options(model=own), Clock(9), machine, tmp_path)._ask(request)
    assert given == [{} if kept else {"MUNIT_EDGE_CACHE": str(tmp_path / "cache")}]


def test_exports_of_different_models_are_refused(
    machine: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(gpu_check, "examine", lambda: machine)
    other = shutil.copytree(MODEL, tmp_path / "other")
    manifest = json.loads((other / MANIFEST_FILE).read_text())
    (other / MANIFEST_FILE).write_text(json.dumps({**manifest, "checkpoint_sha256": 64 * "0"}))
    assert main(monkeypatch, *ON_CPU, "--model", str(other)) == 2
    assert "are exports of different checkpoints" in capsys.readouterr().err
    assert main(monkeypatch, *ON_CPU, "--model", str(MODEL)) == 2
    assert "--model is given twice in fp32" in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused(
    tiny_checkpoint: Path, machine: Report, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(gpu_check, "examine", lambda: machine)
    assert main(monkeypatch, *ON_CPU, "--checkpoint", str(tiny_checkpoint)) == 2
    assert "was not exported from --checkpoint" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------
# What is private


def test_the_file_says_nothing_about_whose_machine_it_is(
    machine: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: NAME)
    monkeypatch.setattr("socket.gethostname", lambda: "box7")
    uuid = "GPU-1b5f2a3c-0000-1111-2222-333344445555"
    fault = f"{NAME}@box7: cannot open {FOLDER}/libx.so for {uuid} in {tmp_path}; hostname=box7"
    broken = []
    for answer in machine.answers:
        if answer.facts:
            facts = answer.facts.model_copy(update={"gpu_fault": fault})
            answer = answer.model_copy(update={"facts": facts})
        broken.append(answer)
    there = machine.model_copy(update={"answers": tuple(broken)})
    without_running(monkeypatch, there, Rows(fault=fault))
    monkeypatch.setattr(
        gpu_check,
        "run_trial",
        lambda trial, timeout_s: Result(name=trial.name, status="not tested", detail=fault),
    )
    file = tmp_path / "x.json"
    assert main(monkeypatch, *ON_CPU, "--json", str(file)) == 1
    text = file.read_text()
    assert text.count("cannot open <path>/libx.so for <id> in <path>") > 3
    for private in (NAME, "box7", uuid[4:], "hostname", str(FOLDER), str(tmp_path), sys.prefix):
        assert private not in text, private


@pytest.mark.slow
def test_a_real_file_has_no_name_and_no_path(
    real: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    texts = [str(text) for text in _strings(json.loads(real[1].read_text()))]
    assert len(texts) > 100
    assert [text for text in texts if text.startswith("/") or " /" in text] == []
    own = {getpass.getuser(), socket.gethostname()}
    assert own.isdisjoint(texts)


def _strings(data: Any) -> list[str]:
    if isinstance(data, dict):
        return [found for pair in data.items() for item in pair for found in _strings(item)]
    if isinstance(data, list):
        return [found for item in data for found in _strings(item)]
    return [data] if isinstance(data, str) else []


def test_every_row_of_the_format_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    gpu_check._show_rows((a_row(), Row(**{**a_row().model_dump(), "engine": "torch"})))
    assert capsys.readouterr().out.count("0.5 (allowed 1)") == 2
