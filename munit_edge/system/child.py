"""Other processes: one of our functions in a process of its own, and small system programs.

A function gets its own process when what it loads may crash, hang or print.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from munit_edge.files.unfinished import scratch_folder

PROGRAM_TIMEOUT_S = 20.0
"""How long a small program may take, in seconds."""

# Libraries print to standard output, too: the answer is the last line that begins with this.
_MARK = "munit-edge-answer:"

_lifelines: set[int] = set()
"""Write ends of the pipes that keep child processes alive: closing one ends its process."""


class ChildError(Exception):
    """The process ended without an answer; the message says how."""


class ProgramTimeoutError(Exception):
    """A small program did not end in time."""


def run_program(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a small program; None if it does not exist or cannot be started.

    Raises:
        ProgramTimeoutError: it did not end within `PROGRAM_TIMEOUT_S`.
    """
    try:
        return _run(command, PROGRAM_TIMEOUT_S)
    except OSError:
        return None
    except subprocess.TimeoutExpired as exc:
        message = f"{command[0]} gave no answer within {PROGRAM_TIMEOUT_S:g} s"
        raise ProgramTimeoutError(message) from exc


def call(
    function: str, argument: str, *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> str:
    """Call `function(argument)` in a new process and return its result.

    The process ends with this one, however this one ends.

    Args:
        function: dotted name of a function that takes and returns a string.
        argument: its argument.
        timeout_s: time after which the process is ended, in seconds.
        environment: variables to set there, in addition to those of this process.

    Raises:
        ChildError: it crashed, ended early or took too long.
    """
    module, _, name = function.rpartition(".")
    path = [entry for entry in sys.path if entry]  # "" would be the child's working directory
    # It watches its lifeline before it imports the module, which may hang. The mark is on a line
    # of its own even if a library has left one unfinished.
    program = (
        f"import sys; sys.path[:] = {path!r}\n"
        f"from munit_edge.system.child import end_with_standard_input\n"
        f"end_with_standard_input()\n"
        f"from {module} import {name}\n"
        f"print('\\n{_MARK}' + {name}({argument!r}), flush=True)"
    )
    # What a crash leaves, such as a core file, is removed with the folder.
    with scratch_folder() as folder, _open_pipe() as lifeline:
        try:
            done = _run(
                [sys.executable, "-c", program],
                timeout_s,
                stdin=lifeline,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder), **(environment or {})},
            )
        except subprocess.TimeoutExpired as exc:
            raise ChildError(f"it gave no answer within {timeout_s:g} s") from exc
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(_MARK):
            return line.removeprefix(_MARK)
    raise ChildError(_ending(done.returncode, done.stderr))


def end_with_standard_input() -> None:
    """End this process as soon as its caller ends, which closes the pipe to standard input."""

    def watch() -> None:
        # Nothing is ever written: this waits for the end of the file, which the system brings about
        # even if the caller is killed.
        while os.read(0, 1):
            pass
        # `sys.exit` would end this thread only.
        os._exit(1)

    threading.Thread(target=watch, name="munit-edge-parent", daemon=True).start()


def end_calls() -> None:
    """End the processes of all calls that other threads are waiting for; those calls raise."""
    for writing in tuple(_lifelines):
        _cut(writing)


def _run(
    command: list[str],
    timeout_s: float,
    *,
    stdin: int = subprocess.DEVNULL,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        stdin=stdin,
        cwd=cwd,
        env=env,
        check=False,
    )


@contextlib.contextmanager
def _open_pipe() -> Iterator[int]:
    """The read end of a pipe that stays open until the block, or this process, ends."""
    # Python keeps both ends from being inherited (PEP 446): a write end in another child would
    # keep this one alive.
    reading, writing = os.pipe()
    _lifelines.add(writing)
    try:
        yield reading
    finally:
        os.close(reading)
        _cut(writing)


def _cut(lifeline: int) -> None:
    with contextlib.suppress(KeyError):  # already closed
        _lifelines.remove(lifeline)
        # Removed first: once closed, the number may belong to another file.
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
