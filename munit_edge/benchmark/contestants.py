"""Who takes part in a benchmark: models on the engines and devices of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from munit_edge.benchmark.options import BenchmarkOptions
from munit_edge.benchmark.report import Subject
from munit_edge.doctor.examine import Report
from munit_edge.doctor.selftest import why_no_plans
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.table import ENGINE_FACTS, MODEL_ENGINES, EngineName
from munit_edge.errors import ConfigError, InputError
from munit_edge.files.paths import exists
from munit_edge.model.config import ModelConfig
from munit_edge.model.manifest import is_model_directory, read_manifest, reduced_precision
from munit_edge.settings import StrictModel


class Contestant(StrictModel):
    """A subject, and how to open it."""

    subject: Subject
    """Model, engine, device."""
    path: Path
    """Model directory or checkpoint."""
    cpu_precision: str | None = None
    """See `Translator.open`."""
    fault: str | None = None
    """Why it cannot be measured; None: no reason is known."""


def find_contestants(
    options: BenchmarkOptions, examined: Report
) -> tuple[list[Contestant], list[str]]:
    """What is measured on this machine, and notes on what is not.

    An engine that was named in the options and cannot be used is a contestant with a fault.

    Raises:
        ConfigError: an engine is unknown or has nothing to run.
        InputError, ModelError: a model cannot be read.
    """
    _check_engines(options)
    found: list[Contestant] = []
    left_out: dict[str, None] = {}
    for path, label in zip(options.models, _labels(options.models), strict=True):
        precision, engines = _kind(path)
        # torch takes checkpoints, the others model directories.
        for engine in engines:
            if options.engines and engine not in options.engines:
                continue
            devices, reason = _devices(engine, options.device, examined)
            if reason and not options.engines:
                left_out[f"{engine} is not measured: {reason}"] = None
            # Asked for by name: its row shows why it fails.
            elif reason:
                devices = [""]
            for device in devices:
                # Named only where the convolutions are in float32.
                rounded = options.tf32 and device.startswith("cuda") and precision == "fp32"
                subject = Subject(
                    model=label,
                    precision="tf32" if rounded else precision,
                    engine=engine,
                    device=device,
                )
                contestant = Contestant(subject=subject, path=path, fault=reason or None)
                found.append(contestant)
                if device == "cpu" and "cpu_precision" in ENGINE_FACTS[engine].options:
                    found += _in_cpu_precision(contestant, options)
    idle = [e for e in options.engines if e not in {c.subject.engine for c in found}]
    if idle:
        raise ConfigError(
            f"--engine {' and '.join(idle)} has nothing to run: torch takes a checkpoint or run "
            "folder, the other engines a model directory: name one of those, too"
        )
    if options.cpu_precision and not any(c.cpu_precision for c in found):
        raise ConfigError(
            f"--cpu-precision {options.cpu_precision} has nothing to run: name an fp32 model "
            "directory, and measure OpenVINO on the CPU"
        )
    if not found:
        raise ConfigError(f"no engine can run this: {'; '.join(left_out)}; see `munit-edge doctor`")
    return found, list(left_out)


def common_config(options: BenchmarkOptions, paths: Sequence[Path]) -> ModelConfig:
    """Configuration of the models, which must all have the same channels.

    Raises:
        ConfigError: they have not.
    """
    configs = {path: _config(path) for path in dict.fromkeys(paths)}
    (first, config), *others = configs.items()
    for path, other in others:
        if (other.channels_a, other.channels_b) != (config.channels_a, config.channels_b):
            raise ConfigError(
                f"{first} and {path} take images with different channels: measure them separately"
            )
    return config


def find_reference(options: BenchmarkOptions) -> Path | None:
    """The fp32 model directory that others are compared with; None: there is none.

    Raises:
        ConfigError: `options.reference` is in reduced precision.
        InputError, ModelError: a model cannot be read.
    """
    if options.reference is None:
        directories = [path for path in options.models if is_model_directory(path)]
        fp32 = (path for path in directories if reduced_precision(read_manifest(path)) == "fp32")
        return next(fp32, None)
    precision = reduced_precision(read_manifest(options.reference))
    if precision != "fp32":
        raise ConfigError(
            f"--reference {options.reference} is {precision}: name the fp32 model directory of the "
            "same checkpoint"
        )
    return options.reference


def _check_engines(options: BenchmarkOptions) -> None:
    for engine in options.engines:
        if engine not in ENGINE_FACTS:
            raise ConfigError(f"engine '{engine}' is not known: use {', '.join(ENGINE_FACTS)}")


def _kind(path: Path) -> tuple[str, tuple[EngineName, ...]]:
    """Precision of a model, and the engines that can run it."""
    if not exists(path):
        raise InputError(f"model {path} does not exist: name a model directory or a checkpoint")
    if not is_model_directory(path):
        return "fp32", tuple(name for name in ENGINE_FACTS if name not in MODEL_ENGINES)
    manifest = read_manifest(path)
    return reduced_precision(manifest), MODEL_ENGINES


def _devices(engine: EngineName, wanted: str, examined: Report) -> tuple[list[str], str]:
    """Devices on which an engine is measured, or why there is none."""
    answer = next((answer for answer in examined.answers if answer.subject == engine), None)
    if answer is None or not answer.installed:
        return [], f"{engine} is not installed"
    if answer.facts is None:
        return [], f"{engine} is broken: {answer.fault}"
    if ENGINE_FACTS[engine].builds_plans:
        if wanted == "cpu":
            return [], "it runs on GPUs only"
        reason = why_no_plans(examined, engine)
        return ([], reason) if reason else ([_gpu(wanted)], "")
    if wanted != "all":
        if wanted.partition(":")[0] not in ENGINE_FACTS[engine].devices:
            return [], f"it does not run on {wanted}"
        return [_gpu(wanted) if wanted == "cuda" else wanted], ""
    # A GPU build that cannot use this GPU is tried anyway: its row says why it fails.
    usable = answer.facts.gpus or answer.facts.gpu_fault
    return [*answer.facts.devices, *(["cuda:0"] if usable else [])], ""


def _gpu(wanted: str) -> str:
    return "cuda:0" if wanted in ("all", "cuda") else wanted


def _in_cpu_precision(plain: Contestant, options: BenchmarkOptions) -> list[Contestant]:
    """The same once more in the precision that the CPU is to compute in."""
    asked = options.cpu_precision
    if asked is None or plain.subject.precision != "fp32":
        return []
    subject = plain.subject.model_copy(update={"precision": f"fp32 in {asked}"})
    return [plain.model_copy(update={"subject": subject, "cpu_precision": asked})]


def _labels(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or the whole path if two would be equal."""
    names = [Path(os.path.realpath(path)).name for path in paths]
    return [
        str(path) if names.count(name) > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]


def _config(path: Path) -> ModelConfig:
    if is_model_directory(path):
        return read_manifest(path).model
    with open_graphs(path, "torch", "cpu") as graphs:
        return graphs.config
