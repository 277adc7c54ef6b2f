"""Names of devices: "cpu", "cuda", "cuda:1"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from munit_edge.errors import ConfigError


@dataclass(frozen=True)
class Device:
    """A place to compute."""

    kind: Literal["cpu", "cuda"]
    index: int = 0
    tf32: bool = False
    """Whether float32 convolutions may round what they multiply to TF32's 10 bits: faster on
    NVIDIA's GPUs since Ampere. Off by default, so that fp32 means the same on every engine: the
    libraries' own defaults differ."""

    def __post_init__(self) -> None:
        if self.tf32 and self.kind == "cpu":
            raise ConfigError(
                "TF32 is arithmetic of NVIDIA's GPUs, and the device is the CPU: leave out --tf32, "
                "or use --device cuda"
            )

    @staticmethod
    def parse(name: str, *, tf32: bool = False) -> Device:
        """Read "cpu", "cuda" or "cuda:N".

        Raises:
            ConfigError: `name` is none of them, or it is the CPU with TF32.
        """
        if name == "cpu":
            return Device("cpu", tf32=tf32)
        match = re.fullmatch(r"cuda(?::(\d+))?", name)
        if not match:
            raise ConfigError(f"device '{name}' is not known: use auto, cpu, cuda or cuda:N")
        return Device("cuda", int(match.group(1) or 0), tf32)

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"
