"""Names of files as text, and back."""

from __future__ import annotations

import json
import os

import pytest

from munit_edge.files.names import json_text, many_lines, one_line, real_name, storable, stored_name

EVIL = "a\x1b[31mb\nc\rd\x00e\x7ff\x9bg\u202eh\u2028i"


def test_a_line_holds_nothing_that_a_terminal_obeys() -> None:
    shown = one_line(EVIL)
    assert shown == r"a\x1b[31mb\nc\rd\x00e\x7ff\x9bg\u202eh\u2028i"
    assert one_line("gr\udcfcn.png") == r"gr\xfcn.png"
    assert one_line("Grün ñ 日本 \U0001f600\u200d.png") == "Grün ñ 日本 \U0001f600\u200d.png"


def test_a_table_keeps_its_lines() -> None:
    assert many_lines("a\x1b\nb\n") == "a\\x1b\nb\n"


def test_json_means_the_same() -> None:
    text = json.dumps({"name": EVIL}, ensure_ascii=False, indent=1)
    shown = json_text(text)
    assert not set("\x1b\x7f\x9b\u202e\u2028") & set(shown)
    assert json.loads(shown) == {"name": EVIL}


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (b"plain.png", "plain.png"),
        ("grün.png".encode(), "grün.png"),
        (b"gr\xfcn.png", r"gr\xfcn.png"),
        (rb"gr\xfcn.png", r"gr\x5cxfcn.png"),
        (b"\\\xfc", r"\\xfc"),
        (rb"C:\pics\a.png", r"C:\pics\a.png"),
        (rb"\x5cx", r"\x5cx5cx"),
        (b"a\nb\x1b", "a\nb\x1b"),
        (b"\xff\\x\xfe\\\\x", r"\xff\x5cx\xfe\\x5cx"),
    ],
)
def test_stored_names_give_the_bytes_back(name: bytes, stored: str) -> None:
    assert stored_name(os.fsdecode(name)) == stored
    stored.encode()  # any file takes it
    assert os.fsencode(real_name(stored)) == name


def test_messages_can_be_stored() -> None:
    assert storable("x\udcff.png is damaged") == r"x\xff.png is damaged"
    assert storable("half of a pair: \ud83d") == r"half of a pair: \ud83d"
