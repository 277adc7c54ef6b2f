"""What the installed torch is, and whether it reaches the GPUs; asked in a new process."""

from __future__ import annotations

from typing import Any

from munit_edge.engines.probe import Facts
from munit_edge.system.child import words


def facts(module: Any) -> Facts:
    """Of the module `torch`."""
    gpus: tuple[str, ...] = ()
    gpu_fault = None
    if module.version.cuda:
        try:
            module.cuda.init()
            gpus = tuple(
                f"{module.cuda.get_device_name(i)} "
                f"({'.'.join(map(str, module.cuda.get_device_capability(i)))})"
                for i in range(module.cuda.device_count())
            )
            module.zeros(1, device="cuda").add(1).cpu()  # this build has code for this GPU
        except Exception as exc:  # the words are what counts
            gpus, gpu_fault = (), words(exc)
    return Facts(
        version=module.__version__, cuda=module.version.cuda, gpus=gpus, gpu_fault=gpu_fault
    )
