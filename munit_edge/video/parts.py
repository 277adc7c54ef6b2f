"""The folder of an unfinished result: complete segments, and a ledger of their contents.

    out.mp4.parts/
    ├── ledger.jsonl              settings, then one line for each complete segment
    ├── part_00000.mp4            plays on its own
    ├── sound.mkv                 the audio of a live source
    ├── state_00000.npz           with --stabilise: state after the segment
    └── part_00001.unfinished.mp4 plays as far as it is written

The ledger is only appended to, so it is valid however the program ended.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from munit_edge.errors import ConfigError, OutputError
from munit_edge.files.appending import append_line, open_to_append
from munit_edge.files.atomic import atomic_file, make_folder
from munit_edge.files.held_locks import HIDDEN_PREFIX
from munit_edge.files.plain_data import parse_json
from munit_edge.files.system_errors import output_errors
from munit_edge.settings import StrictModel, validate

LEDGER = "ledger.jsonl"

_WRITTEN = re.compile(
    r"ledger\.jsonl(\.new)?|part_\d{5,}(\.unfinished)?\.\w+|sound\.mkv|state_\d{5,}\.npz"
    rf"|{re.escape(HIDDEN_PREFIX)}.*"
)
"""Names of all files that may be in the folder."""


class Segment(StrictModel):
    """One complete segment."""

    file: str
    """File name in the folder."""
    stamps: tuple[int, ...]
    """Time stamp of each frame, in the source's time base."""
    last_duration: int
    """Duration of the last frame, in the same units."""


class Header(StrictModel):
    """The ledger's first line."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    settings: str
    """Hash of everything that the frames depend on; a run with another hash cannot resume."""


@dataclass(frozen=True)
class Parts:
    """The folder with the parts of one result."""

    output: Path
    """The file that the parts become."""

    @property
    def folder(self) -> Path:
        """The folder."""
        return self.output.with_name(f"{self.output.name}.parts")

    @property
    def exist(self) -> bool:
        """Whether an earlier run was interrupted and left parts."""
        return self.folder.exists()

    def check_removable(self) -> None:
        """Check that the folder, if it exists, has nothing but parts in it.

        Raises:
            OutputError: it has other files in it, or is a link or a file.
        """
        if self.folder.is_symlink() or (self.exist and not self.folder.is_dir()):
            raise OutputError(f"{self.folder} is not a folder of parts: move it away")
        # `remove` deletes the whole folder, so it must hold nothing of the user's.
        names = sorted(path.name for path in self.folder.iterdir()) if self.exist else []
        others = [name for name in names if not _WRITTEN.fullmatch(name)]
        if others:
            raise OutputError(
                f"{self.folder} holds other files than parts ({', '.join(others[:3])}), which "
                "--overwrite does not remove: move them away, or name another output"
            )

    def segment_path(self, number: int) -> Path:
        """Path of a complete segment."""
        return self.folder / f"part_{number:05d}{self.output.suffix}"

    def unfinished_path(self, number: int) -> Path:
        """Path of a segment that is being written."""
        return self.folder / f"part_{number:05d}.unfinished{self.output.suffix}"

    @property
    def audio_path(self) -> Path:
        """Path of the audio of a live source."""
        return self.folder / "sound.mkv"

    def state_path(self, number: int) -> Path:
        """Path of the state after a complete segment, if later frames depend on one."""
        return self.folder / f"state_{number:05d}.npz"

    def begin(self, settings: str) -> None:
        """Make the folder with an empty ledger; earlier parts are removed.

        Raises:
            OutputError: it cannot be made.
        """
        self.remove()
        make_folder(self.folder)
        self._append(Header(settings=settings))

    def read(self, settings: str) -> list[Segment]:
        """The complete segments of an interrupted run.

        Raises:
            OutputError: there are none, the ledger is damaged, or the run had other settings.
        """
        with output_errors(self.folder):
            lines = (self.folder / LEDGER).read_text(encoding="utf-8", errors="replace").split("\n")
        if len(lines) > 1:
            lines.pop()  # empty, or cut off when the program was killed
        try:
            header = validate(Header, parse_json(lines[0], LEDGER), LEDGER)
            segments = [validate(Segment, parse_json(line, LEDGER), LEDGER) for line in lines[1:]]
        except ConfigError as exc:
            raise OutputError(
                f"{self.folder / LEDGER} is damaged ({exc}): --overwrite starts over"
            ) from exc
        if header.settings != settings:
            raise OutputError(
                f"{self.folder} was begun with another input, model, style or setting: resume "
                "with the same ones, or start over with --overwrite"
            )
        return segments

    def rewind(self, segments: list[Segment], settings: str) -> None:
        """Shorten the ledger to `segments`, the first ones that it has."""
        with output_errors(self.folder):
            # Written beside it and renamed: a run killed in here leaves the old ledger whole.
            fresh = self.folder / f"{LEDGER}.new"
            fresh.unlink(missing_ok=True)
            for line in (Header(settings=settings), *segments):
                self._append(line, fresh)
            fresh.replace(self.folder / LEDGER)
            # After the ledger, which must never name a segment that is gone.
            for path in self.folder.glob("part_*"):
                if path.name not in {segment.file for segment in segments}:
                    path.unlink()

    def add(self, number: int, stamps: list[int], last_duration: int) -> Segment:
        """Mark the unfinished segment as complete, with the contents of its entry in the ledger.

        Raises:
            OutputError: the disk is full.
        """
        path = self.segment_path(number)
        with output_errors(path):
            # Data, then name, then ledger: it never names a segment that a power failure lost.
            with self.unfinished_path(number).open("rb") as file:
                os.fsync(file.fileno())
            self.unfinished_path(number).replace(path)
        segment = Segment(file=path.name, stamps=tuple(stamps), last_duration=last_duration)
        self._append(segment)
        return segment

    def save_state(self, number: int, state: bytes) -> None:
        """Save the state after segment `number`; only this and the previous state are kept.

        Raises:
            OutputError: it cannot be written.
        """
        with atomic_file(self.state_path(number)) as partial:
            partial.write_bytes(state)
        # A run that is killed before the segment is in the ledger resumes from the previous state.
        self.state_path(number - 2).unlink(missing_ok=True)

    def read_state(self, number: int) -> bytes:
        """The state after a segment.

        Raises:
            OutputError: it cannot be read.
        """
        try:
            return self.state_path(number).read_bytes()
        except OSError as exc:
            raise OutputError(
                f"{self.state_path(number)} cannot be read: --overwrite starts over"
            ) from exc

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _append(self, line: StrictModel, path: Path | None = None) -> None:
        with output_errors(self.folder), open_to_append(path or self.folder / LEDGER) as file:
            append_line(file, line.model_dump_json(), on_disk=True)
