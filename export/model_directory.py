"""Checkpoint to model directory: graphs, proof, manifest; complete or not there at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from munit_edge.engines.base import GraphSet
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.runner import OnnxRuntimeGraphs
from munit_edge.engines.torch.runner import TorchGraphs
from munit_edge.errors import ParityError
from munit_edge.export.calibration import read_pictures
from munit_edge.export.choose_layers import Float32, choose_eight_bits, choose_half, measure_files
from munit_edge.export.emulated_bf16 import RoundedGraphs
from munit_edge.export.emulated_half import ArithmeticGraphs
from munit_edge.export.half_precision import HalfPrecision, in_half
from munit_edge.export.onnx_graph import export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.export.parity import check_parity, failures, num_cases
from munit_edge.export.quality_gate import OnTrial
from munit_edge.export.quantise import EightBits
from munit_edge.extras import require
from munit_edge.files.atomic import atomic_folder, sha256
from munit_edge.files.replacing import FolderTarget
from munit_edge.model.config import DOMAINS, GRAPH_KINDS, STATS_KINDS, Domain, GraphKind, graph_name
from munit_edge.model.manifest import (
    MANIFEST_FILE,
    MODEL_DIRECTORY,
    GraphEntry,
    Manifest,
    ParityEntry,
    graph_tensors,
    manifest_json,
    size_rules,
)
from munit_edge.trainer.checkpoint import Checkpoint, open_checkpoint
from munit_edge.trainer.fast.folding import fold_decoders
from munit_edge.trainer.torch_api import nn
from munit_edge.version import __version__

OnStep = Callable[[str], None]


def graph_kinds(options: ExportOptions) -> tuple[GraphKind, ...]:
    """The graphs that an export writes for each domain."""
    return (*GRAPH_KINDS, *STATS_KINDS) if options.stats_graphs else GRAPH_KINDS


def num_steps(options: ExportOptions) -> int:
    """How often an export calls its `on_step`."""
    return len(DOMAINS) * len(graph_kinds(options)) + num_cases(options)


def export_model(
    checkpoint: Path,
    directory: Path,
    options: ExportOptions,
    *,
    overwrite: bool = False,
    on_step: OnStep = lambda step: None,
    on_trial: OnTrial = lambda layer: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Manifest:
    """Export a checkpoint and prove the result.

    Args:
        checkpoint: checkpoint folder, or run folder (its newest checkpoint is taken).
        directory: the model directory to make.
        options: operator set, border types, weights, fixed sizes and precision.
        overwrite: replace an earlier model directory, once the new one is proved; its saved styles
            are kept.
        on_step: called `num_steps` times: with the name of each graph when it is traced, and in
            words for each comparison with torch.
        on_trial: called with the name of each layer that the gate is about to measure alone.
        warn: told, in one line each, which files beside the pictures were passed over.

    Raises:
        InputError, ModelError: the checkpoint, or a picture to judge precision by, cannot be used.
        ConfigError: the model does not take the fixed size, or has no layer of a name to keep.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        ParityError: a graph differs by more than its tolerance; lists every failure, and nothing is
            left at `directory`. `GateError`: reduced precision costs more than allowed.
        OutputError: `directory` exists and is not to be replaced, is an input, holds one or lies in
            one, or cannot be written.
    """
    require("onnxruntime", "proving an export")  # before minutes of tracing, not after
    inputs = (checkpoint, *options.calibration)
    target = FolderTarget(directory, MODEL_DIRECTORY, overwrite, inputs)
    target.check()
    opened = open_checkpoint(checkpoint)
    options.check_size(opened.config)
    with atomic_folder(directory, replacing=target.replacing) as partial:
        if options.precision == "fp32":
            manifest = _export_fp32(opened, partial, options, on_step)
        else:
            generators = _generators(opened, options)
            pictures = read_pictures(opened.config, options, warn)
            model = Float32(opened, generators, pictures, on_trial)
            manifest = _export_reduced(model, partial, options, on_step)
        (partial / MANIFEST_FILE).write_text(manifest_json(manifest), encoding="utf-8")
    return manifest


def _export_fp32(
    checkpoint: Checkpoint, directory: Path, options: ExportOptions, on_step: OnStep
) -> Manifest:
    generators = _generators(checkpoint, options)
    entries = _write_graphs(checkpoint, generators, directory, options, on_step)
    manifest = _manifest(checkpoint, options, entries)
    device = Device("cpu")
    with (
        OnnxRuntimeGraphs(directory, manifest, device) as exported,
        TorchGraphs(checkpoint, device, options.weights, io=options.io) as reference,
    ):
        parity = _prove(exported, reference, options, on_step)
    return manifest.model_copy(update={"parity": parity})


def _export_reduced(
    model: Float32, directory: Path, options: ExportOptions, on_step: OnStep
) -> Manifest:
    if options.precision == "fp16" or options.precision == "bf16":
        return _export_half(model, options.precision, directory, options, on_step)
    assert options.precision != "fp32"
    return _export_eight_bits(model, options.precision, directory, options, on_step)


def _export_half(
    model: Float32,
    precision: HalfPrecision,
    directory: Path,
    options: ExportOptions,
    on_step: OnStep,
) -> Manifest:
    """The gate comes first: it needs no graph, and says which layers stay in float32."""
    checkpoint = model.checkpoint
    choice = choose_half(model, precision, options)
    typed = in_half(model.generators, precision, choice.gate.kept_fp32)
    entries = _write_graphs(checkpoint, typed, directory, options, on_step)
    manifest = _manifest(checkpoint, options, entries)
    config, model_id = checkpoint.config, manifest.checkpoint_sha256
    with (
        _opened(directory, manifest, precision) as exported,
        ArithmeticGraphs(typed, config, model_id, precision=precision, io=options.io) as reference,
    ):
        parity = _prove(exported, reference, options, on_step)
        files = measure_files(model, exported, choice)
    return manifest.model_copy(update={"parity": parity, "gate": (choice.gate, files)})


def _opened(directory: Path, manifest: Manifest, precision: HalfPrecision) -> GraphSet:
    """The graphs as ONNX Runtime's CPU provider can run them."""
    if precision == "bf16":
        return RoundedGraphs(directory, manifest)
    return OnnxRuntimeGraphs(directory, manifest, Device("cpu"))


def _export_eight_bits(
    model: Float32,
    precision: EightBits,
    directory: Path,
    options: ExportOptions,
    on_step: OnStep,
) -> Manifest:
    """The float32 graphs are proved as ever, and then quantised where they lie."""
    before = options.model_copy(update={"precision": "fp32"})
    manifest = _export_fp32(model.checkpoint, directory, before, on_step)
    with OnnxRuntimeGraphs(directory, manifest, Device("cpu")) as exported:
        choice, graphs = choose_eight_bits(model, precision, directory, manifest, exported, options)
    entries = [
        _write_graph(
            graphs[entry.name].quantised(choice.reduced, precision), directory, entry, options
        )
        if entry.kind in GRAPH_KINDS
        else entry
        for entry in manifest.graphs
    ]
    return manifest.model_copy(update={"graphs": tuple(entries), "gate": (choice.gate,)})


def _generators(checkpoint: Checkpoint, options: ExportOptions) -> nn.ModuleDict:
    """The networks in the form in which they are exported."""
    generators = checkpoint.generators(options.weights)
    if options.fold:
        fold_decoders(generators)
    return generators


def _write_graphs(
    checkpoint: Checkpoint,
    generators: nn.ModuleDict,
    directory: Path,
    options: ExportOptions,
    on_step: OnStep,
) -> tuple[GraphEntry, ...]:
    entries = []
    for domain in DOMAINS:
        for kind in graph_kinds(options):
            metadata = _metadata(checkpoint, kind, domain, options)
            model = export_graph(generators, checkpoint.config, kind, domain, options, metadata)
            inputs, outputs = graph_tensors(
                checkpoint.config,
                kind,
                domain,
                options.io,
                batch=options.batch,
                size_hw=options.size_hw,
                precision=options.precision,
            )
            entry = GraphEntry(
                kind=kind,
                domain=domain,
                file=f"{graph_name(kind, domain)}.onnx",
                sha256="",
                opset=options.opset,
                inputs=inputs,
                outputs=outputs,
            )
            entries.append(_write_graph(model, directory, entry, options))
            on_step(graph_name(kind, domain))
    return tuple(entries)


def _write_graph(
    model: Any, directory: Path, entry: GraphEntry, options: ExportOptions
) -> GraphEntry:
    """Write one graph, and say of the entry what the file now is."""
    onnx = require("onnx", "exporting graphs")
    metadata = {item.key: item.value for item in model.metadata_props}
    metadata["munit_edge.precision"] = options.precision
    onnx.helper.set_model_props(model, metadata)
    path = directory / entry.file
    path.write_bytes(model.SerializeToString())
    return entry.model_copy(update={"sha256": sha256(path), "precision": options.precision})


def _metadata(
    checkpoint: Checkpoint, kind: GraphKind, domain: Domain, options: ExportOptions
) -> dict[str, str]:
    """What a graph file says of itself, for those who find it alone."""
    image = (
        "uint8 [batch, height, width, channels]"
        if options.io == "uint8"
        else "float32 [batch, channels, height, width] in [-1, 1]"
    )
    metadata = {
        "munit_edge.graph": kind,
        "munit_edge.domain": domain,
        "munit_edge.architecture": checkpoint.config.architecture,
        "munit_edge.image": image,
        "munit_edge.model": checkpoint.config.model_dump_json(),
        "munit_edge.checkpoint_sha256": checkpoint.weights_sha256(options.weights),
        "munit_edge.version": __version__,
    }
    if checkpoint.info.licence_note:
        metadata["munit_edge.licence_note"] = checkpoint.info.licence_note
    return metadata


def _manifest(
    checkpoint: Checkpoint, options: ExportOptions, entries: tuple[GraphEntry, ...]
) -> Manifest:
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
        checkpoint_sha256=checkpoint.weights_sha256(options.weights),
        checkpoint_iteration=checkpoint.info.iteration,
        origin=checkpoint.info.origin,
        licence_note=checkpoint.info.licence_note,
        versions={"munit-edge": __version__, **versions},
    )


def _prove(
    exported: GraphSet, reference: GraphSet, options: ExportOptions, on_step: OnStep
) -> tuple[ParityEntry, ...]:
    entries = check_parity(exported, reference, options, on_step)
    failed = failures(entries)
    if failed:
        raise ParityError(
            f"{len(failed)} of {len(entries)} comparisons with torch are beyond tolerance, so "
            "nothing was written: " + "; ".join(failed)
        )
    return tuple(entries)
