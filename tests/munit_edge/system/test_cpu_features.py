from __future__ import annotations

from pathlib import Path

import pytest

from munit_edge.system.cpu_features import cpu_features

CPUINFO = """processor\t: 0
flags\t\t: fpu avx2 avx512_vnni
processor\t: 1
flags\t\t: fpu avx2
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CPUINFO, {"fpu", "avx2"}),
        ("processor\t: 0\nFeatures\t: fp asimd\n", {"fp", "asimd"}),
        (None, set()),
    ],
)
def test_features_are_those_of_every_core(
    text: str | None, expected: set[str], tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text(text)
    assert cpu_features(tmp_path) == expected
