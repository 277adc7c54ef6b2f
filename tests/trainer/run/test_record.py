"""What a run remembers of its sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from munit_edge.errors import ModelError
from munit_edge.trainer.run.record import RunRecord, Session, read_record, write_record


def a_session(first: int = 0, done: int = 5) -> Session:
    return Session(
        device="cpu",
        machine="a processor, 2 cores",
        software="munit-edge",
        images={"a": 3, "b": 4},
        started=100.0,
        updated=160.0,
        first_iteration=first,
        iteration=done,
    )


def test_a_record_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert read_record(path) == RunRecord()
    assert read_record(path).iteration == 0
    record = RunRecord(skipped_updates=2, broken_images=("x",)).begun(a_session())
    write_record(path, record)
    assert read_record(path) == record
    assert record.iteration == 5
    assert record.sessions[0].seconds == 60


def test_a_session_that_never_ended_was_killed() -> None:
    record = RunRecord().begun(a_session()).begun(a_session(5, 5))
    assert [s.state for s in record.sessions] == ["killed", "training"]
    record = record.with_latest({"state": "finished", "iteration": 9}).begun(a_session(9, 9))
    assert [s.state for s in record.sessions] == ["killed", "finished", "training"]
    assert record.sessions[1].iteration == 9


@pytest.mark.parametrize("text", ["{", "[]", '{"sessions": 5}', '{"other": 1}'])
def test_a_damaged_record_names_the_fix(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"run\.json is damaged .*: delete it, only the run"):
        read_record(path)
