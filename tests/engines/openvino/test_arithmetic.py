"""What OpenVINO is told to compute in, and what is refused; nothing is computed here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from munit_edge.doctor.selftest import FOLDER, graphs_folder
from munit_edge.engines.devices import DeviceKind
from munit_edge.engines.openvino import arithmetic
from munit_edge.engines.openvino.arithmetic import CpuPrecision, check_cpu_precision, choose
from munit_edge.errors import ConfigError, UnsupportedGraphError
from munit_edge.model.manifest import GraphEntry, read_manifest
from munit_edge.model.precision import Precision

OLD_CPU = {"FP32", "INT8"}
BF16_CPU = {"FP32", "BF16", "INT8"}
ARM_CPU = {"FP32", "FP16", "INT8"}
NPU = {"FP16", "INT8"}


def entry(precision: Precision) -> GraphEntry:
    manifest = read_manifest(FOLDER / graphs_folder(precision))
    return manifest.graph("decoder", "b")


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "cpu_features", lambda: frozenset({"avx512_vnni"}))


@pytest.mark.usefixtures("vnni")
@pytest.mark.parametrize(
    ("precision", "capabilities", "kind", "asked", "expected"),
    [
        ("fp32", BF16_CPU, "cpu", None, "f32"),  # OpenVINO's own choice is bf16
        ("fp32", ARM_CPU, "cpu", None, "f32"),  # and here f16
        ("bf16", BF16_CPU, "cpu", None, "bf16"),
        ("fp16", BF16_CPU, "cpu", None, "f32"),
        ("fp16", ARM_CPU, "cpu", None, "f32"),  # norms overflow in f16
        ("int8", BF16_CPU, "cpu", None, "f32"),
        ("int8", NPU, "npu", None, "f16"),
        ("fp16", NPU, "npu", None, "f16"),
        ("fp32", BF16_CPU, "cpu", "bf16", "bf16"),
        ("int8", BF16_CPU, "cpu", "bf16", "bf16"),
        ("bf16", BF16_CPU, "cpu", "bf16", "bf16"),
        ("fp16", ARM_CPU, "cpu", "fp32", "f32"),
    ],
)
def test_the_export_decides_unless_the_user_does(
    precision: Precision,
    capabilities: Collection[str],
    kind: DeviceKind,
    asked: CpuPrecision | None,
    expected: str,
) -> None:
    assert choose(entry(precision), kind, capabilities, asked) == expected


@pytest.mark.usefixtures("vnni")
@pytest.mark.parametrize(
    ("precision", "capabilities", "kind", "asked", "message"),
    [
        ("bf16", OLD_CPU, "cpu", None, "in bf16, which this CPU does not .*it has FP32, INT8"),
        ("bf16", OLD_CPU, "cpu", None, "another engine, .* --precision fp32, fp16 or int8$"),
        ("fp32", NPU, "npu", None, "in fp32, which this NPU does not compute.*fp16 or int8$"),
        ("fp16", {"BF16", "INT8"}, "npu", None, "in fp16, which this NPU .* --precision bf16$"),
        ("fp16", {"INT8"}, "npu", None, r"in fp16, which .*\(it has INT8\): use another engine$"),
        ("fp8", BF16_CPU, "cpu", None, "in fp8, .* exactly: .*fp32, fp16, bf16 or int8$"),
        ("fp8", NPU, "npu", None, "in fp8, .* --precision fp16 or int8$"),
        ("fp8", BF16_CPU, "cpu", "bf16", "in fp8"),
        ("fp32", OLD_CPU, "cpu", "bf16", "this CPU does not compute in bf16"),
        ("bf16", BF16_CPU, "cpu", "fp32", "in bf16 and cannot compute in fp32.*leave the CPU"),
        ("bf16", OLD_CPU, "cpu", "fp32", "in bf16 and cannot compute .*: use the fp32 export$"),
    ],
)
def test_what_cannot_be_computed_as_promised_is_refused(
    precision: Precision,
    capabilities: Collection[str],
    kind: DeviceKind,
    asked: CpuPrecision | None,
    message: str,
) -> None:
    with pytest.raises(UnsupportedGraphError, match=message):
        choose(entry(precision), kind, capabilities, asked)


@pytest.mark.parametrize(
    ("machine", "features", "refused"),
    [
        ("x86_64", {"avx512f"}, True),
        ("x86_64", {"avx2", "avx_vnni"}, False),
        ("AMD64", frozenset(), True),  # not Linux: nothing is known
        ("aarch64", {"asimddp"}, False),
    ],
)
def test_int8_needs_sums_of_32_bits(
    machine: str, features: Any, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic.platform, "machine", lambda: machine)
    monkeypatch.setattr(arithmetic, "cpu_features", lambda: frozenset(features))
    if not refused:
        assert choose(entry("int8"), "cpu", OLD_CPU) == "f32"
        return
    with pytest.raises(
        UnsupportedGraphError, match=r"only on x86 CPUs with VNNI.*--precision fp32 or fp16$"
    ):
        choose(entry("int8"), "cpu", OLD_CPU)


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ("fp64", "cpu", "CPU precision 'fp64' is unknown: use fp32, bf16$"),
        ("fp16", "cpu", "CPU precision 'fp16' is unknown: use fp32, bf16$"),
        ("bf16", "gpu", "is for CPUs, and the device is 'gpu'"),
    ],
)
def test_bad_cpu_precision(asked: str, kind: DeviceKind, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_cpu_precision(asked, kind)
