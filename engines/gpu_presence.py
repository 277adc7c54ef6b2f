"""Whether there is a GPU at all: checked before an error suggests installing anything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

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


def has_device_file(root: Path = Path("/")) -> bool:
    """Whether the system has a device file of an NVIDIA GPU; asks no driver.

    Args:
        root: where device files are looked up.
    """
    # Servers and desktops have the first, Jetsons one of the others.
    return any(next((root / "dev").glob(p), None) for p in ("nvidia[0-9]*", "nvhost-gpu", "nvgpu"))


def require_gpu() -> None:
    """Check that the driver finds a GPU; needs no package, and starts a new process.

    Called on the way to an error only: without a GPU a missing package is not worth installing.

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
    """Replace an `EngineError` of the block by one about a GPU that is wanted and missing."""
    try:
        yield
    except EngineError:
        if wanted:
            require_gpu()
        raise
