"""Runs a graph for any number of rows, in batches that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munit_edge.engines.base import AnyArray, Runner, take_rows


def run_in_batches(
    runner: Runner, feeds: dict[str, AnyArray], *, on_device: bool = False
) -> AnyArray:
    """Run a graph with one output in batches that it supports.

    Args:
        runner: the graph.
        feeds: its inputs, all of the same batch unless the runner takes `several_styles`. A
            batch that is too small is filled by repeating the last item.
        on_device: leave the result on its device, if one run is enough.
    """
    count = len(next(iter(feeds.values())))
    smallest, largest = runner.batch_limits
    # Nothing is copied or moved: the usual way.
    if smallest <= count <= (largest or count):
        return next(iter(runner.run(feeds, keep_on_device=on_device).values()))
    return next(iter(run_all_outputs(runner, feeds).values()))


def run_all_outputs(runner: Runner, feeds: dict[str, AnyArray]) -> dict[str, NDArray[Any]]:
    """Run a graph in batches that it supports; returns every output, on the host."""
    count = len(next(iter(feeds.values())))
    smallest, largest = runner.batch_limits
    step = largest or max(smallest, count)
    parts = []
    for start in range(0, count, step):
        num = max(min(step, count - start), smallest)
        # The last rows again where a fixed batch has room; cut off below.
        rows = [min(row, count - 1) for row in range(start, start + num)]
        part = feeds
        if len(rows) != count:
            part = {name: take_rows(array, rows) for name, array in feeds.items()}
        parts.append(runner.run(part))
    if len(parts) == 1:
        return {name: array[:count] for name, array in parts[0].items()}
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def pair_spans(
    count: int, num_styles: int, step: int, *, shared: bool
) -> Iterator[tuple[int, int]]:
    """Ranges of (image, style) pairs, image by image, for one run each.

    Args:
        count: total number of pairs.
        num_styles: pairs of one image.
        step: most pairs in a run.
        shared: a range holds whole images or part of one, so that all its images have equally
            many pairs.
    """
    # Whole images fit: as many as possible, as each content is sent once.
    if not shared or step >= num_styles:
        step -= step % num_styles if shared else 0
        yield from ((start, min(start + step, count)) for start in range(0, count, step))
        return
    for first in range(0, count, num_styles):
        for start in range(first, first + num_styles, step):
            yield start, min(start + step, first + num_styles)
