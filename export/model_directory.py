"""Checkpoint to model directory: graphs, parity check, manifest; complete or not there at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from munit_edge.engines.base import GraphSet
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.runner import OnnxRuntimeGraphs, directory_graphs
from munit_edge.engines.table import ENGINE_FACTS
from munit_edge.engines.torch.runner import TorchGraphs
from munit_edge.errors import ParityError
from munit_edge.export.calibration import read_user_images
from munit_edge.export.choose_layers import (
    Choice,
    Reference,
    choose_eight_bits,
    choose_half,
    measure_files,
)
from munit_edge.export.emulated_half import HalfGraphs
from munit_edge.export.half_precision import (
    alike_in_both_domains,
    in_half,
    round_weights,
)
from munit_edge.export.onnx_graph import as_float32, export_graph, graph_entry
from munit_edge.export.options import ExportOptions
from munit_edge.export.other_domain import with_weights_of
from munit_edge.export.parity import check_parity, failures, num_cases
from munit_edge.export.quality_gate import OnTrial
from munit_edge.export.weights_files import load_graph, move_weights, write_graph
from munit_edge.extras import require
from munit_edge.files.atomic import atomic_folder
from munit_edge.files.replacing import FolderTarget
from munit_edge.model.config import DOMAINS, GRAPH_KINDS, STATS_KINDS, GraphKind, graph_name
from munit_edge.model.manifest import (
    MANIFEST_FILE,
    MODEL_DIRECTORY,
    GraphEntry,
    Manifest,
    ParityEntry,
    manifest_json,
    size_rules,
)
from munit_edge.model.precision import PRECISION_FACTS, Precision
from munit_edge.trainer.checkpoint import Checkpoint, open_checkpoint
from munit_edge.trainer.fast.folding import fold_decoders
from munit_edge.trainer.graphs import build_graph
from munit_edge.trainer.torch_api import nn
from munit_edge.version import __version__

OnStep = Callable[[str], None]
OnPosition = Callable[[float, str], None]


def graph_kinds(options: ExportOptions) -> tuple[GraphKind, ...]:
    """The graphs that an export writes for each domain."""
    return (*GRAPH_KINDS, *STATS_KINDS) if options.stats_graphs else GRAPH_KINDS


def num_steps(options: ExportOptions) -> int:
    """How often an export calls its `on_step`."""
    steps = len(DOMAINS) * len(graph_kinds(options)) + num_cases(options)
    family = PRECISION_FACTS[options.precision].family
    if family == "eight-bit":
        return steps + len(DOMAINS) * len(GRAPH_KINDS) + 1  # calibrated graphs, quality gate
    if family == "half":
        return steps + (1 if _lacks_kernels(options.precision) else 2)  # gates
    return steps


def _lacks_kernels(precision: Precision) -> bool:
    """Whether ONNX Runtime has no convolutions of this precision on a CPU."""
    return precision not in ENGINE_FACTS["onnxruntime"].cpu_speed


class _Steps:
    """Counts the steps that are done, so that parts of the next one have a position.

    Args:
        on_step: called after each step.
        on_position: called within a step.
    """

    def __init__(self, on_step: OnStep, on_position: OnPosition) -> None:
        self._on_step = on_step
        self._on_position = on_position
        self._done = 0

    def step(self, note: str) -> None:
        self._done += 1
        self._on_step(note)

    def part(self, part: float, note: str) -> None:
        self._on_position(self._done + part, note)


@dataclass(frozen=True)
class _Export:
    """The input and the options of one export."""

    checkpoint: Checkpoint
    model_id: str
    """SHA-256 of configuration and weights: hashed once, since weights are large."""
    directory: Path
    """Where the graphs are written."""
    options: ExportOptions
    steps: _Steps


def export_model(
    checkpoint: Path,
    directory: Path,
    options: ExportOptions,
    *,
    overwrite: bool = False,
    on_step: OnStep = lambda step: None,
    on_position: OnPosition = lambda position, note: None,
    on_trial: OnTrial = lambda layer: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Manifest:
    """Export a checkpoint and check the result.

    Args:
        checkpoint: checkpoint folder, or run folder (its newest checkpoint is taken).
        directory: the model directory to make.
        options: opset, border types, weights, fixed sizes and precision.
        overwrite: replace an earlier model directory, once the new one has passed; its saved styles
            are kept.
        on_step: called `num_steps` times: with the name of each graph when it is traced or
            calibrated, and with a description of each comparison with torch or with fp32.
        on_position: called within steps that take long, with a position in steps, such as 14.25,
            and what is being done.
        on_trial: called with the name of each layer that the quality gate is about to measure
            alone.
        warn: called with one line for each group of files that were passed over among the images.

    Raises:
        InputError, ModelError: the checkpoint, or an image to judge precision by, cannot be used.
        ConfigError: the model does not take the fixed size, or has no layer of a name to keep.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        ParityError: a graph differs by more than its tolerance; lists every failure, and nothing is
            left at `directory`. `GateError`: reduced precision costs more than allowed.
        OutputError: `directory` exists and is not to be replaced, is an input, holds one or lies in
            one, or cannot be written.
    """
    require("onnxruntime", "checking an export")  # before minutes of tracing, not after
    inputs = (checkpoint, *options.calibration)
    target = FolderTarget(directory, MODEL_DIRECTORY, overwrite, inputs)
    target.check()
    opened = open_checkpoint(checkpoint)
    options.check_size(opened.config)
    model_id = opened.weights_sha256(options.weights)
    with atomic_folder(directory, replacing=target.replacing) as partial:
        steps = _Steps(on_step, on_position)
        export = _Export(opened, model_id, partial, options, steps)
        if options.precision == "fp32":
            manifest = _export_fp32(export)
        else:
            images = read_user_images(opened.config, options, warn)
            manifest = _export_reduced(
                export,
                Reference(opened.config, _generators(export), images, on_trial, steps.part),
            )
        # Last: a folder without a manifest is no model directory.
        (partial / MANIFEST_FILE).write_text(manifest_json(manifest), encoding="utf-8")
    return manifest


def _export_fp32(export: _Export) -> Manifest:
    manifest = _manifest(export, _write_graphs(export, _generators(export)))
    checkpoint, options, device = export.checkpoint, export.options, Device("cpu")
    # Read a second time: what folding and tracing did to the first copy must not reach both sides.
    generators = checkpoint.generators(options.weights)
    with (
        directory_graphs(export.directory, manifest, device) as exported,
        TorchGraphs(
            generators, checkpoint.config, export.model_id, device, io=options.io
        ) as reference,
    ):
        parity = _check(exported, reference, export)
    return manifest.model_copy(update={"parity": parity})


def _export_reduced(export: _Export, reference: Reference) -> Manifest:
    precision = export.options.precision
    if PRECISION_FACTS[precision].family == "eight-bit":
        return _export_eight_bits(export, reference, precision)
    if _lacks_kernels(precision):
        return _export_half_checked_as_float32(export, reference, precision)
    return _export_half(export, reference, precision)


def _export_half(export: _Export, reference: Reference, precision: Precision) -> Manifest:
    choice, typed, manifest = _write_half(export, reference, precision)
    config, options = export.checkpoint.config, export.options
    with (
        directory_graphs(export.directory, manifest, Device("cpu")) as exported,
        HalfGraphs(typed, config, precision=precision, io=options.io) as networks,
    ):
        parity = _check(exported, networks, export)
        files = measure_files(reference, exported, choice)
        export.steps.step("quality gate: the exported files")
    return manifest.model_copy(update={"parity": parity, "gate": (choice.gate, files)})


def _export_half_checked_as_float32(
    export: _Export, reference: Reference, precision: Precision
) -> Manifest:
    """For bf16, which ONNX Runtime does not run on a CPU: copies of the files are checked.

    The networks that they are compared with have the same rounded weights, so that the tolerance is
    that of fp32. What rounding every result costs is measured by the quality gate.
    """
    choice, _, manifest = _write_half(export, reference, precision)
    config, device = export.checkpoint.config, Device("cpu")

    def model_of(entry: GraphEntry) -> bytes:
        copied: bytes = as_float32(load_graph(export.directory, entry)).SerializeToString()
        return copied

    networks = round_weights(reference.generators, precision, choice.gate.kept_fp32)
    with (
        OnnxRuntimeGraphs(manifest, device, model_of) as exported,
        TorchGraphs(networks, config, export.model_id, device, io=export.options.io) as expected,
    ):
        parity = _check(exported, expected, export)
    return manifest.model_copy(update={"parity": parity, "gate": (choice.gate,)})


def _write_half(
    export: _Export, reference: Reference, precision: Precision
) -> tuple[Choice, nn.ModuleDict, Manifest]:
    """The quality gate comes first: it needs no graph, and decides which layers stay in float32."""
    choice = choose_half(reference, precision, export.options)
    export.steps.step("quality gate")
    typed = in_half(reference.generators, precision, choice.gate.kept_fp32)
    # A layer kept in one domain alone gives its graph other casts, which no weight shows.
    entries = _write_graphs(
        export, typed, domains_alike=alike_in_both_domains(choice.gate.kept_fp32)
    )
    return choice, typed, _manifest(export, entries)


def _export_eight_bits(export: _Export, reference: Reference, precision: Precision) -> Manifest:
    """Float32 graphs are written and checked as usual, and then quantised in place."""
    options = export.options
    # A copy is not validated again: the opset stays that of the 8-bit type.
    before = options.model_copy(update={"precision": "fp32"})
    manifest = _export_fp32(replace(export, options=before))
    with directory_graphs(export.directory, manifest, Device("cpu")) as exported:
        choice, calibrated = choose_eight_bits(
            reference,
            precision,
            export.directory,
            manifest,
            exported,
            options,
            lambda graph: export.steps.step(f"calibrated {graph}"),
        )
    export.steps.step("quality gate")
    entries = [
        _write_graph(
            calibrated[entry.name].quantised(choice.reduced, precision),
            export.directory,
            entry.model_copy(update={"precision": precision, "weights": None}),
        )
        if entry.kind in GRAPH_KINDS
        else entry
        for entry in manifest.graphs
    ]
    # The twins stay in float32, and find little of theirs in the new files.
    graphs = move_weights(export.directory, entries)
    return manifest.model_copy(update={"graphs": graphs, "gate": (choice.gate,)})


def _generators(export: _Export) -> nn.ModuleDict:
    """The networks in the form in which they are exported."""
    generators = export.checkpoint.generators(export.options.weights)
    if export.options.fold:
        fold_decoders(generators)
    return generators


def _write_graphs(
    export: _Export, generators: nn.ModuleDict, *, domains_alike: bool = True
) -> tuple[GraphEntry, ...]:
    """Write every graph; returns their entries in the manifest's order.

    Args:
        export: what to export.
        generators: both generators, typed as they are to be exported.
        domains_alike: whether their layers have the same types in both domains.
    """
    config, options = export.checkpoint.config, export.options
    entries = {}
    for kind in graph_kinds(options):
        traced: tuple[Any, nn.Module] | None = None
        for domain in DOMAINS:
            entry = graph_entry(config, kind, domain, options)
            metadata = _metadata(export, entry)
            module = build_graph(generators, kind, domain, options.io)
            model = traced and with_weights_of(*traced, module, entry.name, metadata)
            if model is None:
                export.steps.part(0, f"tracing {entry.name}")
                model = export_graph(generators, config, kind, domain, options, metadata)
            traced = (model, module) if domains_alike else None
            entries[entry.name] = _write_graph(model, export.directory, entry)
            export.steps.step(entry.name)
    written = [entries[graph_name(k, domain)] for domain in DOMAINS for k in graph_kinds(options)]
    return move_weights(export.directory, written)


def _write_graph(model: Any, directory: Path, entry: GraphEntry) -> GraphEntry:
    """Write one graph; returns its entry with the hash of the file."""
    onnx = require("onnx", "exporting graphs")
    metadata = {item.key: item.value for item in model.metadata_props}
    metadata["munit_edge.precision"] = entry.precision
    onnx.helper.set_model_props(model, metadata)
    return write_graph(model, directory, entry)


def _metadata(export: _Export, entry: GraphEntry) -> dict[str, str]:
    """Metadata of a graph file, for readers who have only that file."""
    checkpoint = export.checkpoint
    image = (
        "uint8 [batch, height, width, channels]"
        if export.options.io == "uint8"
        else "float32 [batch, channels, height, width] in [-1, 1]"
    )
    metadata = {
        "munit_edge.graph": entry.kind,
        "munit_edge.domain": entry.domain,
        "munit_edge.architecture": checkpoint.config.architecture,
        "munit_edge.image": image,
        "munit_edge.model": checkpoint.config.model_dump_json(),
        "munit_edge.checkpoint_sha256": export.model_id,
        "munit_edge.version": __version__,
    }
    if checkpoint.info.licence_note:
        metadata["munit_edge.licence_note"] = checkpoint.info.licence_note
    return metadata


def _manifest(export: _Export, entries: tuple[GraphEntry, ...]) -> Manifest:
    checkpoint, options = export.checkpoint, export.options
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")
    versions = {name: str(require(name, "exporting graphs").__version__) for name in packages}
    return Manifest(
        model=checkpoint.config,
        io=options.io,
        sizes=size_rules(checkpoint.config),
        graphs=entries,
        parity=(),
        folded=options.fold,
        weights=options.weights or ("average" if checkpoint.has_average else "live"),
        checkpoint_sha256=export.model_id,
        checkpoint_iteration=checkpoint.info.iteration,
        origin=checkpoint.info.origin,
        licence_note=checkpoint.info.licence_note,
        versions={"munit-edge": __version__, **versions},
    )


def _check(exported: GraphSet, reference: GraphSet, export: _Export) -> tuple[ParityEntry, ...]:
    entries = check_parity(exported, reference, export.options, export.steps.step)
    failed = failures(entries)
    if failed:
        raise ParityError(
            f"{len(failed)} of {len(entries)} comparisons with torch are beyond tolerance, so "
            "nothing was written: " + "; ".join(failed)
        )
    return tuple(entries)
