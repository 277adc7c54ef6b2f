"""Which type OpenVINO computes in: that of the export, where the device has it, and no other.

Left to itself OpenVINO computes float32 graphs in bfloat16 or float16 where the CPU has them, and
silently takes another type for one that it has not. Here the type is always named, and what a
device cannot compute as the export promises is an error.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from typing import Literal, get_args

from munit_edge.engines.devices import DeviceKind
from munit_edge.errors import ConfigError, UnsupportedGraphError
from munit_edge.model.manifest import GraphEntry
from munit_edge.model.precision import Precision
from munit_edge.system.cpu_features import cpu_features

CpuPrecision = Literal["fp32", "bf16"]
"""What a CPU computes in instead of what the export promises."""
CPU_PRECISIONS: tuple[CpuPrecision, ...] = get_args(CpuPrecision)

Hint = Literal["f32", "bf16", "f16"]
"""A type as OpenVINO names it."""

_HINTS: dict[CpuPrecision, Hint] = {"fp32": "f32", "bf16": "bf16"}
_CAPABILITY: dict[Hint, str] = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}

_HINTS_OF: dict[Precision, tuple[Hint, ...]] = {
    "fp32": ("f32",),
    # In f16 OpenVINO rounds the norms too, whatever type the graph gives them: a layer norm over
    # more than 65504 values divides by infinity. At 64 x 64 pixels and width 16 decoders were off
    # by 237 levels on a CPU with AVX-512 FP16, at 60 x 60 by 1. In f32 only memory is saved.
    "fp16": ("f32", "f16"),
    "bf16": ("bf16",),
    "int8": ("f32", "f16"),  # what is not quantised: NPUs have no float32
}
"""The types that keep what an export promises, the best first; none for fp8."""

_BF16 = ("avx512_bf16", "amx_bf16", "avx_ne_convert")
"""Instructions of x86 for bfloat16 that OpenVINO uses, by Linux's names."""
_VNNI = ("avx512_vnni", "avx_vnni")
"""Instructions of x86 that sum products of 8-bit integers in 32 bits, by Linux's names."""


def check_cpu_precision(cpu_precision: str | None, kind: DeviceKind) -> None:
    """Check an option before anything is opened; None: it was not given.

    Raises:
        ConfigError: it is unknown, or the device is no CPU.
    """
    if cpu_precision is None:
        return
    if cpu_precision not in CPU_PRECISIONS:
        raise ConfigError(
            f"CPU precision '{cpu_precision}' is unknown: use {', '.join(CPU_PRECISIONS)}"
        )
    if kind != "cpu":
        raise ConfigError(
            f"CPU precision {cpu_precision} is for CPUs, and the device is '{kind}': leave it out, "
            "or use --device cpu"
        )


def choose(
    entry: GraphEntry,
    kind: DeviceKind,
    capabilities: Collection[str],
    cpu_precision: CpuPrecision | None = None,
) -> Hint:
    """The type to compute a graph in.

    Args:
        entry: the graph.
        kind: what it runs on.
        capabilities: types of the device, as OpenVINO lists them.
        cpu_precision: what the user asked for; None: what the export promises.

    Raises:
        UnsupportedGraphError: the device does not compute as the export promises, or not in what
            was asked for.
    """
    _check_eight_bits(entry, kind, capabilities)
    if cpu_precision is not None:
        return _asked_for(entry, capabilities, cpu_precision)
    for hint in _HINTS_OF[entry.precision]:
        if _CAPABILITY[hint] in capabilities:
            return hint
    raise UnsupportedGraphError(
        f"graph {entry.name} is in {entry.precision}, which this {_called(kind)} does not compute "
        f"({_listed(capabilities)}): use another engine{_other_exports(kind, capabilities)}"
    )


def _asked_for(entry: GraphEntry, capabilities: Collection[str], asked: CpuPrecision) -> Hint:
    hint = _HINTS[asked]
    if entry.precision == "bf16" and asked != "bf16":
        # Its file says bfloat16 for each convolution: OpenVINO computes them so in any case.
        other = ", or leave the CPU precision out" if "BF16" in capabilities else ""
        raise UnsupportedGraphError(
            f"graph {entry.name} was exported in bf16 and cannot compute in {asked}: use the fp32 "
            f"export{other}"
        )
    if _CAPABILITY[hint] not in capabilities:
        raise UnsupportedGraphError(
            f"this CPU does not compute in {asked} ({_listed(capabilities)}): leave the CPU "
            "precision out"
        )
    return hint


def _check_eight_bits(entry: GraphEntry, kind: DeviceKind, capabilities: Collection[str]) -> None:
    if entry.precision == "fp8":
        # It emulates them, and rounds differently: content codes were off by 2.5 % on average.
        raise UnsupportedGraphError(
            f"graph {entry.name} is in fp8, which OpenVINO does not compute exactly: use --engine "
            f"onnxruntime or tensorrt{_other_exports(kind, capabilities)}"
        )
    if kind == "cpu" and entry.precision == "int8" and "int8" in lacks_here():
        raise UnsupportedGraphError(
            f"graph {entry.name} is in int8, which OpenVINO computes exactly only on x86 CPUs with "
            "VNNI, and this one has none: use --engine onnxruntime"
            f"{_other_exports(kind, capabilities)}"
        )


def _other_exports(kind: DeviceKind, capabilities: Collection[str]) -> str:
    """The end of a message: which exports this device does compute as they promise."""
    inexact = kind == "cpu" and "int8" in lacks_here()
    able = [
        precision
        for precision, hints in _HINTS_OF.items()
        if any(_CAPABILITY[hint] in capabilities for hint in hints)
        and (precision != "int8" or ("INT8" in capabilities and not inexact))
    ]
    if not able:
        return ""
    listed = " or ".join(filter(None, (", ".join(able[:-1]), able[-1])))
    return f", or export the model with --precision {listed}"


def lacks_here() -> frozenset[Precision]:
    """Precisions that OpenVINO does not compute exactly on this CPU, though it does on others."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return frozenset()
    lacks: set[Precision] = set()
    if cpu_features().isdisjoint(_BF16):
        lacks.add("bf16")
    # Without VNNI pairs of products are summed in 16 bits, which overflow: content codes were off
    # by 16 % on average.
    if cpu_features().isdisjoint(_VNNI):
        lacks.add("int8")
    return frozenset(lacks)


def _called(kind: DeviceKind) -> str:
    return {"cpu": "CPU", "gpu": "GPU", "npu": "NPU"}.get(kind, kind)


def _listed(capabilities: Collection[str]) -> str:
    names = [name for name in ("FP32", "BF16", "FP16", "INT8") if name in capabilities]
    return f"it has {', '.join(names)}"
