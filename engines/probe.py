"""Asks the driver and the backends what they are, each in a process of its own.

Importing a backend may crash, hang or print. `munit_edge.engines.probe_child` is what runs there.
"""

from __future__ import annotations

from typing import Literal, get_args

from munit_edge.engines.table import EngineName
from munit_edge.settings import StrictModel
from munit_edge.system import child

Subject = Literal["driver", EngineName, "cuda-bindings"]
"""The NVIDIA driver, an engine, or what TensorRT reaches the GPU's memory with."""
SUBJECTS: tuple[Subject, ...] = get_args(Subject)

TIMEOUT_S = 60.0
"""Time for one backend: importing torch from a cold disk takes tens of seconds."""


class Facts(StrictModel):
    """Facts that an importable backend reports."""

    version: str
    """Its version; of the driver: the newest CUDA that it can run."""
    cuda: str | None = None
    """CUDA that it was built with; None: built without, or unknown."""
    providers: tuple[str, ...] = ()
    """ONNX Runtime's execution providers."""
    devices: tuple[str, ...] = ("cpu",)
    """Devices other than NVIDIA's GPUs that it can use now, as `--device` names them."""
    gpus: tuple[str, ...] = ()
    """NVIDIA's GPUs that it can use now, such as "NVIDIA H100 (9.0)"."""
    gpu_fault: str | None = None
    """Why it cannot use a GPU, in its own words; None when it can, or is not made for one."""


class Answer(StrictModel):
    """The result of asking one backend."""

    subject: Subject
    """What was asked."""
    installed: bool
    """Whether it is there."""
    facts: Facts | None = None
    """None: not installed, or broken."""
    fault: str | None = None
    """Why it could not be imported: the loader's own words, or how its process ended."""


def ask(subject: Subject, *, timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask one backend in a new process; whatever happens there, this returns.

    Args:
        subject: the driver or a backend.
        timeout_s: the process is ended after this many seconds, which counts as a fault.
    """
    try:
        text = child.call("munit_edge.engines.probe_child.answer", subject, timeout_s=timeout_s)
    except child.ChildError as exc:
        return Answer(subject=subject, installed=True, fault=str(exc))
    return Answer.model_validate_json(text)
