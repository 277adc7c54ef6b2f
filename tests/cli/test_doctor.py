"""`munit-edge doctor`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from munit_edge import __version__
from munit_edge.cli.main import app
from munit_edge.doctor import Report


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["doctor", *arguments])
    return result.exit_code, result.stdout, result.stderr


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


def test_table_names_what_is_broken_and_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("import ctypes; ctypes.CDLL('libgone.so.7')")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, _ = run()
    assert code == 1
    (row,) = [line for line in out.splitlines() if line.startswith("torch ")]
    assert "broken" in row
    assert "libgone.so.7: cannot open shared object file" in " ".join(out.split())
    assert "pip install --force-reinstall torch" in " ".join(out.split())
    assert "\x1b" not in out, "colours are for terminals"
    assert max(map(len, out.splitlines())) <= 130
