"""int8: Q/DQ pairs around the convolutions of float32 graphs, by ONNX Runtime's quantiser.

Symmetric, weights per output channel, activations per tensor, biases in float32, a pair of its own
for every convolution: the form that TensorRT's parser builds. What a convolution gives is not
quantised: a norm or the end of the network follows, in float32.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from munit_edge.config import DOMAINS, GRAPH_KINDS, Domain, GraphKind
from munit_edge.engines.base import GraphSet, Runner
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime_runner import OnnxRuntimeRunner
from munit_edge.export.gate import Array, encode
from munit_edge.extras import require
from munit_edge.images import Images
from munit_edge.manifest import Manifest
from munit_edge.normalisation import floats_from_bytes
from munit_edge.styles import sample_styles

NUM_SAMPLED_STYLES = 3
"""Random styles that a decoder is calibrated with, besides those of its domain's pictures."""

_PURPOSE = "quantising graphs"
_WEIGHT_END = ".conv.weight"


@dataclass(frozen=True)
class CalibratedGraph:
    """One float32 graph and the ranges of its activations on the user's pictures."""

    model: Any
    """`onnx.ModelProto`."""
    ranges: Any
    """`onnxruntime.quantization.TensorsData`."""
    nodes: dict[str, str]
    """Name of a layer (`decoder_b.up.0`) to that of its Conv node."""

    def quantised(self, layers: Collection[str]) -> Any:
        """The `onnx.ModelProto` with `layers` in int8; layers of other graphs do not matter."""
        chosen = [node for layer, node in self.nodes.items() if layer in layers]
        copy = type(self.model)()
        copy.CopyFrom(self.model)
        if not chosen:
            return copy
        tools: Any = require("onnxruntime.quantization", _PURPOSE)
        options = {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "AddQDQPairToWeight": True,
            "DedicatedQDQPair": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
        }
        quantiser = tools.QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=tools.QuantType.QInt8,
            activation_qType=tools.QuantType.QInt8,
            tensors_range=self.ranges,
            nodes_to_quantize=chosen,
            nodes_to_exclude=[],
            op_types_to_quantize=["Conv"],
            extra_options=options,
        )
        with _quiet():
            quantiser.quantize_model()
        del quantiser.model.model.graph.value_info[:]
        return quantiser.model.model


class QuantisedGraphs(GraphSet):
    """Calibrated graphs with some layers in int8, in ONNX Runtime on the CPU."""

    def __init__(
        self, graphs: dict[str, CalibratedGraph], manifest: Manifest, layers: Collection[str]
    ) -> None:
        super().__init__(
            manifest.model,
            manifest.io,
            manifest.checkpoint_sha256,
            engine="onnxruntime",
            device="cpu",
        )
        self._graphs = graphs
        self._manifest = manifest
        self._layers = layers

    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        entry = self._manifest.graph(kind, domain)
        model = self._graphs[f"{kind}_{domain}"].quantised(self._layers)
        return OnnxRuntimeRunner(model.SerializeToString(), entry, Device("cpu"))


def calibrate(
    directory: Path, manifest: Manifest, exported: GraphSet, pictures: dict[Domain, list[Images]]
) -> dict[str, CalibratedGraph]:
    """Run the float32 graphs of a model directory on pictures of both domains.

    Decoders get the content codes of both domains, each with random styles and with the style of
    a picture of their own domain.

    Args:
        directory: where the graphs lie.
        manifest: what they are.
        exported: the same graphs, opened.
        pictures: of each domain, uint8 [1, H, W, C] each.

    Returns:
        The graphs that translate by name, such as `decoder_b`.
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
            feeds = _decoder_feeds(exported, entry.domain, pictures)
        else:
            feeds = _encoder_feeds(runner, pictures[entry.domain])
        # The quantiser asks for the types of inner tensors.
        model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
        nodes = _layer_nodes(model, name)
        found[name] = CalibratedGraph(model, _ranges(path, _repeated(runner, feeds)), nodes)
    return found


def _layer_nodes(model: Any, graph: str) -> dict[str, str]:
    """Layer names by the weights' names, which the exporter takes from the modules."""
    nodes = {}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1].endswith(_WEIGHT_END):
            _, _, module = node.input[1].removesuffix(_WEIGHT_END).partition(".")
            nodes[f"{graph}.{module}"] = node.name
    return nodes


def _encoder_feeds(runner: Runner, pictures: list[Images]) -> Iterator[dict[str, Array]]:
    for picture in pictures:
        fed = picture if runner.inputs[0].dtype == "uint8" else floats_from_bytes(picture)
        yield {"image": fed}


def _decoder_feeds(
    graphs: GraphSet, domain: Domain, pictures: dict[Domain, list[Images]]
) -> Iterator[dict[str, Array]]:
    references = [encode(graphs.runner("style_encoder", domain), p) for p in pictures[domain]]
    for source in DOMAINS:
        for index, picture in enumerate(pictures[source]):
            content = encode(graphs.runner("content_encoder", source), picture)
            sampled = sample_styles(NUM_SAMPLED_STYLES, graphs.config.style_dim, seed=index)
            for style in [*sampled[:, None], references[index % len(references)]]:
                yield {"content": content, "style": style}


def _repeated(runner: Runner, feeds: Iterator[dict[str, Array]]) -> Iterator[dict[str, Array]]:
    """Batches of one, repeated where the graph's batch is fixed."""
    for feed in feeds:
        yield {
            spec.name: np.repeat(
                feed[spec.name], spec.shape[0] if isinstance(spec.shape[0], int) else 1, axis=0
            )
            for spec in runner.inputs
        }


def _ranges(path: Path, feeds: Iterator[dict[str, Array]]) -> Any:
    """Smallest and largest value of everything that a Conv takes or gives."""
    tools: Any = require("onnxruntime.quantization", _PURPOSE)

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Array] | None:
            return next(feeds, None)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        calibrator = tools.create_calibrator(
            path,
            ["Conv"],
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=tools.CalibrationMethod.MinMax,
        )
        calibrator.collect_data(Reader())
        return calibrator.compute_data()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser recommends its own preparation step, which these graphs do not need."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
