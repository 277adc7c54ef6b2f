"""Large tensors in weights files beside the graphs, as ONNX external data.

    decoder_b.onnx, decoder_b_stats.onnx    nodes and small tensors; both name
    decoder_b.weights                       the large ones, once

A `*_stats` twin has the weights of its graph, and reads them from the same file. What only the twin
holds stays in the twin: with 8 bits it keeps its weights in float32, which a translation then
neither reads nor hashes. Engines map a weights file into memory instead of copying it out of the
graph, so a graph without a twin gains by it, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from munit_edge.extras import require
from munit_edge.files.atomic import sha256
from munit_edge.model.config import GRAPH_KINDS, TWINS
from munit_edge.model.manifest import GraphEntry, WeightsEntry, weights_file
from munit_edge.model.opening import read_graph

PAGE = 4096
"""Bytes. Tensors begin at multiples of it, as the ONNX specification advises for mapping."""
LARGE = 4 * PAGE
"""Bytes. Smaller tensors stay in the graphs, where whoever needs a constant, such as shape
inference, finds it."""

_PURPOSE = "exporting graphs"


class _Content(NamedTuple):
    """What a tensor is but for its name."""

    kind: int
    shape: tuple[int, ...]
    digest: bytes


def write_graph(model: Any, directory: Path, entry: GraphEntry) -> GraphEntry:
    """Write an `onnx.ModelProto` as the graph file; returns the entry with the file's hash."""
    data = model.SerializeToString()
    (directory / entry.file).write_bytes(data)
    return entry.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})


def load_graph(directory: Path, entry: GraphEntry) -> Any:
    """The `onnx.ModelProto` of a graph with all its weights, compared with the entry's hashes.

    Raises:
        ModelError: see `munit_edge.model.opening.read_graph`.
    """
    onnx = require("onnx", _PURPOSE)
    model = onnx.load_from_string(read_graph(directory, entry))
    if entry.weights:
        onnx.external_data_helper.load_external_data_for_model(model, str(directory))
        for tensor in model.graph.initializer:
            tensor.ClearField("data_location")  # set to the default
    return model


def move_weights(directory: Path, entries: Sequence[GraphEntry]) -> tuple[GraphEntry, ...]:
    """Move the large tensors of graphs into weights files, from the graphs or earlier such files.

    Args:
        directory: where the graph files lie; no engine has them open.
        entries: of the graphs.

    Returns:
        The entries with the hashes of the new files, in the same order.
    """
    moved: dict[str, GraphEntry] = {}
    for entry in entries:
        if entry.kind in GRAPH_KINDS:
            twins = [e for e in entries if e.kind == TWINS.get(entry.kind)]
            pair = [entry, *(twin for twin in twins if twin.domain == entry.domain)]
            moved |= {each.name: each for each in _move(directory, pair)}
    return tuple(moved[entry.name] for entry in entries)


def _move(directory: Path, pair: Sequence[GraphEntry]) -> list[GraphEntry]:
    """Write the weights file of a graph, and the graph and its twin without what that holds."""
    models = [load_graph(directory, entry) for entry in pair]
    path = directory / weights_file(pair[0].kind, pair[0].domain)
    path.unlink(missing_ok=True)
    tensors = dict(_large_tensors(models[0]))
    offsets = _write(path, tensors) if tensors else {}
    weights = None
    if offsets:
        weights = WeightsEntry(file=path.name, sha256=sha256(path), bytes=path.stat().st_size)
    written = []
    for entry, model in zip(pair, models, strict=True):
        named = weights if _refer(model, path.name, offsets) else None
        written.append(write_graph(model, directory, entry.model_copy(update={"weights": named})))
    return written


def _large_tensors(model: Any) -> Iterator[tuple[_Content, Any]]:
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= LARGE:
            yield _content(tensor), tensor


def _content(tensor: Any) -> _Content:
    digest = hashlib.sha256(tensor.raw_data).digest()
    return _Content(tensor.data_type, tuple(tensor.dims), digest)


def _write(path: Path, tensors: Mapping[_Content, Any]) -> dict[_Content, int]:
    """Write tensors one after the other; returns where each begins."""
    offsets = {}
    with path.open("wb") as file:
        for content, tensor in tensors.items():
            file.write(bytes(-file.tell() % PAGE))
            offsets[content] = file.tell()
            file.write(tensor.raw_data)
    return offsets


def _refer(model: Any, file: str, offsets: Mapping[_Content, int]) -> bool:
    """Replace the numbers of tensors by their place in the weights file; False: it holds none."""
    onnx = require("onnx", _PURPOSE)
    found = [(tensor, offsets[c]) for c, tensor in _large_tensors(model) if c in offsets]
    for tensor, offset in found:
        length = len(tensor.raw_data)
        onnx.external_data_helper.set_external_data(tensor, file, offset=offset, length=length)
        tensor.ClearField("raw_data")
    return bool(found)
