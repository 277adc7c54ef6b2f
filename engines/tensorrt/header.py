"""The first bytes of a plan, looked at before TensorRT is given it.

    0-3    `ftrt` (TensorRT) or `vtrt` (TensorRT-RTX)
    4-7    0
    16-23  size of the whole plan (seen in plans of TensorRT-RTX, and checked in those only)
    24-27  version that built it: major, minor, patch, build

TensorRT itself only logs why it refuses a plan; here the reason becomes an error.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from munit_edge.engines.tensorrt.api import Flavour
from munit_edge.errors import EngineError

HEADER_BYTES = 28

_MARKS: dict[bytes, Flavour] = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}


@dataclass(frozen=True)
class PlanHeader:
    """What a plan says of itself."""

    flavour: Flavour
    """Which TensorRT it is for."""
    version: tuple[int, int, int, int]
    """Version that built it: major, minor, patch, build."""


def read_header(name: str, plan: bytes) -> PlanHeader:
    """The header of a plan.

    Args:
        name: what to call the plan in messages.
        plan: its bytes.

    Raises:
        EngineError: it is cut short, or no plan.
    """
    if len(plan) < HEADER_BYTES:
        raise EngineError(f"{name} is no TensorRT plan or cut short: it has {len(plan)} bytes")
    mark, zero = struct.unpack_from("<4sI", plan)
    if mark not in _MARKS or zero != 0:
        raise EngineError(f"{name} is no TensorRT plan: it begins with {plan[:8]!r}")
    flavour = _MARKS[mark]
    (size,) = struct.unpack_from("<Q", plan, 16)
    if flavour == "tensorrt-rtx" and size != len(plan):
        raise EngineError(f"{name} is damaged: it has {len(plan)} bytes instead of {size}")
    return PlanHeader(flavour, struct.unpack_from("<4B", plan, 24))


def check_header(
    name: str, plan: bytes, flavour: Flavour, version: str, *, version_compatible: bool = False
) -> None:
    """Make sure that a plan was built for the TensorRT that is here.

    Args:
        name: what to call the plan in messages.
        plan: its bytes.
        flavour: TensorRT or TensorRT-RTX.
        version: of the installed one, such as "10.3.0".
        version_compatible: the plan was built to run on later versions too.

    Raises:
        EngineError: it is cut short, no plan, or of another flavour or version.
    """
    header = read_header(name, plan)
    if header.flavour != flavour:
        raise EngineError(f"{name} was built for {header.flavour} and this is {flavour}")
    installed = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    built = header.version[:3]
    if built == installed or (version_compatible and built < installed):
        return
    raise EngineError(
        f"{name} was built with {flavour} {'.'.join(map(str, built))} and "
        f"{'.'.join(map(str, installed))} is installed"
    )
