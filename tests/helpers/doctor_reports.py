"""Reports of a doctor that found just what a test says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from munit_edge.doctor.engine_cache import CacheFacts
from munit_edge.doctor.examine import Report
from munit_edge.engines.probe import SUBJECTS, Answer
from munit_edge.system.machine import look_at_machine


def report_of(answers: Iterable[Answer], packages: Mapping[str, str] | None = None) -> Report:
    """A report with these answers; whatever is not among them is not installed."""
    given = {answer.subject: answer for answer in answers}
    return Report(
        created="2026-01-02T03:04:05+00:00",
        munit_edge="0",
        machine=look_at_machine(),
        answers=tuple(given.get(s, Answer(subject=s, installed=False)) for s in SUBJECTS),
        packages=dict(packages or {}),
        cache=CacheFacts(folder="/c"),
        findings=(),
    )
