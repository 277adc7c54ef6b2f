"""Whatever goes wrong: one line, an exit code, and a traceback only with --debug."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import cast

import command_line
import pytest
import typer

from munit_edge.cli.errors import EXIT_FAULT, errors_reported, reporting_errors, run
from munit_edge.errors import ConfigError

REPORT = (
    "this is a bug in munit-edge: please report it with the output of the same command with --debug"
)


def end(exc: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, output and messages of a program whose command raises `exc`."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @reporting_errors
    def command() -> None:
        raise exc

    app.command()(command)
    with pytest.raises(SystemExit) as ended:
        run(app, [])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.mark.parametrize(
    ("exc", "code", "message"),
    [
        (ConfigError("no"), 2, "error: no\n"),
        (KeyError("k"), EXIT_FAULT, f"error: unexpected error: KeyError: 'k'; {REPORT}\n"),
        (RecursionError("deep"), EXIT_FAULT, f"unexpected error: RecursionError: deep; {REPORT}"),
        (AssertionError(), EXIT_FAULT, f"unexpected error: AssertionError; {REPORT}"),
        (RuntimeError("one\ntwo \udcff"), EXIT_FAULT, r"RuntimeError: one two \udcff; this"),
        (RuntimeError("x" * 5000), EXIT_FAULT, "x" * 1000 + "...; this"),
        (MemoryError(), 2, "error: out of memory: use smaller or fewer images at once\n"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "error: out of memory: "),
        (OSError(12, "Cannot allocate memory"), 2, "error: out of memory: "),
        (KeyboardInterrupt(), 130, "error: interrupted: "),
        (BrokenPipeError(), 1, ""),
        (typer.Exit(3), 3, ""),
        (typer.BadParameter("bad"), 2, "bad"),
    ],
    ids=repr,
)
def test_an_error_is_one_line(
    exc: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = end(exc, capsys)
    assert (found, out) == (code, "")
    assert message in err
    if err.startswith("error: "):
        assert err.count("\n") == 1


@pytest.mark.parametrize("exc", [KeyError("k"), ConfigError("no")], ids=repr)
def test_debug_shows_the_traceback_too(
    exc: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = end(exc, capsys)[0]
    monkeypatch.setenv("MUNIT_EDGE_DEBUG", "1")
    same_code, _, err = end(exc, capsys)
    assert same_code == code
    assert err.startswith("Traceback ")
    assert err.splitlines()[-1].startswith("error: ")


def test_errors_before_the_command_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: bool) -> None:
        raise ZeroDivisionError

    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def command(option: bool = typer.Option(False, callback=refuse)) -> None: ...

    with pytest.raises(SystemExit) as ended:
        run(app, [])
    assert ended.value.code == EXIT_FAULT
    assert capsys.readouterr().err == f"error: unexpected error: ZeroDivisionError; {REPORT}\n"


def test_a_fault_in_a_file_is_not_one_of_the_streams(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), errors_reported():
        raise OSError(28, "No space left on device", "some.file")
    assert "error: some.file cannot be used: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_library_may_turn_an_interruption_into_its_own_error(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as the initialisation of a module in C."""

    def command() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as exc:
            raise ImportError("initialization failed") from exc

    with pytest.raises(typer.Exit) as ended:
        reporting_errors(command)()
    assert ended.value.exit_code == 128 + number
    assert capsys.readouterr().err.endswith(": files already complete are kept\n")
    with pytest.raises(typer.Exit) as ended, errors_reported():
        raise ZeroDivisionError
    assert ended.value.exit_code == EXIT_FAULT, "the signal is forgotten"


# ---------------------------------------------------------------------------------------------
# Standard streams that are closed, full or gone

PROGRAM = shlex.join(command_line.PROGRAM)


def shell(command: str, folder: Path) -> tuple[int, str]:
    environment = {k: v for k, v in os.environ.items() if k != "MUNIT_EDGE_DEBUG"}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stderr


def test_closed_streams_are_like_the_null_device(tmp_path: Path) -> None:
    code, _ = shell(f"{PROGRAM} sample-data drawn --count 1 --size 16 <&- >&- 2>&-", tmp_path)
    assert code == 0
    code, _ = shell(f"{PROGRAM} sample-data open --count 1 --size 16", tmp_path)
    for path in sorted((tmp_path / "open").rglob("*.*")):
        name = path.relative_to(tmp_path / "open")
        assert (tmp_path / "drawn" / name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("--version >/dev/full", 2, "standard output"),
        ("--nonsense 2>/dev/full", 2, ""),
        ("info nothing 2>&-", 2, ""),
        ("info nothing 2>/dev/full", 2, ""),
        ("doctor 2>&1 | true; exit ${PIPESTATUS[0]}", 1, ""),
    ],
)
def test_streams_that_take_nothing(command: str, code: int, message: str, tmp_path: Path) -> None:
    found, err = shell(f"{PROGRAM} {command}", tmp_path)
    assert found == code
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["translate", ""], "after translate"),
        (["translate", "model", "x.png", "-o", ""], "after -o"),
        (["translate", "model", "x.png", "--output="], "--output="),
        ([""], "the first"),
    ],
)
def test_an_empty_argument_is_no_path(
    arguments: list[str], place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(given: list[str]) -> None:
        raise AssertionError(given)

    with pytest.raises(SystemExit) as caught:
        run(cast(typer.Typer, never), arguments)
    assert caught.value.code == 2
    assert f"error: an argument is empty ({place}): leave it out" in capsys.readouterr().err
