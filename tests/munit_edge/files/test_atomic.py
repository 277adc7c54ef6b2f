from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from munit_edge.errors import OutputError
from munit_edge.files import atomic as files
from munit_edge.files.atomic import atomic_file, atomic_folder, sha256
from munit_edge.files.system_errors import output_errors


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def old_model(folder: Path) -> Path:
    """A folder that is there already, with a file."""
    path = folder / "model"
    path.mkdir()
    (path / "old").touch()
    return path


def test_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    with atomic_file(path) as partial:
        partial.write_text("hello")
        assert not path.exists()
        assert partial.suffix == ".txt"
    assert path.read_text() == "hello"
    assert leftovers(path.parent) == ["file.txt"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_failed_file_leaves_the_earlier_one(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    with pytest.raises(type(error)), atomic_file(path) as partial:
        partial.write_text("half")
        raise error
    assert path.read_text() == "before"
    assert leftovers(tmp_path) == ["file.txt"]


def test_failed_folder_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = old_model(tmp_path)
    with (
        pytest.raises(ValueError, match="x"),
        atomic_folder(path, replacing=lambda old, new: None) as partial,
    ):
        (partial / "new").touch()
        raise ValueError("x")
    assert leftovers(tmp_path) == ["model", "old"]


def test_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = old_model(tmp_path)
    with pytest.raises(OutputError, match="--overwrite"), atomic_folder(path):
        pass
    with atomic_folder(path, replacing=lambda old, new: None) as partial:
        (partial / "new").touch()
    assert leftovers(tmp_path) == ["model", "new"]


def test_a_folder_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with (
        pytest.raises(OutputError, match=r"another program has created .* --overwrite"),
        atomic_folder(path) as partial,
    ):
        (partial / "new").touch()
        path.mkdir()
        (path / "theirs").touch()
    assert leftovers(tmp_path) == ["model", "theirs"]


def test_a_link_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "model"
    (tmp_path / "photos").mkdir()
    with pytest.raises(OutputError, match="in the meantime"), atomic_folder(path):
        path.symlink_to("photos")
    assert path.is_symlink()
    assert leftovers(tmp_path) == ["model", "photos"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with atomic_folder(tmp_path / "model") as partial:
        (partial / "new").touch()
    assert leftovers(tmp_path) == ["model", "new"]


def test_what_may_not_be_replaced_stays(tmp_path: Path) -> None:
    path = old_model(tmp_path)

    def refuse(old: Path, new: Path) -> None:
        assert (old, list(new.iterdir())) == (path, [new / "new"])
        raise OutputError("no")

    with pytest.raises(OutputError, match="no"), atomic_folder(path, replacing=refuse) as partial:
        (partial / "new").touch()
    assert leftovers(tmp_path) == ["model", "old"]


@pytest.mark.parametrize("exchange", [True, False])
def test_folders_change_places_with_and_without_the_systems_help(
    exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda path, other: False)
    path = old_model(tmp_path)
    with atomic_folder(path, replacing=lambda old, new: None) as partial:
        (partial / "new").touch()
    assert leftovers(tmp_path) == ["model", "new"]


def test_a_process_killed_between_two_renames_leaves_the_earlier_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system cannot exchange two folders; later runs sweep partial folders only."""
    monkeypatch.setattr(files, "_exchange", lambda path, other: False)
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if target == path:
            os._exit(9)
        return rename(self, target)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Path, "rename", killed)
        with atomic_folder(path, replacing=lambda old, new: None) as partial:
            (partial / "new").touch()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with atomic_folder(path, replacing=lambda old, new: None) as partial:
        (partial / "newer").touch()
    assert leftovers(tmp_path) == ["model", "model.earlier", "newer", "old"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_stays(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def no_links(*_: object) -> None:
            raise PermissionError(errno.EPERM, "no")

        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "file.txt"
    with pytest.raises(OutputError), atomic_file(path, replace=False) as partial:
        partial.write_text("mine")
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    path.unlink()
    with atomic_file(path, replace=False) as partial:
        partial.write_text("mine")
    assert path.read_text() == "mine"
    assert leftovers(tmp_path) == ["file.txt"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_errors_name_the_fix(number: int, message: str, tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=f"cannot write .*file: .*{message}"),
        output_errors(tmp_path / "file"),
    ):
        raise OSError(number, os.strerror(number))


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"cannot write .*file"),
        atomic_file(tmp_path / "file" / "result.png"),
    ):
        pass


def test_a_full_disk_is_reported() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(OutputError, match="disk is full"), output_errors(full):
        full.write_bytes(b"x")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")
