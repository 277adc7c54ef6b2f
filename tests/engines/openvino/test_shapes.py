"""Which sizes a graph is compiled for; OpenVINO is not asked."""

from __future__ import annotations

import pytest

from munit_edge.engines.openvino.shapes import CompiledSizes, Sizes

PHOTO: Sizes = {"image": (1, 32, 48, 3)}
OTHER: Sizes = {"image": (1, 48, 32, 3)}
THIRD: Sizes = {"image": (2, 32, 48, 3)}


def test_the_first_sizes_have_a_graph_of_their_own_and_all_others_share_one() -> None:
    asked: list[Sizes | None] = []

    def compile_for(sizes: Sizes | None) -> int:
        asked.append(sizes)
        return len(asked)

    compiled = CompiledSizes(compile_for)
    assert [compiled.get(s) for s in (PHOTO, PHOTO, OTHER, THIRD, PHOTO, OTHER)] == [
        1,
        1,
        2,
        2,
        1,
        2,
    ]
    assert asked == [PHOTO, None]


def test_sizes_that_do_not_compile_are_tried_again() -> None:
    def compile_for(sizes: Sizes | None) -> str:
        if sizes == PHOTO:
            raise MemoryError
        return "compiled"

    compiled = CompiledSizes(compile_for)
    for _ in range(2):
        with pytest.raises(MemoryError):
            compiled.get(PHOTO)
    assert compiled.get(OTHER) == "compiled"
