"""Files that are appended to are never reached through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from munit_edge.errors import OutputError
from munit_edge.files.appending import append_line, open_to_append


def test_lines_are_appended(tmp_path: Path) -> None:
    for line in ("one", "zwölf"):
        with open_to_append(tmp_path / "log") as file:
            append_line(file, line)
    assert (tmp_path / "log").read_bytes() == "one\nzwölf\n".encode()


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_line_is_in_the_file_before_it_is_closed(tmp_path: Path, on_disk: bool) -> None:
    with open_to_append(tmp_path / "log") as file:
        append_line(file, "one", on_disk=on_disk)
        assert (tmp_path / "log").read_bytes() == b"one\n"


def test_links_and_special_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    (tmp_path / "dangling").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, words in (("link", "is a link"), ("dangling", "is a link"), ("folder", "a folder")):
        with pytest.raises(OutputError, match=words):
            open_to_append(tmp_path / name)
    with pytest.raises(OutputError, match="is not a regular file"):
        open_to_append(tmp_path / "pipe")
    assert not (tmp_path / "nothing").exists()
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_link_that_appears_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    with pytest.raises(OutputError, match="cannot write"):
        open_to_append(tmp_path / "link")
