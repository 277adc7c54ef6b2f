"""What the installed ONNX Runtime is built for; the package is not imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def provider_library(package: Path, provider: str) -> Path:
    """Where the library of a provider ("cuda", "shared") is, if it is there.

    Args:
        package: folder of the package `onnxruntime`.
        provider: its name.
    """
    return package / "capi" / f"libonnxruntime_providers_{provider}.so"


def has_cuda() -> bool:
    """Whether ONNX Runtime is installed and has the library for CUDA."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return False
    return provider_library(Path(spec.origin).parent, "cuda").is_file()
