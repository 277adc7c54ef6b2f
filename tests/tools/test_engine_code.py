"""Which code was measured: hashes of files, and the commit that they belong to."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from engine_code import CHECKOUT, INSTALLED, engine_folder, engine_hashes, source

from munit_edge.engines.table import ENGINE_FACTS

FILES = ("base.py", "torch/__init__.py", "torch/runner.py", "tensorrt/runner.py")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed checkout of a few files, with the link to the engines."""
    root = tmp_path / "checkout"
    for name in FILES:
        file = root / "engines" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {name}\n")
    (root / "munit_edge").mkdir()
    (root / "munit_edge" / "version.py").write_text("")
    (root / "munit_edge" / "engines").symlink_to("../engines")
    git(tmp_path, "init", "--quiet", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def test_each_folder_has_its_own_hash(checkout: Path) -> None:
    package = checkout / "munit_edge"
    before = engine_hashes(package)
    assert list(before) == ["shared", "tensorrt", "torch"]
    (checkout / "engines" / "torch" / "runner.py").write_text("# changed\n")
    changed = engine_hashes(package)
    assert [name for name in before if changed[name] != before[name]] == ["torch"]
    (checkout / "engines" / "base.py").rename(checkout / "engines" / "basis.py")
    renamed = engine_hashes(package)
    assert [name for name in changed if renamed[name] != changed[name]] == ["shared"]


def test_caches_and_the_time_do_not_count(checkout: Path) -> None:
    package = checkout / "munit_edge"
    before = engine_hashes(package)
    (checkout / "engines" / "__pycache__").mkdir()
    (checkout / "engines" / "__pycache__" / "base.cpython-310.pyc").write_bytes(b"1")
    (checkout / "engines" / "base.py").touch()
    assert engine_hashes(package) == before


def test_an_installed_package_has_the_hashes_of_its_checkout(
    checkout: Path, tmp_path: Path
) -> None:
    installed = shutil.copytree(checkout / "munit_edge", tmp_path / "site-packages")
    assert not (installed / "engines").is_symlink()
    assert engine_hashes(installed) == engine_hashes(checkout / "munit_edge")


def test_the_commit_is_that_of_the_checkout_with_the_same_files(
    checkout: Path, tmp_path: Path
) -> None:
    own, commit = checkout / "munit_edge", git(checkout, "rev-parse", "HEAD")
    installed = shutil.copytree(own, tmp_path / "site-packages")
    assert source(checkout, own, {}) == source(checkout, installed, {}) == (commit, False)
    (checkout / "engines" / "base.py").write_text("# changed\n")
    assert source(checkout, own, {}) == (commit, True)
    assert source(checkout, installed, {}) == ("unknown", False), "another version is installed"


def test_without_git_pip_knows_the_commit(checkout: Path, tmp_path: Path) -> None:
    own = shutil.copytree(checkout, tmp_path / "archive", ignore=lambda *_: [".git"]) / "munit_edge"
    noted = {"url": "https://example.org/x", "vcs_info": {"vcs": "git", "commit_id": 40 * "b"}}
    assert source(own.parent, own, noted) == (40 * "b", False)
    assert source(own.parent, own, {"url": "file:///x", "dir_info": {}}) == ("unknown", False)


def test_every_engine_has_a_folder() -> None:
    hashes = engine_hashes(INSTALLED)
    assert {engine_folder(engine) for engine in ENGINE_FACTS} <= set(hashes)
    assert engine_folder("tensorrt-rtx") == "tensorrt"
    assert engine_folder("no longer there") == "no longer there"
    assert hashes == engine_hashes(CHECKOUT / "munit_edge"), "the tests import this checkout"
