"""TensorRT-RTX, whose parser and builder run without a GPU."""

from __future__ import annotations

import pytest

from munit_edge.engines.tensorrt.api import is_installed

needs_rtx = pytest.mark.skipif(
    not is_installed("tensorrt-rtx"),
    reason="TensorRT-RTX is not installed (wheels for Linux on x86-64 and aarch64 only)",
)
