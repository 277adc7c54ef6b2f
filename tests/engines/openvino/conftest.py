"""Each test has a cache of compiled graphs of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `$MUNIT_EDGE_CACHE`, which does not exist yet."""
    folder = tmp_path_factory.mktemp("cache") / "munit-edge"
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(folder))
    return folder
