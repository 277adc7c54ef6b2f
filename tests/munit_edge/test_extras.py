"""Optional packages are imported without telling anybody."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from munit_edge import extras
from munit_edge.extras import import_silently

PACKAGE = """
try:
    import its_sender
except ImportError:
    its_sender = None
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that reports its import where its sender is installed, as it is."""
    (tmp_path / "tells_others.py").write_text(PACKAGE)
    (tmp_path / "its_sender.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(extras.SENDERS, "tells_others", "its_sender")
    for name in ("tells_others", "its_sender"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "tells_others"


def test_what_sends_is_not_there(package: str) -> None:
    assert import_silently(package).its_sender is None
    assert "its_sender" not in sys.modules
    __import__("its_sender")  # the program's own use is left alone


def test_a_sender_that_the_program_has_imported_stays(package: str) -> None:
    sender = __import__("its_sender")
    assert import_silently(package).its_sender is sender
    assert sys.modules["its_sender"] is sender
