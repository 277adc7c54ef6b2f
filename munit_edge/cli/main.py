"""The `munit-edge` program: collects the commands."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from munit_edge.cli import engines, export, styles
from munit_edge.cli.benchmark import benchmark
from munit_edge.cli.convert import convert
from munit_edge.cli.doctor import doctor
from munit_edge.cli.errors import DEBUG_ENVIRONMENT, reporting_errors, run
from munit_edge.cli.evaluate import evaluate
from munit_edge.cli.info import info
from munit_edge.cli.page import page
from munit_edge.cli.sample_data import sample_data
from munit_edge.cli.train import train
from munit_edge.cli.translate import translate
from munit_edge.version import __version__

app = typer.Typer(
    name="munit-edge",
    help="Train MUNIT, export it, and translate images: one photo, many translations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"munit-edge {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. Anywhere on the line.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Train MUNIT, export it, and translate images: one photo, many translations."""
    if debug:
        os.environ[DEBUG_ENVIRONMENT] = "1"


app.command("sample-data")(reporting_errors(sample_data))
app.command("translate")(reporting_errors(translate))
app.command("convert")(reporting_errors(convert))
app.command("train")(reporting_errors(train))
app.command("page")(reporting_errors(page))
app.command("evaluate")(reporting_errors(evaluate))
app.command("benchmark")(reporting_errors(benchmark))
app.command("doctor")(reporting_errors(doctor))
app.command("info")(reporting_errors(info))

app.add_typer(export.app, name="export")
app.add_typer(engines.app, name="engines")
app.add_typer(styles.app, name="styles")


def main() -> None:
    """Entry point: `--debug` may stand anywhere on the line."""
    arguments = sys.argv[1:]
    if "--debug" in arguments:
        # Typer takes options of the program itself only before the command.
        arguments = ["--debug", *(a for a in arguments if a != "--debug")]
    run(app, arguments)
