"""Every command under signals, and two of one kind at one target; in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import PROGRAM
from hang_guard import HANG_S, wait_until
from PIL import Image

from munit_edge.files.held_locks import HIDDEN_PREFIX
from munit_edge.translate.log import LOG_FILE

ROOT = Path(__file__).resolve().parents[2]
MANY = ["sample-data", "out", "--size", "512", "--count", "3000"]


@contextlib.contextmanager
def started(words: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that works in `folder`, with temporary files there."""
    (folder / "tmp").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [*PROGRAM, *words],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(folder: Path, pattern: str) -> None:
    wait_until(lambda: any(folder.glob(pattern)), f"{pattern} does not come")


def unfinished(folder: Path) -> list[str]:
    names = [path.name for path in folder.rglob("*") if path.name.startswith(HIDDEN_PREFIX)]
    return [*names, *(path.name for path in (folder / "tmp").iterdir())]


@pytest.mark.parametrize(
    ("number", "code", "last"),
    [
        (signal.SIGINT, 130, "error: interrupted: files already complete are kept"),
        (signal.SIGTERM, 143, "error: ended by SIGTERM: files already complete are kept"),
        (signal.SIGHUP, 129, "error: ended by SIGHUP: files already complete are kept"),
    ],
)
def test_a_signal_ends_a_command_and_leaves_nothing(
    number: signal.Signals, code: int, last: str, tmp_path: Path
) -> None:
    with started(MANY, tmp_path) as process:
        wait_for(tmp_path, f"{HIDDEN_PREFIX}partial-*/trainA/*.png")
        process.send_signal(number)
        process.send_signal(number)  # as a launcher passes on what the terminal has sent already
        out, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, out) == (code, "")
    assert err.splitlines()[-1] == last
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]
    assert unfinished(tmp_path) == []


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As under nohup."""
    program = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); " + (
        "sys.argv[1:] = ['sample-data', 'out', '--count', '30']; "
        "import os, threading; threading.Timer(0.0, os.kill, (os.getpid(), 1)).start(); "
        "from munit_edge.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert done.returncode == 0


def test_the_second_of_two_is_refused_and_the_killed_first_is_cleared(tmp_path: Path) -> None:
    with started(MANY, tmp_path) as first:
        wait_for(tmp_path, f"{HIDDEN_PREFIX}partial-*/trainA/*.png")
        with started(MANY, tmp_path) as second:
            out, err = second.communicate(timeout=HANG_S)
        assert (second.returncode, out, err.count("\n")) == (2, "", 1)
        assert f"out is in use by process {first.pid} on host " in err
        with started([*MANY[:1], "other", "--count", "10"], tmp_path) as other:
            other.communicate(timeout=HANG_S)
        assert other.returncode == 0
        assert len(unfinished(tmp_path)) == 3  # the living one's folder and its two locks
        first.kill()
    assert len(unfinished(tmp_path)) == 3
    with started([*MANY[:1], "other", "--count", "10", "--overwrite"], tmp_path) as third:
        third.communicate(timeout=HANG_S)
    assert third.returncode == 0
    assert unfinished(tmp_path) == []


def test_two_translations_into_one_folder(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 16)).save(tmp_path / name / f"{name}.png")
    words = ["translate", str(tiny_model), "--direction", "a2b", "--styles", "1", "-o"]
    with started([*words, "out", "--watch", "one"], tmp_path) as watching:
        wait_for(tmp_path, "out/one_00.png")
        with started([*words, "./two/../out", "two"], tmp_path) as second:
            _, err = second.communicate(timeout=HANG_S)
        assert second.returncode == 2
        assert f"out is in use by process {watching.pid} on host " in err
        assert not (tmp_path / "out" / "two_00.png").exists()
        watching.send_signal(signal.SIGTERM)
        _, err = watching.communicate(timeout=HANG_S)
    assert watching.returncode == 0  # its ordinary end, as with Ctrl-C
    assert "1 image translated" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOG_FILE, "one_00.png"]


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """A program that `child.call` runs, when the caller is killed."""
    (tmp_path / "slow.py").write_text(
        "import os, time\n\n\ndef work(path):\n"
        "    open(path, 'w').write(str(os.getpid()))\n    time.sleep(600)\n    return ''\n"
    )
    pid_file = tmp_path / "pid"
    call = f"child.call('slow.work', {str(pid_file)!r}, timeout_s=900)"
    program = f"from munit_edge.system import child; {call}"
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    try:
        wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", "no child begins")
    finally:
        parent.kill()
        parent.wait()
    status = Path("/proc") / pid_file.read_text() / "status"

    def ended() -> bool:
        try:
            return "\nState:\tZ" in status.read_text()  # ended, and not waited for by anything
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(ended, "the child lives on")


def test_ctrl_c_while_the_program_loads_is_quiet(tmp_path: Path) -> None:
    program = (
        "import os, sys, builtins\n"
        "from munit_edge.__main__ import main\n"
        "really = builtins.__import__\n"
        "def load(name, *more, **named):\n"
        "    if name == 'typer':\n"
        "        os.kill(os.getpid(), 2)\n"
        "    return really(name, *more, **named)\n"
        "builtins.__import__ = load\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("module", ["atexit", "shutil"])
def test_a_signal_while_the_module_of_locks_is_imported_is_quiet(
    module: str, tmp_path: Path
) -> None:
    # While that module imports others it is in sys.modules, and not complete.
    program = (
        "import builtins, os, signal, sys\n"
        "from munit_edge.__main__ import main\n"
        "real = builtins.__import__\n"
        "def traced(name, where=None, *rest, **more):\n"
        "    importer = (where or {}).get('__name__')\n"
        f"    if (name, importer) == ({module!r}, 'munit_edge.files.held_locks'):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return real(name, where, *rest, **more)\n"
        "builtins.__import__ = traced\n"
        "sys.argv[1:] = ['--help']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (143, "")
