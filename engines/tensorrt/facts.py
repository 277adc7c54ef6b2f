"""What the installed TensorRT or TensorRT-RTX is; asked in a new process."""

from __future__ import annotations

from types import ModuleType

from munit_edge.engines.probe import Facts


def facts(module: ModuleType) -> Facts:
    """Of their bindings."""
    # Nothing is created: a Runtime without a driver can end the process.
    return Facts(version=module.__version__)
