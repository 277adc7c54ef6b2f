"""How OpenMP's threads wait: as the machine's load wants it, unless the user has chosen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from munit_edge.system import openmp
from munit_edge.system.openmp import WAITING, choose_waiting


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        # Set first, so that what the code under test sets is gone after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def machine(root: Path, loadavg: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with 4 cores, all of them usable."""
    (root / "proc").mkdir()
    (root / "proc" / "loadavg").write_text(loadavg)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(openmp, "usable_cores", lambda root: 4)
    return root


@pytest.mark.parametrize(
    ("loadavg", "chosen"),
    [
        ("0.10 0.20 0.30 1/200 4321\n", None),
        ("0.10 0.20 0.30 2/200 4321\n", "passive"),
        ("9.10 8.20 3.30 7/200 4321\n", "passive"),
        ("", None),
        ("0.10 0.20 0.30 x/200\n", None),
    ],
)
def test_threads_sleep_where_others_want_the_cores(
    loadavg: str, chosen: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_waiting(machine(tmp_path, loadavg, monkeypatch))
    assert os.environ.get("OMP_WAIT_POLICY") == chosen


def test_cores_that_are_not_used_are_free_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path, "0.10 0.20 0.30 3/200 4321\n", monkeypatch)
    monkeypatch.setattr(openmp, "usable_cores", lambda root: 2)
    choose_waiting(root)
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_chose_is_kept(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "chosen")
    choose_waiting(machine(tmp_path, "9.10 8.20 3.30 7/200 4321\n", monkeypatch))
    assert {each: os.environ.get(each) for each in WAITING} == {
        each: "chosen" if each == name else None for each in WAITING
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another OpenMP")
@pytest.mark.parametrize(
    ("others", "chosen", "spins"),
    [
        (99, {}, "0"),
        pytest.param(0, {}, "300000", marks=pytest.mark.slow),
        pytest.param(99, {"GOMP_SPINCOUNT": "77"}, "77", marks=pytest.mark.slow),
    ],
)
def test_the_openmp_of_torch_has_read_it(others: int, chosen: dict[str, str], spins: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in WAITING}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", **chosen}
    program = (
        "from munit_edge.system import openmp\n"
        f"openmp._others_running = lambda root: {others}\n"
        "import munit_edge.trainer.torch_api\n"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert f"GOMP_SPINCOUNT = '{spins}'" in ended.stderr
