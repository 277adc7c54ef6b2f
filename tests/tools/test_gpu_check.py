"""`tools/gpu_check.py`: all of it but the GPU, on the CPU with the shipped tiny model."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from munit_edge.doctor.selftest import CHECKPOINT_FOLDER, FOLDER, graphs_folder
from munit_edge.engines.probe import ask
from munit_edge.system.latency import Latency

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "gpu_check.py"
GRAPHS_FOLDER = graphs_folder("fp32")
ON_CPU = ("--device", "cpu", "--size", "32", "--runs", "3", "--model", GRAPHS_FOLDER)


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_check", module)
    spec.loader.exec_module(module)
    return module


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER)


@pytest.mark.slow
def test_every_backend_is_compared_and_timed(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    done = run(*ON_CPU, "--checkpoint", CHECKPOINT_FOLDER, "--json", file)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    assert {(row["engine"], row["graph"]) for row in report["rows"]} == {
        (engine, graph)
        for engine in ("onnxruntime", "torch")
        for graph in ("content_encoder_a", "style_encoder_b", "decoder_b", "a2b")
    }
    for row in report["rows"]:
        assert row["latency"]["n"] == 3
        assert 0 < row["latency"]["p50_ms"] <= row["latency"]["p95_ms"]
        assert row["worst"] <= row["tolerance"]
        assert f"{row['latency']['p50_ms']:.3f}" in done.stdout
    assert report["doctor"]["machine"]["platform"]["machine"] in done.stdout


def test_a_machine_without_a_gpu_gets_one_line() -> None:
    driver = ask("driver")
    if driver.facts and driver.facts.gpus:
        pytest.skip("there is a GPU here")
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("gpu-check needs an NVIDIA GPU: ")


def test_a_difference_and_a_failing_backend_end_with_code_1(
    gpu_check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    latency = Latency(p50_ms=1, p90_ms=1, p95_ms=1, p99_ms=1, n=1)
    fine = gpu_check.Row(
        engine="torch", precision="fp32", graph="a2b", worst=1, tolerance=1, latency=latency
    )
    off = fine.model_copy(update={"worst": 1.1})
    answers = {
        "all agree": (0, gpu_check.Rows(rows=(fine,))),
        "DIFFERS": (1, gpu_check.Rows(rows=(fine, off))),
        "FAILED: out of memory": (1, gpu_check.Rows(fault="out of memory")),
    }
    report = gpu_check.examine()
    monkeypatch.setattr(gpu_check, "examine", lambda: report)
    for answer in answers.values():
        monkeypatch.setattr(
            gpu_check,
            "_ask",
            lambda request, answer=answer: gpu_check.Rows() if request.write_to else answer[1],
        )
        file = tmp_path / "x.json"
        monkeypatch.chdir(FOLDER)
        monkeypatch.setattr(sys, "argv", ["gpu_check", *map(str, ON_CPU), "--json", str(file)])
        assert gpu_check.main() == answer[0]
        assert json.loads(file.read_text())["device"] == "cpu"


def test_what_is_judged(gpu_check: ModuleType) -> None:
    image, code = np.zeros((1, 1, 4, 4, 3), np.uint8), np.full((1, 8), 5, np.float32)
    assert gpu_check._tolerance(image, "cpu", "fp32") == 1.0
    assert gpu_check._tolerance(image, "cuda:0", "tf32") == 4.0
    assert gpu_check._tolerance(code, "cpu", "fp32") == pytest.approx(5e-4)
    assert gpu_check._tolerance(code, "cuda:0", "fp16") is None
    assert gpu_check.largest_difference(image, image + 3) == 3.0
    assert gpu_check.largest_difference(image, image[:, 0]) is None
    assert gpu_check.largest_difference(code * np.float32("nan"), code) is None


@pytest.mark.slow
def test_a_checkpoint_of_another_model_is_refused(tiny_checkpoint: Path) -> None:
    done = run(*ON_CPU, "--checkpoint", tiny_checkpoint)
    assert done.returncode == 2
    assert "was not exported from --checkpoint" in done.stderr
