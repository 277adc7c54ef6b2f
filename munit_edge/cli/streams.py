"""Lines and bytes on the standard streams, on good terms with a progress bar and a full disk.

Every text goes out here, or through `cli.errors.fail` and `cli.progress`. They escape
what a terminal would obey: names of files may hold anything (`munit_edge.files.names`).
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
    """Print one line of results and hand it on at once.

    Raises:
        OutputError: nothing more can be written, as on a full disk.
    """
    _print(one_line(text))


def write_lines(text: str) -> None:
    """The same for a text of several lines, such as a table.

    Raises:
        OutputError: nothing more can be written, as on a full disk.
    """
    _print(many_lines(text))


def write_parts(*parts: tuple[str, str | None]) -> None:
    """Print one line of parts, each in a colour of `typer.colors` where a terminal reads it.

    Raises:
        OutputError: nothing more can be written, as on a full disk.
    """
    coloured = sys.stdout.isatty()
    _print(
        "".join(
            typer.style(one_line(text), fg=colour) if coloured and colour else one_line(text)
            for text, colour in parts
        )
    )


def write_json(text: str) -> None:
    """The same for JSON: what a terminal would obey is escaped as JSON does, so nothing is lost.

    Raises:
        OutputError: nothing more can be written, as on a full disk.
    """
    _print(json_text(text))


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
    with _told_like_any_output():
        encoding = sys.stdout.encoding or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        # Through sys.stdout as it is now: while a bar is shown the line then goes above it.
        print(text, flush=True)  # noqa: T201


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
