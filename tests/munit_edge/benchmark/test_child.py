"""What one process of `munit-edge benchmark` measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munit_edge.benchmark import child as benchmark_child
from munit_edge.benchmark.child import Request, measure_here
from munit_edge.translator import Translator


def test_the_first_call_is_timed_with_opening_the_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening takes 10 s of a clock that else stands still; later calls take none."""
    now = 0.0
    opened = Translator.open

    def slow_open(*arguments: Any, **options: Any) -> Translator:
        nonlocal now
        now += 10
        return opened(*arguments, **options)

    monkeypatch.setattr(Translator, "open", slow_open)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    images = np.zeros((1, 16, 16, 3), np.uint8)
    np.savez(tmp_path / benchmark_child.INPUTS_FILE, images=images, references=images)
    request = Request(
        model=str(tiny_model),
        engine="onnxruntime",
        device="cpu",
        direction="a2b",
        part="content_encoder",
        styles=1,
        folder=str(tmp_path),
        runs=3,
        seconds=5,
    )
    answer = benchmark_child.Answer.model_validate_json(measure_here(request.model_dump_json()))
    assert answer.measured is not None, answer.fault
    assert answer.measured.first_ms == 10_000
    assert (answer.measured.latency.n, answer.measured.latency.p50_ms) == (3, 0)
