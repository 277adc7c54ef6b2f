"""bfloat16 graphs where there are no bfloat16 convolutions: ONNX Runtime's CPU provider.

A copy of the graph computes in float32 and rounds through bfloat16, by two casts, whatever the
graph gives in bfloat16. It has the file's own nodes and weights; it shows that they are those that
were judged, and not that some runtime takes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from munit_edge.engines.base import GraphSet, Runner
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.runner import OnnxRuntimeRunner
from munit_edge.extras import require
from munit_edge.model.config import Domain, GraphKind
from munit_edge.model.manifest import Manifest, read_graph

_PURPOSE = "proving bf16 graphs"


class RoundedGraphs(GraphSet):
    """The bf16 graphs of a model directory as such copies, in ONNX Runtime on the CPU."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        super().__init__(
            manifest.model,
            manifest.io,
            manifest.checkpoint_sha256,
            engine="onnxruntime",
            device="cpu",
        )
        self._directory = directory
        self._manifest = manifest

    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        onnx = require("onnx", _PURPOSE)
        entry = self._manifest.graph(kind, domain)
        model = rounded(onnx.load_from_string(read_graph(self._directory, entry)))
        return OnnxRuntimeRunner(model.SerializeToString(), entry, Device("cpu"))


def rounded(model: Any) -> Any:
    """The copy of a graph without bfloat16 inputs and outputs: `onnx.ModelProto` -> the same."""
    onnx = require("onnx", _PURPOSE)
    single, brain = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16
    copy = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    graph = copy.graph
    typed = {v.name for v in graph.value_info if v.type.tensor_type.elem_type == brain}
    for tensor in graph.initializer:
        if tensor.data_type == brain:
            values = onnx.numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    nodes = []
    for node in list(graph.node):
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name not in typed:
                continue
            exact, narrow = f"{name}_exact", f"{name}_bfloat16"
            node.output[index] = exact
            if node.op_type == "Cast":
                _set_type(node, single)
            make = onnx.helper.make_node
            nodes.append(make("Cast", [exact], [narrow], name=narrow, to=brain))
            nodes.append(make("Cast", [narrow], [name], name=f"{name}_float32", to=single))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return copy


def _set_type(cast: Any, kind: int) -> None:
    for attribute in cast.attribute:
        if attribute.name == "to":
            attribute.i = kind
