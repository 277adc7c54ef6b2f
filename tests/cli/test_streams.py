"""Where text goes out: one place, which lets nothing through that a terminal would obey."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
import typer

from munit_edge.cli import errors, progress, streams

EVIL = "a\x1b[31m\nb\u202ec\udcff"
SHOWN = r"a\x1b[31m\nb\u202ec\xff"
ROOT = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    """A terminal to write on."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [False, True])
def test_every_way_out_escapes(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = (Terminal() if terminal else io.StringIO() for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    streams.write_line(EVIL)
    streams.write_lines(f"{EVIL}\nnext")
    streams.write_parts((EVIL, None), (EVIL, typer.colors.RED))
    streams.tell(EVIL)
    streams.warn(EVIL)
    with pytest.raises(typer.Exit):
        errors.fail(EVIL, 2)
    plain_out, plain_err = (re.sub(r"\x1b\[\d+m", "", s.getvalue()) for s in (out, err))
    broken = SHOWN.replace(r"\n", "\n")
    assert plain_out == f"{SHOWN}\n{broken}\nnext\n{SHOWN}{SHOWN}\n"
    assert plain_err == f"{SHOWN}\nwarning: {SHOWN}\nerror: {SHOWN}\n"
    assert ("\x1b[31m" in out.getvalue()) == terminal  # our own colour


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b\x9b\u202eb"
    streams.write_json(json.dumps({"name": name}, ensure_ascii=False))
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"name": name}


def test_progress_lines_escape(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    with progress.progress("translating", 2) as bar:
        bar.advance(note=EVIL)
    assert SHOWN in capsys.readouterr().err


@pytest.mark.parametrize("name", ["[/]", "[bold]x.png", EVIL])
def test_a_name_is_no_markup(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    with progress.progress("translating", 2) as bar:
        bar.advance(note=name)
    assert (SHOWN if name == EVIL else name) in terminal.getvalue()


def test_there_is_no_other_way_out() -> None:
    allowed = {"errors.py", "main.py", "streams.py"}
    for file in (ROOT / "munit_edge" / "cli").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert file.name in allowed or not re.search(r"typer\.s?echo\(|std(out|err)\.write\(", text)
