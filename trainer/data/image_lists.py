"""Text files that list training images, from any editor on any system. Needs no torch."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from munit_edge.errors import InputError
from munit_edge.files.paths import is_file, open_file
from munit_edge.files.system_errors import fault

_MARKS = (  # the longer ones first: the others are their prefixes
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINE_END = re.compile("\r\n|\n|\r")  # other separators may be part of a name
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_SHOWN_NAME = 80
"""Characters of a line in a message."""


def listed_names(folder: Path, file: Path) -> tuple[str, ...]:
    r"""The names in a list, one per line; empty lines are ignored.

    The text may be UTF-8 or UTF-16, with or without a byte order mark, or, if the names are found
    that way, Windows-1252. Names may have backslashes for slashes, quotes around them, and `~` for
    the home folder.

    Args:
        folder: the folder that relative names start from.
        file: the list.

    Raises:
        InputError: the list cannot be read, names nothing, or names a file that is not there.
    """
    try:
        with open_file(file) as opened:
            text = _decoded(opened.read())
    except OSError as exc:
        raise InputError(f"image list {file} cannot be read: {fault(exc)}") from exc
    except UnicodeDecodeError as exc:
        raise InputError(
            f"image list {file} is damaged ({exc.encoding} text that ends early): save it again as "
            "UTF-8 text"
        ) from exc
    lines = [line for line in _LINE_END.split(text) if line.strip(" \t\ufeff")]
    if not lines:
        raise InputError(f"image list {file} is empty: write the name of one image on each line")
    found = [(line, _found(folder, line)) for line in lines]
    missing = [line for line, name in found if name is None]
    if missing:
        raise InputError(_not_there(folder, file, missing))
    return tuple(name for _, name in found if name is not None)


def _decoded(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    if b"\0" in data[:2] and len(data) % 2 == 0:  # names usually start with ASCII
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le")
    return os.fsdecode(data.removeprefix(codecs.BOM_UTF8))  # names are bytes, UTF-8 or not


def _found(folder: Path, line: str) -> str | None:
    """The name that a line means; None: there is no such file."""
    for name in _readings(line):
        try:
            if is_file(folder / name):
                return name
        except InputError:  # too long, not permitted, or not a valid name
            continue
    return None


def _readings(line: str) -> Iterator[str]:
    """The names that a line may mean, the most literal first."""
    bare = line.strip().strip("\"'")
    yield from (line, line.strip(), bare)
    # Written by a system whose form of accents, or whose encoding, differs from this file system's.
    texts = [bare, *(unicodedata.normalize(form, bare) for form in ("NFC", "NFD"))]
    with contextlib.suppress(UnicodeError):
        texts.append(os.fsencode(bare).decode("cp1252"))
    with contextlib.suppress(UnicodeError):
        texts.append(os.fsdecode(bare.encode("cp1252")))
    yield from texts
    for text in texts:
        if "\\" in text:
            yield text.replace("\\", "/")
        if text.startswith("~"):
            yield os.path.expanduser(text)  # noqa: PTH111 - Path's raises if there is no home


def _not_there(folder: Path, file: Path, missing: list[str]) -> str:
    first = missing[0].strip()
    shown = first if len(first) <= _SHOWN_NAME else f"{first[:_SHOWN_NAME]}..."
    count = "1 file that is" if len(missing) == 1 else f"{len(missing)} files that are"
    fix = "correct the list, or the folder that its paths start from"
    if _DRIVE.match(first):
        fix = "that is a Windows path, so write it relative to that folder"
    elif len(first) > _SHOWN_NAME:
        fix = f"each line must hold one name, and this line has {len(first)} characters"
    return f"image list {file} names {count} not in {folder}, such as '{shown}': {fix}"
