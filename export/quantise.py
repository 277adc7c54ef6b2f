"""int8 and fp8: Q/DQ pairs around the convolutions of float32 graphs.

Symmetric, activations per tensor, biases in float32: the form that TensorRT's parser builds.
Weights are stored quantised, with a DequantizeLinear after them, so that the files shrink too.

In int8 the outputs of convolutions have a pair, too, although a norm in float32 follows: ONNX
Runtime's CPU provider has integer convolutions only from 8 bits to 8 bits (QLinearConv) and
computes any other pattern in float32, slower than the graph without pairs. fp8 it computes in
float32 in any form, so those outputs have none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.runner import OnnxRuntimeGraphs, OnnxRuntimeRunner
from munit_edge.export.quality_gate import Array, OnPart, batch_feeds, image_feed
from munit_edge.export.weights_files import load_graph
from munit_edge.extras import require
from munit_edge.images.io import Images
from munit_edge.model.config import DOMAINS, GRAPH_KINDS, Domain, GraphKind
from munit_edge.model.manifest import GraphEntry, Manifest, TensorEntry
from munit_edge.model.precision import PRECISION_FACTS, Precision
from munit_edge.styles.codes import sample_styles
from munit_edge.trainer.torch_api import torch

_PURPOSE = "quantising graphs"
_WEIGHT = ".conv."
"""Separates the layer's name from the parameter's in the names of weights."""
_MOVES = ".conv.moves"
_SMALLEST, _LARGEST = ".smallest", ".largest"
"""Behind a tensor's name: names of the outputs that observe it."""

INPUT_BLOCK, OUTPUT_BLOCK = 4, 16
"""Channels that the fast int8 kernels of ONNX Runtime's CPU provider take at once. Convolutions of
other numbers of channels, which are the first and the last of a network, were measured to be slower
in int8 than in float32 there."""


class Range(NamedTuple):
    """The values of a tensor on the user's images, by channel: float32 [C] each."""

    smallest: Array
    largest: Array

    @property
    def magnitude(self) -> float:
        """Largest magnitude in any channel."""
        return float(np.abs(self).max())

    @property
    def middle(self) -> Array:
        """What to subtract from each channel to make its magnitude least."""
        return (self.smallest + self.largest) / 2

    def joined(self, other: Range) -> Range:
        """The range of the values of both."""
        return Range(
            np.minimum(self.smallest, other.smallest), np.maximum(self.largest, other.largest)
        )


@dataclass(frozen=True)
class CalibratedGraph:
    """One float32 graph and the ranges of its activations on the user's images."""

    model: Any
    """`onnx.ModelProto`."""
    ranges: dict[str, Range]
    """Of every input and output of a convolution."""
    nodes: dict[str, tuple[str, ...]]
    """Names of the Conv nodes by the name of their layer (`decoder_b.up.0`)."""

    def quantised(self, layers: Collection[str], precision: Precision) -> Any:
        """The `onnx.ModelProto` with `layers` in 8 bits; layers of other graphs are ignored."""
        # A folded upsampling layer is up to three Conv nodes: the phases and the corrected edges.
        chosen = {name for layer, names in self.nodes.items() if layer in layers for name in names}
        copy = type(self.model)()
        copy.CopyFrom(self.model)
        _PairWriter(copy.graph, precision, self.ranges).quantise(chosen)
        # Types and shapes of tensors as they were before quantisation.
        del copy.graph.value_info[:]
        return copy


class _PairWriter:
    """Inserts Q/DQ pairs into one graph."""

    def __init__(self, graph: Any, precision: Precision, ranges: Mapping[str, Range]) -> None:
        self._onnx = require("onnx", _PURPOSE)
        self._graph = graph
        self._facts = PRECISION_FACTS[precision]
        self._ranges = ranges
        self._readers: dict[str, set[str]] = {value.name: {""} for value in graph.output}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, set()).add(node.op_type)
        self._limit = self._facts.largest
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._pairs: dict[str, str] = {}

    def quantise(self, chosen: Collection[str]) -> None:
        """Quantise the inputs and weights of the Conv nodes with these names."""
        nodes = []
        for node in list(self._graph.node):
            # ONNX wants the nodes in topological order: pairs go right before their node.
            if node.name in chosen:
                has_fast_kernel = self._has_fast_kernel(node)
                nodes += [*self._activation(node), *self._weight(node), node]
                nodes += self._output(node) if has_fast_kernel else []
            else:
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
        result = self._pairs[name] = node.input[0] = f"{name}_dequantized"
        return self._pair(name, result, name, self._ranges[name].magnitude)

    def _has_fast_kernel(self, node: Any) -> bool:
        """Whether ONNX Runtime's CPU provider gains by a pair after the node."""
        outputs, inputs = self._weights[node.input[1]].dims[:2]
        return self._facts.dtype == "int8" and not (inputs % INPUT_BLOCK or outputs % OUTPUT_BLOCK)

    def _output(self, node: Any) -> list[Any]:
        """The pair after the node. What reads its output finds the rounded one under the name."""
        name = node.output[0]
        exact = node.output[0] = f"{name}_exact"
        found = self._ranges[name]
        if self._readers[name] == {"InstanceNormalization"}:
            # It subtracts each channel's mean, so a constant makes no difference behind it. With
            # the ranges around 0 the steps are smaller: 0.8 to 0.9 dB on the model of `make demo`.
            middle = found.middle
            self._subtract(node, middle)
            found = Range(found.smallest - middle, found.largest - middle)
        return self._pair(exact, name, f"{name}_output", found.magnitude)

    def _subtract(self, node: Any, values: Array) -> None:
        """Subtract a number from each output channel of a node, by its bias."""
        helper = self._onnx.numpy_helper
        bias = helper.to_array(self._weights[node.input[2]]) if len(node.input) > 2 else 0
        name = f"{node.name}_bias"
        self._graph.initializer.append(helper.from_array(bias - values, name))
        del node.input[2:]
        node.input.append(name)

    def _pair(self, source: str, result: str, name: str, largest: float) -> list[Any]:
        """From tensor `source` to `result`; the names of what is in between begin with `name`."""
        # One scale for the whole tensor, a scalar: QuantizeLinear's `axis` does not apply.
        scale = np.array(_scale(largest, self._limit))
        quantised, parameters = f"{name}_quantized", self._parameters(name, scale)
        make = self._onnx.helper.make_node
        return [
            make("QuantizeLinear", [source, *parameters], [quantised], name=f"{name}_quantize"),
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
    directory: Path,
    manifest: Manifest,
    images: dict[Domain, list[Images]],
    on_calibrated: Callable[[str], None] = lambda graph: None,
    on_part: OnPart = lambda part, note: None,
) -> dict[str, CalibratedGraph]:
    """Run the float32 graphs of a model directory on images of both domains.

    Decoders get the content codes of both domains, in turn with a random style and with the style
    of an image of their own domain.

    Args:
        directory: where the graphs lie.
        manifest: what they are.
        images: of each domain, uint8 [1, H, W, C] each.
        on_calibrated: called with the name of each graph after its last run.
        on_part: called after each run of a graph.

    Returns:
        The translating graphs by name, such as `decoder_b`.
    """
    entries = {entry.name: entry for entry in manifest.graphs if entry.kind in GRAPH_KINDS}
    found = {}
    codes: dict[tuple[GraphKind, Domain], list[Array]] = {}
    # Decoders last: they get the encoders' codes.
    for entry in sorted(entries.values(), key=lambda entry: entry.kind == "decoder"):
        model = load_graph(directory, entry)
        key = entry.kind, entry.domain
        with contextlib.closing(_observed(model, entry)) as runner:
            if entry.kind == "decoder":
                feeds = _decoder_feeds(manifest.model.style_dim, entry.domain, codes)
            else:
                feeds = [image_feed(runner, image) for image in images[entry.domain]]
            codes[key], ranges = _observe(runner, feeds, on_part)
        found[entry.name] = CalibratedGraph(model, ranges, _layer_nodes(model, entry.name))
        on_calibrated(entry.name)
    return {name: found[name] for name in entries}


def _observed(model: Any, entry: GraphEntry) -> OnnxRuntimeRunner:
    """The graph with further outputs: smallest and largest values at both ends of every Conv."""
    onnx = require("onnx", _PURPOSE)
    observed = type(model)()
    observed.CopyFrom(model)
    graph = observed.graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    # A dict as an ordered set: nodes may share their input.
    tensors = dict.fromkeys(name for n in convolutions for name in (n.input[0], n.output[0]))
    ends = {
        name + suffix: (operator, name)
        for name in tensors
        for operator, suffix in (("ReduceMin", _SMALLEST), ("ReduceMax", _LARGEST))
    }
    axes, kind = "observed.axes", onnx.TensorProto.FLOAT
    # [batch, channels, height, width] -> [channels]
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 2, 3]), axes))
    for end, (operator, name) in ends.items():
        graph.node.append(onnx.helper.make_node(operator, [name, axes], [end], keepdims=0))
        graph.output.append(onnx.helper.make_tensor_value_info(end, kind, ["channels"]))
    further = (TensorEntry(name=end, dtype="float32", shape=("channels",)) for end in ends)
    outputs = (*entry.outputs, *further)
    return OnnxRuntimeRunner(
        observed.SerializeToString(),
        entry.model_copy(update={"outputs": outputs}),
        Device("cpu"),
    )


def _observe(
    runner: OnnxRuntimeRunner, feeds: Sequence[dict[str, Array]], on_part: OnPart
) -> tuple[list[Array], dict[str, Range]]:
    """The results of an encoder, and the ranges of the tensors observed."""
    results: list[Array] = []
    ranges: dict[str, Range] = {}
    for number, feed in enumerate(feeds, start=1):
        found = runner.run(batch_feeds(runner, feed))
        for name in [name for name in found if name.endswith(_SMALLEST)]:
            tensor = name.removesuffix(_SMALLEST)
            seen = Range(found.pop(name), found.pop(tensor + _LARGEST))
            ranges[tensor] = seen.joined(ranges.get(tensor, seen))
        if "image" not in found:
            results.extend(value[:1] for value in found.values())
        on_part(number / len(feeds), f"calibrating {runner.name}: run {number} of {len(feeds)}")
    return results, ranges


def _decoder_feeds(
    style_dim: int, domain: Domain, codes: Mapping[tuple[GraphKind, Domain], list[Array]]
) -> list[dict[str, Array]]:
    references = codes["style_encoder", domain]
    feeds = []
    for number, source in enumerate(DOMAINS):
        for index, content in enumerate(codes["content_encoder", source]):
            # A decoder's ranges depend on the style, through AdaIN's scales. More styles for each
            # content took four times the time, and the gate measured the same.
            is_random = (index + number) % 2 == 0
            style = (
                sample_styles(1, style_dim, seed=index)
                if is_random
                else references[index % len(references)]
            )
            feeds.append({"content": content, "style": style})
    return feeds


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
