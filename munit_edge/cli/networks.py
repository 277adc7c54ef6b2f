"""Networks as text, for several commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from munit_edge.trainer.torch_api import nn


def parameter_counts(networks: nn.ModuleDict) -> str:
    """Their sizes by domain, such as "1,234 + 5,678 parameters"."""
    each = [sum(p.numel() for p in networks[domain].parameters()) for domain in ("a", "b")]
    return f"{each[0]:,} + {each[1]:,} parameters"
