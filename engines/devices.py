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

    @staticmethod
    def parse(name: str) -> Device:
        """Read "cpu", "cuda" or "cuda:N".

        Raises:
            ConfigError: `name` is none of them.
        """
        if name == "cpu":
            return Device("cpu")
        match = re.fullmatch(r"cuda(?::(\d+))?", name)
        if not match:
            raise ConfigError(f"device '{name}' is not known: use auto, cpu, cuda or cuda:N")
        return Device("cuda", int(match.group(1) or 0))

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"
