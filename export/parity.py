"""The parity check of an export: graphs in ONNX Runtime against networks in torch.

Every graph and both whole translations, at two batch sizes and two image sizes, one not square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from munit_edge.engines.base import GraphSet
from munit_edge.export.options import ExportOptions
from munit_edge.model.config import (
    DIRECTIONS,
    DOMAINS,
    GRAPH_KINDS,
    Domain,
    GraphKind,
    ModelConfig,
    graph_name,
    split_direction,
)
from munit_edge.model.manifest import ParityEntry
from munit_edge.model.norm_statistics import own_statistics
from munit_edge.model.normalisation import floats_from_bytes
from munit_edge.model.precision import PRECISION_FACTS, Tolerance
from munit_edge.styles.codes import sample_styles

Array = NDArray[Any]


class Case(NamedTuple):
    """One batch that both sides get."""

    batch: int
    size_hw: tuple[int, int]


def check_parity(
    exported: GraphSet,
    reference: GraphSet,
    options: ExportOptions,
    on_case: Callable[[str], None] = lambda case: None,
) -> list[ParityEntry]:
    """Compare two graph sets of the same model.

    Args:
        exported: the graphs in ONNX Runtime.
        reference: the networks in torch, with the same types at the border.
        options: fixed sizes, which limit what can be compared, and the precision.
        on_case: called with a description of each of the `num_cases` cases after it.

    Returns:
        One entry for each comparison, failed ones too.
    """
    entries: list[ParityEntry] = []
    for case in parity_cases(reference.config, options):
        entries += _check_case(exported, reference, case, options)
        height, width = case.size_hw
        on_case(f"comparison with torch: batch {case.batch}, {height} x {width} pixels")
    return entries


def num_cases(options: ExportOptions) -> int:
    """How many cases `check_parity` compares."""
    fixed_size = options.height is not None and options.width is not None
    return (1 if fixed_size else 2) * (2 if options.batch is None else 1)


def failures(entries: list[ParityEntry]) -> list[str]:
    """One line for each entry beyond its tolerance (a NaN is beyond it)."""
    return [
        f"{e.check} at batch {e.batch}, {e.size_hw[0]} x {e.size_hw[1]} pixels: "
        f"difference {e.worst:.3g}, tolerance {e.tolerance:.3g} ({e.unit})"
        for e in entries
        if not e.worst <= e.tolerance
    ]


def parity_cases(config: ModelConfig, options: ExportOptions) -> list[Case]:
    """Batches to compare: 1 and 2, a square and a wide image, unless they are fixed."""
    minimum = max(config.content_min_size, config.style_min_size)
    base = 2 * max(minimum, 32)
    # Not square: height and width exchanged by mistake would show.
    sizes = [(base, base), (base, base + base // 2)]
    if options.height is not None and options.width is not None:
        sizes = [(options.height, options.width)]
    batches = [1, 2] if options.batch is None else [options.batch]
    return [Case(batch, size) for size in sizes for batch in batches]


def test_images(case: Case, channels: int, seed: int) -> NDArray[np.uint8]:
    """Images with smooth areas and noise, so that every path is exercised: [N, H, W, C]."""
    generator = np.random.Generator(np.random.PCG64(seed))
    height, width = case.size_hw
    coarse = generator.uniform(0, 255, (case.batch, -(-height // 8), -(-width // 8), channels))
    soft = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    noise = generator.normal(0, 12, soft.shape)
    return np.clip(soft + noise, 0, 255).astype(np.uint8)


def _check_case(
    exported: GraphSet, reference: GraphSet, case: Case, options: ExportOptions
) -> Iterator[ParityEntry]:
    config = reference.config
    tolerance = PRECISION_FACTS[options.precision].parity
    assert tolerance is not None, "8-bit graphs are checked before they are quantised"
    style = sample_styles(case.batch, config.style_dim, seed=case.batch)
    images: dict[Domain, Array] = {
        domain: test_images(case, config.channels(domain), seed)
        for seed, domain in enumerate(DOMAINS)
    }
    if reference.io == "float32":
        images = {domain: floats_from_bytes(batch) for domain, batch in images.items()}
    contents: dict[tuple[str, Domain], Array] = {}
    for domain in DOMAINS:
        for kind in GRAPH_KINDS:
            feeds: dict[str, Array] = {"image": images[domain]}
            if kind == "decoder":
                # The same content for both decoders: the encoders' difference is not counted twice.
                feeds = {"content": contents["reference", domain], "style": style}
            got, expected = (
                next(iter(graphs.runner(kind, domain).run(feeds).values()))
                for graphs in (exported, reference)
            )
            if kind == "content_encoder":
                contents["exported", domain] = got
                contents["reference", domain] = expected
            unit: Literal["levels", "absolute"] = "levels" if kind == "decoder" else "absolute"
            yield _entry(graph_name(kind, domain), case, got, expected, unit, tolerance)
            twin: GraphKind = "decoder_stats" if kind == "decoder" else "content_encoder_stats"
            if options.stats_graphs and kind != "style_encoder":
                yield from _check_twin(exported, twin, domain, case, feeds, expected, tolerance)
    # Whole translations: each side decodes its own content.
    for direction in DIRECTIONS:
        source, target = split_direction(direction)
        if exported.runner("decoder", target).several_styles:
            # Two styles for each content, which only whole translations exercise.
            style = sample_styles(2 * case.batch, config.style_dim, seed=case.batch)
        got, expected = (
            next(
                iter(
                    graphs.runner("decoder", target)
                    .run({"content": contents[side, source], "style": style})
                    .values()
                )
            )
            for side, graphs in (("exported", exported), ("reference", reference))
        )
        yield _entry(direction, case, got, expected, "levels", tolerance)


def _check_twin(
    exported: GraphSet,
    kind: GraphKind,
    domain: Domain,
    case: Case,
    feeds: dict[str, Array],
    expected: Array,
    tolerance: Tolerance,
) -> Iterator[ParityEntry]:
    """A `*_stats` graph against the plain network in torch.

    Once each norm measures for itself, and once what was measured is fed back.
    """
    runner = exported.runner(kind, domain)
    height, width = (side // exported.config.size_multiple for side in case.size_hw)
    core = np.ones((case.batch, 1, height, width), np.float32)
    stats = own_statistics(exported.config, kind, case.batch)
    unit: Literal["levels", "absolute"] = "levels" if kind == "decoder_stats" else "absolute"
    # The same image both times: statistics that a graph measured itself change nothing.
    for _ in range(2):
        got = runner.run({**feeds, "norm_stats": stats, "core": core})
        name = graph_name(kind, domain)
        yield _entry(name, case, got[runner.outputs[0].name], expected, unit, tolerance)
        stats = got["norm_stats_out"]


def _entry(
    check: str,
    case: Case,
    got: Array,
    expected: Array,
    unit: Literal["levels", "absolute"],
    tolerance: Tolerance,
) -> ParityEntry:
    if got.shape != expected.shape:
        worst = float("inf")
    else:
        worst = float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max())
    if unit == "levels":
        if got.dtype != np.uint8:
            worst *= 127.5  # floats in [-1, 1]
        allowed = tolerance.levels
    else:
        allowed = tolerance.of_code(float(np.abs(expected).max()))
    return ParityEntry(
        check=check,
        batch=case.batch,
        size_hw=case.size_hw,
        worst=worst,
        tolerance=allowed,
        unit=unit,
    )
