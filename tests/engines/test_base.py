"""A set of graphs: each is opened once, by whoever needs it first, or ahead of that."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from munit_edge.engines.base import AnyArray, GraphSet, Runner
from munit_edge.errors import ModelError
from munit_edge.model.config import Domain, GraphKind, ModelConfig, graph_name
from munit_edge.model.manifest import graph_tensors

WAIT_S = 20.0


class _Runner(Runner):
    closed = False

    def run(self, feeds: Mapping[str, AnyArray], *, keep_on_device: bool = False) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self.closed = True


class _Graphs(GraphSet):
    """Opens graphs when it is allowed to; those in `faults` fail."""

    def __init__(self) -> None:
        super().__init__(ModelConfig(), "uint8", "0", engine="none", device="cpu")
        self.calls: list[str] = []
        self.begun, self.allowed = threading.Event(), threading.Event()
        self.allowed.set()
        self.faults: list[str] = []

    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        name = graph_name(kind, domain)
        self.calls.append(name)
        self.begun.set()
        assert self.allowed.wait(WAIT_S)
        if name in self.faults:
            raise ModelError(f"{name} is damaged")
        return _Runner(name, *graph_tensors(self.config, kind, domain, self.io))


def test_a_graph_asked_for_ahead_is_opened_once_and_waited_for() -> None:
    with _Graphs() as graphs:
        graphs.allowed.clear()
        for _ in range(3):
            graphs.open_ahead("decoder", "b")
        assert graphs.begun.wait(WAIT_S)
        threading.Timer(0.05, graphs.allowed.set).start()
        assert graphs.runner("decoder", "b").name == "decoder_b"
        graphs.open_ahead("decoder", "b")
        assert graphs.calls == graphs.opened == ["decoder_b"]


def test_an_open_graph_is_there_while_another_is_being_opened() -> None:
    with _Graphs() as graphs:
        encoder = graphs.runner("content_encoder", "a")
        graphs.begun.clear()
        graphs.allowed.clear()
        graphs.open_ahead("decoder", "b")
        assert graphs.begun.wait(WAIT_S)
        # Would wait for ever if it took the turn of the other graph.
        assert graphs.runner("content_encoder", "a") is encoder
        assert graphs.opened == ["content_encoder_a"]
        graphs.allowed.set()


def test_an_error_is_raised_where_the_graph_is_used() -> None:
    with _Graphs() as graphs:
        graphs.faults = ["decoder_b"]
        graphs.open_ahead("decoder", "b")
        assert graphs.begun.wait(WAIT_S)
        with pytest.raises(ModelError, match="decoder_b is damaged"):
            graphs.runner("decoder", "b")
        assert graphs.opened == []
        graphs.faults = []
        assert graphs.runner("decoder", "b").name == "decoder_b"


def test_closing_waits_for_graphs_being_opened_and_nothing_is_opened_afterwards() -> None:
    graphs = _Graphs()
    graphs.allowed.clear()
    graphs.open_ahead("decoder", "b")
    assert graphs.begun.wait(WAIT_S)
    threading.Timer(0.05, graphs.allowed.set).start()
    opened = graphs._runners
    graphs.close()
    assert graphs.allowed.is_set(), "it did not wait"
    assert not opened
    graphs.open_ahead("content_encoder", "a")
    assert not [thread for thread in threading.enumerate() if "munit-edge-open" in thread.name]
    assert graphs.calls == ["decoder_b"]


def test_a_set_whose_graphs_take_minutes_opens_none_ahead() -> None:
    with _Graphs() as graphs:
        graphs.opens_ahead = False
        graphs.open_ahead("decoder", "b")
    assert graphs.calls == []
