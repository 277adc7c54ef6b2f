"""The record of a folder: what counts as done, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from munit_edge.errors import OutputError
from munit_edge.translate.log import LOG_FILE, LogEntry, TranslateLog


def outputs(folder: Path, stem: str = "x", styles: int = 2) -> list[Path]:
    return [folder / f"{stem}_{index:02d}.png" for index in range(styles)]


def record(folder: Path, settings: str = "s", sha256: str = "h", styles: int = 2) -> None:
    for path in outputs(folder, styles=styles):
        path.touch()
    with TranslateLog(folder, settings) as log:
        log.write(Path("in/x.jpg"), sha256, outputs(folder, styles=styles), (4, 5), 0.5, None)


def is_done(folder: Path, settings: str = "s", sha256: str = "h", styles: int = 2) -> bool:
    with TranslateLog(folder, settings) as log:
        return log.find_done(outputs(folder, styles=styles), sha256) is not None


def test_what_was_written_is_done(tmp_path: Path) -> None:
    assert not is_done(tmp_path)
    record(tmp_path)
    with TranslateLog(tmp_path, "s") as log:
        assert log.find_done(outputs(tmp_path), "h") == LogEntry(
            input="in/x.jpg",
            sha256="h",
            settings="s",
            outputs=("x_00.png", "x_01.png"),
            size=(4, 5),
            seconds=0.5,
        )


def test_other_files_settings_and_names_are_not_done(tmp_path: Path) -> None:
    record(tmp_path)
    assert is_done(tmp_path)
    assert not is_done(tmp_path, sha256="other")
    assert not is_done(tmp_path, settings="other")
    assert not is_done(tmp_path, styles=3)
    with TranslateLog(tmp_path, "s") as log:
        assert log.find_done(outputs(tmp_path, "y"), "h") is None


def test_a_result_that_is_gone_is_not_done(tmp_path: Path) -> None:
    record(tmp_path)
    (tmp_path / "x_01.png").unlink()
    assert not is_done(tmp_path)


def test_a_result_that_another_run_replaced_is_not_done(tmp_path: Path) -> None:
    record(tmp_path)
    record(tmp_path, settings="other", styles=1)
    assert not is_done(tmp_path)
    assert is_done(tmp_path, settings="other", styles=1)
    record(tmp_path)
    assert is_done(tmp_path)


def test_results_that_another_run_has_begun_to_replace_are_not_done(tmp_path: Path) -> None:
    record(tmp_path)
    with TranslateLog(tmp_path, "other") as log:
        log.begin(Path("in/x.jpg"), "h", outputs(tmp_path))
    assert not is_done(tmp_path)
    assert not is_done(tmp_path, settings="other")
    record(tmp_path)
    assert is_done(tmp_path)


def test_new_results_begin_without_a_line(tmp_path: Path) -> None:
    with TranslateLog(tmp_path, "s") as log:
        log.begin(Path("in/x.jpg"), "h", outputs(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_log_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).touch()
    with TranslateLog(tmp_path, "s"):
        pass
    assert (tmp_path / LOG_FILE).read_bytes() == b""


def test_a_fault_is_not_done(tmp_path: Path) -> None:
    with TranslateLog(tmp_path, "s") as log:
        log.write(Path("x.jpg"), None, (), None, 0.1, "x.jpg is empty")
    (line,) = (tmp_path / LOG_FILE).read_bytes().splitlines()
    assert LogEntry.model_validate_json(line).error == "x.jpg is empty"
    assert not is_done(tmp_path)


@pytest.mark.parametrize("rest", [b'{"input":"y', b"\xff\xfe\n", b"[]\n", b"\n", b'{"a": 1}\n'])
def test_lines_that_cannot_be_read_are_passed_over(rest: bytes, tmp_path: Path) -> None:
    record(tmp_path)
    with (tmp_path / LOG_FILE).open("ab") as file:
        file.write(rest)
    assert is_done(tmp_path)
    record(tmp_path, sha256="new")  # not glued to the half line
    assert is_done(tmp_path, sha256="new")


def test_a_log_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).mkdir()
    with pytest.raises(OutputError, match=f"cannot write .*{LOG_FILE}"):
        TranslateLog(tmp_path, "s")
