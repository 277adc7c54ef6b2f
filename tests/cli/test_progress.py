"""Progress where no terminal shows a bar."""

from __future__ import annotations

import pytest

from munit_edge.cli import progress as module


@pytest.mark.parametrize(
    ("total", "line"),
    [(100, "training: 10/100, 0:01:30 left, D 0.5\n"), (None, "training: 10 D 0.5\n")],
)
def test_a_line_now_and_then_says_how_long_it_takes(
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
