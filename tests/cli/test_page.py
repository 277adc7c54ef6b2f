"""`munit-edge page` from the outside."""

from __future__ import annotations

from pathlib import Path

from command_line import invoke
from training_runs import tiny_config

from munit_edge.trainer.run.folder import RunFolder


def test_the_page_of_a_run_is_made_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(tiny_config(), replace=True)
    folder.curve_file.write_text('{"iteration":3,"loss/image_a":0.25}\n')
    folder.page.write_text("old")
    result = invoke("page", folder.path)
    assert (result.exit_code, result.stdout) == (0, f"{folder.page}\n")
    page = folder.page.read_text()
    assert "Image reconstruction" in page
    assert "3 of 6 iterations" in page  # logged, and then the run was killed


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    result = invoke("page", tmp_path)
    assert result.exit_code == 2
    assert "holds no training run: name a folder that `munit-edge train` made" in result.stderr
    assert list(tmp_path.iterdir()) == []
