"""Lines and bytes on the standard streams, on good terms with a progress bar and a full disk."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from munit_edge.cli.errors import silence_stdout
from munit_edge.files import output_errors


def write_line(text: str) -> None:
    """Print one line of results and hand it on at once.

    Raises:
        OutputError: nothing more can be written, as on a full disk.
    """
    with _told_like_any_output():
        encoding = sys.stdout.encoding or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        # Through sys.stdout as it is now: while a bar is shown the line then goes above it.
        print(text, flush=True)  # noqa: T201


def write_bytes(data: bytes) -> None:
    """Write a file's bytes to standard output.

    Raises:
        OutputError: nothing more can be written, as on a full disk.
    """
    with _told_like_any_output():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def tell(message: str) -> None:
    """Print one line to standard error; where that is full or closed, nobody reads it."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)  # noqa: T201


def warn(message: str) -> None:
    """Print one yellow line to standard error."""
    line = f"warning: {message}"
    if sys.stderr.isatty():
        line = typer.style(line, fg=typer.colors.YELLOW)
    tell(line)


@contextlib.contextmanager
def _told_like_any_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has gone: `reporting_errors` knows what to do
    except OSError:
        silence_stdout()
        with output_errors(Path("standard output")):
            raise
