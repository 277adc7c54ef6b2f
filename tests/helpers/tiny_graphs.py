"""What the fixtures that export single graphs give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from munit_edge.config import Domain, GraphKind

TinyGraph = Callable[[str, GraphKind, Domain], Any]
"""Name of the checkpoint's fixture, kind and domain -> `onnx.ModelProto`. Do not change it."""
