"""From errors to exit codes: one red line, and a traceback only with --debug."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
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
"""A bug in munit-edge itself (EX_SOFTWARE of sysexits.h)."""
DEBUG_ENVIRONMENT = "MUNIT_EDGE_DEBUG"
MAX_MESSAGE = 1000
"""Characters shown of the message of an error that munit-edge did not raise."""

# Typer's exceptions: those that end a command, and errors about options (base not exported).
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
    """Wrap a command: any error ends it with one line and an exit code.

    So do Ctrl-C, SIGTERM and SIGHUP, once the command has cleaned up.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with errors_reported(), interruptible():
            return command(*args, **kwargs)

    return wrapped


@contextlib.contextmanager
def errors_reported() -> Iterator[None]:
    """Turn every error into one line and `typer.Exit`; with --debug preceded by its traceback.

    Exit codes: the error's own for munit-edge's, 70 for any other, which is a bug in munit-edge.
    """
    try:
        yield
    except _OF_TYPER:
        raise
    except BrokenPipeError:
        # The reader of the output has gone, as with `| head`: no error.
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
            # A path that was not checked before and that the system refuses.
            error = unusable(os.fsdecode(exc.filename), exc)
            fail(str(error), error.exit_code)
        if _is_of_stream(exc):
            silence_stdout()
            fail(f"standard output or standard error cannot be written ({exc.strerror})", 2)
        if _is_out_of_memory(exc):
            fail(f"out of memory{_detail(exc)}: use smaller or fewer images at once", 2)
        fail(
            f"unexpected error: {type(exc).__name__}{_detail(exc)}; this is a bug in munit-edge: "
            "please report it with the output of the same command with --debug",
            EXIT_FAULT,
        )


def _fail_interrupted(number: signal.Signals) -> NoReturn:
    how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    fail(f"{how}: files already complete are kept", EXIT_CODE_BASE + number)


def run(app: typer.Typer, arguments: list[str]) -> NoReturn:
    """Run the program from its command line to its exit code; no error escapes."""
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
    # Python looks for cycles among all objects before it ends, which takes longer than the rest of
    # ending; nothing waits to be found there, as commands close what they open.
    gc.freeze()
    sys.exit(_flushed(code))


def _check_given(arguments: list[str]) -> None:
    """Refuse an empty argument, which would be the current folder if taken as a path.

    Raises:
        ConfigError: there is one.
    """
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not argument or _EMPTY_OPTION.fullmatch(argument):
            place = argument or (f"after {before}" if before else "")
            raise ConfigError(
                f"an argument is empty ({place or 'the first'}): leave it out, or check the "
                "variable that it comes from"
            )


def open_closed_streams() -> None:
    """Open standard streams that the caller has closed (`>&-`) on the null device.

    Otherwise the next opened file gets their number, and printed text ends up in it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is used, which is this one.
            os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _flushed(code: int | str | None) -> int | str | None:
    """Flush the output; the exit code, which changes if that fails."""
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
    with contextlib.suppress(OSError):  # the exit code remains if the line cannot be written
        typer.secho(one_line(f"error: {message}"), fg=typer.colors.RED, err=True)
    raise typer.Exit(exit_code)


def silence_stdout() -> None:
    """Discard what is still to be written to standard output.

    Otherwise Python tries to write it again at exit, and prints an error of its own.
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
    """Whether a standard stream is full or gone: errors of files have a name, or are wrapped."""
    return isinstance(exc, OSError) and exc.filename is None and exc.errno in _STREAM_ERRORS


def _is_out_of_memory(exc: Exception) -> bool:
    """Including torch's and ONNX Runtime's errors, which have no type of their own for it."""
    if isinstance(exc, OSError):
        return exc.errno == errno.ENOMEM
    message = str(exc).lower()
    return isinstance(exc, MemoryError) or any(words in message for words in _OUT_OF_MEMORY)


def _detail(exc: Exception) -> str:
    """The error's message as the rest of one line."""
    text = " ".join(str(exc).split()).encode("utf-8", "backslashreplace").decode()
    if not text:
        return ""
    return f": {text[:MAX_MESSAGE]}" + ("..." if len(text) > MAX_MESSAGE else "")
