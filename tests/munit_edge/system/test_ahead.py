"""A value made ahead, in a thread."""

from __future__ import annotations

import threading

import pytest

from munit_edge.system.threads import Ahead

WAIT_S = 20.0


def test_the_caller_works_meanwhile_and_waits_for_the_value() -> None:
    allowed, discarded = threading.Event(), list[int]()

    def make() -> int:
        assert allowed.wait(WAIT_S)
        return 7

    with Ahead(make, discarded.append) as ahead:
        allowed.set()  # would never happen if the value were made at once
        assert ahead.take() == 7
    assert discarded == []


def test_an_error_is_raised_where_the_value_is_taken() -> None:
    def make() -> int:
        raise ValueError("no value")

    with Ahead(make) as ahead, pytest.raises(ValueError, match="no value"):
        ahead.take()
    with Ahead(make):
        pass  # nobody asked


def test_a_value_that_nobody_takes_is_waited_for_and_discarded() -> None:
    allowed, discarded = threading.Event(), list[int]()

    def make() -> int:
        assert allowed.wait(WAIT_S)
        return 7

    threading.Timer(0.05, allowed.set).start()
    with pytest.raises(KeyError), Ahead(make, discarded.append):
        raise KeyError
    assert discarded == [7]
