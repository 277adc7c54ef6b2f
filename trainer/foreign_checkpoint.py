"""Reading the checkpoint files of the two public releases of MUNIT.

Formats are recognised from what a file holds, never from its name:

    NVlabs/MUNIT       gen_<iteration>.pt, and dis_<iteration>.pt beside it: {"a": tensors by name,
                       "b": ...}
    NVlabs/imaginaire  *_checkpoint.pt: {"net_G": tensors by name, "net_D": ..., ...}; live weights
                       and moving average share net_G, told apart by their prefix

Only plain tensors are read (`weights_only=True`): nothing that a file brings along is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munit_edge.config import DOMAINS, Domain
from munit_edge.errors import ModelError
from munit_edge.paths import is_file
from munit_edge.trainer.foreign_config import IMAGINAIRE, MUNIT
from munit_edge.trainer.tensor_files import read_torch_file
from munit_edge.trainer.torch_api import Tensor, torch

_EXPECTED = (
    f"a checkpoint of {MUNIT} (gen_*.pt) or of {IMAGINAIRE} (*_checkpoint.pt) is needed here"
)
_MUNIT_GENERATOR_PARTS = ("enc_content.", "enc_style.", "dec.", "mlp.")


@dataclass(frozen=True)
class ForeignWeights:
    """The same network of both domains."""

    tensors: dict[str, Tensor]
    """By full name in the file."""
    prefixes: dict[Domain, str]
    """What stands before the names of each domain's network."""

    def shapes(self, domain: Domain) -> dict[str, tuple[int, ...]]:
        """Shapes of one domain's tensors, names without the prefix."""
        prefix = self.prefixes[domain]
        return {
            name[len(prefix) :]: tuple(tensor.shape)
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What a public checkpoint holds."""

    path: Path
    program: str
    """`MUNIT` or `IMAGINAIRE`."""
    iteration: int | None
    """Training iterations; None where neither content nor name tells."""
    live: ForeignWeights
    """Generators as they were trained."""
    average: ForeignWeights | None
    """Moving average of the generators."""
    discriminators: ForeignWeights | None


def read_foreign_checkpoint(path: Path) -> ForeignCheckpoint:
    """Read a public checkpoint; of NVlabs/MUNIT also the discriminators beside it.

    Raises:
        InputError: there is no file at `path`.
        ModelError: the file is damaged, needs unpickling, or is no such checkpoint.
    """
    data = read_torch_file(path, _EXPECTED)
    if isinstance(data, Mapping):
        if set(data) == set(DOMAINS):
            return _read_munit(path, data)
        if isinstance(data.get("net_G"), Mapping):
            return _read_imaginaire(path, data)
        if any(isinstance(key, str) and _domain_prefix(key, "autoencoder") for key in data):
            return _read_imaginaire(path, {"net_G": data})  # the generators' tensors by themselves
        keys = ", ".join(repr(key) for key in list(data)[:4]) or "no keys"
        found = f"it holds {keys}"
    else:
        found = f"it holds a {type(data).__name__}"
    raise ModelError(f"{path} is not a MUNIT checkpoint ({found}): {_EXPECTED}")


def _read_munit(path: Path, data: Mapping[str, Any]) -> ForeignCheckpoint:
    live = _munit_weights(path, data)
    names = list(live.tensors)
    if any(name.startswith("a.cnns.") for name in names):
        raise ModelError(
            f"{path} holds discriminators: name the generators' file, gen_*.pt; "
            "dis_*.pt beside it is read with it"
        )
    if any(name.startswith("a.enc.") for name in names):
        raise ModelError(f"{path} is a UNIT model: munit-edge takes MUNIT models only")
    if not any(name.startswith("a." + part) for name in names for part in _MUNIT_GENERATOR_PARTS):
        shown = ", ".join(names[:4]) or "no tensors"
        raise ModelError(f"{path} is not a MUNIT checkpoint (it holds {shown}): {_EXPECTED}")
    return ForeignCheckpoint(
        path=path,
        program=MUNIT,
        iteration=_number_behind("gen_", path),
        live=live,
        average=None,
        discriminators=_munit_discriminators(path),
    )


def _munit_discriminators(path: Path) -> ForeignWeights | None:
    if not path.name.startswith("gen"):
        return None
    beside = path.with_name("dis" + path.name.removeprefix("gen"))
    if not is_file(beside):
        return None
    data = read_torch_file(beside, _EXPECTED)
    if not isinstance(data, Mapping) or set(data) != set(DOMAINS):
        raise ModelError(
            f"{beside} is not the discriminators' file that belongs to {path.name}: "
            "repair it, or move it away to convert without it"
        )
    return _munit_weights(beside, data)


def _munit_weights(path: Path, data: Mapping[str, Any]) -> ForeignWeights:
    tensors: dict[str, Tensor] = {}
    for domain in DOMAINS:
        part = _tensors(path, f"'{domain}'", data[domain])
        tensors |= {f"{domain}.{name}": tensor for name, tensor in part.items()}
    return ForeignWeights(tensors, {domain: f"{domain}." for domain in DOMAINS})


def _read_imaginaire(path: Path, data: Mapping[str, Any]) -> ForeignCheckpoint:
    generators = _tensors(path, "'net_G'", data["net_G"])
    average = {name: value for name, value in generators.items() if "averaged_model." in name}
    live = {
        name: value
        for name, value in generators.items()
        if name not in average and not name.endswith("num_updates_tracked")  # the average's counter
    }
    dis = _tensors(path, "'net_D'", data.get("net_D") or {})
    iteration = data.get("current_iteration")
    if not isinstance(iteration, int):
        iteration = _number_behind("iteration_", path)
    return ForeignCheckpoint(
        path=path,
        program=IMAGINAIRE,
        iteration=iteration,
        live=_by_domain(path, live, "autoencoder", "live"),
        average=_by_domain(path, average, "autoencoder", "averaged") if average else None,
        discriminators=_by_domain(path, dis, "discriminator", "discriminator") if dis else None,
    )


def _by_domain(path: Path, tensors: dict[str, Tensor], network: str, what: str) -> ForeignWeights:
    """Find the one prefix of each domain's networks, whatever wrappers they were saved in."""
    found = {prefix for name in tensors if (prefix := _domain_prefix(name, network))}
    prefixes: dict[Domain, str] = {}
    for domain in DOMAINS:
        own = sorted(prefix for prefix in found if prefix.endswith(f"_{domain}."))
        if not own:
            raise ModelError(f"{path} holds no {what} weights of domain {domain}: {_EXPECTED}")
        if len(own) > 1:
            raise ModelError(
                f"{path} holds {what} weights of domain {domain} more than once, under "
                f"{' and '.join(own)}: {_EXPECTED}"
            )
        prefixes[domain] = own[0]
    return ForeignWeights(tensors, prefixes)


def _domain_prefix(name: str, network: str) -> str | None:
    match = re.match(rf"(?:\w+\.)*?{network}_[ab]\.", name)
    return match.group() if match else None


def _tensors(path: Path, part: str, data: Any) -> dict[str, Tensor]:
    if not isinstance(data, Mapping):
        raise ModelError(f"{path}: {part} is a {type(data).__name__}, not tensors by name")
    for name, value in data.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise ModelError(
                f"{path}: {part} holds {name!r}, a {type(value).__name__} and no plain tensor: "
                f"{_EXPECTED}"
            )
    return dict(data)


def _is_plain(value: Any) -> bool:
    """Whether `value` is a tensor with numbers in it, neither sparse nor quantised nor empty."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _number_behind(word: str, path: Path) -> int | None:
    """The iteration, which both programs put into their files' names."""
    match = re.search(rf"{word}(\d+)", path.name)
    return int(match.group(1)) if match else None
