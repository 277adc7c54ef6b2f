"""`--engine auto`: the fastest installed engine that computes what the export promises."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from munit_edge.engines.gpu_presence import has_device_file
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


class Choice(NamedTuple):
    """An engine, and why it was taken."""

    name: EngineName
    reason: str = ""
    """In some words; "" if there was no other."""


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
        return Choice(_for_device(kind))
    if kind == "auto" and (name := _built_for_gpu(precision, options)) is not None:
        return Choice(name)
    able = fastest_on_cpu(precision)
    able = [name for name in able if set(options) <= ENGINE_FACTS[name].options] or able
    found = [name for name in able if is_installed(name)]
    if found:
        reason = f"fastest installed for {precision} on this CPU" if len(found) > 1 else ""
        return Choice(found[0], reason)
    if precision in ENGINE_FACTS["onnxruntime"].cpu_speed:
        return Choice("onnxruntime")  # its own error names the extra
    fixes = ["export the model with another --precision"]
    fixes[:0] = [f"for {ENGINE_FACTS[n].title} {ENGINE_FACTS[n].install}" for n in able[:1]]
    raise EngineError(
        f"{directory} is in {precision}, which no installed engine computes on this CPU: "
        f"{', '.join(fixes)}, or use --engine tensorrt on a machine with an NVIDIA GPU"
    )


def _built_for_gpu(precision: Precision, options: Collection[str]) -> EngineName | None:
    """An installed engine for NVIDIA's GPUs; None: there is none, or it would be of no use."""
    for name, facts in ENGINE_FACTS.items():
        if not facts.built_for_gpu or not set(options) <= facts.options or not is_installed(name):
            continue
        # Without a GPU it runs on the CPU.
        useful = precision in facts.cpu_speed or has_device_file()
        if useful and function(facts.built_for_gpu)():
            return name
    return None


def _for_device(kind: str) -> EngineName:
    """The first engine for a kind of device that builds no plans; for an unknown one the first."""
    for name, facts in ENGINE_FACTS.items():
        if kind in facts.devices and not facts.builds_plans:
            return name
    return "onnxruntime"
