"""`--engine auto`: the fastest installed engine that computes what the export promises."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from munit_edge.engines.table import (
    ENGINE_FACTS,
    EngineName,
    fastest_on_cpu,
    function,
    is_installed,
)
from munit_edge.errors import EngineError
from munit_edge.model.manifest import read_manifest, reduced_precision
from munit_edge.model.precision import Precision

WORTH_A_HINT = 1.3
"""How many times faster an engine must be for its installation to be suggested."""


class Choice(NamedTuple):
    """An engine, and why it was taken."""

    name: EngineName
    reason: str = ""
    """In some words; "" if there was no other."""
    hint: str = ""
    """What the user could install to be faster; "" if that is little."""


def choose_engine(directory: Path, device: str, options: Collection[str] = ()) -> Choice:
    """The engine for a model directory.

    TensorRT is never taken, since it may have to build its engines first, which takes minutes.

    Args:
        directory: the model directory.
        device: as `munit_edge.engines.factory.open_graphs` takes it.
        options: those of `munit_edge.engines.table.OPTIONS` that it must have.

    Raises:
        InputError, ModelError: see `munit_edge.model.manifest.read_manifest`.
        EngineError: none that is installed computes the model's precision on a CPU.
    """
    precision = reduced_precision(read_manifest(directory))
    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu"):
        return Choice(_for_device(kind), f"it runs on {kind}")
    if kind == "auto":
        for name, facts in ENGINE_FACTS.items():
            if facts.built_for_gpu and is_installed(name) and function(facts.built_for_gpu)():
                return Choice(name, "its build is for GPUs")
    able = fastest_on_cpu(precision)
    able = [name for name in able if set(options) <= ENGINE_FACTS[name].options] or able
    found = [name for name in able if is_installed(name)]
    if found:
        reason = f"fastest installed for {precision} on this CPU" if len(found) > 1 else ""
        return Choice(found[0], reason, _hint(found[0], able[0], precision))
    if precision not in ENGINE_FACTS["onnxruntime"].lacks["cpu"]:
        return Choice("onnxruntime")  # its own error names the extra
    facts = ENGINE_FACTS[able[0]]
    raise EngineError(
        f"{directory} is in {precision}, which no installed engine computes on a CPU: for "
        f"{facts.title} {facts.install}, use --engine tensorrt on a machine with an NVIDIA GPU, or "
        "export the model with another --precision"
    )


def _for_device(kind: str) -> EngineName:
    """The first engine for a kind of device that builds no plans; for an unknown one the first."""
    for name, facts in ENGINE_FACTS.items():
        if kind in facts.devices and not facts.builds_plans:
            return name
    return "onnxruntime"


def _hint(name: EngineName, best: EngineName, precision: Precision) -> str:
    facts = ENGINE_FACTS[best]
    factor = facts.cpu_speed[precision] / ENGINE_FACTS[name].cpu_speed[precision]
    if factor < WORTH_A_HINT:
        return ""
    return f"{facts.title} is about {factor:.1f} times as fast in {precision}: {facts.install}"
