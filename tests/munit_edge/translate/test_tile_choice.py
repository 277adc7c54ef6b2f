from __future__ import annotations

import pytest

from munit_edge.model.config import ModelConfig
from munit_edge.translate import tiling
from munit_edge.translate.tiling import (
    TILE_BYTES,
    TileOption,
    choose_core,
    engine_bytes_per_pixel,
    memory_of,
    total_margin,
)

GIB = 1 << 30
PAPER = ModelConfig()
SLIM = ModelConfig(width=16)


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "available_memory", lambda: 4 * GIB)
    monkeypatch.setattr(tiling, "free_memory_bytes", lambda index: None if index else GIB)


def _choose(option: TileOption, size_hw: tuple[int, int], **changes: str) -> int | None:
    where = {"engine": "onnxruntime", "device": "cpu"} | changes
    return choose_core(option, size_hw, PAPER, where["engine"], memory_of(where["device"]))


def test_bytes_are_those_that_were_measured() -> None:
    assert 394 <= engine_bytes_per_pixel(SLIM) <= 626
    assert engine_bytes_per_pixel(PAPER) == pytest.approx(1776, rel=0.05)


def test_off_never_cuts() -> None:
    assert _choose("off", (100_000, 100_000)) is None


def test_a_number_cuts_what_is_larger() -> None:
    assert _choose(512, (512, 300)) is None
    assert _choose(512, (200, 513)) == 512


def test_auto_keeps_whole_what_fits_into_half_of_the_memory() -> None:
    fits = 2 * GIB // engine_bytes_per_pixel(PAPER)
    assert _choose("auto", (1, fits)) is None
    assert _choose("auto", (1, fits + 1)) is not None


@pytest.mark.parametrize(
    ("where", "limit"),
    [
        ({}, TILE_BYTES),
        ({"device": "cuda:0"}, GIB // 4),
        ({"device": "cuda:1"}, TILE_BYTES),  # unknown: 4 GiB are assumed
        ({"engine": "tensorrt", "device": "cuda:0"}, GIB // 4),
    ],
)
def test_auto_tiles_take_a_share_of_the_memory(where: dict[str, str], limit: int) -> None:
    core = _choose("auto", (6000, 4000), **where)
    assert core is not None
    pixels = (core + 2 * total_margin(PAPER)) ** 2
    assert 0.9 * limit < pixels * engine_bytes_per_pixel(PAPER) <= limit


def test_tiles_for_tensorrt_fit_its_default_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "free_memory_bytes", lambda index: 8 * GIB)
    core = _choose("auto", (6000, 4000), engine="tensorrt", device="cuda:0")
    assert core == 512 - 2 * total_margin(PAPER)
