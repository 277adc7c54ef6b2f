"""Progress on standard error: a bar on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Protocol

from munit_edge.files.names import one_line

PLAIN_INTERVAL_S = 10.0
"""Seconds between two lines without a terminal."""


class Progress(Protocol):
    """Interface that a long job reports to."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report `steps` more as done; `note` is shown beside the bar."""

    def reach(self, position: float, note: str = "") -> None:
        """Report that the work has reached `position`, such as 2.4: it is in the third step.

        For long steps. Any thread may call it; the bar never goes back.
        """


@contextlib.contextmanager
def progress(
    description: str,
    total: int | None,
    *,
    done: int = 0,
    shows_left: bool = True,
    quiet: bool = False,
) -> Iterator[Progress]:
    """A progress display for `total` steps.

    Args:
        description: the activity, such as "translating".
        total: number of steps; None: unknown.
        done: steps done before.
        shows_left: show the time left; False: the notes show it.
        quiet: show nothing.
    """
    if quiet:
        yield _Quiet(done)
    elif sys.stderr.isatty():
        yield from _bar(description, total, done, shows_left=shows_left)
    else:
        yield _Plain(description, total, done, shows_left=shows_left)


def _bar(description: str, total: int | None, done: int, *, shows_left: bool) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counted]}"),
        TimeElapsedColumn(),  # moves during long steps
        *([TimeRemainingColumn()] if shows_left else []),
        TextColumn("{task.fields[note]}", markup=False),  # a name may look like markup
    )
    # Lines on standard output are moved above the bar only if both are one terminal: results for
    # a file or another program must not end up on the terminal.
    console, one_terminal = Console(stderr=True), sys.stdout.isatty()
    with RichProgress(*columns, console=console, redirect_stdout=one_terminal) as bar:
        task = bar.add_task(
            description, total=total, completed=done, note="", counted=_counted(done, total)
        )

        class Bar(_Counter):
            def show(self, note: str) -> None:
                counted = _counted(self.done, total)
                bar.update(task, completed=self.position, note=one_line(note), counted=counted)

        yield Bar(done)


def _counted(done: int, total: int | None) -> str:
    return f"{done}" if total is None else f"{done}/{total}"


class _Counter:
    """Progress: steps done, and a position that may be within the next step."""

    def __init__(self, done: int = 0) -> None:
        self.done = done
        self.position = float(done)
        self._lock = threading.RLock()

    def advance(self, steps: int = 1, note: str = "") -> None:
        with self._lock:
            self.done += steps
            self.position = max(self.position, self.done)
            self.show(note)

    def reach(self, position: float, note: str = "") -> None:
        with self._lock:
            self.position = max(self.position, position)
            self.show(note)

    def show(self, note: str) -> None:
        raise NotImplementedError


class _Quiet(_Counter):
    def show(self, note: str) -> None:
        pass


class _Plain(_Counter):
    def __init__(self, description: str, total: int | None, done: int, *, shows_left: bool) -> None:
        super().__init__(done)
        self._first = done
        self._shows_left = shows_left
        self._description = description
        self._total = total
        self._start = self._last = time.monotonic()

    def show(self, note: str) -> None:
        now = time.monotonic()
        if now - self._last < PLAIN_INTERVAL_S:
            return
        self._last = now
        counted = _counted(self.done, self._total)
        parts = [counted, *self._left(now - self._start)]
        line = f"{self._description}: {', '.join(parts)}"
        if note:
            line += f", {note}" if self._total is not None else f" {note}"
        print(one_line(line), file=sys.stderr, flush=True)  # noqa: T201

    def _left(self, passed: float) -> list[str]:
        here = self.position - self._first
        if self._total is None or not self._shows_left or not here:
            return []
        seconds = round(passed * (self._total - self.position) / here)
        return [f"{timedelta(seconds=max(0, seconds))} left"]
