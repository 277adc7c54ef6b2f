"""Properties of a video that its translation ignores, reported once before any work."""

from __future__ import annotations

from typing import Any

from munit_edge.video.orientation import matrix_note

# Constants of libavutil.
_PQ, _HLG = 16, 18
_BT2020 = 9


def notes_on(frame: Any, stream: Any) -> list[str]:
    """What is ignored in the frames of a stream, one sentence each.

    Args:
        frame: PyAV's first decoded frame.
        stream: PyAV's stream of that frame.
    """
    notes = [matrix_note(frame), _on_alpha(frame, stream), _on_tones(frame)]
    return [note for note in notes if note is not None]


def has_alpha_beside(stream: Any) -> bool:
    """Whether alpha is stored in the container outside the packets, as with VP8 and VP9.

    Their decoders then give opaque frames.
    """
    return any(
        key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items()
    )


def _on_alpha(frame: Any, stream: Any) -> str | None:
    is_inside = any(component.is_alpha for component in frame.format.components)
    if not is_inside and not has_alpha_beside(stream):
        return None
    return "it has an alpha channel, which is ignored: frames are translated as if opaque"


def _on_tones(frame: Any) -> str | None:
    curve = {_PQ: "PQ", _HLG: "HLG"}.get(int(frame.color_trc))
    if curve is not None:
        return (
            f"it is HDR ({curve}): its tones and colours are not mapped to standard range, so "
            "frames look pale, and results are tagged BT.709"
        )
    if int(frame.color_primaries) == _BT2020:
        return "its colours are BT.2020: they are not mapped, and results are tagged BT.709"
    return None
