"""Checkpoint to model directory: graphs, proof, manifest; complete or not there at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from munit_edge import __version__
from munit_edge.config import DOMAINS, GRAPH_KINDS, Domain, GraphKind
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime_runner import OnnxRuntimeGraphs
from munit_edge.engines.torch_runner import TorchGraphs
from munit_edge.errors import ParityError
from munit_edge.export.onnx_graph import export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.export.parity import check_parity, failures
from munit_edge.extras import require
from munit_edge.files import atomic_folder, sha256
from munit_edge.manifest import (
    MANIFEST_FILE,
    GraphEntry,
    Manifest,
    ParityEntry,
    graph_tensors,
    manifest_json,
    size_rules,
)
from munit_edge.trainer.checkpoint import Checkpoint, open_checkpoint

NUM_GRAPHS = len(DOMAINS) * len(GRAPH_KINDS)


def export_model(
    checkpoint: Path,
    directory: Path,
    options: ExportOptions,
    *,
    overwrite: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> Manifest:
    """Export a checkpoint and prove the result.

    Args:
        checkpoint: checkpoint folder, or run folder (its newest checkpoint is taken).
        directory: the model directory to make.
        options: operator set, border types, weights and fixed sizes.
        overwrite: replace an earlier model directory, once the new one is proved.
        on_step: called with the name of each of the `NUM_GRAPHS` graphs when it is traced.

    Raises:
        InputError, ModelError: the checkpoint cannot be used.
        ConfigError: the model does not take the fixed size.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        ParityError: a graph differs by more than its tolerance; lists every failure, and nothing is
            left at `directory`.
        OutputError: `directory` exists, or cannot be written.
    """
    require("onnxruntime", "proving an export")  # before minutes of tracing, not after
    opened = open_checkpoint(checkpoint)
    options.check_size(opened.config)
    with atomic_folder(directory, overwrite=overwrite) as partial:
        entries = _write_graphs(opened, partial, options, on_step)
        manifest = _manifest(opened, options, entries)
        parity = _prove(opened, partial, manifest, options)
        manifest = manifest.model_copy(update={"parity": tuple(parity)})
        (partial / MANIFEST_FILE).write_text(manifest_json(manifest), encoding="utf-8")
    return manifest


def _write_graphs(
    checkpoint: Checkpoint,
    directory: Path,
    options: ExportOptions,
    on_step: Callable[[str], None],
) -> tuple[GraphEntry, ...]:
    generators = checkpoint.generators(options.weights)
    entries = []
    for domain in DOMAINS:
        for kind in GRAPH_KINDS:
            metadata = _metadata(checkpoint, kind, domain, options)
            model = export_graph(generators, checkpoint.config, kind, domain, options, metadata)
            entries.append(_write_graph(model, directory, kind, domain, checkpoint, options))
            on_step(f"{kind}_{domain}")
    return tuple(entries)


def _write_graph(
    model: Any,
    directory: Path,
    kind: GraphKind,
    domain: Domain,
    checkpoint: Checkpoint,
    options: ExportOptions,
) -> GraphEntry:
    path = directory / f"{kind}_{domain}.onnx"
    path.write_bytes(model.SerializeToString())
    inputs, outputs = graph_tensors(
        checkpoint.config, kind, domain, options.io, batch=options.batch, size_hw=options.size_hw
    )
    return GraphEntry(
        kind=kind,
        domain=domain,
        file=path.name,
        sha256=sha256(path),
        opset=options.opset,
        inputs=inputs,
        outputs=outputs,
    )


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
        weights=options.weights or ("average" if checkpoint.has_average else "live"),
        checkpoint_sha256=checkpoint.weights_sha256(options.weights),
        checkpoint_iteration=checkpoint.info.iteration,
        origin=checkpoint.info.origin,
        licence_note=checkpoint.info.licence_note,
        versions={"munit-edge": __version__, **versions},
    )


def _prove(
    checkpoint: Checkpoint, directory: Path, manifest: Manifest, options: ExportOptions
) -> list[ParityEntry]:
    device = Device("cpu")
    with (
        OnnxRuntimeGraphs(directory, manifest, device) as exported,
        TorchGraphs(checkpoint, device, options.weights, io=options.io) as reference,
    ):
        entries = check_parity(exported, reference, options)
    failed = failures(entries)
    if failed:
        raise ParityError(
            f"{len(failed)} of {len(entries)} comparisons with torch are beyond tolerance, so "
            "nothing was written: " + "; ".join(failed)
        )
    return entries
