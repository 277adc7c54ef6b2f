"""Converts one torch graph to one ONNX model with torch's own exporter."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from munit_edge.errors import ModelError
from munit_edge.export.options import ExportOptions
from munit_edge.extras import require
from munit_edge.model.config import Domain, GraphKind, ModelConfig, graph_name
from munit_edge.model.manifest import GraphEntry, TensorEntry, graph_tensors
from munit_edge.trainer.graphs import build_graph
from munit_edge.trainer.torch_api import nn, torch
from munit_edge.version import __version__

EXAMPLE_BATCH = 2  # the exporter would take 1 for a constant
EXAMPLE_CONTENT = 16
LEAST_EXAMPLE_PIXELS = 64


def graph_entry(
    config: ModelConfig, kind: GraphKind, domain: Domain, options: ExportOptions
) -> GraphEntry:
    """The manifest's entry of a graph before its file is written: without a hash.

    Args:
        config: the model's configuration.
        kind: which of the graphs.
        domain: of which domain.
        options: opset, border types, fixed sizes and precision.
    """
    inputs, outputs = graph_tensors(
        config,
        kind,
        domain,
        options.io,
        batch=options.batch,
        size_hw=options.size_hw,
        precision=options.precision,
    )
    return GraphEntry(
        kind=kind,
        domain=domain,
        file=f"{graph_name(kind, domain)}.onnx",
        sha256="",
        opset=options.opset,
        precision=options.precision,
        inputs=inputs,
        outputs=outputs,
    )


def export_graph(
    generators: nn.ModuleDict,
    config: ModelConfig,
    kind: GraphKind,
    domain: Domain,
    options: ExportOptions,
    metadata: dict[str, str],
) -> Any:
    """Trace one graph and return it as a checked `onnx.ModelProto`.

    Args:
        generators: both generators with spectral norm folded, typed as they are to be exported.
        config: the model's configuration.
        kind: which of the graphs.
        domain: of which domain.
        options: opset, border types and fixed sizes. In int8 and fp8 this is the graph before
            quantisation.
        metadata: key-value pairs to keep in the file.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ModelError: the exporter made a graph that onnx's checker refuses.
    """
    onnx = require("onnx", "exporting graphs")
    require("onnxscript", "exporting graphs")
    module = build_graph(generators, kind, domain, options.io)
    entry = graph_entry(config, kind, domain, options)
    inputs, outputs = entry.inputs, entry.outputs
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            tuple(_example(entry, config) for entry in inputs),
            dynamo=True,
            dynamic_shapes=tuple(_free_axes(entry) for entry in inputs),
            input_names=[entry.name for entry in inputs],
            output_names=[entry.name for entry in outputs],
            opset_version=options.opset,
            # Weights in the graph's own file, which the manifest has the hash of.
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _tidy(model, inputs, outputs)
    model.graph.name = entry.name
    onnx.helper.set_model_props(model, metadata)
    try:
        # `full_check` also infers types and shapes, which finds operators on mixed types.
        onnx.checker.check_model(model, full_check=True)
    except Exception as exc:  # the checker raises several undocumented classes
        raise ModelError(f"onnx's checker refuses {model.graph.name}: {exc}") from exc
    return model


def _example(entry: TensorEntry, config: ModelConfig) -> Any:
    """An input to trace with: free sizes get numbers that differ from each other."""
    factor = config.size_multiple
    pixels = max(LEAST_EXAMPLE_PIXELS, EXAMPLE_CONTENT * factor)
    # 3 styles for each content: `results` must not be taken for `batch`.
    free = {
        "batch": EXAMPLE_BATCH,
        "results": 3 * EXAMPLE_BATCH,
        "height": pixels,
        "width": pixels * 3 // 2,
        "content_height": pixels // factor,
        "content_width": pixels * 3 // 2 // factor,
    }
    shape = [size if isinstance(size, int) else free[size] for size in entry.shape]
    return torch.zeros(shape, dtype=getattr(torch, entry.dtype))


def _free_axes(entry: TensorEntry) -> dict[int, Any]:
    # Not `AUTO`, which would silently fix a size that the trace depends on: this is an error then.
    dynamic = torch.export.Dim.DYNAMIC
    return {axis: dynamic for axis, size in enumerate(entry.shape) if isinstance(size, str)}


def _tidy(model: Any, inputs: Sequence[TensorEntry], outputs: Sequence[TensorEntry]) -> None:
    """Name the free axes, and drop the exporter's notes on source files and inner shapes."""
    graph = model.graph
    for value, entry in zip([*graph.input, *graph.output], [*inputs, *outputs], strict=True):
        assert value.name == entry.name
        for axis, size in zip(value.type.tensor_type.shape.dim, entry.shape, strict=True):
            if isinstance(size, str):
                axis.dim_param = size
            else:
                axis.dim_value = size
    del graph.value_info[:]
    # The exporter records stack traces, with paths of this machine.
    for item in [model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer]:
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    model.producer_name = "munit-edge"
    model.producer_version = __version__


def as_float32(model: Any) -> Any:
    """A copy of a bf16 `onnx.ModelProto` in which every bfloat16 is a float32.

    It has the file's own nodes and weights and runs in ONNX Runtime on the CPU, where bfloat16
    convolutions do not. Nothing in it rounds to bfloat16.
    """
    onnx = require("onnx", "checking bf16 graphs")
    single, brain = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16
    copy = type(model)()
    copy.CopyFrom(model)
    attributes = [attribute for node in copy.graph.node for attribute in node.attribute]
    # Constants are initialisers, or tensors in attributes of Constant nodes.
    for tensor in [*copy.graph.initializer, *(a.t for a in attributes if a.HasField("t"))]:
        if tensor.data_type == brain:
            values = onnx.numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for attribute in attributes:
        if attribute.name == "to" and attribute.i == brain:  # of a Cast
            attribute.i = single
    return copy


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter, which warns of packages not used here and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
