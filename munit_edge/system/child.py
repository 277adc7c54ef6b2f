"""A function of ours in a process of its own: what it loads may crash, hang or print."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping

from munit_edge.files.unfinished import scratch_folder

_MARK = "munit-edge-answer:"


_lifelines: set[int] = set()
"""Writing ends of the pipes whose end ends a process."""


class ChildError(Exception):
    """The process ended without an answer; the message says how."""


def call(
    function: str, argument: str, *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> str:
    """Call `function(argument)` in a new process and return the text that it returned.

    The process ends with this one, however this one ends.

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
        f"from munit_edge.system.child import end_with_standard_input\n"
        f"end_with_standard_input()\n"
        f"from {module} import {name}\n"
        f"print('\\n{_MARK}' + {name}({argument!r}), flush=True)"
    )
    with scratch_folder() as folder, _open_pipe() as lifeline:
        try:
            done = subprocess.run(
                [sys.executable, "-c", program],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                stdin=lifeline,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder), **(environment or {})},
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise ChildError(f"it gave no answer within {timeout_s:g} s") from exc
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(_MARK):
            return line.removeprefix(_MARK)
    raise ChildError(_ending(done.returncode, done.stderr))


def end_with_standard_input() -> None:
    """Let this process end at once when the one that called it has: its end closes the pipe."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="munit-edge-parent", daemon=True).start()


def end_calls() -> None:
    """End the processes of all calls that other threads are waiting for: those raise."""
    for writing in tuple(_lifelines):
        _cut(writing)


@contextlib.contextmanager
def _open_pipe() -> Iterator[int]:
    """The reading end of a pipe that stays open while the block, or this process, lasts."""
    reading, writing = os.pipe()
    _lifelines.add(writing)
    try:
        yield reading
    finally:
        os.close(reading)
        _cut(writing)


def _cut(lifeline: int) -> None:
    with contextlib.suppress(KeyError):  # it was cut already
        _lifelines.remove(lifeline)
        os.close(lifeline)


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
