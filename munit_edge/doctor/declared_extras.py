"""The extras that this installation's metadata declares for this machine."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Mapping

_DISTRIBUTION = "munit-edge"
# A bracket, `and`, `or`, or a comparison of a variable with a text.
_TOKEN = re.compile(r"""\s*(?:([()]|and\b|or\b)|(\w+)\s*([=!<>]=|<|>)\s*['"]([^'"]*)['"])""")


def declared_extras() -> dict[str, tuple[str, ...]]:
    """The distributions that each extra installs on this machine, by their normalised names.

    An extra that contains other extras installs theirs too.
    """
    metadata = importlib.metadata.metadata(_DISTRIBUTION)
    lines = importlib.metadata.requires(_DISTRIBUTION) or []
    return {
        extra: tuple(dict.fromkeys(_brought(extra, lines)))
        for extra in metadata.get_all("Provides-Extra") or ()
    }


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _brought(extra: str, lines: list[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        if "extra" not in marker or not marker_holds(marker, _environment(extra)):
            continue
        match = re.match(r"\s*([\w.-]+)\s*(?:\[([^\]]*)\])?", requirement)
        assert match is not None, line
        name = normalised(match[1])
        if name == _DISTRIBUTION:
            for other in (match[2] or "").split(","):
                found += _brought(other.strip(), lines)
        else:
            found.append(name)
    return found


def _environment(extra: str) -> dict[str, str]:
    """The variables of PEP 508 that this project's requirements may use."""
    return {
        "extra": extra,
        "platform_machine": platform.machine(),
        "platform_system": platform.system(),
        "python_version": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "sys_platform": sys.platform,
    }


def marker_holds(marker: str, environment: Mapping[str, str]) -> bool:
    """Whether a marker of PEP 508 holds: comparisons of a variable with a text, and, or, brackets.

    Written out, since `packaging` is no dependency.

    Raises:
        KeyError: it asks for a variable that `environment` lacks.
    """
    tokens: list[str | bool] = []
    for symbol, variable, operator, text in _TOKEN.findall(marker):
        tokens.append(symbol or _compare(environment[variable], operator, text))

    # One function for each level: `or` binds less than `and`, brackets most.
    def either() -> bool:
        value = both()
        while tokens and tokens[0] == "or":
            tokens.pop(0)
            # Called first, whatever `value` is: it consumes the tokens of its side.
            value = both() or value
        return value

    def both() -> bool:
        value = single()
        while tokens and tokens[0] == "and":
            tokens.pop(0)
            value = single() and value
        return value

    def single() -> bool:
        token = tokens.pop(0)
        if token != "(":
            return bool(token)
        value = either()
        tokens.pop(0)
        return value

    return either()


def _compare(value: str, operator: str, text: str) -> bool:
    if operator in ("==", "!="):
        return (value == text) == (operator == "==")
    ours, theirs = ([int(part) for part in version.split(".")] for version in (value, text))
    return {
        "<": ours < theirs,
        "<=": ours <= theirs,
        ">": ours > theirs,
        ">=": ours >= theirs,
    }[operator]
