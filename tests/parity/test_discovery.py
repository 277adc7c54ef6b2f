"""A new reference case is picked up by itself, whatever it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from foreign_models import write_imaginaire_case, write_munit_case
from reference_cases import CHECKOUT, find_cases, reference_folder


def test_every_reference_folder_is_a_case_of_one_kind() -> None:
    folder = reference_folder()
    if not folder.is_dir():
        pytest.skip(f"no reference cases in {folder}: set MUNIT_EDGE_REFERENCE")
    cases = find_cases(folder)
    assert {case.folder for case in cases} == {path for path in folder.iterdir() if path.is_dir()}
    assert [case.name for case in cases if case.is_munit == case.is_imaginaire] == []


def run_parity_tests(reference: Path) -> str:
    tests = ["tests/parity/test_networks.py", "tests/parity/test_gan_losses.py"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "reference", *tests],
        cwd=CHECKOUT,
        env=os.environ | {"MUNIT_EDGE_REFERENCE": str(reference)},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout


def test_new_cases_are_tested(tmp_path: Path) -> None:
    write_munit_case(tmp_path / "novel")
    write_imaginaire_case(tmp_path / "other")
    output = run_parity_tests(tmp_path)
    for test in (
        "test_munit[reference-novel]",
        "test_imaginaire[reference-other]",
        "test_gan_losses[reference-other]",
    ):
        assert f"{test} PASSED" in output


def test_absent_folder_is_skipped_with_a_reason(tmp_path: Path) -> None:
    output = run_parity_tests(tmp_path / "absent")
    assert "test_munit[reference] SKIPPED" in output
    assert "set MUNIT_EDGE_REFERENCE" in output
    assert "FAILED" not in output
