"""Whether there is a GPU at all: asked before anything is named that would have to be installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from munit_edge.engines.probe import ask
from munit_edge.errors import EngineError

NO_DRIVER_HINT = (
    "install NVIDIA's driver (on a Jetson it comes with JetPack; in a container pass "
    "`--gpus all` or `--runtime nvidia`); `translate --engine onnxruntime --device cpu` needs none"
)
NO_GPU_HINT = (
    "check `nvidia-smi` and CUDA_VISIBLE_DEVICES; `translate --engine onnxruntime --device cpu` "
    "needs none"
)


def require_gpu() -> None:
    """Make sure that the driver finds a GPU; needs no package, and takes a new process.

    For the way to an error alone: a package that is missing is not worth installing without a GPU.

    Raises:
        EngineError: there is no NVIDIA driver, or it finds no GPU.
    """
    driver = ask("driver")
    if not driver.installed:
        raise EngineError(f"there is no usable NVIDIA driver: {NO_DRIVER_HINT}")
    fault = driver.fault or (driver.facts and driver.facts.gpu_fault)
    if fault:
        raise EngineError(f"there is no usable NVIDIA GPU here ({fault}): {NO_GPU_HINT}")


@contextlib.contextmanager
def gpu_first(wanted: bool) -> Iterator[None]:
    """Where a GPU is wanted and there is none, an `EngineError` of the block says that instead."""
    try:
        yield
    except EngineError:
        if wanted:
            require_gpu()
        raise
