"""A function of ours in a process of its own: what it loads may crash, hang or print."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping

_MARK = "munit-edge-answer:"


class ChildError(Exception):
    """The process ended without an answer; the message says how."""


def call(
    function: str, argument: str, *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> str:
    """Call `function(argument)` in a new process and return the text that it returned.

    Args:
        function: dotted name of a function that takes and returns a text.
        argument: what it is given.
        timeout_s: after so many seconds the process is ended.
        environment: variables to set there besides our own.

    Raises:
        ChildError: it crashed, ended early or took too long.
    """
    module, _, name = function.rpartition(".")
    path = [entry for entry in sys.path if entry]  # "" would be the child's working directory
    program = (
        f"import sys; sys.path[:] = {path!r}\n"
        f"from {module} import {name}\n"
        f"print('\\n{_MARK}' + {name}({argument!r}), flush=True)"
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-c", program],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise ChildError(f"it gave no answer within {timeout_s:g} s") from exc
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(_MARK):
            return line.removeprefix(_MARK)
    raise ChildError(_ending(done.returncode, done.stderr))


def words(exc: BaseException) -> str:
    """The class and the whole message of an error on one line."""
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}"


def _ending(code: int, stderr: str) -> str:
    """How a process without an answer ended."""
    last = (stderr.strip().splitlines() or ["without a message"])[-1]
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}: {last}"
    return f"its process ended with code {code}: {last}"
