"""Tests with the marker `gpu`: skipped without a GPU, and counted, so that a green run without one
does not read as if the GPU had been tested."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import pytest

from munit_edge.engines.probe import ask

MARKER = "gpu"
NOT_REACHED = "not reached"


class GpuTests:
    """A plug-in of pytest; with pytest-xdist one in each process, whose first one counts."""

    def __init__(self) -> None:
        self._selected: set[str] = set()
        self._ran: set[str] = set()
        self._why_skipped: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip before any fixture is made."""
        if item.get_closest_marker(MARKER) and (why := why_no_gpu()):
            pytest.skip(why)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count what is left after -k and -m; a process of xdist reports it when it ends."""
        self._selected = {item.nodeid for item in session.items if item.get_closest_marker(MARKER)}
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output["gpu_tests"] = sorted(self._selected)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """In the first process: take over what another one has counted. All select the same."""
        self._selected.update(getattr(node, "workeroutput", {}).get("gpu_tests", ()))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what became of a test, whichever process ran it."""
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self._why_skipped[report.nodeid] = reason.removeprefix("Skipped: ")
        elif report.when == "call" or report.failed:
            self._ran.add(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The line of the summary."""
        if not terminalreporter.config.option.collectonly and (line := self.line()):
            all_ran = self._selected <= self._ran
            terminalreporter.write_line(line, green=all_ran, yellow=not all_ran)

    def line(self) -> str:
        """How many of the tests that need a GPU were run; "" if none was selected."""
        if not self._selected:
            return ""
        left = self._selected - self._ran
        why = Counter(self._why_skipped.get(test, NOT_REACHED) for test in sorted(left))
        reasons = ", ".join(
            reason if len(why) == 1 else f"{reason} ({count})"
            for reason, count in why.most_common()
        )
        ran = f"GPU tests: {len(self._selected) - len(left)} of {len(self._selected)} ran"
        return f"{ran}: {reasons}" if reasons else ran


@functools.cache
def why_no_gpu() -> str:
    """Why nothing can be run on a GPU here; "" if something can."""
    driver = ask("driver")
    if driver.facts and driver.facts.gpus:
        return ""
    return f"no usable GPU: {driver.fault}" if driver.fault else "no GPU"
