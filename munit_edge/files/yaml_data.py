"""Reading and writing YAML, by the rules of `plain_data`.

A module of its own because its parser takes a while to import, and translating reads JSON alone.

YAML follows version 1.2 where 1.1 is surprising: only `true` and `false` are booleans (`no`, `on`
and `off` are text, accepted as booleans where one is expected), `1e-4` is a number, `1:30` and
dates are text. Tags and second documents are refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from munit_edge.errors import ConfigError
from munit_edge.files.plain_data import (
    TOO_DEEP,
    check_plain,
    cut,
    decode_text,
    guess_at,
    plainly,
    read_limited,
    shown,
)

MAX_YAML_BYTES = 2**20
"""Configurations have a few kilobytes, and a megabyte takes seconds to parse."""
MAX_YAML_VALUES = 100_000
"""Values with aliases expanded: a few lines can expand to more than fits into memory."""
MAX_MERGED = 16
"""Mappings in one merge key (`<<`)."""

_YAML = "tag:yaml.org,2002:"
_KEPT_TAGS = {_YAML + name for name in ("null", "bool", "int", "float", "str", "seq", "map")}
# As in YAML 1.2: the pattern of 1.1 wants a point and a signed exponent, so 1e-4 is text.
_FLOAT = re.compile(
    r"""[-+]?(?:[0-9][0-9_]*)?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?$
       |[-+]?[0-9][0-9_]*\.?(?:[eE][-+]?[0-9]+)$
       |[-+]?[0-9][0-9_]*\.$
       |[-+]?\.(?:inf|Inf|INF)$
       |\.(?:nan|NaN|NAN)$""",
    re.VERBOSE,
)
# Type, pattern, and the first characters for which it is tried; NUL stands for empty text.
_RESOLVERS = (
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("float", _FLOAT, "-+0123456789."),
    (
        "int",
        # Without the base 60 of YAML 1.1, in which 1:30 is 90.
        re.compile(
            r"[-+]?(?:0|0[0-7_]+|[1-9][0-9_]*|0b_*[01][01_]*|0x_*[0-9a-fA-F][0-9a-fA-F_]*)$"
        ),
        "-+0123456789",
    ),
    ("merge", re.compile(r"<<$"), "<"),
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), "~nN\0"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, cannot be read, is not YAML, or does not hold a mapping.
    """
    raw = read_limited(path, MAX_YAML_BYTES, "configuration file ")
    data = parse_yaml(raw, str(path))
    if data is None:
        raise ConfigError(f"{path} is empty: it must hold settings, one `key: value` per line")
    if not isinstance(data, dict):
        guess = guess_at(decode_text(raw, str(path)))
        raise ConfigError(f"{path}: expected keys and values, got {type(data).__name__}{guess}")
    return data


def parse_yaml(data: bytes | str, source: str) -> Any:
    """The data in YAML text; None for empty text.

    Args:
        data: the text, or its bytes.
        source: what messages call it, such as the file's path.

    Raises:
        ConfigError: it is not YAML, or holds data that is refused (see above).
    """
    text = data if isinstance(data, str) else decode_text(data, source)
    try:
        # A SafeLoader: it makes plain data only, never objects.
        found = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as exc:
        raise ConfigError(f"{source} is not YAML: {_yaml_fault(exc, text)}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{source} {TOO_DEEP}") from exc
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        # A number with thousands of digits, or a tag that its value does not fit.
        raise ConfigError(f"{source} is not YAML: {plainly(exc)}") from exc
    check_plain(found, source, max_values=MAX_YAML_VALUES)
    return found


def dump_yaml(data: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads back."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def _yaml_fault(exc: yaml.YAMLError, text: str) -> str:
    """One line: the problem, its place, and the fix of common problems."""
    if isinstance(exc, yaml.reader.ReaderError):
        line = text.count("\n", 0, exc.position) + 1
        return f"the character U+{int(exc.character):04X} in line {line} is not allowed"
    if not isinstance(exc, yaml.MarkedYAMLError):
        return plainly(exc)
    problem = " ".join(str(exc.problem or exc.context).split()).removeprefix("but ")
    mark = exc.problem_mark or exc.context_mark
    where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
    return f"{cut(problem)}{where}{_yaml_help(problem, text)}"


def _yaml_help(problem: str, text: str) -> str:
    if guess := guess_at(text):
        return guess
    if r"'\t'" in problem:
        return ": use spaces instead of tabs"
    if "another document" in problem:
        return ": only one document is allowed, remove the rest from `---` on"
    if "escape character" in problem:
        return r": in double quotes write \\ for \, or use single quotes"
    if "could not determine a constructor" in problem:
        return ": tags are not supported, remove it"
    if "expected ':'" in problem and "\uff1a" in text:
        return ": the colon must be ':', not the full-width one"
    return ": the character U+00A0 is not a space" if "\u00a0" in text else ""


class _Loader(yaml.SafeLoader):
    """Reads plain data only; a key that occurs twice is an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        # Here, before merges are expanded: a mapping may replace a key that `<<` brings.
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (first := lines.get(key.value)) is not None:
                problem = f"the key {shown(key.value)} occurs twice, first in line {first}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, value in node.value:
            merged = key.tag == _YAML + "merge" and isinstance(value, yaml.SequenceNode)
            if merged and len(value.value) > MAX_MERGED:
                problem = f"a merge key takes at most {MAX_MERGED} mappings"
                raise yaml.constructor.ConstructorError(None, None, problem, value.start_mark)
        # Merges copy: a few lines that merge each other grow exponentially.
        super().flatten_mapping(node)
        if len(node.value) > MAX_YAML_VALUES:
            problem = f"merge keys expand to more than {MAX_YAML_VALUES} values"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes text that either version of YAML would read as another type."""


# A tag without a constructor falls to that of None, which refuses it.
_Loader.yaml_constructors = {
    tag: make for tag, make in _Loader.yaml_constructors.items() if tag is None or tag in _KEPT_TAGS
}
# None of those that PyYAML declares for YAML 1.1.
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(
        _YAML + _name, _pattern, ["" if char == "\0" else char for char in _first]
    )
_Dumper.add_implicit_resolver(_YAML + "float", _FLOAT, list("-+0123456789."))
