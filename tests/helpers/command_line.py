"""Calling munit-edge: in this process, or as a program."""

from __future__ import annotations

import sys

from typer.testing import CliRunner, Result

from munit_edge.cli.main import make_app

PROGRAM = [sys.executable, "-m", "munit_edge"]


def invoke(*words: object, stdin: bytes | None = None) -> Result:
    """Call munit-edge in this process."""
    return CliRunner().invoke(make_app(), [str(word) for word in words], input=stdin)


def outcome(*words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a call that leaves no traceback."""
    result = invoke(*words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr
