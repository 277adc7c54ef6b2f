"""Messages about paths that the system refuses."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from munit_edge.errors import InputError
from munit_edge.files import paths
from munit_edge.files.paths import exists, held_by, is_file, is_folder, open_file, require_folder
from munit_edge.files.system_errors import input_errors

LONG = "x" * 300


@pytest.mark.parametrize("ask", [exists, is_file, is_folder])
@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.EACCES, "permission denied"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.ESTALE, "mount it again"),
        (errno.ENOTCONN, "mount it again"),
        (errno.EIO, "input/output error"),
        (errno.ELOOP, "links form a loop"),
        (errno.ENODEV, "No such device"),
    ],
)
def test_every_answer_of_the_system_is_one_line(
    ask: object, number: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "stat", refusing)
    assert callable(ask)
    with pytest.raises(InputError, match=f"^photo cannot be used: .*{why}"):
        ask(Path("photo"))


def test_missing_files_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to("nowhere")
    for path in ("nowhere", "broken", "file/below"):
        assert not any(ask(tmp_path / path) for ask in (exists, is_file, is_folder))
    assert exists(tmp_path / "file")
    assert is_file(tmp_path / "file")
    assert is_folder(tmp_path)


def test_impossible_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^x{80}\.\.\. \(300 characters\) .* too long"):
        exists(Path(LONG))
    with pytest.raises(InputError, match="no file can have this name"):
        exists(tmp_path / "a\0b")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop"):
        exists(tmp_path / "loop")


def test_a_folder_is_required(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    require_folder(tmp_path, "data folder", "name one")
    with pytest.raises(InputError, match=r"data folder .*file is not a folder: name one"):
        require_folder(tmp_path / "file", "data folder", "name one")
    with pytest.raises(InputError, match=r"none does not exist: name one"):
        require_folder(tmp_path / "none", "data folder", "name one")
    assert held_by(tmp_path) == "file"
    with pytest.raises(InputError, match="cannot be used"), input_errors(tmp_path):
        (tmp_path / "none").read_bytes()


def test_opening_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "WRITER_WAIT_S", 0.01)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="nobody writes into this pipe"):
        open_file(pipe)
    with pytest.raises(OSError, match="device"):
        open_file(Path("/dev/zero"))
    (tmp_path / "file").write_bytes(b"x" * 10)
    with open_file(tmp_path / "file") as file:
        assert file.read() == b"x" * 10


def test_a_pipe_with_a_writer_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    data = b"x" * (1 << 18)  # more than a pipe holds

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    with open_file(Path(f"/proc/self/fd/{reading}")) as file:
        assert file.read() == data
    writer.join()
    os.close(reading)
