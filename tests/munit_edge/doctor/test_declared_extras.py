"""Extras as the project's own metadata declares them."""

from __future__ import annotations

import importlib.metadata
from email.message import Message
from pathlib import Path

import pytest

from munit_edge.doctor import declared_extras as module
from munit_edge.doctor.declared_extras import declared_extras, marker_holds

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
JETSON = {"platform_machine": "aarch64", "platform_system": "Linux", "python_version": "3.10"}
SERVER = {"platform_machine": "x86_64", "platform_system": "Linux", "python_version": "3.12"}


def test_every_extra_is_there() -> None:
    found = declared_extras()
    assert set(found["export"]) == {"torch", "safetensors", "onnx", "onnxscript"}
    assert (found["cpu"], found["gpu"]) == (("onnxruntime",), ("onnxruntime-gpu",))
    assert found["video"] == ("av",)
    assert {"onnxruntime", "torch", "accelerate", "av", "pytest"} <= set(found["dev"])
    section = PYPROJECT.read_text().partition("[project.optional-dependencies]")[2]
    section = section.partition("[project.scripts]")[0]
    declared = [line.partition(" = ")[0] for line in section.splitlines() if " = [" in line]
    assert list(found) == declared


def test_a_new_extra_shows_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = Message()
    metadata["Provides-Extra"] = "old"
    metadata["Provides-Extra"] = "new"
    lines = ["base", "A_b>=1; extra == 'old'", 'munit_edge[old]; extra == "new"', "c; extra=='new'"]
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: metadata)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    assert declared_extras() == {"old": ("a-b",), "new": ("a-b", "c")}


@pytest.mark.parametrize(
    ("marker", "jetson", "server"),
    [
        ("platform_machine == 'x86_64'", False, True),
        ("platform_machine != 'x86_64'", True, False),
        ("python_version < '3.11'", True, False),
        ('python_version >= "3.11"', False, True),
        ("(platform_machine == 'aarch64' and python_version < '3.11')", True, False),
        ("platform_machine == 'x86_64' or python_version <= '3.9'", False, True),
        ("platform_system == 'Linux' and (python_version > '3.11' or extra == 'e')", True, True),
    ],
)
def test_markers(marker: str, jetson: bool, server: bool) -> None:
    assert marker_holds(marker, {**JETSON, "extra": "e"}) is jetson
    assert marker_holds(marker, {**SERVER, "extra": ""}) is server


def test_markers_are_understood_as_packaging_does() -> None:
    """Every marker of this project, on every platform that it names."""
    markers = pytest.importorskip("packaging.markers")
    for line in importlib.metadata.requires("munit-edge") or ():
        _, _, text = line.partition(";")
        for machine in ("x86_64", "aarch64"):
            for version in ("3.10", "3.12"):
                for extra in ("trt", "dev", ""):
                    here = {**module._environment(extra), "platform_machine": machine}
                    here["python_version"] = version
                    if text:
                        expected = markers.Marker(text).evaluate(here)
                        assert marker_holds(text, here) == expected, line
