"""Reading JSON: plain data that is safe to validate and to print, or a `ConfigError`.

All data files are read here or, if they are YAML, in `yaml_data`: the program's own and the user's.
The data holds nothing that could break the code that uses it: it is shallow, its keys are unique
text, its numbers are finite and not huge, its text has no NUL and no surrogates except those that
represent bytes of a path.
"""

from __future__ import annotations

import codecs
import json
import math
from pathlib import Path
from typing import Any

from munit_edge.errors import ConfigError
from munit_edge.files.paths import open_file
from munit_edge.files.system_errors import unusable

MAX_JSON_BYTES = 64 * 2**20
"""The program's own JSON files have at most some hundred kilobytes."""
MAX_DEPTH = 64
"""Levels of mappings and lists; on deeper data other code could hit Python's recursion limit."""
TOO_DEEP = f"is nested too deeply: at most {MAX_DEPTH} levels are read"
"""The end of a message on deeper data."""
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


def read_json(path: Path) -> Any:
    """The data in a JSON file.

    Raises:
        ConfigError: the file cannot be read, is not JSON, or holds data that is refused (see
            above).
    """
    return parse_json(read_limited(path, MAX_JSON_BYTES), str(path))


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
        raise ConfigError(f"{source} is not JSON: {exc.msg} in {where}{guess_at(text)}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{source} {TOO_DEEP}") from exc
    except ValueError as exc:  # of the hooks, or a number with thousands of digits
        raise ConfigError(f"{source}: {plainly(exc)}") from exc
    check_plain(found, source, max_values=None)
    return found


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


def cut(text: str, most: int = MAX_SHOWN) -> str:
    """Text for a message: its beginning and its length; control characters are escaped."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def read_limited(path: Path, limit: int, what: str = "") -> bytes:
    """The bytes of a file.

    Args:
        path: the file; it may be a pipe.
        limit: most bytes that such a file has.
        what: what a message on a missing file puts before its path.

    Raises:
        ConfigError: it cannot be read, or is larger.
    """
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


def check_plain(data: Any, source: str, *, max_values: int | None) -> None:
    """Refuse what the module's docstring excludes.

    Args:
        data: mappings, lists and scalars.
        source: what messages call it.
        max_values: most values, aliases expanded; None: no limit.

    Raises:
        ConfigError: it holds such data.
    """
    # A stack instead of recursion, which deep data could bring to its limit.
    waiting: list[tuple[Any, tuple[str, ...]]] = [(data, ())]
    values = 0
    while waiting:
        value, place = waiting.pop()
        # An alias is the object itself: it counts each time, so expanding aliases ends here.
        values += 1
        if len(place) > MAX_DEPTH:
            raise ConfigError(f"{source} {TOO_DEEP}")
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


def guess_at(text: str) -> str:
    """A guess at what text is that is not data."""
    begin = text.lstrip()[:200].lower()
    if begin.startswith("version https://git-lfs"):
        return ": it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if begin.startswith(("<!doctype", "<html", "<?xml")):
        return ": it is a web page; download the file itself"
    return ""


def plainly(exc: Exception) -> str:
    """A parser's error as one short line."""
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
