"""int8 and fp8: Q/DQ pairs around the convolutions of float32 graphs.

Symmetric, activations per tensor, biases in float32: the form that TensorRT's parser builds.
Weights are stored quantised, with a DequantizeLinear after them, so that the files shrink too.
Outputs of convolutions are not quantised: a norm or the end of the network follows, in float32.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munit_edge.engines.base import GraphSet, Runner
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.runner import OnnxRuntimeGraphs
from munit_edge.export.quality_gate import Array, batch_feeds, encode, image_feed
from munit_edge.extras import require
from munit_edge.files.unfinished import scratch_folder
from munit_edge.images.io import Images
from munit_edge.model.config import DOMAINS, GRAPH_KINDS, Domain
from munit_edge.model.manifest import GraphEntry, Manifest
from munit_edge.model.precision import PRECISION_FACTS, Precision
from munit_edge.styles.codes import sample_styles
from munit_edge.trainer.torch_api import torch

NUM_SAMPLED_STYLES = 3
"""Random styles that a decoder is calibrated with, in addition to those of its domain's images."""

_PURPOSE = "quantising graphs"
_WEIGHT = ".conv."
"""Separates the layer's name from the parameter's in the names of weights."""
_MOVES = ".conv.moves"


@dataclass(frozen=True)
class CalibratedGraph:
    """One float32 graph and the ranges of its activations on the user's images."""

    model: Any
    """`onnx.ModelProto`."""
    largest: dict[str, float]
    """Largest magnitude of every input of a convolution."""
    nodes: dict[str, tuple[str, ...]]
    """Names of the Conv nodes by the name of their layer (`decoder_b.up.0`)."""

    def quantised(self, layers: Collection[str], precision: Precision) -> Any:
        """The `onnx.ModelProto` with `layers` in 8 bits; layers of other graphs are ignored."""
        # A folded upsampling layer is up to three Conv nodes: the phases and the corrected edges.
        chosen = {name for layer, names in self.nodes.items() if layer in layers for name in names}
        copy = type(self.model)()
        copy.CopyFrom(self.model)
        _PairWriter(copy.graph, precision, self.largest).quantise(chosen)
        # Types and shapes of tensors as they were before quantisation.
        del copy.graph.value_info[:]
        return copy


class _PairWriter:
    """Inserts Q/DQ pairs into one graph."""

    def __init__(self, graph: Any, precision: Precision, largest: dict[str, float]) -> None:
        self._onnx = require("onnx", _PURPOSE)
        self._graph = graph
        self._facts = PRECISION_FACTS[precision]
        self._ranges = largest
        self._limit = self._facts.largest
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._pairs: dict[str, str] = {}

    def quantise(self, chosen: Collection[str]) -> None:
        """Quantise the inputs and weights of the Conv nodes with these names."""
        nodes = []
        for node in list(self._graph.node):
            # ONNX wants the nodes in topological order: pairs go right before their node.
            if node.name in chosen:
                nodes += [*self._activation(node), *self._weight(node)]
            nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        # The float32 weights that were replaced.
        unused = [tensor for tensor in self._graph.initializer if tensor.name not in used]
        for tensor in unused:
            self._graph.initializer.remove(tensor)

    def _activation(self, node: Any) -> list[Any]:
        """The pair before the node's input; nodes with the same input share it."""
        name = node.input[0]
        if name in self._pairs:
            node.input[0] = self._pairs[name]
            return []
        # One scale for the whole tensor, a scalar: QuantizeLinear's `axis` does not apply.
        scale = np.array(_scale(self._ranges[name], self._limit))
        quantised, parameters = f"{name}_quantized", self._parameters(name, scale)
        result = self._pairs[name] = node.input[0] = f"{name}_dequantized"
        make = self._onnx.helper.make_node
        return [
            make("QuantizeLinear", [name, *parameters], [quantised], name=f"{name}_quantize"),
            make("DequantizeLinear", [quantised, *parameters], [result], name=f"{name}_dequantize"),
        ]

    def _weight(self, node: Any) -> list[Any]:
        """Store the weight of a node in 8 bits; returns the node that makes it float32 again."""
        name = node.input[1]
        if name in self._pairs:
            node.input[1] = self._pairs[name]
            return []
        weight = self._onnx.numpy_helper.to_array(self._weights[name])
        # One scale for each output channel. In fp8, whose step grows with the number, one scale for
        # all was measured to be as good, and NVIDIA's Model Optimizer makes it by default.
        # Conv weights are [outputs, inputs / groups, height, width].
        axes = tuple(range(1, weight.ndim)) if self._facts.dtype == "int8" else None
        largest = np.abs(weight).max(axis=axes)
        scale = _scale(largest, self._limit)
        spread = scale.reshape(-1, *(1,) * (weight.ndim - 1))
        stored = f"{name}_quantized"
        result = self._pairs[name] = node.input[1] = f"{name}_dequantized"
        # No QuantizeLinear for a constant: the file holds its result.
        self._add(stored, weight / spread)
        parameters = self._parameters(name, scale)
        return [
            self._onnx.helper.make_node(
                "DequantizeLinear",
                [stored, *parameters],
                [result],
                name=f"{name}_dequantize",
                **({"axis": 0} if scale.ndim else {}),
            )
        ]

    def _parameters(self, name: str, scale: Array) -> list[str]:
        """Names of a tensor's scale and zero point, which is always 0."""
        names = [f"{name}_scale", f"{name}_zero_point"]
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(scale, names[0]))
        # Zero, yet written: its type is that of QuantizeLinear's output (uint8 without one).
        # TensorRT accepts no other number.
        self._add(names[1], np.zeros(scale.shape, np.float32))
        return names

    def _add(self, name: str, values: Array) -> None:
        """Store `values`, in units of their scale, in 8 bits each."""
        if self._facts.dtype == "int8":
            # As QuantizeLinear rounds: halves to even. -128 is not used: the scale is symmetric.
            rounded = np.rint(values).clip(-self._limit, self._limit).astype(np.int8)
            self._graph.initializer.append(self._onnx.numpy_helper.from_array(rounded, name))
            return
        clipped = torch.from_numpy(np.array(values, np.float32)).clamp(-self._limit, self._limit)
        data = clipped.to(getattr(torch, self._facts.dtype)).view(torch.uint8).numpy().tobytes()
        kind = self._onnx.TensorProto.FLOAT8E4M3FN
        self._graph.initializer.append(
            self._onnx.helper.make_tensor(name, kind, values.shape, data, raw=True)
        )


def _scale(largest: Any, limit: float) -> NDArray[np.float32]:
    """Step of a symmetric type; 1 for a tensor of zeros."""
    scale = np.asarray(largest, np.float32) / np.float32(limit)
    found: NDArray[np.float32] = np.where(scale > 0, scale, np.float32(1))
    return found


def quantised_graphs(
    graphs: Mapping[str, CalibratedGraph],
    manifest: Manifest,
    layers: Collection[str],
    precision: Precision,
) -> OnnxRuntimeGraphs:
    """Calibrated graphs with some layers in 8 bits, in ONNX Runtime on the CPU."""

    def model_of(entry: GraphEntry) -> bytes:
        model: bytes = graphs[entry.name].quantised(layers, precision).SerializeToString()
        return model

    return OnnxRuntimeGraphs(manifest, Device("cpu"), model_of)


def calibrate(
    directory: Path, manifest: Manifest, exported: GraphSet, images: dict[Domain, list[Images]]
) -> dict[str, CalibratedGraph]:
    """Run the float32 graphs of a model directory on images of both domains.

    Decoders get the content codes of both domains, each with random styles and with the style of
    an image of their own domain.

    Args:
        directory: where the graphs lie.
        manifest: what they are.
        exported: the same graphs, opened.
        images: of each domain, uint8 [1, H, W, C] each.

    Returns:
        The translating graphs by name, such as `decoder_b`.
    """
    onnx = require("onnx", _PURPOSE)
    found = {}
    for entry in manifest.graphs:
        if entry.kind not in GRAPH_KINDS:
            continue
        name = entry.name
        path = directory / entry.file
        runner = exported.runner(entry.kind, entry.domain)
        if entry.kind == "decoder":
            feeds = _decoder_feeds(exported, entry.domain, images)
        else:
            feeds = _encoder_feeds(runner, images[entry.domain])
        model = onnx.load(str(path))
        largest = _largest(path, (batch_feeds(runner, feed) for feed in feeds))
        found[name] = CalibratedGraph(model, largest, _layer_nodes(model, name))
    return found


def _layer_nodes(model: Any, graph: str) -> dict[str, tuple[str, ...]]:
    """Layer names by the weights' names, which the exporter takes from the modules.

    The convolution with zeros and ones in `SplitConv2d` is little work and stays in float32: it
    only adds up the outputs of the quantised one before it.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    nodes: dict[str, tuple[str, ...]] = {}
    for node in model.graph.node:
        if node.op_type != "Conv" or node.input[1].endswith(_MOVES):
            continue
        if node.input[1] in weights and _WEIGHT in node.input[1]:
            _, _, module = node.input[1].rpartition(_WEIGHT)[0].partition(".")
            layer = f"{graph}.{module}"
            nodes[layer] = (*nodes.get(layer, ()), node.name)
    return nodes


def _encoder_feeds(runner: Runner, images: list[Images]) -> Iterator[dict[str, Array]]:
    for image in images:
        yield image_feed(runner, image)


def _decoder_feeds(
    graphs: GraphSet, domain: Domain, images: dict[Domain, list[Images]]
) -> Iterator[dict[str, Array]]:
    references = [encode(graphs.runner("style_encoder", domain), p) for p in images[domain]]
    for source in DOMAINS:
        for index, image in enumerate(images[source]):
            content = encode(graphs.runner("content_encoder", source), image)
            sampled = sample_styles(NUM_SAMPLED_STYLES, graphs.config.style_dim, seed=index)
            # A decoder's ranges depend on the style, through AdaIN's scales.
            for style in [*sampled[:, None], references[index % len(references)]]:
                yield {"content": content, "style": style}


def _largest(path: Path, feeds: Iterator[dict[str, Array]]) -> dict[str, float]:
    """Largest magnitude of every input and output of a Conv."""
    tools: Any = require("onnxruntime.quantization", _PURPOSE)

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Array] | None:
            return next(feeds, None)

    with scratch_folder() as folder, _quiet():
        calibrator = tools.create_calibrator(
            path,
            ["Conv"],
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=tools.CalibrationMethod.MinMax,
        )
        calibrator.collect_data(Reader())
        ranges = calibrator.compute_data().data
    return {
        # Symmetric: the larger magnitude of minimum and maximum.
        name: float(max(np.abs(end).max() for end in found.range_value))
        for name, found in ranges.items()
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the calibrator, which recommends a step that these graphs do not need."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
