"""From errors to exit codes: one red line, and a traceback only with --debug."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn, ParamSpec, TypeGuard, TypeVar

import typer

from munit_edge.errors import ConfigError, MunitEdgeError
from munit_edge.files.names import one_line
from munit_edge.files.system_errors import unusable
from munit_edge.interrupts import EXIT_CODE_BASE, interruptible, signal_of, take_last_signal

P = ParamSpec("P")
R = TypeVar("R")

EXIT_FAULT = 70
"""A fault in munit-edge itself (EX_SOFTWARE of sysexits.h)."""
DEBUG_ENVIRONMENT = "MUNIT_EDGE_DEBUG"
MAX_MESSAGE = 1000
"""Characters that are shown of the message of an error that is not ours."""

# Typer's own: how it ends a command, and its errors about options, whose base it does not export.
_USAGE_ERRORS = typer.BadParameter.__mro__[: typer.BadParameter.__mro__.index(Exception)]
_OF_TYPER: tuple[type[Exception], ...] = (
    typer.Exit,
    typer.Abort,
    *(kind for kind in _USAGE_ERRORS if issubclass(kind, Exception)),
)
_EMPTY_OPTION = re.compile(r"--[a-z0-9-]+=")
_STREAM_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def reporting_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: whatever it raises ends it with one line and an exit code.

    So do Ctrl-C, SIGTERM and SIGHUP, after the command has cleaned up.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with errors_reported(), interruptible():
            return command(*args, **kwargs)

    return wrapped


@contextlib.contextmanager
def errors_reported() -> Iterator[None]:
    """Turn every error into one line and `typer.Exit`; with --debug its traceback comes before.

    Exit codes: the error's own for munit-edge's, 70 for any other, which is a fault in munit-edge.
    """
    try:
        yield
    except _OF_TYPER:
        raise
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`: not a fault of ours.
        silence_stdout()
        raise typer.Exit(1) from None
    except KeyboardInterrupt as exc:
        _show_traceback(exc)
        take_last_signal()
        _fail_interrupted(signal_of(exc))
    except Exception as exc:
        _show_traceback(exc)
        if number := take_last_signal():
            _fail_interrupted(number)
        if isinstance(exc, MunitEdgeError):
            fail(str(exc), exc.exit_code)
        if isinstance(exc, OSError) and exc.filename is not None:
            # What the system refuses anywhere: a path that nobody has asked about before.
            error = unusable(os.fsdecode(exc.filename), exc)
            fail(str(error), error.exit_code)
        if _is_of_stream(exc):
            silence_stdout()
            fail(f"standard output or standard error cannot be written ({exc.strerror})", 2)
        if _is_out_of_memory(exc):
            fail(f"out of memory{_detail(exc)}: take smaller or fewer images at once", 2)
        fail(
            f"unexpected error: {type(exc).__name__}{_detail(exc)}; this is a fault in munit-edge: "
            "please report it with the output of the same command with --debug",
            EXIT_FAULT,
        )


def _fail_interrupted(number: signal.Signals) -> NoReturn:
    how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    fail(f"{how}: files already complete are kept", EXIT_CODE_BASE + number)


def run(app: typer.Typer, arguments: list[str]) -> NoReturn:
    """Run the program from its command line to its exit code; no error gets past here."""
    open_closed_streams()
    code: int | str | None = 0
    try:
        with errors_reported():
            _check_given(arguments)
            app(arguments)
    except typer.Exit as exc:
        code = exc.exit_code
    except SystemExit as exc:
        code = exc.code
    sys.exit(_flushed(code))


def _check_given(arguments: list[str]) -> None:
    """Refuse an empty argument, which as a path would be the current folder.

    Raises:
        ConfigError: there is one.
    """
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not argument or _EMPTY_OPTION.fullmatch(argument):
            place = argument or (f"after {before}" if before else "")
            raise ConfigError(
                f"an argument is empty ({place or 'the first'}): leave it out, or look at the "
                "variable that it comes from"
            )


def open_closed_streams() -> None:
    """Open standard streams that the caller has closed (`>&-`) on the null device.

    Else the next file that is opened gets their number, and what is printed ends up inside it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _flushed(code: int | str | None) -> int | str | None:
    """Write what is left of the output; the exit code, which says when that did not work."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
        return code or 1
    except OSError as exc:
        silence_stdout()
        with contextlib.suppress(typer.Exit):
            fail(f"standard output cannot be written ({exc.strerror})", 2)
        return code or 2
    return code


def fail(message: str, exit_code: int) -> NoReturn:
    """Print one red line to standard error and end the command."""
    with contextlib.suppress(OSError):  # the exit code tells, where nobody can read the line
        typer.secho(one_line(f"error: {message}"), fg=typer.colors.RED, err=True)
    raise typer.Exit(exit_code)


def silence_stdout() -> None:
    """Send what is still to be written to standard output nowhere.

    Else Python tries to write it once more at the end, and complains in its own way.
    """
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _show_traceback(exc: BaseException) -> None:
    if os.environ.get(DEBUG_ENVIRONMENT):
        with contextlib.suppress(OSError):
            traceback.print_exception(exc)


def _is_of_stream(exc: Exception) -> TypeGuard[OSError]:
    """Whether a standard stream is full or gone: errors of files come with a name, or wrapped."""
    return isinstance(exc, OSError) and exc.filename is None and exc.errno in _STREAM_ERRORS


def _is_out_of_memory(exc: Exception) -> bool:
    """Also as torch and ONNX Runtime say it, which have no type of their own for it."""
    if isinstance(exc, OSError):
        return exc.errno == errno.ENOMEM
    said = str(exc).lower()
    return isinstance(exc, MemoryError) or any(words in said for words in _OUT_OF_MEMORY)


def _detail(exc: Exception) -> str:
    """The error's message as the rest of one line."""
    text = " ".join(str(exc).split()).encode("utf-8", "backslashreplace").decode()
    if not text:
        return ""
    return f": {text[:MAX_MESSAGE]}" + ("..." if len(text) > MAX_MESSAGE else "")
