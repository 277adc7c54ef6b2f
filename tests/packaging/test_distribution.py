"""What is published: the wheel and the source distribution hold the tracked files, all and only."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {  # folder in the checkout -> folder in the wheel
    "munit_edge": "munit_edge",
    "engines": "munit_edge/engines",
    "export": "munit_edge/export",
    "trainer": "munit_edge/trainer",
}
DECLARED_DATA = (
    "munit_edge/py.typed",
    "munit_edge/doctor/selftest_model/*.npz",
    "munit_edge/doctor/selftest_model/checkpoint/*",
    "munit_edge/doctor/selftest_model/model/*",
    "munit_edge/doctor/selftest_model/model_*/*",
    "munit_edge/trainer/*.html",
    "munit_edge/trainer/recipes/*.yaml",
)


def _tracked() -> list[str]:
    """Paths of the tracked files, links left out."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of tracked files to compare with")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [path for path in listed.stdout.split("\0") if path and (ROOT / path).exists()]
    return [path for path in paths if not (ROOT / path).is_symlink()]


def _expected() -> set[str]:
    """Paths that the wheel must hold."""
    expected = set()
    for path in _tracked():
        room, _, rest = path.partition("/")
        if rest and room in ROOMS:
            expected.add(f"{ROOMS[room]}/{rest}")
    return expected


def _wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def _build(source: Path, out: Path, kind: str) -> Path:
    """Build with what is installed, without a network."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "-o", str(out)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is absent from the `packages` configuration" not in done.stdout + done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files in a folder of their own: a build leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for path in _tracked():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    for room in ("engines", "export", "trainer"):
        (folder / "munit_edge" / room).symlink_to(f"../{room}")
    return folder


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(source, tmp_path_factory.mktemp("sdist"), "sdist")


def test_wheel_holds_exactly_the_tracked_files(source: Path, tmp_path: Path) -> None:
    assert _wheel_files(_build(source, tmp_path, "wheel")) == _expected()


def test_wheel_from_the_source_distribution_is_the_same(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():  # our own archive: plain files and folders only
            assert member.isfile() or member.isdir()
        archive.extractall(tmp_path)
    (unpacked,) = tmp_path.iterdir()
    assert _wheel_files(_build(unpacked, tmp_path / "wheel", "wheel")) == _expected()


def test_source_distribution_holds_what_a_reader_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names


def test_data_files_are_the_declared_ones() -> None:
    data = {path for path in _expected() if not path.endswith(".py")}
    undeclared = {p for p in data if not any(fnmatch(p, pattern) for pattern in DECLARED_DATA)}
    assert not undeclared
    assert all(any(fnmatch(p, pattern) for p in data) for pattern in DECLARED_DATA)


@pytest.mark.parametrize("room", ["engines", "export", "trainer"])
def test_links_are_relative_and_tracked(room: str) -> None:
    _tracked()  # skips where there is no git
    listed = subprocess.run(
        ["git", "ls-files", "-s", f"munit_edge/{room}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.startswith("120000 ")  # git's mode of a symbolic link
    assert (ROOT / "munit_edge" / room).readlink() == Path(f"../{room}")
