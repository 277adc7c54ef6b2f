"""Locks on what is written, with living and dead holders in other processes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from munit_edge.errors import OutputError
from munit_edge.files import held_locks, locks, unfinished
from munit_edge.files.atomic import atomic_file, atomic_folder
from munit_edge.files.held_locks import HIDDEN_PREFIX
from munit_edge.files.locks import LOCK_NAME, writing_into, writing_to
from munit_edge.files.unfinished import PARTIAL_PREFIX, SCRATCH_PREFIX, scratch_folder

HOLD = """
import sys
from pathlib import Path
from munit_edge.files.atomic import atomic_file, atomic_folder
from munit_edge.files.locks import writing_into, writing_to
from munit_edge.files.unfinished import scratch_folder

sys.argv = ["/usr/bin/munit-edge", "train", "rtsp://me:secret@camera/1"]
with {block} as held:
    {then}
    print(held, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(block: str, then: str = "pass") -> Iterator[subprocess.Popen[str]]:
    """A process within the block `with {block} as held`; it prints `held` and waits."""
    program = HOLD.format(block=block, then=then)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            process.held = process.stdout.readline().strip()
            yield process
        finally:
            process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL


def hidden(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.name.startswith(HIDDEN_PREFIX))


# ----------------------------------------------------------------------------------------------
# Targets


@pytest.mark.parametrize("function", [writing_into, writing_to])
def test_the_second_is_refused_with_the_name_of_the_holder(
    function: Callable[[Path], contextlib.AbstractContextManager[None]], tmp_path: Path
) -> None:
    target = tmp_path / "deep" / "target"
    with (
        holder(f"{function.__name__}(Path({str(target)!r}))") as process,
        pytest.raises(OutputError) as caught,
        function(target),
    ):
        pass
    text = str(caught.value)
    assert f"{target} is in use by process {process.pid} on host {platform.node()} (since " in text
    assert "command munit-edge train rtsp://***@camera/1)" in text.replace("'", "")
    assert "secret" not in text
    assert "\n" not in text


def test_a_dead_holder_is_no_obstacle(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with holder(f"writing_into(Path({str(target)!r}))") as process:
        kill(process)
        assert hidden(tmp_path) == [LOCK_NAME]
        with writing_into(target):
            assert json.loads((target / LOCK_NAME).read_text())["process"] == os.getpid()
    assert hidden(tmp_path) == []


def test_all_names_of_a_folder_are_one(working_folder: Path) -> None:
    (working_folder / "target").mkdir()
    (working_folder / "link").symlink_to("target")
    with holder(f"writing_into(Path({str(working_folder / 'target')!r}))"):
        for name in ("target", "link", "./target/../link", str(working_folder / "link")):
            with pytest.raises(OutputError, match="in use"), writing_into(Path(name)):
                pass
    with holder(f"writing_to(Path({str(working_folder / 'link')!r}))"):
        with pytest.raises(OutputError, match="in use"), writing_to(Path("target")):
            pass
        with writing_to(Path("other")), writing_into(Path("target")):
            pass  # others are not hindered


def test_the_end_leaves_nothing(tmp_path: Path) -> None:
    with writing_into(tmp_path / "a" / "b"), writing_to(tmp_path / "c" / "file", None):
        assert len(hidden(tmp_path)) == 2
        (tmp_path / "a" / "b" / "result").touch()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "result"]


def test_the_holder_may_ask_again_and_another_thread_may_not(tmp_path: Path) -> None:
    refused: list[str] = []

    def ask() -> None:
        try:
            with writing_to(tmp_path / "x"):
                pass
        except OutputError as exc:
            refused.append(str(exc))

    with writing_to(tmp_path / "x"):
        ask()
        assert refused == []
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        assert f"in use by process {os.getpid()}" in refused[0]
        assert hidden(tmp_path)  # the lock of the first is still there


def test_a_lock_that_its_holder_removes_while_another_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who then has the old file's lock has nothing, and takes that of the new file."""
    really = held_locks.flock
    tries = 0

    def flock(descriptor: int) -> bool | None:
        nonlocal tries
        tries += 1
        if tries == 1:
            (tmp_path / LOCK_NAME).unlink()
        return really(descriptor)

    monkeypatch.setattr(locks, "flock", flock)
    with writing_into(tmp_path):
        assert tries > 1
        with holder(f"writing_into(Path({str(tmp_path / 'other')!r}))"):
            pass
        assert (tmp_path / LOCK_NAME).exists()


def test_a_process_that_outlives_its_parent_holds_nothing(tmp_path: Path) -> None:
    # Its pipe is closed once it has given up what it had from its parent.
    then = (
        "import os, time; r, w = os.pipe(); "
        "(os.fork() == 0) and (os.close(r), os.close(w), time.sleep(60), os._exit(0)); "
        "os.close(w); os.read(r, 1)"
    )
    with holder(f"writing_into(Path({str(tmp_path)!r}))", then) as process:
        kill(process)
        with writing_into(tmp_path):
            pass


@pytest.mark.parametrize(("process", "free"), [(os.getppid(), False), (2**22 + 1, True)])
def test_without_flock_the_file_decides(
    process: int, free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(held_locks.fcntl, "flock", flock)
    facts = {"process": process, "host": platform.node()}
    (tmp_path / LOCK_NAME).write_text(json.dumps(facts))
    partial = tmp_path / f"{PARTIAL_PREFIX}x.png"
    partial.touch()
    expected = contextlib.nullcontext() if free else pytest.raises(OutputError, match="in use")
    with expected, writing_into(tmp_path):
        pass
    assert partial.exists()  # nobody knows whose it is


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for function in (writing_into, writing_to):
        with (
            pytest.raises(OutputError, match=r"cannot write .*a part of the path is a file"),
            function(tmp_path / "file" / "below" / "x"),
        ):
            pass


# ----------------------------------------------------------------------------------------------
# Unfinished files and folders


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_partial_one_is_cleared_when_its_maker_is_dead(kind: str, tmp_path: Path) -> None:
    with holder(f"atomic_{kind}(Path({str(tmp_path / 'theirs.txt')!r}))") as process:
        theirs = Path(process.held)
        for _ in range(2):
            with (
                atomic_folder(tmp_path / "ours", replacing=lambda *_: None),
                atomic_file(tmp_path / "file"),
            ):
                pass
            assert theirs.exists()
        kill(process)
        assert theirs.exists()
        with atomic_folder(tmp_path / "ours", replacing=lambda *_: None):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "ours"]


def test_scratch_of_the_dead_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "somebody-elses").mkdir()
    with holder("scratch_folder()") as process:
        theirs = Path(process.held)
        assert theirs.parent == tmp_path
        assert theirs.name.startswith(SCRATCH_PREFIX)
        with scratch_folder() as ours:
            assert theirs.exists()
            assert ours.stat().st_mode & 0o777 == 0o700
        assert not ours.exists()
        kill(process)
        with scratch_folder():
            assert not theirs.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["somebody-elses"]


def test_a_partial_one_that_was_taken_for_dead_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making a file and locking it, another process may see it without a lock."""
    really = held_locks.flock
    taken: list[Path] = []

    def flock(descriptor: int) -> bool | None:
        if not taken:
            taken.extend(tmp_path.glob(f"{PARTIAL_PREFIX}*"))
            taken[0].unlink()
        return really(descriptor)

    monkeypatch.setattr(unfinished, "flock", flock)
    with atomic_file(tmp_path / "x.txt") as partial:
        assert partial not in taken
        partial.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
