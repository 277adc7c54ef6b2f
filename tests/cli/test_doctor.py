"""`munit-edge doctor`."""

from __future__ import annotations

import functools
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import outcome

from munit_edge import __version__
from munit_edge.doctor import examine as doctor
from munit_edge.doctor import selftest
from munit_edge.doctor.examine import Report
from munit_edge.doctor.selftest import SelftestReport
from munit_edge.engines.probe import Answer

run = partial(outcome, "doctor")


def test_json_has_facts_and_findings() -> None:
    code, out, err = run("--json")
    report = Report.model_validate_json(out)
    assert err == ""
    assert code == (1 if report.broken else 0)
    assert report.munit_edge == __version__
    assert report.machine.python.version in out
    torch = next(answer for answer in report.answers if answer.subject == "torch")
    assert torch.facts is not None, torch.fault
    assert report.packages["torch"] == torch.facts.version
    assert {"Python", "GPU", "torch", "onnxruntime"} <= {f.subject for f in report.findings}


def test_table_names_what_is_broken_and_its_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("import ctypes; ctypes.CDLL('libgone.so.7')")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, _ = run()
    assert code == 1
    (row,) = [line for line in out.splitlines() if line.startswith("torch ")]
    assert "broken" in row
    assert "libgone.so.7: cannot open shared object file" in " ".join(out.split())
    assert "`pip install --force-reinstall torch`" in out, "commands stay on one line"
    assert "\x1b" not in out, "colours are for terminals"
    assert max(map(len, out.splitlines())) <= 130


@pytest.fixture
def only_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the doctor's work is tested elsewhere, and importing torch costs seconds."""
    report = doctor.examine()

    def keep(answer: Answer) -> Answer:
        if answer.subject == "onnxruntime":
            return answer
        return Answer(subject=answer.subject, installed=False)

    answers = tuple(keep(answer) for answer in report.answers)
    kept = report.model_copy(update={"answers": answers, "findings": report.findings[:1]})
    monkeypatch.setattr(doctor, "examine", lambda: kept)


def test_selftest_passes_and_writes_its_report(tmp_path: Path, only_onnxruntime: None) -> None:
    file = tmp_path / "report.json"
    code, out, err = run("--selftest", "--report", str(file))
    assert code == 0, out
    assert err == f"wrote {file}: attach it to an issue\n"
    assert re.search(r"^onnxruntime cpu fp32 +ok +8 outputs as expected;", out, re.MULTILINE)
    assert re.search(r"^export +not tested +torch is not installed$", out, re.MULTILINE)
    written = SelftestReport.model_validate_json(file.read_text())
    assert [r.status for r in written.results if r.name == "onnxruntime cpu int8"] == ["ok"]


def test_selftest_fails_when_an_output_differs(
    tmp_path: Path, only_onnxruntime: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(selftest.FOLDER, tmp_path / "spoilt")
    with np.load(tmp_path / "spoilt" / "expected.npz") as file:
        expected = dict(file)
    expected["decoder_a"] ^= 8
    np.savez(tmp_path / "spoilt" / "expected.npz", allow_pickle=False, **expected)
    run_selftest = functools.partial(selftest.run_selftest, folder=tmp_path / "spoilt")
    monkeypatch.setattr(selftest, "run_selftest", run_selftest)
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("--selftest", "--json")
    assert code == 1
    tested = SelftestReport.model_validate_json(out)
    failed = [result.name for result in tested.failed]
    assert failed == ["onnxruntime cpu fp32"], "in reduced precision only a2b is shipped"
    assert (
        SelftestReport.model_validate_json((tmp_path / "munit-edge-selftest.json").read_text())
        == tested
    )


def test_a_selftest_of_nothing_is_reported(
    tmp_path: Path, only_onnxruntime: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctor.examine()
    gone = tuple(Answer(subject=answer.subject, installed=False) for answer in found.answers)
    nothing = found.model_copy(update={"answers": gone})
    monkeypatch.setattr(doctor, "examine", lambda: nothing)
    code, out, err = run("--selftest", "--report", str(tmp_path / "x.json"))
    assert code == 0
    assert re.search(r"^onnxruntime +not tested +onnxruntime is not installed$", out, re.MULTILINE)
    assert "warning: nothing was tested" in err


def test_report_without_selftest_is_refused(tmp_path: Path) -> None:
    code, out, err = run("--report", str(tmp_path / "x.json"))
    assert (code, out) == (2, "")
    assert err == "error: --report names the self-test's file: add --selftest\n"
