"""The sizes of a graph's inputs: whether they fit each other, and which it is compiled for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from munit_edge.engines.base import AnyArray, Runner, failed_run

Sizes = Mapping[str, tuple[int, ...]]
"""The shape of each input, by name."""


class CompiledSizes:
    """A graph that is compiled for the first sizes that it is given, and once more for all others.

    Compiling takes 0.1 to 0.3 s, for one size as for any. For one the graph is up to 12 % faster:
    elementwise operations of any size are not fused (width 64, 256 x 256, 2 cores: decoder 347 and
    386 ms, in bf16 188 and 200, with AMX 176 and 193; content encoder in bf16 119 and 122). So the
    first sizes get it for nothing; others would have to be run some ten times to gain it. The two
    round differently, int8 by up to 4 levels: counting runs would make an image depend on how many
    came before it.

    Not safe to use from several threads.

    Args:
        compile_for: compiles the graph for some sizes, or for any (None).
    """

    def __init__(self, compile_for: Callable[[Sizes | None], Any]) -> None:
        self._compile_for = compile_for
        self._first: Sizes | None = None
        self._for_first: Any = None
        self._for_any: Any = None

    def get(self, sizes: Sizes) -> Any:
        """The graph compiled for these sizes, an `openvino.CompiledModel`."""
        if self._first is None:
            self._for_first = self._compile_for(sizes)
            self._first = dict(sizes)
        if sizes == self._first:
            return self._for_first
        if self._for_any is None:
            self._for_any = self._compile_for(None)
        return self._for_any


def check_sizes(runner: Runner, feeds: Mapping[str, AnyArray]) -> None:
    """Check that sizes with the same name are equal: OpenVINO may run others, with wrong results.

    Args:
        runner: the graph; one of `several_styles` needs equally many for each content.
        feeds: its inputs, each of the right shape by itself.

    Raises:
        EngineError: they do not fit each other.
    """
    found: dict[str, set[int]] = {}
    for spec in runner.inputs:
        for name, size in zip(spec.shape, feeds[spec.name].shape, strict=True):
            if isinstance(name, str):
                found.setdefault(name, set()).add(size)
    faults = [f"{name} is {_listed(sizes)}" for name, sizes in found.items() if len(sizes) > 1]
    if not faults and runner.several_styles:
        (batch,), (results,) = found["batch"], found["results"]
        if batch == 0 or results % batch:
            faults = [f"{results} styles cannot be shared by {batch} contents"]
    if faults:
        raise failed_run("OpenVINO", runner, feeds, "; ".join(faults))


def _listed(sizes: set[int]) -> str:
    return " and ".join(map(str, sorted(sizes)))
