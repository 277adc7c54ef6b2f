from __future__ import annotations

import struct

import pytest

from munit_edge.engines.tensorrt.header import PlanHeader, check_header, read_header
from munit_edge.errors import EngineError


def _plan(mark: bytes = b"ftrt", version: tuple[int, int, int, int] = (10, 3, 0, 26)) -> bytes:
    body = b"\0" * 100
    return mark + struct.pack("<IQQ4B", 0, 2, 28 + len(body), *version) + body


def test_header_is_read() -> None:
    assert read_header("p", _plan()) == PlanHeader("tensorrt", (10, 3, 0, 26))
    # The first 28 bytes of a plan that TensorRT-RTX 1.7.1.116 wrote, its size set to 28.
    real = b"vtrt\0\0\0\0\x02\0\0\0\0\0\0\0\x1c\0\0\0\0\0\0\0\x01\x07\x01t"
    assert read_header("p", real) == PlanHeader("tensorrt-rtx", (1, 7, 1, 116))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (b"", "cut short: it has 0 bytes"),
        (_plan()[:27], "cut short: it has 27 bytes"),
        (b"\x08\x08pytorch" + b"\0" * 40, "p is no TensorRT plan: it begins with"),
        (b"ftrt\x01\0\0\0" + b"\0" * 40, "p is no TensorRT plan"),
        (_plan(b"vtrt")[:-1], "p is damaged: it has 127 bytes instead of 128"),
    ],
)
def test_no_plan(plan: bytes, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        read_header("p", plan)


@pytest.mark.parametrize("version", ["10.3.0", "10.3.0.26", "10.3.0.post1"])
def test_same_version(version: str) -> None:
    check_header("p", _plan(), "tensorrt", version)


@pytest.mark.parametrize(
    ("mark", "built", "installed", "compatible"),
    [
        (b"ftrt", (10, 3, 0, 26), "10.13.3", False),
        (b"ftrt", (11, 4, 0, 106), "10.13.3", True),
        (b"vtrt", (10, 3, 0, 26), "10.3.0", False),
    ],
)
def test_other_tensorrt(
    mark: bytes, built: tuple[int, int, int, int], installed: str, compatible: bool
) -> None:
    with pytest.raises(EngineError, match=r"p was built (with|for) tensorrt"):
        check_header("p", _plan(mark, built), "tensorrt", installed, version_compatible=compatible)


def test_version_compatible_plan_runs_on_a_later_version() -> None:
    check_header("p", _plan(), "tensorrt", "11.4.0.106", version_compatible=True)
