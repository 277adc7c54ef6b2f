"""Graphs of single precisions, exported once for all tests that look at them."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from tiny_graphs import TinyGraph

from munit_edge.config import Domain, GraphKind
from munit_edge.export.onnx_graph import export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.export.precision import in_half
from munit_edge.trainer.checkpoint import open_checkpoint


@pytest.fixture(scope="session")
def fp16_graph(request: pytest.FixtureRequest) -> TinyGraph:
    """Any graph of the tiny models with every layer in fp16, sizes free."""

    @functools.cache
    def graph(checkpoint: str, kind: GraphKind, domain: Domain) -> Any:
        opened = open_checkpoint(request.getfixturevalue(checkpoint))
        options = ExportOptions().model_copy(update={"precision": "fp16"})
        typed = in_half(opened.generators())
        return export_graph(typed, opened.config, kind, domain, options, {})

    return graph
