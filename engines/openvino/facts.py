"""What the installed OpenVINO is, and which devices it finds; asked in a new process."""

from __future__ import annotations

from types import ModuleType

from munit_edge.engines.openvino.api import OpenVino
from munit_edge.engines.probe import Facts


def facts(module: ModuleType) -> Facts:
    """Of the module `openvino`."""
    openvino = OpenVino()
    return Facts(version=openvino.version, devices=openvino.devices)
