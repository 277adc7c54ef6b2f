"""The phases of a TensorRT build on a progress bar."""

from __future__ import annotations

import threading

from munit_edge.cli.progress import Progress

STEPS_OF_A_BUILD = 100
"""Steps of the bar for one build."""


class BuildBar:
    """Maps nested phases to steps of a bar: each phase is part of one step of its parent.

    Phases and their numbers of steps differ between versions and may come from several threads;
    the bar never goes back.
    """

    def __init__(self, bar: Progress, graph: str) -> None:
        self._bar = bar
        self._graph = graph
        self._lock = threading.Lock()
        self._phases: dict[str, tuple[str | None, int, int]] = {}
        self._shown = 0

    def phase_start(self, phase: str, parent: str | None, num_steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._phases[phase] = (parent, num_steps, 0)
            self._show(phase)

    def step(self, phase: str, index: int) -> None:
        """Step `index` of a phase is done."""
        with self._lock:
            if phase in self._phases:
                parent, num_steps, _ = self._phases[phase]
                self._phases[phase] = (parent, num_steps, index + 1)
                self._show(phase)

    def phase_finish(self, phase: str) -> None:
        """A phase is over."""
        with self._lock:
            self._phases.pop(phase, None)

    def finish(self, note: str) -> None:
        """The graph is done, whether it was built or found."""
        with self._lock:
            self._bar.advance(STEPS_OF_A_BUILD - self._shown, f"{self._graph}: {note}")
            self._shown = STEPS_OF_A_BUILD

    def _show(self, phase: str) -> None:
        # The last step stays open until `finish`.
        steps = min(int(STEPS_OF_A_BUILD * self._part_done(phase)), STEPS_OF_A_BUILD - 1)
        advance = max(0, steps - self._shown)
        self._shown += advance
        self._bar.advance(advance, f"{self._graph}: {phase}")

    def _part_done(self, phase: str) -> float:
        part = 0.0
        current: str | None = phase
        while current in self._phases:
            current, num_steps, done = self._phases[current]
            # From the inside out: what is done of a phase is a part of one step of its parent.
            part = min(1.0, (done + part) / max(num_steps, 1))
        return part
