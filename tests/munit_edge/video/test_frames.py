"""Frames for an encoder."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest

from munit_edge.video import frames
from munit_edge.video.frames import clear_padding, encodable


def _rows(plane: Any) -> np.ndarray:
    """All bytes of a plane, including the padding after its rows."""
    rows = np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height]
    return rows.reshape(plane.height, plane.line_size)


def test_only_the_padding_after_the_rows_is_cleared() -> None:
    frame = av.VideoFrame(20, 12, "yuv420p")
    for plane in frame.planes:
        _rows(plane)[:] = 255
    assert any(plane.line_size > plane.width for plane in frame.planes)
    clear_padding(frame)
    for plane in frame.planes:
        assert (_rows(plane)[:, : plane.width] == 255).all()
        assert not _rows(plane)[:, plane.width :].any()


def test_frames_for_an_encoder_are_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    cleared: list[Any] = []
    monkeypatch.setattr(frames, "clear_padding", cleared.append)
    assert encodable(np.zeros((12, 20, 3), np.uint8), "yuv420p") in cleared
