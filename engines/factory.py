"""Opens the graphs of a model on a backend: the entry point of the engines."""

from __future__ import annotations

from pathlib import Path

from munit_edge.engines.automatic import Choice, choose_engine
from munit_edge.engines.base import GraphSet
from munit_edge.engines.devices import DEVICE_KINDS, KIND_WORDS, Device, device_names
from munit_edge.engines.gpu_presence import gpu_first
from munit_edge.engines.table import (
    ENGINE_FACTS,
    OPTIONS,
    EngineName,
    engines_with,
    function,
    is_installed,
)
from munit_edge.errors import ConfigError, InputError
from munit_edge.files.paths import exists, is_file, is_folder
from munit_edge.model.manifest import MANIFEST_FILE, is_model_directory


def open_graphs(
    path: Path,
    engine: str = "auto",
    device: str = "auto",
    *,
    tf32: bool = False,
    cuda_graph: bool = False,
    warm_up: bool = False,
    cpu_precision: str | None = None,
) -> GraphSet:
    """Open a model on a backend; graphs themselves are opened when first used.

    Args:
        path: model directory; for torch a checkpoint or run folder.
        engine: a name in `munit_edge.engines.table`, or "auto": torch for a checkpoint or run
            folder, else see `munit_edge.engines.automatic`.
        device: "cpu", "cuda", "cuda:N" or "auto"; with OpenVINO also "gpu", "gpu:N" and "npu".
        tf32: see `munit_edge.engines.devices.Device`; GPUs only.
        cuda_graph: see `munit_edge.engines.tensorrt.runner.TensorRTRunner`; TensorRT only.
        warm_up: see `munit_edge.engines.tensorrt.runner.open_tensorrt`; TensorRT only.
        cpu_precision: see `munit_edge.engines.openvino.runner.open_openvino`; OpenVINO only.

    Raises:
        ConfigError: the engine or device is unknown, or they do not go together, or one of them
            does not have an option.
        InputError: there is no model at `path`.
        ModelError: the model is damaged.
        EngineError: the backend is not installed, or cannot use the device.
    """
    asked = _name(engine)
    if not exists(path):
        raise InputError(
            f"model {path} does not exist: name a model directory (`munit-edge export onnx` makes "
            "one)"
        )
    options = {
        "tf32": tf32,
        "cuda_graph": cuda_graph,
        "warm_up": warm_up,
        "cpu_precision": cpu_precision,
    }
    wanted = [option for option, value in options.items() if value]
    choice = Choice(asked) if asked else _automatic(path, device, wanted)
    name, facts = choice.name, ENGINE_FACTS[choice.name]
    _check_device(device, name, any_engine=asked is None)
    for option in wanted:
        if option not in facts.options:
            able = engines_with(option)
            # Those that run this model, if any does.
            others = [n for n in able if ENGINE_FACTS[n].checkpoints == facts.checkpoints] or able
            fix = "" if any(map(is_installed, others)) else f" ({ENGINE_FACTS[others[0]].install})"
            raise ConfigError(
                f"engine {name} does not support {OPTIONS[option]}: leave it out, or use "
                f"--engine {' or '.join(others)}{fix}"
            )
    # Where the GPU is missing, report that rather than a missing package.
    with gpu_first("cpu" not in facts.devices or device.startswith("cuda")):
        opener = function(facts.opener)
        graphs: GraphSet = opener(path, device, **{key: options[key] for key in facts.options})
    graphs.reason = choice.reason
    return graphs


def _check_device(device: str, name: EngineName, *, any_engine: bool) -> None:
    """Check that an engine has such devices, whether or not this machine has one.

    Args:
        device: as `open_graphs` takes it.
        name: the engine.
        any_engine: the user left the engine to us: a message lists the devices of all.

    Raises:
        ConfigError: only other engines have them, or none.
    """
    if device == "auto":
        return
    facts = ENGINE_FACTS[name]
    kind = next((kind for kind in DEVICE_KINDS if kind == device.partition(":")[0]), None)
    if kind is None or kind in facts.devices:
        Device.parse(device, kinds=DEVICE_KINDS if any_engine and not kind else facts.devices)
        return
    others = [
        f"{other}{'' if is_installed(other) else f' ({row.install})'}"
        for other, row in ENGINE_FACTS.items()
        if kind in row.devices and row.checkpoints == facts.checkpoints
    ]
    # A checkpoint has one engine.
    other = f"--engine {' or '.join(others)}" if others else "export the model for another engine"
    raise ConfigError(
        f"device '{device}' is {KIND_WORDS[kind]}, which engine {name} does not run on: use "
        f"--device {device_names(facts.devices)}, or {other}"
    )


def _automatic(path: Path, device: str, wanted: list[str]) -> Choice:
    if _looks_like_checkpoint(path):
        return Choice("torch")
    return choose_engine(path, device, wanted)


def _name(engine: str) -> EngineName | None:
    """The engine of this name; None: "auto"."""
    if engine == "auto":
        return None
    for name in ENGINE_FACTS:
        if name == engine:
            return name
    raise ConfigError(f"engine '{engine}' is unknown: use {', '.join(['auto', *ENGINE_FACTS])}")


def _looks_like_checkpoint(path: Path) -> bool:
    if is_model_directory(path):
        return False
    if is_file(path / "checkpoint.json") or is_folder(path / "checkpoints"):
        return True
    raise InputError(
        f"{path} is neither a model directory (with {MANIFEST_FILE}) nor a checkpoint or run "
        "folder: make one with `munit-edge export onnx` or `munit-edge train`"
    )
