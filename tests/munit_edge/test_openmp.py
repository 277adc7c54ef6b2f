"""How OpenMP's threads wait: a default of ours, unless the user has chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from munit_edge.openmp import WAITING, yield_cores_while_waiting


@pytest.fixture
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        # Set first, so that what the code under test sets is gone after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("nothing_chosen")
def test_threads_wait_passively_unless_the_user_chose() -> None:
    yield_cores_while_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


@pytest.mark.usefixtures("nothing_chosen")
@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_chose_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "chosen")
    yield_cores_while_waiting()
    assert {each: os.environ.get(each) for each in WAITING} == {
        each: "chosen" if each == name else None for each in WAITING
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another OpenMP")
@pytest.mark.parametrize(("chosen", "spins"), [({}, "0"), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_the_openmp_of_torch_has_read_it(chosen: dict[str, str], spins: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in WAITING}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", **chosen}
    command = [sys.executable, "-c", "import munit_edge.trainer.torch_api"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert f"GOMP_SPINCOUNT = '{spins}'" in ended.stderr
