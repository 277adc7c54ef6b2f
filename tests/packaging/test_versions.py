"""Versions agree, and CI's are pinned."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import munit_edge

ROOT = Path(__file__).resolve().parents[2]

FOLLOW_THE_DRIVER = {"cuda-bindings", "tensorrt"}
"""Not pinned: the right release is the one that fits the device's driver."""

PINNED_BY_TORCH = re.compile(r"nvidia-.*|cuda-.*|triton")
"""What torch's CUDA build brings, each at the one version that it was built with."""


def _constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def _installed_by(name: str, extras: set[str]) -> set[str]:
    """The distributions that installing `name[extras]` brings to this environment."""
    found: set[str] = set()
    todo = [(name, frozenset(extras))]
    seen = set()
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found.add(canonicalize_name(name))
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in (wanted or {""})):
                todo.append((requirement.name, frozenset(requirement.extras)))
    return found


def test_package_and_distribution_have_one_version() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    assert declared
    assert munit_edge.__version__ == declared[1]
    assert munit_edge.__version__ == importlib.metadata.version("munit-edge")


def test_changelog_has_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert headings[0] in ("Unreleased", munit_edge.__version__)


def test_every_direct_dependency_is_pinned() -> None:
    requirements = [Requirement(text) for text in importlib.metadata.requires("munit-edge") or ()]
    direct = {canonicalize_name(r.name) for r in requirements} - {"munit-edge"}
    assert {"numpy", "torch", "onnxruntime", "pytest"} <= direct
    pinned = {canonicalize_name(constraint.name) for constraint in _constraints()}
    assert direct - pinned == FOLLOW_THE_DRIVER


def test_everything_that_ci_installs_is_pinned() -> None:
    installed = _installed_by("munit-edge", {"dev"})
    assert {"numpy", "torch", "sympy", "pluggy"} <= installed
    pinned = {canonicalize_name(constraint.name) for constraint in _constraints()}
    loose = {name for name in installed - pinned if not PINNED_BY_TORCH.fullmatch(name)}
    assert loose == {"munit-edge"}


def test_constraints_are_exact_and_unambiguous() -> None:
    """One version for each package on each Python, so that two runs install the same."""
    for python in ("3.10", "3.11", "3.12", "3.13"):
        names = []
        for constraint in _constraints():
            assert str(constraint.specifier).startswith("=="), constraint
            environment = {"python_version": python, "python_full_version": f"{python}.1"}
            if constraint.marker is None or constraint.marker.evaluate(environment):
                names.append(canonicalize_name(constraint.name))
        assert len(names) == len(set(names)), python
