"""The self-test on the shipped model, and on spoilt copies of it: it must be able to fail."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from doctor_reports import report_of
from PIL import Image

from munit_edge.doctor.examine import Report
from munit_edge.doctor.selftest import (
    FOLDER,
    Result,
    Trial,
    run_selftest,
    run_trial,
    trials,
)
from munit_edge.doctor.selftest_child import _model, expected_file, read_expected
from munit_edge.engines.probe import Answer, Facts, Subject, ask
from munit_edge.engines.table import ENGINE_FACTS
from munit_edge.export import model_directory
from munit_edge.export.options import ExportOptions
from munit_edge.model.precision import PRECISIONS, Precision

OUTPUTS = {
    *(f"{kind}_{d}" for kind in ("content_encoder", "style_encoder", "decoder") for d in "ab"),
    "a2b",
    "b2a",
}


def report(
    *usable: Subject,
    gpus: tuple[str, ...] = (),
    packages: tuple[str, ...] = (),
    version: str = "10.13",
) -> Report:
    """The report of a doctor that found just these backends (and "driver")."""
    facts = Facts(version=version, gpus=gpus)
    return report_of(
        (Answer(subject=s, installed=True, facts=facts) for s in usable),
        dict.fromkeys(packages, "1.0"),
    )


def spoil(folder: Path, name: str, by: float, precision: Precision = "fp32") -> Path:
    """A copy of the shipped model whose expected output `name` is off by `by` in one place."""
    shutil.copytree(FOLDER, folder)
    with np.load(folder / expected_file(precision)) as file:
        expected = dict(file)
    flat = expected[name].reshape(-1)
    flat[len(flat) // 2] += np.array(by).astype(flat.dtype)
    np.savez(folder / expected_file(precision), allow_pickle=False, **expected)
    return folder


def on_cpu(precision: Precision = "fp32", folder: Path = FOLDER) -> Result:
    """ONNX Runtime's trial on the CPU in one precision."""
    found = report("onnxruntime")
    name = f"onnxruntime cpu {precision}"
    (trial,) = (t for t in trials(found) if isinstance(t, Trial) and t.name == name)
    return run_trial(trial, folder)


def one(found: Report, name: str, folder: Path = FOLDER) -> Result:
    """The trial of that name among those for what was found."""
    (planned,) = (p for p in trials(found) if p.name == name)
    return planned if isinstance(planned, Result) else run_trial(planned, folder)


@pytest.mark.parametrize(
    "precision",
    [
        pytest.param("fp32", marks=pytest.mark.slow),
        "int8",
        pytest.param("fp8", marks=pytest.mark.slow),
    ],
)
def test_plans_are_built_without_a_gpu(precision: Precision) -> None:
    if ask("tensorrt-rtx").facts is None:
        pytest.skip("TensorRT-RTX is not installed")
    result = one(report("tensorrt-rtx"), f"tensorrt-rtx build {precision}")
    assert result.status == "ok", result.detail
    assert result.detail.startswith(f"{6 if precision == 'fp32' else 3} engines built in ")


def test_a_builder_that_fails_is_a_failure(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(FOLDER, folder)
    (folder / "model" / "decoder_a.onnx").write_bytes(b"nothing")
    result = one(report("tensorrt-rtx"), "tensorrt-rtx build fp32", folder)
    assert result.status == "failed"  # also where TensorRT-RTX turns out not to be there


def test_shipped_model_is_small() -> None:
    """As it is packed in a wheel."""
    contents = [path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()]
    assert len(contents) >= 25
    assert sum(len(zlib.compress(content)) for content in contents) < 200_000


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "fp8"])
def test_onnxruntime_passes(precision: Precision) -> None:
    result = on_cpu(precision)
    assert result.status == "ok", result.detail
    reduced = {"content_encoder_a", "style_encoder_b", "decoder_b", "a2b"}
    assert {check.name for check in result.checks} == (OUTPUTS if precision == "fp32" else reduced)
    assert all(check.latency.p50_ms > 0 for check in result.checks)
    times = [check.latency.p50_ms for check in result.checks if check.name in ("a2b", "b2a")]
    assert result.detail.endswith(f"takes {sum(times) / len(times):.2f} ms")


def test_a_precision_that_an_engine_lacks_is_no_failure() -> None:
    result = on_cpu("bf16")
    assert result.status == "not tested"
    assert "is in bf16, and ONNX Runtime has no bf16 convolutions on the CPU" in result.detail


def test_torch_passes() -> None:
    result = one(report("torch"), "torch cpu fp32")
    assert result.status == "ok", result.detail
    assert {check.name for check in result.checks} == OUTPUTS


def test_export_needs_its_packages() -> None:
    result = one(report("onnxruntime", "torch"), "export")
    assert (result.status, result.detail) == ("not tested", "not installed: onnx, onnxscript")


@pytest.mark.slow
def test_export_passes() -> None:
    found = report("onnxruntime", "torch", packages=("onnx", "onnxscript"))
    result = one(found, "export fp32")
    assert result.status == "ok", result.detail
    assert {check.name for check in result.checks} == OUTPUTS


def test_export_in_fp16_is_judged_by_the_shipped_images(
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
    assert _model(trial, FOLDER, tmp_path) == tmp_path / "model"
    (options,) = asked
    assert (options.precision, options.min_psnr) == ("fp16", 45)
    expected = read_expected(FOLDER)
    for domain, folder in zip("ab", options.calibration, strict=True):
        (image,) = folder.iterdir()
        assert np.array_equal(np.asarray(Image.open(image)), expected[f"image_{domain}"][0])


@pytest.mark.parametrize(
    ("precision", "name", "by"),
    [
        ("fp32", "decoder_b", 2),
        ("fp32", "style_encoder_a", 0.01),
        ("int8", "decoder_b", 20),
        ("fp8", "content_encoder_a", 0.5),
    ],
)
def test_a_wrong_output_fails_and_is_named(
    precision: Precision, name: str, by: float, tmp_path: Path
) -> None:
    result = on_cpu(precision, spoil(tmp_path / "spoilt", name, by, precision))
    assert result.status == "failed"
    assert result.detail.startswith(f"{name} differs by ")
    assert [check.name for check in result.checks if not check.passed] == [name]


def test_another_precision_is_not_what_is_expected_of_int8(tmp_path: Path) -> None:
    """The tolerance is narrow enough to notice a graph that is not quantised at all."""
    folder = tmp_path / "mixed"
    shutil.copytree(FOLDER, folder)
    shutil.rmtree(folder / "model_int8")
    shutil.copytree(folder / "model", folder / "model_int8")
    assert on_cpu("int8", folder).status == "failed"


def test_a_number_that_is_not_finite_fails(tmp_path: Path) -> None:
    folder = spoil(tmp_path / "spoilt", "content_encoder_a", float("nan"))
    tested = run_selftest(report("onnxruntime"), folder=folder)
    assert "onnxruntime cpu fp32" in {result.name for result in tested.failed}
    restored = type(tested).model_validate_json(tested.model_dump_json())
    assert restored == tested, "a report can be read again"


def test_a_damaged_graph_fails(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(FOLDER, folder)
    graph = folder / "model" / "decoder_a.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    result = on_cpu("fp32", folder)
    assert result.status == "failed"
    assert "is not the file that was exported" in result.detail


def test_an_engine_that_crashes_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = on_cpu()
    assert result.status == "failed"
    assert "SIGABRT" in result.detail


def names(engine: str, *precisions: str) -> list[str]:
    return [f"{engine} {precision}" for precision in precisions or PRECISIONS]


def test_trials_follow_what_was_found() -> None:
    planned = list(trials(report()))
    assert [p.name for p in planned][: len(ENGINE_FACTS)] == list(ENGINE_FACTS)
    assert all(isinstance(p, Result) for p in planned)
    found = report("onnxruntime", "torch", gpus=("H100",), packages=("onnx", "onnxscript"))
    assert [p.name for p in trials(found) if isinstance(p, Trial)] == [
        *names("onnxruntime cpu"),
        *names("onnxruntime cuda"),
        *names("torch cpu", "fp32"),
        *names("torch cuda", "fp32"),
        *names("export", "fp32", "fp16", "int8"),
    ]


@pytest.mark.parametrize(("version", "tried"), [("10.3.0", False), ("10.13.3", True)])
def test_bf16_is_not_asked_of_an_old_tensorrt(version: str, tried: bool) -> None:
    found = report("driver", "cuda-bindings", "tensorrt", gpus=("Orin (8.7)",), version=version)
    (planned,) = (p for p in trials(found) if p.name == "tensorrt cuda bf16")
    assert isinstance(planned, Trial) is tried
    if isinstance(planned, Result):
        assert planned.detail.startswith("TensorRT 10.3.0 is documented for opsets up to 20")


@pytest.mark.parametrize(
    ("gpu", "tried", "reason"),
    [
        ("NVIDIA H100 (9.0)", ["tensorrt"], "TensorRT-RTX is for RTX cards, not for NVIDIA H"),
        ("NVIDIA RTX 4090 (8.9)", ["tensorrt", "tensorrt-rtx"], None),
        ("", [], "there is no usable NVIDIA GPU"),
    ],
    ids=["server", "RTX", "none"],
)
def test_tensorrt_needs_its_gpu(gpu: str, tried: list[str], reason: str | None) -> None:
    found = report(
        "driver", "cuda-bindings", "tensorrt", "tensorrt-rtx", gpus=(gpu,) if gpu else ()
    )
    planned = list(trials(found))
    runs = [p for p in planned if isinstance(p, Trial) and p.task == "run"]
    assert [p.name for p in runs] == [n for engine in tried for n in names(f"{engine} cuda")]
    results = [p for p in planned if isinstance(p, Result) and p.name == "tensorrt-rtx"]
    if reason is None:
        assert not results
    else:
        assert [result.detail.startswith(reason) for result in results] == [True]


def test_tensorrt_without_cuda_bindings_is_not_tried() -> None:
    planned = {p.name: p for p in trials(report("driver", "tensorrt", gpus=("NVIDIA L4 (8.9)",)))}
    assert planned["tensorrt"] == Result(
        name="tensorrt", status="not tested", detail="cuda-bindings is not installed"
    )


def test_a_broken_backend_is_not_tried() -> None:
    found = report()
    broken = tuple(
        a.model_copy(update={"installed": True, "fault": "ImportError: x"}) for a in found.answers
    )
    planned = next(trials(found.model_copy(update={"answers": broken})))
    assert planned == Result(
        name="onnxruntime", status="not tested", detail="onnxruntime is broken, see above"
    )
