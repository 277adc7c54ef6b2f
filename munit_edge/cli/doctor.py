"""`munit-edge doctor`: what is here, what is missing, what is broken, and the mend."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from munit_edge.cli.streams import write_line

if TYPE_CHECKING:
    from munit_edge.doctor import Finding

EXIT_BROKEN = 1
TEXT_WIDTH = 100
STATUS_WIDTH = len("missing")

_COLOURS = {
    "ok": typer.colors.GREEN,
    "missing": typer.colors.YELLOW,
    "broken": typer.colors.RED,
}


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print facts and findings as JSON instead of a table.")
    ] = False,
) -> None:
    """Look at this machine: Python, GPU, every backend, and how to mend what is broken.

    Each backend is imported in a process of its own, so this takes some seconds. Exit code 0; 1 if
    something is broken. What is only missing is optional and breaks nothing.
    """
    from munit_edge.doctor import examine

    report = examine()
    if as_json:
        write_line(report.model_dump_json(indent=2))
    else:
        _show(report.findings)
    if report.broken:
        raise typer.Exit(EXIT_BROKEN)


def _show(findings: tuple[Finding, ...]) -> None:
    width = max(len(finding.subject) for finding in findings)
    blank = " " * (width + STATUS_WIDTH)
    for finding in findings:
        lines = _lines(finding.detail, width)
        if finding.mend:
            lines += _lines(f"-> {finding.mend}", width)
        status = f"{finding.status:<{STATUS_WIDTH}}"
        if sys.stdout.isatty():
            status = typer.style(status, fg=_COLOURS[finding.status])
        write_line(f"{finding.subject:<{width}}  {status}  {lines[0]}")
        for line in lines[1:]:
            write_line(f"{blank}    {line}")


def _lines(text: str, width: int) -> list[str]:
    """`text` in lines beside the first two columns; commands and paths are not broken in two."""
    return textwrap.wrap(
        text,
        TEXT_WIDTH - width - STATUS_WIDTH - 4,
        break_long_words=False,
        break_on_hyphens=False,
    )
