"""Reduced precision from a wish to layers: what stays in float32, and what the gate measured."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from munit_edge.engines.base import GraphSet
from munit_edge.errors import ConfigError
from munit_edge.export.calibration import Pictures
from munit_edge.export.gate import (
    Bench,
    Measure,
    Measurement,
    gate_error,
    layer_losses,
    layers_to_keep,
)
from munit_edge.export.half_arithmetic import LARGEST_HALF, ArithmeticGraphs, Watch
from munit_edge.export.options import ExportOptions
from munit_edge.export.precision import in_half, layer_names, matching
from munit_edge.export.quantise import CalibratedGraph, QuantisedGraphs, calibrate
from munit_edge.manifest import GateEntry, Manifest, TensorRange
from munit_edge.trainer.checkpoint import Checkpoint
from munit_edge.trainer.torch_api import nn

NAMED_TENSORS = 8
"""Tensors whose range goes into the manifest."""


@dataclass(frozen=True)
class Choice:
    """Which layers are reduced, and the proof."""

    reduced: tuple[str, ...]
    gate: GateEntry


class Float32:
    """The model in float32 on the user's pictures: what reduced precision is compared with."""

    def __init__(
        self, checkpoint: Checkpoint, generators: nn.ModuleDict, pictures: Pictures
    ) -> None:
        self.checkpoint = checkpoint
        self.generators = generators
        self.pictures = pictures
        watched = copy.deepcopy(generators)  # hooks would be copied and exported with the weights
        self.watch = Watch(watched)
        graphs = ArithmeticGraphs(watched, checkpoint.config, "", half=False)
        self.bench = Bench(graphs, pictures.gate)


def choose_half(model: Float32, options: ExportOptions) -> Choice:
    """Which layers run in float16.

    Raises:
        GateError: the translations lose more than allowed; names what loses most.
        ConfigError: a layer to keep does not exist.
    """
    names = layer_names(model.generators)
    config = model.checkpoint.config

    def measure(
        layers: Collection[str],
        changed: Collection[str] | None = None,
        count: int | None = None,
    ) -> Measurement:
        typed = in_half(model.generators, [name for name in names if name not in layers])
        watch = Watch(typed, layers)
        with ArithmeticGraphs(typed, config, "", half=True) as graphs:
            found = model.bench.measure(graphs, changed, count)
        overflows = tuple(
            f"{tensor} (largest in fp32 {model.watch.largest.get(tensor, 0):.3g}, float16 holds "
            f"{LARGEST_HALF:.0f})"
            for tensor in watch.non_finite
        )
        return Measurement(found.results, overflows or found.faults)

    reduced, found = _choose(names, options, measure)
    nearest = sorted(model.watch.largest.items(), key=lambda item: -item[1])
    ranges = tuple(
        TensorRange(tensor=name, largest=largest, limit=LARGEST_HALF)
        for name, largest in nearest
        if name.rpartition(".")[0] in reduced
    )
    return Choice(reduced, _entry(model.bench, names, reduced, found, options, ranges))


def choose_int8(
    model: Float32, directory: Path, manifest: Manifest, exported: GraphSet, options: ExportOptions
) -> tuple[Choice, dict[str, CalibratedGraph]]:
    """Which layers run in int8, and the calibrated graphs to write them from.

    Args:
        model: what to compare with.
        directory: where the float32 graphs lie.
        manifest: what they are.
        exported: the same graphs, opened.
        options: threshold and wishes.

    Raises:
        GateError, ConfigError: as `choose_half`.
    """
    graphs = calibrate(directory, manifest, exported, model.pictures.calibration)
    names = [layer for graph in graphs.values() for layer in graph.nodes]

    def measure(
        layers: Collection[str],
        changed: Collection[str] | None = None,
        count: int | None = None,
    ) -> Measurement:
        with QuantisedGraphs(graphs, manifest, layers) as candidate:
            return model.bench.measure(candidate, changed, count)

    reduced, found = _choose(names, options, measure)
    return Choice(reduced, _entry(model.bench, names, reduced, found, options, ())), graphs


def measure_files(model: Float32, exported: GraphSet, choice: Choice) -> GateEntry:
    """The same measurement with the exported float16 files in ONNX Runtime.

    Raises:
        GateError: they do not reach the threshold that the networks reached.
    """
    found = model.bench.measure(exported)
    threshold = choice.gate.min_psnr_db
    if not found.holds(threshold):
        raise gate_error("the exported files in fp16", found, threshold, [])
    update = {"arithmetic": "onnxruntime", "results": found.results, "ranges": ()}
    return choice.gate.model_copy(update=update)


def _choose(
    names: Sequence[str], options: ExportOptions, measure: Measure
) -> tuple[tuple[str, ...], Measurement]:
    keep = set(matching(names, options.keep_fp32))
    reduced = tuple(name for name in names if name not in keep)
    if not reduced:
        raise ConfigError("--keep-fp32 keeps every layer: use --precision fp32, or keep fewer")
    found = measure(reduced)
    if found.holds(options.min_psnr):
        return reduced, found
    losses = layer_losses(measure, reduced)
    if not options.auto_mixed:
        raise gate_error(options.precision, found, options.min_psnr, losses)
    count = len(layers_to_keep(losses, options.min_psnr))
    for kept in range(count, len(losses)):
        worst = {layer for layer, _ in losses[:kept]}
        reduced = tuple(name for name in names if name not in keep | worst)
        found = measure(reduced)
        if found.holds(options.min_psnr):
            return reduced, found
    raise gate_error(options.precision, found, options.min_psnr, losses)


def _entry(
    bench: Bench,
    names: Sequence[str],
    reduced: Collection[str],
    found: Measurement,
    options: ExportOptions,
    ranges: tuple[TensorRange, ...],
) -> GateEntry:
    return GateEntry(
        precision=options.precision,
        arithmetic="rounded-float32" if options.precision == "fp16" else "onnxruntime",
        min_psnr_db=options.min_psnr,
        pictures=min(len(pictures) for pictures in bench.pictures.values()),
        results=found.results,
        kept_fp32=tuple(name for name in names if name not in reduced),
        ranges=ranges[:NAMED_TENSORS],
    )
