"""Opens the graphs of a model on a backend: the entry point of the engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from munit_edge.engines.base import GraphSet
from munit_edge.engines.gpu_presence import gpu_first
from munit_edge.errors import ConfigError, InputError
from munit_edge.files.paths import exists, is_file, is_folder
from munit_edge.model.manifest import MANIFEST_FILE, is_model_directory

if TYPE_CHECKING:
    from munit_edge.engines.tensorrt.api import Flavour

Engine = Literal["auto", "onnxruntime", "tensorrt", "tensorrt-rtx", "torch"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
_GPU_ENGINES = ("tensorrt", "tensorrt-rtx")


def open_graphs(
    path: Path,
    engine: str = "auto",
    device: str = "auto",
    *,
    tf32: bool = False,
    cuda_graph: bool = False,
    warm_up: bool = False,
) -> GraphSet:
    """Open a model on a backend; graphs themselves are opened when first used.

    Args:
        path: model directory; for torch a checkpoint or run folder.
        engine: one of `ENGINES`. "auto" takes ONNX Runtime for a model directory and torch for a
            checkpoint or run folder. TensorRT is taken only by name, since it may have to build its
            engines first, which takes minutes.
        device: "cpu", "cuda", "cuda:N" or "auto".
        tf32: see `munit_edge.engines.devices.Device`; GPUs only.
        cuda_graph: see `munit_edge.engines.tensorrt.runner.TensorRTRunner`; TensorRT only.
        warm_up: see `munit_edge.engines.tensorrt.runner.open_tensorrt`; TensorRT only.

    Raises:
        ConfigError: the engine or device is unknown, or one of them does not have an option.
        InputError: there is no model at `path`.
        ModelError: the model is damaged.
        EngineError: the backend is not installed, or cannot use the device.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine '{engine}' is unknown: use {', '.join(ENGINES)}")
    if not exists(path):
        raise InputError(
            f"model {path} does not exist: name a model directory (`munit-edge export onnx` makes "
            "one)"
        )
    if engine == "auto":
        engine = "torch" if _looks_like_checkpoint(path) else "onnxruntime"
    # Where the GPU is missing, report that rather than a missing package.
    with gpu_first(engine in _GPU_ENGINES or device.startswith("cuda")):
        return _open(path, engine, device, tf32=tf32, cuda_graph=cuda_graph, warm_up=warm_up)


def _open(
    path: Path, engine: str, device: str, *, tf32: bool, cuda_graph: bool, warm_up: bool
) -> GraphSet:
    if engine in ("tensorrt", "tensorrt-rtx"):
        from munit_edge.engines.tensorrt.runner import open_tensorrt

        flavour: Flavour = "tensorrt" if engine == "tensorrt" else "tensorrt-rtx"
        return open_tensorrt(
            path, device, flavour, tf32=tf32, cuda_graph=cuda_graph, warm_up=warm_up
        )
    if cuda_graph or warm_up:
        option = "a CUDA graph" if cuda_graph else "a warm-up"
        raise ConfigError(
            f"engine {engine} does not support {option}: leave it out, or use --engine tensorrt"
        )
    return _opener(engine)(path, device, tf32=tf32)


class _Opener(Protocol):
    def __call__(self, path: Path, device: str, /, *, tf32: bool) -> GraphSet:
        """Open a model on a device."""


def _opener(engine: str) -> _Opener:
    if engine == "torch":
        from munit_edge.engines.torch.runner import open_torch

        return open_torch
    from munit_edge.engines.onnxruntime.runner import open_onnxruntime

    return open_onnxruntime


def _looks_like_checkpoint(path: Path) -> bool:
    if is_model_directory(path):
        return False
    if is_file(path / "checkpoint.json") or is_folder(path / "checkpoints"):
        return True
    raise InputError(
        f"{path} is neither a model directory (with {MANIFEST_FILE}) nor a checkpoint or run "
        "folder: make one with `munit-edge export onnx` or `munit-edge train`"
    )
