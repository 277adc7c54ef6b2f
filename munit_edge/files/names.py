"""File names as text, for the terminal and for JSON.

A file name is bytes. Python represents those that are not UTF-8 as lone surrogates, which cannot be
written to any file or stream; and a name may hold line breaks or escape sequences of terminals.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

# Control characters, line and paragraph separators, and marks of the writing direction.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_STORED_BYTE = re.compile(rb"\\x([0-9a-f]{2})")
_FIRST_BYTE = 0xDC00
"""Python's surrogate for byte 0; see `os.fsdecode`."""


def one_line(text: str) -> str:
    r"""`text` as one line without control characters: they are escaped (\n, \x1b, \u202e).

    Bytes that are not UTF-8 become \xNN.
    """
    return _CONTROLS.sub(_escaped, storable(text))


def many_lines(text: str) -> str:
    """`one_line` for each line of a text; its line breaks stay."""
    return "\n".join(map(one_line, text.split("\n")))


def json_text(text: str) -> str:
    """Equivalent JSON whose strings hold no control characters."""
    # Line breaks are between tokens only: JSON has escaped those in strings.
    return _CONTROLS.sub(
        lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text
    )


def storable(text: str | Path) -> str:
    r"""A text or path as valid Unicode: bytes that are not UTF-8 become \xNN."""
    return _SURROGATES.sub(_escaped, str(text))


def stored_name(path: str | Path) -> str:
    r"""A path as stored in JSON; `real_name` is the inverse.

    Most paths are unchanged. A byte that is not UTF-8 becomes \xNN, and a backslash before an x
    becomes \x5c, so that the mapping is unique.
    """
    return storable(str(path).replace("\\x", "\\x5cx"))


def real_name(stored: str) -> str:
    """The path whose `stored_name` is `stored`."""
    name = _STORED_BYTE.sub(lambda match: bytes([int(match[1], 16)]), stored.encode())
    return os.fsdecode(name)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if _FIRST_BYTE <= code <= _FIRST_BYTE + 0xFF:
        return f"\\x{code - _FIRST_BYTE:02x}"
    return character.encode("unicode_escape").decode("ascii")
