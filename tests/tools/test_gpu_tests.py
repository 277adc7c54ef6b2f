"""The summary says how many of the tests that need a GPU were run: `gpu_tests` of tests/helpers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from engine_code import CHECKOUT
from gpu_tests import why_no_gpu

CONFTEST = """
import gpu_tests

gpu_tests.why_no_gpu = lambda: {why!r}


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a GPU")
    config.pluginmanager.register(gpu_tests.GpuTests(), "gpu-tests")
"""
# 7 tests need a GPU: 2 pass, 1 fails, 1 is expected to fail, 1 has an error before it begins, and 2
# skip themselves. 2 need none.
TESTS = {
    "test_one.py": """
import pytest

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("n", [1, 2])
def test_passes(n): pass


def test_fails(): raise AssertionError


@pytest.mark.xfail
def test_is_expected_to_fail(): raise AssertionError
""",
    "test_two.py": """
import pytest


@pytest.fixture
def broken(): raise OSError


@pytest.fixture
def absent(): pytest.skip("tensorrt is not installed")


@pytest.mark.gpu
class TestClass:
    def test_error(self, broken): pass

    def test_skips(self): pytest.skip("tensorrt is not installed")

    def test_skips_in_a_fixture(self, absent): pass


def test_gpu(): pass


def test_skips_without_the_marker(): pytest.skip("another reason")
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with some tests."""
    for name, text in TESTS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def lines(project: Path, *arguments: str, why: str = "no GPU", code: int = 0) -> list[str]:
    """The lines about GPUs in the summary of a run."""
    (project / "conftest.py").write_text(CONFTEST.format(why=why))
    done = run(project, *arguments, PYTHONPATH=str(CHECKOUT / "tests" / "helpers"))
    assert done.returncode == code, done.stdout + done.stderr
    return found(done.stdout)


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, **environment}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment
    )


def found(output: str) -> list[str]:
    return re.findall(r"^GPU tests: .*$", output, re.MULTILINE)


WITH_A_GPU = ["GPU tests: 5 of 7 ran: tensorrt is not installed"]


@pytest.mark.parametrize("processes", ["0", "2"])
def test_none_is_run_without_a_gpu(project: Path, processes: str) -> None:
    assert lines(project, "-n", processes) == ["GPU tests: 0 of 7 ran: no GPU"]


@pytest.mark.parametrize("processes", ["0", "2"])
def test_those_that_were_run_are_counted_whatever_came_out(project: Path, processes: str) -> None:
    assert lines(project, "-n", processes, why="", code=1) == WITH_A_GPU


def test_only_what_is_selected_counts(project: Path) -> None:
    assert lines(project, "-k", "passes") == ["GPU tests: 0 of 2 ran: no GPU"]
    assert lines(project, "-k", "passes", why="") == ["GPU tests: 2 of 2 ran"]
    assert lines(project, "-k", "passes or in_a_fixture", why="") == [
        "GPU tests: 2 of 3 ran: tensorrt is not installed"
    ]
    assert lines(project, "-k", "test_gpu") == [], "a name is no marker"
    assert lines(project, "--collect-only") == [], "nothing was to be run"


def test_those_that_the_run_did_not_reach_are_not_run(project: Path) -> None:
    assert lines(project, "-x", why="", code=1) == ["GPU tests: 3 of 7 ran: not reached"]
    stops = ("--maxfail", "2", "test_two.py", "test_one.py")
    assert lines(project, *stops, why="", code=1) == [
        "GPU tests: 4 of 7 ran: tensorrt is not installed (2), not reached (1)"
    ]


def test_the_tests_of_this_project_are_counted() -> None:
    file = "tests/engines/test_on_a_gpu.py"
    listed = run(CHECKOUT, "--collect-only", "-q", "-m", "gpu", file)
    count = len(re.findall(rf"^{file}::", listed.stdout, re.MULTILINE))
    assert count > 20
    if why := why_no_gpu():
        done = run(CHECKOUT, "-q", file)
        assert found(done.stdout) == [f"GPU tests: 0 of {count} ran: {why}"]
        assert done.returncode == 0
