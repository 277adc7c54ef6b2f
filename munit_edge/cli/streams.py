"""Lines and bytes on the standard streams, alongside a progress bar and safe on a full disk.

All text is printed here, by `cli.errors.fail` or by `cli.progress`. They escape control characters,
since file names may contain anything (`munit_edge.files.names`).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from munit_edge.cli.errors import silence_stdout
from munit_edge.files.names import json_text, many_lines, one_line
from munit_edge.files.system_errors import output_errors


def write_line(text: str) -> None:
    """Print one line of results and flush it.

    Raises:
        OutputError: the stream cannot be written, as on a full disk.
    """
    _print(one_line(text))


def write_lines(text: str) -> None:
    """Print a text of several lines, such as a table, and flush it.

    Raises:
        OutputError: the stream cannot be written, as on a full disk.
    """
    _print(many_lines(text))


def write_parts(*parts: tuple[str, str | None]) -> None:
    """Print one line of parts, each in a colour of `typer.colors` on a terminal.

    Raises:
        OutputError: the stream cannot be written, as on a full disk.
    """
    coloured = sys.stdout.isatty()
    _print(
        "".join(
            typer.style(one_line(text), fg=colour) if coloured and colour else one_line(text)
            for text, colour in parts
        )
    )


def write_json(text: str) -> None:
    """Print JSON; control characters are escaped as in JSON, so nothing is lost.

    Raises:
        OutputError: the stream cannot be written, as on a full disk.
    """
    _print(json_text(text))


def write_bytes(data: bytes) -> None:
    """Write a file's bytes to standard output.

    Raises:
        OutputError: the stream cannot be written, as on a full disk.
    """
    with _output_errors():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def tell(message: str) -> None:
    """Print one line to standard error; ignored if that is full or closed."""
    _print_error(one_line(message))


def warn(message: str) -> None:
    """Print one yellow line to standard error."""
    line = one_line(f"warning: {message}")
    if sys.stderr.isatty():
        line = typer.style(line, fg=typer.colors.YELLOW)
    _print_error(line)


def _print_error(line: str) -> None:
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def _print(text: str) -> None:
    with _output_errors():
        encoding = sys.stdout.encoding or "utf-8"
        # A terminal without Unicode gets escapes instead of an error.
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        # Through the current sys.stdout, which moves the line above a progress bar.
        print(text, flush=True)  # noqa: T201


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has gone: `reporting_errors` handles it
    except OSError:
        silence_stdout()
        with output_errors(Path("standard output")):
            raise
