"""From a precision to layers: which stay in float32, and what the quality gate measured."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from munit_edge.engines.base import GraphSet
from munit_edge.errors import ConfigError
from munit_edge.export.calibration import UserImages
from munit_edge.export.emulated_half import HalfGraphs, Watch
from munit_edge.export.half_precision import (
    in_half,
    layer_names,
    matching,
)
from munit_edge.export.options import ExportOptions
from munit_edge.export.quality_gate import (
    Bench,
    Measure,
    Measurement,
    OnPart,
    OnTrial,
    gate_error,
    layer_losses,
    layers_to_keep,
)
from munit_edge.export.quantise import CalibratedGraph, calibrate, quantised_graphs
from munit_edge.model.config import ModelConfig
from munit_edge.model.manifest import GateEntry, Manifest, TensorRange
from munit_edge.model.precision import PRECISION_FACTS, Precision
from munit_edge.trainer.torch_api import nn

NAMED_TENSORS = 8
"""Number of tensors whose range goes into the manifest."""


@dataclass(frozen=True)
class Choice:
    """Which layers are reduced, and the gate's measurements."""

    reduced: tuple[str, ...]
    gate: GateEntry


class Reference:
    """The model in float32 on the user's images: what reduced precision is compared with.

    Args:
        config: the model's configuration.
        generators: both generators in float32, spectral norm folded in.
        images: of both domains.
        on_trial: called with the name of each layer that is about to be measured alone.
        on_part: called after each image that all reduced layers together are measured with.
    """

    def __init__(
        self,
        config: ModelConfig,
        generators: nn.ModuleDict,
        images: UserImages,
        on_trial: OnTrial = lambda layer: None,
        on_part: OnPart = lambda part, note: None,
    ) -> None:
        self.on_trial = on_trial
        self.on_part = on_part
        self.config = config
        self.generators = generators
        self.images = images

    @property
    def bench(self) -> Bench:
        """Images, and their translations by torch."""
        return self._watched[0]

    @property
    def watch(self) -> Watch:
        """The largest values of the translations by torch."""
        return self._watched[1]

    @functools.cached_property
    def _watched(self) -> tuple[Bench, Watch]:
        watched = copy.deepcopy(self.generators)  # hooks would be exported with the weights
        watch = Watch(watched)
        graphs = HalfGraphs(watched, self.config)
        return Bench(graphs, self.images.gate, self.on_part), watch


def choose_half(model: Reference, precision: Precision, options: ExportOptions) -> Choice:
    """Which layers run in 16 bits.

    Raises:
        GateError: the translations lose more than allowed; names the layers that lose most.
        ConfigError: a layer to keep does not exist.
    """
    names = layer_names(model.generators)
    limit = PRECISION_FACTS[precision].largest

    def measure(
        layers: Collection[str],
        changed: Collection[str] | None = None,
        count: int | None = None,
    ) -> Measurement:
        kept = [name for name in names if name not in layers]
        typed = in_half(model.generators, precision, kept)
        watch = Watch(typed, layers)
        with HalfGraphs(typed, model.config, precision=precision) as graphs:
            found = model.bench.measure(graphs, changed, count)
        overflows = tuple(
            f"{tensor} (largest in fp32 {model.watch.largest.get(tensor, 0):.3g}, {precision} "
            f"holds {limit:.5g})"
            for tensor in watch.non_finite
        )
        return Measurement(found.results, overflows or found.faults)

    reduced, found = _choose(names, options, measure, model.on_trial)
    # Measured in float32 on the same images, so that values beyond the limit are seen, too.
    nearest = sorted(model.watch.largest.items(), key=lambda item: -item[1])
    ranges = tuple(
        TensorRange(tensor=name, largest=largest, limit=limit)
        for name, largest in nearest
        # `decoder_b.up.0.conv` is a tensor of layer `decoder_b.up.0`.
        if name.rpartition(".")[0] in reduced
    )
    return Choice(reduced, _entry(model.bench, names, reduced, found, options, ranges))


def choose_eight_bits(
    model: Reference,
    precision: Precision,
    directory: Path,
    manifest: Manifest,
    exported: GraphSet,
    options: ExportOptions,
    on_calibrated: Callable[[str], None] = lambda graph: None,
) -> tuple[Choice, dict[str, CalibratedGraph]]:
    """Which layers run in 8 bits, and the calibrated graphs to write them from.

    Args:
        model: the images, and what to call while they are translated.
        precision: which 8-bit type.
        directory: where the float32 graphs lie.
        manifest: what they are.
        exported: the same graphs, opened: what the gate compares with. They have passed the parity
            check, and are faster than the networks in torch.
        options: threshold and layers to keep.
        on_calibrated: called with the name of each graph once it is calibrated.

    Raises:
        GateError, ConfigError: as `choose_half`.
    """
    graphs = calibrate(directory, manifest, model.images.calibration, on_calibrated, model.on_part)
    bench = Bench(exported, model.images.gate, model.on_part)
    names = [layer for graph in graphs.values() for layer in graph.nodes]

    def measure(
        layers: Collection[str],
        changed: Collection[str] | None = None,
        count: int | None = None,
    ) -> Measurement:
        with quantised_graphs(graphs, manifest, layers, precision) as candidate:
            return bench.measure(candidate, changed, count)

    reduced, found = _choose(names, options, measure, model.on_trial)
    return Choice(reduced, _entry(bench, names, reduced, found, options, ())), graphs


def measure_files(model: Reference, exported: GraphSet, choice: Choice) -> GateEntry:
    """The same measurement with the exported fp16 files in ONNX Runtime.

    Raises:
        GateError: they miss the threshold that the networks reached.
    """
    gate = choice.gate
    found = model.bench.measure(exported)
    if not found.holds(gate.min_psnr_db):
        raise gate_error(f"the exported files in {gate.precision}", found, gate.min_psnr_db, [])
    update = {"arithmetic": "onnxruntime", "results": found.results, "ranges": ()}
    return gate.model_copy(update=update)


def _choose(
    names: Sequence[str], options: ExportOptions, measure: Measure, on_trial: OnTrial
) -> tuple[tuple[str, ...], Measurement]:
    keep = set(matching(names, options.keep_fp32))
    reduced = tuple(name for name in names if name not in keep)
    if not reduced:
        raise ConfigError("--keep-fp32 keeps every layer: use --precision fp32, or keep fewer")
    found = measure(reduced)
    if found.holds(options.min_psnr):
        return reduced, found
    # Each layer alone: as many measurements as layers, so only after the gate has failed.
    losses = layer_losses(measure, reduced, on_trial)
    if not options.auto_mixed:
        raise gate_error(options.precision, found, options.min_psnr, losses)
    # The estimate assumes that losses add up; where they do not, more layers are kept.
    count = len(layers_to_keep(losses, options.min_psnr))
    # One more layer each time; the last try keeps all but one.
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
    facts = PRECISION_FACTS[options.precision]
    return GateEntry(
        precision=options.precision,
        arithmetic="rounded-float32" if facts.family == "half" else "onnxruntime",
        min_psnr_db=options.min_psnr,
        # The field's name is part of the manifest's format.
        pictures=min(len(images) for images in bench.images.values()),
        results=found.results,
        kept_fp32=tuple(name for name in names if name not in reduced),
        ranges=ranges[:NAMED_TENSORS],
    )
