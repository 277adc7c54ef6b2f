"""Progress where no terminal shows a bar."""

from __future__ import annotations

import pytest

from munit_edge.cli import progress as module


@pytest.mark.parametrize(
    ("total", "line"),
    [(100, "training: 10/100, 0:01:30 left, D 0.5\n"), (None, "training: 10 D 0.5\n")],
)
def test_a_line_now_and_then_reports_the_time_left(
    total: int | None,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "PLAIN_INTERVAL_S", 10.0)
    times = iter([0.0, *(float(i + 1) for i in range(10))])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    with module.progress("training", total) as bar:
        for _ in range(10):
            bar.advance(note="D 0.5")
    assert capsys.readouterr().err == line


def test_a_position_within_a_step_counts_for_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PLAIN_INTERVAL_S", 10.0)
    times = iter([0.0, 10.0, 20.0, 21.0, 30.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    with module.progress("translating", 2) as bar:
        bar.advance(0, "photo.jpg")
        bar.reach(0.5, "photo.jpg: tile 3 of 6")
        bar.reach(1.0, "photo.jpg: tile 6 of 6")
        bar.advance(note="photo.jpg")
    assert capsys.readouterr().err.splitlines() == [
        "translating: 0/2, photo.jpg",
        "translating: 0/2, 0:01:00 left, photo.jpg: tile 3 of 6",
        "translating: 1/2, 0:00:30 left, photo.jpg",
    ]


def test_a_bar_moves_within_a_step_and_never_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.progress import Progress

    shown: list[tuple[float, str]] = []
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        Progress,
        "update",
        lambda self, task, completed, note, counted: shown.append((completed, counted)),
    )
    with module.progress("translating", 3) as bar:
        bar.reach(0.5)
        bar.reach(1.25)  # the engine is ahead of what is written
        bar.advance()
        bar.reach(1.0)
        bar.advance(2)
    assert shown == [(0.5, "0/3"), (1.25, "0/3"), (1.25, "1/3"), (1.25, "1/3"), (3, "3/3")]
