"""The history of a run, in `run.json`: its sessions, speed, and what was skipped.

A session is one start of the program; each `--resume` starts another. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from munit_edge.errors import ConfigError, ModelError
from munit_edge.files.atomic import atomic_file
from munit_edge.files.plain_data import read_json
from munit_edge.model.config import Domain
from munit_edge.settings import StrictModel, validate

SessionState = Literal["training", "finished", "stopped", "failed", "killed"]


MAX_TIME = 2.0**37
"""Largest time in seconds since 1970 that can be shown as a date."""


class Session(StrictModel):
    """One start of the program."""

    state: SessionState = "training"
    """`stopped`: by a signal. `killed`: it ended without a trace, as the next session noticed."""
    note: str = ""
    """The signal or the error."""
    device: str
    """The device, such as "cpu" or "cuda:0 (NVIDIA H100)"."""
    processes: int = Field(1, ge=1)
    """Number of processes."""
    machine: str
    """CPU and cores of the first process."""
    software: str
    """Versions of munit-edge, torch and Python."""
    images: dict[Domain, int]
    """Training images of each domain."""
    started: float = Field(ge=0, le=MAX_TIME)
    """Seconds since 1970."""
    updated: float = Field(ge=0, le=MAX_TIME)
    """Time of the last update, in seconds since 1970."""
    first_iteration: int = Field(ge=0)
    """Iterations done before this session."""
    iteration: int = Field(ge=0)
    """Iterations done in total."""
    images_per_second: float | None = None
    """Recent speed, images of both domains together; None: no iteration was done."""

    @property
    def seconds(self) -> float:
        """Duration of the session."""
        return max(0.0, self.updated - self.started)


class RunRecord(StrictModel):
    """The history of a run."""

    sessions: tuple[Session, ...] = ()
    """In chronological order."""
    skipped_updates: int = Field(0, ge=0)
    """Updates skipped because a loss or gradient was not finite."""
    broken_images: tuple[str, ...] = ()
    """The faults of files that could not be read."""

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return self.sessions[-1].iteration if self.sessions else 0

    def begun(self, session: Session) -> RunRecord:
        """The record with one more session; an earlier one that is still `training` was killed."""
        # The folder is locked, so an earlier session cannot be training still.
        ended = tuple(
            s.model_copy(update={"state": "killed"}) if s.state == "training" else s
            for s in self.sessions
        )
        return self.model_copy(update={"sessions": (*ended, session)})

    def with_latest(self, changes: Mapping[str, Any]) -> RunRecord:
        """The record with `changes` to the last session."""
        *earlier, latest = self.sessions
        changed = latest.model_copy(update=dict(changes))
        return self.model_copy(update={"sessions": (*earlier, changed)})


def read_record(path: Path) -> RunRecord:
    """The record in a file; an empty one if there is no file.

    Raises:
        ModelError: the file is damaged.
    """
    if not path.is_file():
        return RunRecord()
    try:
        return validate(RunRecord, read_json(path), str(path))
    except ConfigError as exc:
        raise ModelError(
            f"{path} is damaged ({exc}): delete it, only the run's page needs it"
        ) from exc


def write_record(path: Path, record: RunRecord) -> None:
    """Write the record atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_file(path) as partial:
        partial.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
