"""What a person meets before anything is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Runs check_python.py as a Python that differs in what comes before it.
CHECK = "; exec(compile(open('tools/check_python.py').read(), 'check_python.py', 'exec'))"


def _check(before: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", before + CHECK]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_this_python_will_do() -> None:
    done = _check("pass")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_old_python_is_named_with_the_fix() -> None:
    done = _check("import sys; sys.version_info = (3, 9, 18)")
    assert done.returncode == 1
    assert "needs Python 3.10 or newer and this is 3.9" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_a_python_without_venv_is_named_with_the_fix() -> None:
    hide = "import importlib.util as u; u.find_spec = lambda name: None"
    done = _check(hide)
    assert done.returncode == 1
    assert "cannot make virtual environments" in done.stderr
    assert "apt install python3-venv" in done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (help .*)$", makefile, re.MULTILINE)
    command = ["make", "--no-print-directory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    listed = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert sorted(listed) == sorted(phony.split())
