"""JSON and YAML: what gets through is safe to work on; all else is one line."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from munit_edge.errors import ConfigError
from munit_edge.files.plain_data import MAX_DEPTH, parse_json, read_json, shown
from munit_edge.files.yaml_data import MAX_YAML_BYTES, dump_yaml, parse_yaml, read_yaml

LETTERS = "abcdefghij"


def laughs(item: str) -> str:
    """Lists of nine aliases each of the list before: 9**9 values in ten lines."""
    lines = ["a: &a [x]"]
    for before, name in itertools.pairwise(LETTERS):
        lines.append(f"{name}: &{name} " + item.format(", ".join([f"*{before}"] * 9)))
    return "\n".join(lines)


def merged_laughs() -> str:
    lines = ["a: &a {k: v}"]
    for before, name in itertools.pairwise(LETTERS):
        aliases = ", ".join([f"*{before}"] * 9)
        lines.append(f"{name}: &{name} {{{name}{name}: 1, <<: [{aliases}]}}")
    return "\n".join(lines)


BAD_YAML = {
    "not closed": ("a: [", "is not YAML: "),
    "digits": ("a: " + "1" * 5000, "a number has too many digits"),
    "large number": ("a: " + "1" * 4000, "the value of 'a' is a number with more than 128 bits"),
    "nested": ("[" * 100_000, f"is nested too deeply: at most {MAX_DEPTH} levels"),
    "nested and closed": ("[" * 70 + "]" * 70, "is nested too deeply"),
    "nested mappings": ("\n".join(" " * i + "k:" for i in range(2000)), "is nested too deeply"),
    "in itself": ("a: &a [*a]", "is nested too deeply"),
    "laughs": (laughs("[{}]"), "holds more than 100000 values, aliases written out"),
    "merged laughs": (merged_laughs(), "merge keys expand to more than 100000 values"),
    "many merged": (
        "a: &a {}\nb: {<<: [" + "*a, " * 17 + "]}",
        "a merge key takes at most 16 mappings",
    ),
    "unknown alias": ("a: *b", "undefined alias 'b', line 1, column 4"),
    "tab": ("a:\n\tb: 1", "line 2, column 1: use spaces instead of tabs"),
    "object": ("a: !!python/object:os.system x", "column 4: tags are not supported, remove it"),
    "tuple": ("a: !!python/tuple [1]", "tags are not supported"),
    "binary": ("a: !!binary aGk=", "tags are not supported"),
    "date by tag": ("a: !!timestamp 2001-99-99", "tags are not supported"),
    "wrong tag": ("a: !!bool x", "a value does not fit its tag"),
    "wrong number": ("a: !!int x", "is not YAML: invalid literal"),
    "two documents": ("a: 1\n---\nb: 2", "another document, line 2, column 1: only one"),
    "NUL": ("a: 1\nb: \0", "the character U+0000 in line 2 is not allowed"),
    "escaped NUL": ('a: "\\0"', "the value of 'a' holds a NUL character"),
    "surrogate": ('a: "\\ud800"', "the value of 'a' holds half of a surrogate pair"),
    "key twice": ("a: 1\nb: 2\na: 3", "the key 'a' occurs twice, first in line 1, line 3"),
    "inner key twice": ("x: {k: 1, k: 2}", "the key 'k' occurs twice"),
    "infinite": ("a: .inf", "the value of 'a' is inf, which is not finite"),
    "not a number": ("a: {b: [.nan]}", "the value of 'a.b.0' is nan"),
    "too large": ("a: 1e999", "the value of 'a' is inf"),
    "number as key": ("1: 2", "the key 1 is not text: put it in quotes"),
    "list as key": ("[1]: 2", "unhashable key"),
    "wide colon": ("a: 1\nb\uff1a 1\nc: 2", "the colon must be ':', not the full-width one"),
    "web page": ("<!DOCTYPE html>\n<a>: b: c", "it is a web page"),
    "path in quotes": (r'a: ".\small"', r"in double quotes write \\ for \, or use single quotes"),
}


@pytest.mark.parametrize("name", BAD_YAML)
def test_bad_yaml(name: str) -> None:
    text, message = BAD_YAML[name]
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "x.yaml")
    text = str(caught.value)
    assert text.startswith("x.yaml")
    assert message in text
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("1e-4", 1e-4),
        ("1e6", 1e6),
        ("1_000", 1000),
        (".5", 0.5),
        ("1.", 1.0),
        ("-0x10", -16),
        ("0b11", 3),
        ("0x_", "0x_"),
        ("0b_", "0b_"),
        ("1:30", "1:30"),
        ("2001-99-99", "2001-99-99"),
        ("=", "="),
    ],
)
def test_scalars_of_yaml(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}", "x")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "value", ["no", "1e5", "1:30", "2001-01-01", "0x_", "~", "", " x", "1.5", "true", "=", "\u4e2d"]
)
def test_dumped_text_is_read_back(value: str) -> None:
    assert parse_yaml(dump_yaml({"a": [value]}), "x") == {"a": [value]}


def test_merge_keys_and_aliases_of_sane_size() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a"
    assert parse_yaml(text, "x") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le-bom", "utf-16-be-bom"]
)
def test_unicode_encodings(encoding: str, tmp_path: Path) -> None:
    text = "a: \u00e4\u4e2d\n"
    path = tmp_path / "x.yaml"
    if encoding.endswith("-bom"):
        path.write_bytes(("\ufeff" + text).encode(encoding.removesuffix("-bom")))
    else:
        path.write_bytes(text.encode(encoding))
    assert read_yaml(path) == {"a": "\u00e4\u4e2d"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: it must hold settings"),
        (b"# nothing\n", "is empty"),
        (b"- 1", "expected keys and values, got list"),
        (b"a: 1\n# Gr\xf6\xdfe\n", "is not UTF-8 text (byte 0xf6 in line 2): save it with"),
        ("# \u4e3a\u4e86\n".encode("gbk"), "is not UTF-8 text"),
        (b"\x80\x00\xff\x00", "is a binary file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>x</body></html>\n", "it is a web page"),
        (b"a" * (MAX_YAML_BYTES + 1), "has more than 1 MiB: it is not such a file"),
    ],
)
def test_files_that_are_no_configuration(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize("read", [read_yaml, read_json])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.yaml", "does not exist"),
        (".", "is a folder: name a file"),
        ("x" * 5000, "cannot be used: the name is too long"),
        ("a\0b", "cannot be used: no file can have this name"),
        ("loop.yaml", "cannot be used: .*links form a loop"),
    ],
    ids=["missing", "folder", "long", "NUL", "loop"],
)
def test_files_that_cannot_be_read(read: Any, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / name)


BAD_JSON = {
    "empty": ("", "is empty"),
    "cut": ('{"a": 1,', "is not JSON: Expecting property name"),
    "nested": ("[" * 100_000, "is nested too deeply"),
    "nested and closed": ("[" * 900 + "]" * 900, "is nested too deeply"),
    "digits": ("9" * 5000, "a number has too many digits"),
    "large number": ("9" * 4000, "is a number with more than 128 bits"),
    "not a number": ("[NaN]", "it holds NaN, which is not finite"),
    "infinite": ("-Infinity", "it holds -Infinity, which is not finite"),
    "too large": ("[1e999]", "the value of '0' is inf"),
    "key twice": ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
    "NUL": ('{"a": "\\u0000"}', "the value of 'a' holds a NUL character"),
    "NUL in a key": ('{"\\u0000": 1}', "holds a NUL character"),
    "surrogate": ('"\\ud800"', "half of a surrogate pair"),
    "binary": (b"\x80\x00\xff", "is a binary file"),
    "latin-1": (b'"\xe4"', "is not UTF-8 text"),
    "web page": ("<html>", "it is a web page"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json(name: str, tmp_path: Path) -> None:
    text, message = BAD_JSON[name]
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_json(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_good_json() -> None:
    assert parse_json('\ufeff{"a": [1, 2.5, null, true, "\\u4e2d"]}'.encode(), "x") == {
        "a": [1, 2.5, None, True, "\u4e2d"]
    }


def test_long_values_are_cut_in_messages() -> None:
    assert shown("x" * 200) == "'" + "x" * 119 + "... (202 characters)"
