"""Finding the networks of NVlabs/MUNIT in a file, however they were saved.

The program itself writes {"a": tensors by name, "b": ...}. Files in circulation wrap the same
tensors: below `state_dict` or `gen`, as the state of the whole trainer (`gen_a.enc_content...`),
with the prefixes of DataParallel and torch.compile, beside an EMA, optimisers and numbers. Networks
are recognised by the names of their tensors; everything else is listed, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from munit_edge.files.plain_data import shown
from munit_edge.model.config import Domain

MAX_DEPTH = 8
"""Levels of nested mappings that are searched."""

_GENERATOR_PARTS = r"(?:enc_content|enc_style|enc|dec|mlp)\."
# Lazy groups on both sides of the domain: "x.y.gen_a.module.enc_content.model..." is split into the
# place "x.y.", the domain, wrappers, and the name as the program itself writes it.
_PLACE = r"(?P<before>(?:[^.]+\.)*?)(?:{kind}_)?(?P<domain>[ab])\.(?P<wrap>(?:[^.]+\.)*?)"
_PATTERNS = {
    "gen": re.compile(_PLACE.format(kind="gen") + rf"(?P<name>{_GENERATOR_PARTS}.+)", re.DOTALL),
    "dis": re.compile(_PLACE.format(kind="dis") + r"(?P<name>cnns\..+)", re.DOTALL),
}
_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod)\.")
"""Prefixes of DataParallel and torch.compile."""
_AVERAGE = re.compile(r"(?:^|[._])(?:ema|avg|average\w*|shadow)(?:[._]|$)", re.IGNORECASE)
_COUNTERS = ("n_averaged", "num_updates", "num_updates_tracked")
"""Entries of an EMA in addition to its weights."""


@dataclass(frozen=True)
class Found:
    """Networks of one kind, of one or both domains, saved together."""

    place: str
    """Their prefix in the file, such as "state_dict."; "" at the top."""
    tensors: dict[str, Any] = field(default_factory=dict)
    """By domain and name: "a.enc_content.model.0.conv.weight". Includes other entries among them,
    so that they can be reported."""
    domains: set[Domain] = field(default_factory=set)
    twice: list[str] = field(default_factory=list)
    """Names in the file of tensors whose domain and name occurred before."""

    @property
    def is_average(self) -> bool:
        """Whether `place` is a usual name of an EMA."""
        return bool(_AVERAGE.search(self.place))


class Layout:
    """The contents of a file."""

    def __init__(self, data: Mapping[Any, Any]) -> None:
        self.leaves = dict(_leaves(data, "", 0))
        """All values that are not mappings, by dotted name."""
        self._used: set[str] = set()
        self.generators = self._find("gen")
        self.discriminators = self._find("dis")
        self.left_out = [str(key) for key in data if not self._holds(str(key))]
        """Top-level keys that hold neither."""

    def live(self, kind: str) -> list[Found]:
        """The networks of a kind ("gen", "dis") that are not an EMA, or all of them if all are."""
        found = self.generators if kind == "gen" else self.discriminators
        return [one for one in found if not one.is_average] or found

    def averages(self) -> list[Found]:
        """The generators that are an EMA, if there are others too."""
        live = self.live("gen")
        return [found for found in self.generators if found not in live]

    @property
    def is_optimizer(self) -> bool:
        """Whether the file holds an optimiser's state."""
        return any("param_groups" in name.split(".") for name in self.leaves)

    @property
    def parents_of_generators(self) -> list[str]:
        """The names under which a generator's tensors are found, whatever the domain."""
        parts = re.compile(rf"(?:(?P<parent>.*)\.)?{_GENERATOR_PARTS}")
        matches = (parts.match(_WRAPPERS.sub("", name)) for name in self.leaves)
        return list(dict.fromkeys(match["parent"] or "" for match in matches if match))

    def _holds(self, key: str) -> bool:
        return key in self._used or any(name.startswith(f"{key}.") for name in self._used)

    def _find(self, kind: str) -> list[Found]:
        """The networks of one kind, grouped by place."""
        found: dict[str, Found] = {}
        # The prefix that ends with a domain, such as "gen_a.": what else is there belongs to it.
        containers: dict[str, tuple[Found, Domain]] = {}
        for name, value in self.leaves.items():
            if (match := _PATTERNS[kind].fullmatch(name)) is None:
                continue
            # Without wrappers: both domains have one place, even if only one of them was wrapped.
            place = match["before"] + _WRAPPERS.sub("", match["wrap"])
            one = found.setdefault(place, Found(place))
            domain: Domain = "a" if match["domain"] == "a" else "b"
            one.domains.add(domain)
            if (key := f"{domain}.{_WRAPPERS.sub('', match['name'])}") in one.tensors:
                one.twice.append(name)
            one.tensors[key] = value
            self._used.add(name)
            containers.setdefault(name[: match.start("wrap")], (one, domain))
        # Second pass: unknown entries beside the known ones, which must not be dropped in silence.
        for name, value in self.leaves.items():
            for container, (one, domain) in containers.items():
                rest = name.removeprefix(container)
                if rest != name and not _PATTERNS[kind].fullmatch(name):
                    if rest.rpartition(".")[2] not in _COUNTERS:
                        one.tensors[f"{domain}.{_WRAPPERS.sub('', rest)}"] = value
                    self._used.add(name)
                    break
        return list(found.values())


def _leaves(data: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            yield from _leaves(value, f"{name}.", depth + 1)
        else:
            yield name, value


def names_shown(names: list[str], most: int = 4) -> str:
    """The first of some names, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(shown(name) for name in names[:most]) or "nothing") + more
