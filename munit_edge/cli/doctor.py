"""`munit-edge doctor`: what is here, what is missing, what is broken, and how to fix it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from munit_edge.cli.outputs import check_files
from munit_edge.cli.progress import progress
from munit_edge.cli.streams import tell, warn, write_json, write_line, write_parts
from munit_edge.files.locks import writing_to

if TYPE_CHECKING:
    from munit_edge.doctor.examine import Report
    from munit_edge.doctor.selftest import SelftestReport

EXIT_BROKEN = 1
REPORT_FILE = Path("munit-edge-selftest.json")
TEXT_WIDTH = 100
NO_BREAK = "\N{NO-BREAK SPACE}"
STATUS_WIDTH = len("not tested")

_COLOURS = {
    "ok": typer.colors.GREEN,
    "missing": typer.colors.YELLOW,
    "not tested": typer.colors.YELLOW,
    "broken": typer.colors.RED,
    "failed": typer.colors.RED,
}


class _Row(NamedTuple):
    subject: str
    status: str
    lines: Sequence[str]


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print facts and findings as JSON instead of a table.")
    ] = False,
    selftest: Annotated[
        bool,
        typer.Option(
            "--selftest",
            help="Also run a tiny model, shipped with its expected outputs, on every engine that "
            "is usable here, in fp32, fp16, bf16, int8 and fp8, and export it (fp32, fp16, int8) "
            "where torch is installed. Takes a minute or two.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the self-test writes machine and results as JSON, to attach to an issue.",
            show_default=str(REPORT_FILE),
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing report of the self-test.")
    ] = False,
) -> None:
    """Check the GPU, engines and extras of this machine.

    Shows what is installed, missing or broken, and how to fix it. Each engine is imported in a
    process of its own, so this takes some seconds. Exit code 0; 1 if something is broken or the
    self-test fails. Missing parts are optional and break nothing.
    """
    from munit_edge.doctor.examine import examine
    from munit_edge.errors import ConfigError

    if report is not None and not selftest:
        raise ConfigError("--report names the self-test's file: add --selftest")
    file = (report or REPORT_FILE) if selftest else None
    check_files({"--selftest": file}, overwrite=overwrite, inputs=())
    found = examine()
    if not as_json:
        _show_findings(found)
    if file is None:
        if as_json:
            write_json(found.model_dump_json(indent=2))
        failed = False
    else:
        failed = _selftest(found, file, as_json=as_json, replace=overwrite)
    if failed or found.broken:
        raise typer.Exit(EXIT_BROKEN)


def _selftest(found: Report, file: Path, *, as_json: bool, replace: bool) -> bool:
    """Run the self-test, show and write its results; return whether something failed."""
    from munit_edge.doctor.selftest import run_selftest, trials, write_report

    with writing_to(file):
        with progress("testing", len(list(trials(found)))) as bar:
            tested = run_selftest(
                found,
                on_begin=lambda name: bar.advance(0, note=name),
                on_trial=lambda name: bar.advance(note=name),
            )
        if as_json:
            write_json(tested.model_dump_json(indent=2))
        else:
            write_line("")
            _show_results(tested)
        write_report(file, tested, replace=replace)
    tell(f"wrote {file}: attach it to an issue")
    if all(result.status == "not tested" for result in tested.results):
        warn("nothing was tested: no engine that is installed here can be used")
    return bool(tested.failed)


def _show_findings(report: Report) -> None:
    _show(
        [
            _Row(f.subject, f.status, [f.detail, f"-> {f.fix}"] if f.fix else [f.detail])
            for f in report.findings
        ]
    )


def _show_results(report: SelftestReport) -> None:
    _show([_Row(result.name, result.status, [result.detail]) for result in report.results])


def _show(rows: Sequence[_Row]) -> None:
    width = max(len(row.subject) for row in rows)
    blank = " " * (width + STATUS_WIDTH + 4)
    for row in rows:
        lines = [part for line in row.lines for part in _wrapped(line, TEXT_WIDTH - len(blank))]
        status = f"{row.status:<{STATUS_WIDTH}}", _COLOURS[row.status]
        write_parts((f"{row.subject:<{width}}  ", None), status, (f"  {lines[0]}", None))
        for line in lines[1:]:
            write_line(f"{blank}{line}")


def _wrapped(text: str, width: int) -> list[str]:
    """`text` in lines; commands (between backticks) and paths are kept in one piece."""
    # `textwrap` breaks at spaces, but not at these.
    kept = re.sub("`[^`]+`", lambda command: command[0].replace(" ", NO_BREAK), text)
    lines = textwrap.wrap(kept, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines] or [""]
