"""Which GPUs compute in the types of a graph."""

from __future__ import annotations

from collections.abc import Iterable

from munit_edge.errors import UnsupportedGraphError
from munit_edge.model.manifest import GraphEntry
from munit_edge.model.precision import PRECISION_FACTS


def check_types(entry: GraphEntry, capabilities: Iterable[tuple[int, int]]) -> None:
    """Check that GPUs support a graph's data type: TensorRT fails late and names no fix.

    Args:
        entry: the graph.
        capabilities: compute capabilities of the GPUs.

    Raises:
        UnsupportedGraphError: one of them does not.
    """
    oldest = PRECISION_FACTS[entry.precision].oldest_capability
    if oldest is None:
        return
    # All of them: a TensorRT-RTX engine may be built for several GPUs.
    for capability in capabilities:
        if capability < oldest:
            raise UnsupportedGraphError(
                f"graph {entry.name} is in {entry.precision}, which needs compute capability "
                f"{dotted(oldest)} or newer, and this engine is for {dotted(capability)}: "
                "export the model with --precision fp16 or int8, or use a newer GPU"
            )


def cuda_version(number: int) -> str:
    """CUDA's version number, 1000 * major + 10 * minor, as text: 12060 is "12.6"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def dotted(capability: tuple[int, int]) -> str:
    """(8, 7) as "8.7"."""
    return f"{capability[0]}.{capability[1]}"
