"""From errors to exit codes: one red line, and a traceback only with --debug."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

import typer

from munit_edge.errors import MunitEdgeError
from munit_edge.interrupts import EXIT_CODE_BASE, interruptible, signal_of

P = ParamSpec("P")
R = TypeVar("R")

DEBUG_ENVIRONMENT = "MUNIT_EDGE_DEBUG"


def reporting_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: munit-edge's errors end it with one line and the error's exit code.

    So do Ctrl-C, SIGTERM and SIGHUP, after the command has cleaned up.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with interruptible():
                return command(*args, **kwargs)
        except MunitEdgeError as exc:
            if os.environ.get(DEBUG_ENVIRONMENT):
                raise
            fail(str(exc), exc.exit_code)
        except KeyboardInterrupt as exc:
            if os.environ.get(DEBUG_ENVIRONMENT):
                raise
            number = signal_of(exc)
            how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
            fail(f"{how}: files already complete are kept", EXIT_CODE_BASE + number)
        except BrokenPipeError:
            # The reader of our output has gone, as with `| head`: not a fault of ours.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None

    return wrapped


def fail(message: str, exit_code: int) -> NoReturn:
    """Print one red line to standard error and end the command."""
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(exit_code)
