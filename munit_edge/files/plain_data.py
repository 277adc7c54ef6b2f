"""Reading JSON and YAML: plain data that is safe to validate and to print, or a `ConfigError`.

All data files are read here, the program's own and the user's. The data holds nothing that could
break the code that uses it: it is shallow, its keys are unique text, its numbers are finite and not
huge, its text has no NUL and no surrogates except those that represent bytes of a path.

YAML follows version 1.2 where 1.1 is surprising: only `true` and `false` are booleans (`no`, `on`
and `off` are text, accepted as booleans where one is expected), `1e-4` is a number, `1:30` and
dates are text. Tags and second documents are refused.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from pathlib import Path
from typing import Any

import yaml

from munit_edge.errors import ConfigError
from munit_edge.files.paths import open_file
from munit_edge.files.system_errors import unusable

MAX_JSON_BYTES = 64 * 2**20
"""The program's own JSON files have at most some hundred kilobytes."""
MAX_YAML_BYTES = 2**20
"""Configurations have a few kilobytes, and a megabyte takes seconds to parse."""
MAX_DEPTH = 64
"""Levels of mappings and lists; on deeper data other code could hit Python's recursion limit."""
MAX_YAML_VALUES = 100_000
"""Values with aliases expanded: a few lines can expand to more than fits into memory."""
MAX_MERGED = 16
"""Mappings in one merge key (`<<`)."""
MAX_BITS = 128
"""Size of an integer."""
MAX_SHOWN = 120
"""Characters of a value in a message."""

# UTF-32's little-endian mark starts with UTF-16's.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
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


def read_json(path: Path) -> Any:
    """The data in a JSON file.

    Raises:
        ConfigError: the file cannot be read, is not JSON, or holds data that is refused (see
            above).
    """
    return parse_json(_read(path, MAX_JSON_BYTES), str(path))


def parse_json(data: bytes | str, source: str) -> Any:
    """The data in JSON text.

    Args:
        data: the text, or its bytes.
        source: what messages call it, such as the file's path.

    Raises:
        ConfigError: it is not JSON, or holds data that is refused (see above).
    """
    text = data if isinstance(data, str) else decode_text(data, source)
    if not text.strip():
        raise ConfigError(f"{source} is empty")
    try:
        # By itself `json` reads NaN and Infinity, and keeps the last of equal keys.
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise ConfigError(f"{source} is not JSON: {exc.msg} in {where}{_guess(text)}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{source} {_TOO_DEEP}") from exc
    except ValueError as exc:  # of the hooks, or a number with thousands of digits
        raise ConfigError(f"{source}: {_plainly(exc)}") from exc
    _check(found, source, max_values=None)
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, cannot be read, is not YAML, or does not hold a mapping.
    """
    raw = _read(path, MAX_YAML_BYTES, "configuration file ")
    data = parse_yaml(raw, str(path))
    if data is None:
        raise ConfigError(f"{path} is empty: it must hold settings, one `key: value` per line")
    if not isinstance(data, dict):
        guess = _guess(decode_text(raw, str(path)))
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
        raise ConfigError(f"{source} {_TOO_DEEP}") from exc
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        # A number with thousands of digits, or a tag that its value does not fit.
        raise ConfigError(f"{source} is not YAML: {_plainly(exc)}") from exc
    _check(found, source, max_values=MAX_YAML_VALUES)
    return found


def dump_yaml(data: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads back."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def decode_text(data: bytes, source: str) -> str:
    """Text in UTF-8, or in the encoding of its byte order mark, without the mark.

    Raises:
        ConfigError: the bytes are not in that encoding.
    """
    mark = next((mark for mark in _BYTE_ORDER_MARKS if data.startswith(mark)), b"")
    encoding = _BYTE_ORDER_MARKS.get(mark, "utf-8")
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        if b"\0" in data[:1024]:
            raise ConfigError(f"{source} is a binary file, not text") from exc
        raise ConfigError(
            f"{source} is not UTF-8 text (byte 0x{data[exc.start]:02x} in line {line}): "
            "save it with the encoding UTF-8"
        ) from exc


def shown(value: Any) -> str:
    """The repr of a value, shortened for a message."""
    return cut(repr(value))


def shown_path(path: Path) -> str:
    """A path for a message, shortened and with control characters escaped."""
    return cut(str(path))


_TOO_DEEP = f"is nested too deeply: at most {MAX_DEPTH} levels are read"


def cut(text: str, most: int = MAX_SHOWN) -> str:
    """Text for a message: its beginning and its length; control characters are escaped."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _read(path: Path, limit: int, what: str = "") -> bytes:
    try:
        with open_file(path) as file:
            # The size is unknown before: it may be a pipe.
            data = file.read(limit + 1)
    except FileNotFoundError as exc:
        raise ConfigError(f"{what}{shown_path(path)} does not exist") from exc
    except IsADirectoryError as exc:
        raise ConfigError(f"{path} is a folder: name a file") from exc
    except (OSError, ValueError) as exc:  # ValueError: a path with a NUL
        raise ConfigError(str(unusable(path, exc))) from exc
    if len(data) > limit:
        raise ConfigError(
            f"{shown_path(path)} has more than {limit // 2**20} MiB: it is not such a file"
        )
    return data


def _check(data: Any, source: str, *, max_values: int | None) -> None:
    """Refuse what the module's docstring excludes."""
    # A stack instead of recursion, which deep data could bring to its limit.
    waiting: list[tuple[Any, tuple[str, ...]]] = [(data, ())]
    values = 0
    while waiting:
        value, place = waiting.pop()
        # An alias is the object itself: it counts each time, so expanding aliases ends here.
        values += 1
        if len(place) > MAX_DEPTH:
            raise ConfigError(f"{source} {_TOO_DEEP}")
        if max_values is not None and values > max_values:
            raise ConfigError(f"{source} holds more than {max_values} values, aliases written out")
        if isinstance(value, dict):
            for key, item in value.items():
                fault = None if isinstance(key, str) else "is not text: put it in quotes"
                if fault := fault or _fault(key):
                    raise ConfigError(f"{source}: the key {shown(key)}{_at(place)} {fault}")
                waiting.append((item, (*place, key)))
        elif isinstance(value, list):
            waiting.extend((item, (*place, str(i))) for i, item in enumerate(value))
        elif fault := _fault(value):
            raise ConfigError(
                f"{source}: the value{_at(place)} {fault}" if place else f"{source} {fault}"
            )


def _fault(value: Any) -> str | None:
    if isinstance(value, str):
        if "\0" in value:
            return "holds a NUL character"
        try:
            # The surrogates by which Python represents bytes of a path are allowed.
            value.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            return "holds half of a surrogate pair, which is not text"
    elif isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, which is not finite"
    elif isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"is a number with more than {MAX_BITS} bits"
    return None


def _at(place: tuple[str, ...]) -> str:
    return f" of '{cut('.'.join(place))}'" if place else ""


def _guess(text: str) -> str:
    """A guess at what text is that is not data."""
    begin = text.lstrip()[:200].lower()
    if begin.startswith("version https://git-lfs"):
        return ": it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if begin.startswith(("<!doctype", "<html", "<?xml")):
        return ": it is a web page; download the file itself"
    return ""


def _plainly(exc: Exception) -> str:
    if "integer string conversion" in str(exc):
        return "a number has too many digits"
    if isinstance(exc, LookupError):
        return "a value does not fit its tag"
    return cut(" ".join(str(exc).split()))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} occurs twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is not finite")


def _yaml_fault(exc: yaml.YAMLError, text: str) -> str:
    """One line: the problem, its place, and the fix of common problems."""
    if isinstance(exc, yaml.reader.ReaderError):
        line = text.count("\n", 0, exc.position) + 1
        return f"the character U+{int(exc.character):04X} in line {line} is not allowed"
    if not isinstance(exc, yaml.MarkedYAMLError):
        return _plainly(exc)
    problem = " ".join(str(exc.problem or exc.context).split()).removeprefix("but ")
    mark = exc.problem_mark or exc.context_mark
    where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
    return f"{cut(problem)}{where}{_yaml_help(problem, text)}"


def _yaml_help(problem: str, text: str) -> str:
    if guess := _guess(text):
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
