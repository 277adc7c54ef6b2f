"""The help texts, word for word: a change of the command line is seen in the diff.

`make golden` writes them again.
"""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from munit_edge.cli.main import make_app

APP = make_app()
GOLDEN = Path(__file__).parent / "golden"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
WRITE = bool(os.environ.get("MUNIT_EDGE_WRITE_GOLDEN"))


def _commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The command, and every command below it, each as the words that call it."""
    below = getattr(command, "commands", {})
    return [path] + [p for name in below for p in _commands(below[name], (*path, name))]


COMMANDS = _commands(typer.main.get_command(APP))


def _file(command: tuple[str, ...]) -> Path:
    return GOLDEN / f"help_{'_'.join(command) or 'munit-edge'}.txt"


def _layout_is_pinned() -> bool:
    """Whether Typer, which lays the texts out, is a release that CI tests."""
    pin = f"typer=={importlib.metadata.version('typer')}"
    return any(line.startswith(pin) for line in CONSTRAINTS.read_text().splitlines())


@pytest.mark.skipif(not _layout_is_pinned(), reason="another Typer lays help out differently")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_as_recorded(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(
        APP,
        [*command, "--help"],
        prog_name="munit-edge",
        env={"COLUMNS": "100", "NO_COLOR": "1"},
        terminal_width=100,
    )
    assert result.exit_code == 0, result.output
    assert result.output.isascii(), "help must print on any terminal"
    assert max(map(len, result.output.splitlines())) <= 100
    if WRITE:
        GOLDEN.mkdir(exist_ok=True)
        _file(command).write_text(result.output, encoding="utf-8")
    assert result.output == _file(command).read_text(encoding="utf-8"), "see `make golden`"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_summaries_of_commands_are_whole_at_80_columns(command: tuple[str, ...]) -> None:
    help_text = CliRunner().invoke(APP, [*command, "--help"], terminal_width=80).output
    _, _, summaries = help_text.partition("\nCommands:\n")
    assert "..." not in summaries
    assert all(line.endswith(".") for line in summaries.splitlines() if line)


def test_no_golden_file_is_left_over() -> None:
    if WRITE:
        for stale in set(GOLDEN.iterdir()) - {_file(command) for command in COMMANDS}:
            stale.unlink()
    assert set(GOLDEN.iterdir()) == {_file(command) for command in COMMANDS}
