"""The self-test on the shipped model, and on spoilt copies of it: it must be able to fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from munit_edge import selftest
from munit_edge.doctor import CacheFacts, Report
from munit_edge.engines.probe import SUBJECTS, Answer, Facts, Subject, ask
from munit_edge.export import model_directory
from munit_edge.export.options import ExportOptions
from munit_edge.machine import look_at_machine
from munit_edge.selftest import EXPECTED_FILE, FOLDER, Result, Trial, plan, run_selftest

OUTPUTS = {
    *(f"{kind}_{d}" for kind in ("content_encoder", "style_encoder", "decoder") for d in "ab"),
    "a2b",
    "b2a",
}


def report(*usable: Subject, gpus: tuple[str, ...] = (), packages: tuple[str, ...] = ()) -> Report:
    """What a doctor says who found just these backends (and "driver")."""
    facts = Facts(version="1.0", gpus=gpus)
    return Report(
        created="2026-01-01T00:00:00+00:00",
        munit_edge="0",
        machine=look_at_machine(),
        answers=tuple(
            Answer(subject=s, installed=s in usable, facts=facts if s in usable else None)
            for s in SUBJECTS
        ),
        packages=dict.fromkeys(packages, "1.0"),
        cache=CacheFacts(folder="/c"),
        findings=(),
    )


def spoil(folder: Path, name: str, by: float) -> Path:
    """A copy of the shipped model whose expected output `name` is off by `by` in one place."""
    shutil.copytree(FOLDER, folder)
    with np.load(folder / EXPECTED_FILE) as file:
        expected = dict(file)
    flat = expected[name].reshape(-1)
    flat[len(flat) // 2] += np.array(by).astype(flat.dtype)
    np.savez(folder / EXPECTED_FILE, allow_pickle=False, **expected)
    return folder


def one(found: Report, folder: Path = FOLDER) -> dict[str, Result]:
    return {result.name: result for result in run_selftest(found, folder=folder).results}


def test_plans_are_built_without_a_gpu() -> None:
    if ask("tensorrt-rtx").facts is None:
        pytest.skip("TensorRT-RTX is not installed")
    result = one(report("tensorrt-rtx"))["tensorrt-rtx build"]
    assert result.status == "ok", result.detail
    assert result.detail.startswith("6 plans built in ")


def test_a_builder_that_fails_is_a_failure(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(FOLDER, folder)
    (folder / "model" / "decoder_a.onnx").write_bytes(b"nothing")
    result = one(report("tensorrt-rtx"), folder)["tensorrt-rtx build"]
    assert result.status == "failed"  # also where TensorRT-RTX turns out not to be there


def test_shipped_model_is_small() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert len(files) >= 11
    assert sum(path.stat().st_size for path in files) < 200_000


def test_onnxruntime_and_torch_pass() -> None:
    results = one(report("onnxruntime", "torch"))
    for name in ("onnxruntime cpu", "torch cpu"):
        assert results[name].status == "ok", results[name].detail
        assert {check.name for check in results[name].checks} == OUTPUTS
        assert all(check.latency.p50_ms > 0 for check in results[name].checks)
    assert results["export"].status == "not tested"
    assert results["export"].detail == "not installed: onnx, onnxscript"


def test_export_passes() -> None:
    found = report("onnxruntime", "torch", packages=("onnx", "onnxscript"))
    (trial,) = (t for t in plan(found) if t.name == "export fp32")
    assert isinstance(trial, Trial)
    result = selftest._run(trial, FOLDER)
    assert result.status == "ok", result.detail
    assert {check.name for check in result.checks} == OUTPUTS


def test_export_in_fp16_is_judged_by_the_shipped_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export itself takes half a minute, and tests/export runs it."""
    asked: list[ExportOptions] = []
    monkeypatch.setattr(
        model_directory, "export_model", lambda source, target, options: asked.append(options)
    )
    trial = Trial(
        name="export fp16", engine="onnxruntime", device="cpu", task="export", precision="fp16"
    )
    assert selftest._model(trial, FOLDER, tmp_path) == tmp_path / "model"
    (options,) = asked
    assert (options.precision, options.min_psnr) == ("fp16", 45)
    expected = np.load(FOLDER / EXPECTED_FILE)
    for domain, folder in zip("ab", options.calibration, strict=True):
        (picture,) = folder.iterdir()
        assert np.array_equal(np.asarray(Image.open(picture)), expected[f"image_{domain}"][0])


@pytest.mark.parametrize(("name", "by"), [("decoder_b", 2), ("style_encoder_a", 0.01)])
def test_a_wrong_output_fails_and_is_named(tmp_path: Path, name: str, by: float) -> None:
    tested = run_selftest(report("onnxruntime"), folder=spoil(tmp_path / "spoilt", name, by))
    (failed,) = tested.failed
    assert failed.name == "onnxruntime cpu"
    assert failed.detail.startswith(f"{name} differs by ")
    assert [check.name for check in failed.checks if not check.passed] == [name]


def test_a_number_that_is_not_finite_fails(tmp_path: Path) -> None:
    folder = spoil(tmp_path / "spoilt", "content_encoder_a", float("nan"))
    tested = run_selftest(report("onnxruntime"), folder=folder)
    assert [result.name for result in tested.failed] == ["onnxruntime cpu"]
    restored = type(tested).model_validate_json(tested.model_dump_json())
    assert restored == tested, "a report can be read again"


def test_a_damaged_graph_fails(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(FOLDER, folder)
    graph = folder / "model" / "decoder_a.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    result = one(report("onnxruntime"), folder)["onnxruntime cpu"]
    assert result.status == "failed"
    assert "is not the file that was exported" in result.detail


def test_an_engine_that_crashes_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = one(report("onnxruntime"))["onnxruntime cpu"]
    assert result.status == "failed"
    assert "SIGABRT" in result.detail


def test_plan_follows_what_was_found() -> None:
    names = [planned.name for planned in plan(report())]
    assert names[:2] == ["onnxruntime", "torch"]
    assert all(isinstance(planned, Result) for planned in plan(report()))
    found = report("onnxruntime", "torch", gpus=("H100",), packages=("onnx", "onnxscript"))
    tried = [planned.name for planned in plan(found) if isinstance(planned, Trial)]
    exports = ["export fp32", "export fp16"]
    assert tried == ["onnxruntime cpu", "onnxruntime cuda", "torch cpu", "torch cuda", *exports]


@pytest.mark.parametrize(
    ("gpu", "tried", "reason"),
    [
        ("NVIDIA H100 (9.0)", ["tensorrt cuda"], "TensorRT-RTX is for RTX cards, not for NVIDIA H"),
        ("NVIDIA RTX 4090 (8.9)", ["tensorrt cuda", "tensorrt-rtx cuda"], None),
        ("", [], "there is no NVIDIA GPU that can be used"),
    ],
    ids=["server", "RTX", "none"],
)
def test_tensorrt_needs_its_gpu(gpu: str, tried: list[str], reason: str | None) -> None:
    found = report(
        "driver", "cuda-bindings", "tensorrt", "tensorrt-rtx", gpus=(gpu,) if gpu else ()
    )
    planned = list(plan(found))
    assert [p.name for p in planned if isinstance(p, Trial) and p.task == "run"] == tried
    (told,) = {p.detail for p in planned if isinstance(p, Result) and p.name == "tensorrt-rtx"} or {
        None
    }
    assert (told is None) if reason is None else told is not None and told.startswith(reason)


def test_tensorrt_without_cuda_bindings_is_not_tried() -> None:
    planned = {p.name: p for p in plan(report("driver", "tensorrt", gpus=("NVIDIA L4 (8.9)",)))}
    assert planned["tensorrt"] == Result(
        name="tensorrt", status="not tested", detail="cuda-bindings is not installed"
    )


def test_a_broken_backend_is_not_tried() -> None:
    found = report()
    broken = tuple(
        a.model_copy(update={"installed": True, "fault": "ImportError: x"}) for a in found.answers
    )
    planned = next(plan(found.model_copy(update={"answers": broken})))
    assert planned == Result(
        name="onnxruntime", status="not tested", detail="onnxruntime is broken, see above"
    )
