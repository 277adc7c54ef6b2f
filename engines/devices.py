"""Names of devices: "cpu", "cuda", "cuda:1"; in OpenVINO also "gpu", "gpu:1" and "npu"."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from munit_edge.errors import ConfigError

DeviceKind = Literal["cpu", "cuda", "gpu", "npu"]
"""`cuda` is a GPU of NVIDIA's, `gpu` and `npu` are Intel's."""
DEVICE_KINDS: tuple[DeviceKind, ...] = get_args(DeviceKind)
KIND_WORDS: Mapping[DeviceKind, str] = {
    "cpu": "a CPU",
    "cuda": "a GPU of NVIDIA's",
    "gpu": "a GPU of Intel's",
    "npu": "an NPU of Intel's",
}

_NUMBERED = ("cuda", "gpu")


@dataclass(frozen=True)
class Device:
    """A place to compute."""

    kind: DeviceKind
    index: int = 0
    tf32: bool = False
    """Whether float32 convolutions may round what they multiply to TF32's 10 bits: faster on
    NVIDIA's GPUs since Ampere. Off by default, so that fp32 means the same on every engine: the
    libraries' own defaults differ."""

    def __post_init__(self) -> None:
        if self.tf32 and self.kind != "cuda":
            what = "the CPU" if self.kind == "cpu" else f"'{self}'"
            raise ConfigError(
                f"TF32 is arithmetic of NVIDIA's GPUs, and the device is {what}: leave out --tf32, "
                "or use --device cuda"
            )

    @staticmethod
    def parse(
        name: str, *, tf32: bool = False, kinds: Collection[DeviceKind] = ("cpu", "cuda")
    ) -> Device:
        """Read "cpu", "cuda" or "cuda:N"; "gpu", "gpu:N" or "npu" where an engine has them.

        Args:
            name: what to read.
            tf32: see `tf32`.
            kinds: what the engine runs on.

        Raises:
            ConfigError: `name` is none of them, or it has no TF32 and that is asked for.
        """
        match = re.fullmatch(r"([a-z]+)(?::(\d+))?", name)
        kind = next((kind for kind in kinds if match and match[1] == kind), None)
        if match is None or kind is None or (match[2] and kind not in _NUMBERED):
            raise ConfigError(f"device '{name}' is not known: use {device_names(kinds)}")
        return Device(kind, int(match[2] or 0), tf32)

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.kind in _NUMBERED else self.kind


def device_names(kinds: Collection[DeviceKind]) -> str:
    """What can be asked for where there are these kinds, such as "auto, cpu, cuda or cuda:N"."""
    known = ["auto", *(word for kind in kinds for word in _spellings(kind))]
    return f"{', '.join(known[:-1])} or {known[-1]}"


def _spellings(kind: DeviceKind) -> list[str]:
    return [kind, f"{kind}:N"] if kind in _NUMBERED else [kind]
