"""The `munit-edge` program: collects the commands."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer

from munit_edge.cli.errors import DEBUG_ENVIRONMENT, reporting_errors, run
from munit_edge.version import __version__

COMMANDS = (
    "sample-data",
    "translate",
    "convert",
    "train",
    "page",
    "evaluate",
    "benchmark",
    "doctor",
    "info",
    # Groups: their modules have an `app`, those of commands a function of the command's name.
    "export",
    "engines",
    "styles",
)
"""In the order of the help; the module of `sample-data` is `munit_edge.cli.sample_data`."""


def make_app(command: str | None = None) -> typer.Typer:
    """The program.

    Args:
        command: the only one of `COMMANDS` that will be called, so that the others are not even
            imported; None: all of them.
    """
    app = typer.Typer(
        name="munit-edge",
        help="Train MUNIT, export it, and translate images: one photo, many translations.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name in COMMANDS if command is None else (command,):
        module = importlib.import_module(f"munit_edge.cli.{_identifier(name)}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(reporting_errors(getattr(module, _identifier(name))))
    return app


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"munit-edge {__version__}")
        raise typer.Exit


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


def main() -> None:
    """Entry point: `--debug` may stand anywhere on the line."""
    # Pydantic would look for plug-ins of its own in all installed packages; none is of use here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    # Options of the program itself have no values, so anything else before a command is a mistake,
    # whose message lists all commands.
    command = arguments[0] if arguments and arguments[0] in COMMANDS else None
    if len(arguments) < len(sys.argv) - 1:
        # Typer takes options of the program itself only before the command.
        arguments.insert(0, "--debug")
    run(make_app(command), arguments)
