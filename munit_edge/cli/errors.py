"""From errors to exit codes: one red line, and a traceback only with --debug."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

import typer

from munit_edge.errors import MunitEdgeError
from munit_edge.names import one_line
from munit_edge.paths import unusable

P = ParamSpec("P")
R = TypeVar("R")

EXIT_INTERRUPTED = 130
DEBUG_ENVIRONMENT = "MUNIT_EDGE_DEBUG"


def reporting_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: munit-edge's errors end it with one line and the error's exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except MunitEdgeError as exc:
            if os.environ.get(DEBUG_ENVIRONMENT):
                raise
            fail(str(exc), exc.exit_code)
        except BrokenPipeError:
            # The reader of our output has gone, as with `| head`: not a fault of ours.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as exc:
            # What the system refuses anywhere: a path that nobody has asked about before.
            if os.environ.get(DEBUG_ENVIRONMENT) or exc.filename is None:
                raise
            error = unusable(os.fsdecode(exc.filename), exc)
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            if os.environ.get(DEBUG_ENVIRONMENT):
                raise
            fail("interrupted: files already complete are kept", EXIT_INTERRUPTED)

    return wrapped


def fail(message: str, exit_code: int) -> NoReturn:
    """Print one red line to standard error and end the command."""
    typer.secho(one_line(f"error: {message}"), fg=typer.colors.RED, err=True)
    raise typer.Exit(exit_code)
