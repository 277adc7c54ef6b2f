"""Which engines and devices a benchmark measures, from what the doctor found."""

from __future__ import annotations

from pathlib import Path

import pytest
from doctor_reports import report_of
from pydantic import ValidationError

from munit_edge.benchmark.contestants import find_contestants
from munit_edge.benchmark.options import BenchmarkOptions
from munit_edge.doctor import examine as doctor
from munit_edge.engines.probe import SUBJECTS, Answer, Facts


def report(**devices: tuple[str, ...]) -> doctor.Report:
    """A report in which these engines are installed, each with these devices."""
    return report_of(
        Answer(subject=s, installed=True, facts=Facts(version="1", devices=devices[s]))
        for s in SUBJECTS
        if s in devices
    )


def measured(options: BenchmarkOptions, examined: doctor.Report) -> list[tuple[str, str, str]]:
    found, _ = find_contestants(options, examined)
    return [(c.subject.engine, c.subject.device, c.subject.precision) for c in found if not c.fault]


def test_every_device_of_every_engine(tiny_model: Path) -> None:
    examined = report(onnxruntime=("cpu",), openvino=("cpu", "gpu:0", "npu"))
    assert measured(BenchmarkOptions(models=(tiny_model,)), examined) == [
        ("onnxruntime", "cpu", "fp32"),
        ("openvino", "cpu", "fp32"),
        ("openvino", "gpu:0", "fp32"),
        ("openvino", "npu", "fp32"),
    ]


def test_a_device_is_measured_by_the_engines_that_have_it(tiny_model: Path) -> None:
    examined = report(onnxruntime=("cpu",), openvino=("cpu", "npu"))
    options = BenchmarkOptions(models=(tiny_model,), device="npu")
    assert measured(options, examined) == [("openvino", "npu", "fp32")]
    _, left_out = find_contestants(options, examined)
    assert "onnxruntime is not measured: it does not run on npu" in left_out


def test_another_precision_on_the_cpu_is_measured_besides(tiny_model: Path) -> None:
    examined = report(onnxruntime=("cpu",), openvino=("cpu", "npu"))
    options = BenchmarkOptions(models=(tiny_model,), cpu_precision="bf16")
    assert measured(options, examined) == [
        ("onnxruntime", "cpu", "fp32"),
        ("openvino", "cpu", "fp32"),
        ("openvino", "cpu", "fp32 in bf16"),
        ("openvino", "npu", "fp32"),
    ]
    found, _ = find_contestants(options, examined)
    assert [c.cpu_precision for c in found] == [None, None, "bf16", None]


def test_an_unknown_device_names_the_known_ones(tiny_model: Path) -> None:
    with pytest.raises(ValidationError, match="use all, cpu, cuda, cuda:N, or in OpenVINO gpu"):
        BenchmarkOptions(models=(tiny_model,), device="tpu")
