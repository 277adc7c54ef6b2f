"""Reading the checkpoint files of the two public releases of MUNIT.

Formats are recognised by the contents of a file, never by its name:

    NVlabs/MUNIT       gen_<iteration>.pt, and dis_<iteration>.pt beside it: {"a": tensors by name,
                       "b": ...}; see `layout` for other ways in which they are saved
    NVlabs/imaginaire  *_checkpoint.pt: {"net_G": tensors by name, "net_D": ..., ...}; live weights
                       and EMA share net_G and differ in their prefix

Only plain tensors are read (`weights_only=True`): no code in a file is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munit_edge.errors import ModelError
from munit_edge.files.paths import is_file
from munit_edge.model.config import DOMAINS, Domain
from munit_edge.trainer.foreign.config import IMAGINAIRE, MUNIT
from munit_edge.trainer.foreign.layout import Found, Layout, names_shown
from munit_edge.trainer.tensor_files import read_foreign_file
from munit_edge.trainer.torch_api import Tensor, torch

_EXPECTED = (
    f"a checkpoint of {MUNIT} (gen_*.pt) or of {IMAGINAIRE} (*_checkpoint.pt) is needed here"
)
_LAST = 10**18 - 1
"""No training has more iterations: a larger number means something else."""


@dataclass(frozen=True)
class ForeignWeights:
    """One network of both domains."""

    tensors: dict[str, Tensor]
    """By their full names in the file."""
    prefixes: dict[Domain, str]
    """The prefix of each domain's network."""

    def shapes(self, domain: Domain) -> dict[str, tuple[int, ...]]:
        """The shapes of one domain's tensors, by name without the prefix."""
        prefix = self.prefixes[domain]
        return {
            name[len(prefix) :]: tuple(tensor.shape)
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


@dataclass(frozen=True)
class ForeignCheckpoint:
    """The contents of a public checkpoint."""

    path: Path
    program: str
    """`MUNIT` or `IMAGINAIRE`."""
    iteration: int | None
    """Training iterations; None if neither the contents nor the name say."""
    live: ForeignWeights
    """The live weights of the generators."""
    average: ForeignWeights | None
    """The EMA of the generators."""
    discriminators: ForeignWeights | None
    notes: tuple[str, ...] = ()
    """Messages for the user."""


def read_foreign_checkpoint(path: Path) -> ForeignCheckpoint:
    """Read a public checkpoint; for NVlabs/MUNIT also the discriminators beside it.

    Raises:
        InputError: there is no file at `path`.
        ModelError: the file is damaged, needs unpickling, or is not such a checkpoint.
    """
    data = read_foreign_file(path, _EXPECTED)
    if not isinstance(data, Mapping):
        raise _not_munit(path, f"it holds a {type(data).__name__}")
    data = _unwrapped(data)
    if isinstance(data.get("net_G"), Mapping):
        return _read_imaginaire(path, data)
    if any(isinstance(key, str) and _domain_prefix(key, "autoencoder") for key in data):
        return _read_imaginaire(path, {"net_G": data})  # only the generators' tensors
    return _read_munit(path, data)


def _not_munit(path: Path, found: str) -> ModelError:
    return ModelError(f"{path} is not a MUNIT checkpoint ({found}): {_EXPECTED}")


def _unwrapped(data: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The contents without the outer level under which whole programs save their state."""
    data = _renamed(data)
    # Only around net_G: for NVlabs/MUNIT `Layout` searches nested levels itself.
    for key in ("state_dict", "model_state_dict", "model"):
        inside = data.get(key)
        if isinstance(inside, Mapping) and "net_G" in (inside := _renamed(inside)):
            return {**data, **inside}
    return data


def _renamed(data: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """With the networks of NVlabs/imaginaire under their usual names, such as net_G for netG."""
    names = {"netg": "net_G", "netd": "net_D"}
    return {names.get(str(key).replace("_", "").lower(), key): v for key, v in data.items()}


def _read_munit(path: Path, data: Mapping[Any, Any]) -> ForeignCheckpoint:
    layout = Layout(data)
    live = layout.live("gen")
    if not live:
        raise _without_generators(path, layout)
    generators = _one(path, live, "generators")
    averages = layout.averages()
    notes = []
    if generators.is_average:
        notes.append(f"the weights are under '{generators.place}', so they are an EMA")
    if layout.left_out:
        notes.append(f"left out of {path.name}: {names_shown(layout.left_out)}")
    inside = layout.live("dis")
    return ForeignCheckpoint(
        path=path,
        program=MUNIT,
        # That program stores no iteration in the file: the name is the better source.
        iteration=_number_after("gen_", path) or _iteration(data),
        live=_munit_weights(generators),
        average=_munit_weights(_one(path, averages, "averages")) if averages else None,
        discriminators=(
            _munit_weights(_one(path, inside, "discriminators"))
            if inside
            else _munit_discriminators(path)
        ),
        notes=tuple(notes),
    )


def _without_generators(path: Path, layout: Layout) -> ModelError:
    """The error for a file without generators under "a" and "b"."""
    if layout.live("dis"):
        return ModelError(
            f"{path} holds discriminators: name the generators' file, gen_*.pt; "
            "dis_*.pt beside it is read with it"
        )
    if layout.is_optimizer:
        return ModelError(f"{path} holds optimiser states and no networks: {_EXPECTED}")
    parents = layout.parents_of_generators
    if parents == [""]:
        return ModelError(
            f"{path} holds one generator of an unknown domain: save both in one file, under 'a' "
            "and 'b'"
        )
    if parents:
        return ModelError(
            f"{path} holds generators under {names_shown(parents)}: save them under 'a' and 'b', "
            "the domains of their images"
        )
    return _not_munit(path, f"it holds {names_shown(list(layout.leaves))}")


def _one(path: Path, found: list[Found], what: str) -> Found:
    """The only networks found, checked to be of both domains."""
    if len(found) > 1:
        places = [one.place.rstrip(".") or "the top" for one in found]
        raise ModelError(
            f"{path} holds {what} more than once, under {names_shown(places)}: save those to "
            "convert in a file of their own"
        )
    if found[0].twice:
        raise ModelError(
            f"{path} holds {what} more than once, such as {names_shown(found[0].twice, 1)} beside "
            "a tensor of the same network and name: save those to convert in a file of their own"
        )
    # UNIT has one encoder, "enc", where MUNIT has "enc_content" and "enc_style".
    if any(name.startswith(("a.enc.", "b.enc.")) for name in found[0].tensors):
        raise ModelError(f"{path} is a UNIT model: munit-edge supports only MUNIT models")
    for domain in DOMAINS:
        part = {n[2:]: v for n, v in found[0].tensors.items() if n.startswith(f"{domain}.")}
        _tensors(path, f"'{domain}'", part)
    missing = sorted(set(DOMAINS) - found[0].domains)
    if missing:
        there = ", ".join(sorted(found[0].domains))
        raise ModelError(
            f"{path} holds the {what} of domain {there} only: those of domain {missing[0]} are "
            "needed too, because a model translates both ways"
        )
    return found[0]


def _munit_discriminators(path: Path) -> ForeignWeights | None:
    """The discriminators in the file beside that of the generators."""
    if not path.name.startswith("gen"):
        return None
    beside = path.with_name("dis" + path.name.removeprefix("gen"))
    if not is_file(beside):
        return None
    data = read_foreign_file(beside, _EXPECTED)
    found = Layout(data).live("dis") if isinstance(data, Mapping) else []
    if not found:
        raise ModelError(
            f"{beside} does not hold the discriminators that belong to {path.name}: "
            "repair it, or move it away to convert without it"
        )
    return _munit_weights(_one(beside, found, "discriminators"))


def _munit_weights(found: Found) -> ForeignWeights:
    return ForeignWeights(found.tensors, {domain: f"{domain}." for domain in DOMAINS})


def _iteration(data: Mapping[Any, Any]) -> int | None:
    """The iteration that a file stores beside the networks."""
    for key in ("current_iteration", "iteration", "iterations", "iter", "step", "global_step"):
        value = data.get(key)
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LAST:
            return value
    return None


def _read_imaginaire(path: Path, data: Mapping[str, Any]) -> ForeignCheckpoint:
    generators = _tensors(path, "'net_G'", _uncompiled(path, data["net_G"]))
    # One dictionary holds both: the EMA is a copy of the whole generator in a submodule.
    average = {name: value for name, value in generators.items() if "averaged_model." in name}
    live = {
        name: value
        for name, value in generators.items()
        if name not in average and not name.endswith("num_updates_tracked")  # the EMA's counter
    }
    dis = _tensors(path, "'net_D'", _uncompiled(path, data.get("net_D") or {}))
    iteration = _iteration(data)
    if iteration is None:
        iteration = _number_after("iteration_", path)
    return ForeignCheckpoint(
        path=path,
        program=IMAGINAIRE,
        iteration=iteration,
        live=_by_domain(path, live, "autoencoder", "live"),
        average=_by_domain(path, average, "autoencoder", "averaged") if average else None,
        discriminators=_by_domain(path, dis, "discriminator", "discriminator") if dis else None,
    )


def _uncompiled(path: Path, tensors: Any) -> Any:
    """With names as without torch.compile."""
    if not isinstance(tensors, Mapping):
        return tensors
    found = {
        name.replace("_orig_mod.", "") if isinstance(name, str) else name: value
        for name, value in tensors.items()
    }
    if len(found) < len(tensors):
        raise ModelError(
            f"{path} holds tensors more than once, with '_orig_mod.' in their names and without: "
            "save those to convert in a file of their own"
        )
    return found


def _by_domain(path: Path, tensors: dict[str, Tensor], network: str, what: str) -> ForeignWeights:
    """Find the prefix of each domain's network, whatever wrappers it was saved in."""
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
    # Lazy: the first occurrence ends the prefix, whatever the names inside the network are.
    match = re.match(rf"(?:\w+\.)*?{network}_[ab]\.", name)
    return match.group() if match else None


def _tensors(path: Path, part: str, data: Any) -> dict[str, Tensor]:
    if not isinstance(data, Mapping):
        raise ModelError(f"{path}: {part} is a {type(data).__name__}, not tensors by name")
    for name, value in data.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise ModelError(
                f"{path}: {part} holds {name!r}, a {type(value).__name__} and not a plain tensor: "
                f"{_EXPECTED}"
            )
    return dict(data)


def _is_plain(value: Any) -> bool:
    """Whether `value` is a dense tensor with data: not sparse, quantised or on the meta device."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _number_after(word: str, path: Path) -> int | None:
    """The iteration in a file's name, where both programs put it."""
    match = re.search(rf"{word}(\d{{1,18}})(?!\d)", path.name)
    return int(match.group(1)) if match else None
