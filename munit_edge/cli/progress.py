"""Progress on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Protocol

from munit_edge.names import one_line

PLAIN_INTERVAL_S = 10.0
"""Seconds between two lines where no terminal shows a bar."""


class Progress(Protocol):
    """What a long job reports to."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """`steps` more are done; `note` is shown beside the bar."""


@contextlib.contextmanager
def progress(description: str, total: int | None, *, quiet: bool = False) -> Iterator[Progress]:
    """A progress display for `total` steps.

    Args:
        description: what is being done, such as "translating".
        total: number of steps; None: not known.
        quiet: show nothing.
    """
    if quiet:
        yield _Quiet()
    elif sys.stderr.isatty():
        yield from _bar(description, total)
    else:
        yield _Plain(description, total)


def _bar(description: str, total: int | None) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),  # a name may look like markup
    )
    # Lines on standard output are moved above the bar only where both are one terminal: results
    # that go to a file or another program must not end up on the terminal.
    console, one_terminal = Console(stderr=True), sys.stdout.isatty()
    with RichProgress(*columns, console=console, redirect_stdout=one_terminal) as bar:
        task = bar.add_task(description, total=total, note="")

        class Bar:
            def advance(self, steps: int = 1, note: str = "") -> None:
                bar.update(task, advance=steps, note=one_line(note))

        yield Bar()


class _Quiet:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class _Plain:
    def __init__(self, description: str, total: int | None) -> None:
        self._description = description
        self._total = total
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last >= PLAIN_INTERVAL_S:
            self._last = now
            of_total = "" if self._total is None else f"/{self._total}, {self._left(now)} left,"
            line = f"{self._description}: {self._done}{of_total} {note}".rstrip(" ,")
            print(one_line(line), file=sys.stderr, flush=True)  # noqa: T201

    def _left(self, now: float) -> str:
        assert self._total is not None
        seconds = round((now - self._start) * (self._total - self._done) / max(1, self._done))
        return str(timedelta(seconds=max(0, seconds)))
