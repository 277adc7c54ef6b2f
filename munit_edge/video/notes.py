"""What a video has that its translation does not follow, said once before the work."""

from __future__ import annotations

from typing import Any

from munit_edge.video.orientation import odd_matrix

# Numbers of libavutil.
_PQ, _HLG = 16, 18
_BT2020 = 9


def notes_on(frame: Any, stream: Any) -> list[str]:
    """What is left out of the frames of a stream, one sentence for each.

    Args:
        frame: PyAV's first decoded frame.
        stream: PyAV's stream that it comes from.
    """
    notes = [odd_matrix(frame), _on_alpha(frame, stream), _on_tones(frame)]
    return [note for note in notes if note is not None]


def _on_alpha(frame: Any, stream: Any) -> str | None:
    # Decoders of VP8 and VP9 leave the alpha in the container and give opaque formats.
    is_beside = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
    is_inside = any(component.is_alpha for component in frame.format.components)
    if not is_beside and not is_inside:
        return None
    return "it has an alpha channel, which is left out: frames are translated as if opaque"


def _on_tones(frame: Any) -> str | None:
    curve = {_PQ: "PQ", _HLG: "HLG"}.get(int(frame.color_trc))
    if curve is not None:
        return (
            f"it is HDR ({curve}): its tones and colours are not mapped to those of usual video, "
            "so frames look pale, and results are tagged BT.709"
        )
    if int(frame.color_primaries) == _BT2020:
        return "its colours are BT.2020: they are not mapped, and results are tagged BT.709"
    return None
