"""Every graph in every precision, sizes fixed and free, in the vendor's own TensorRT-RTX.

Types are what can fail here: every build is strongly typed. How the builder behaves is in
tests/engines/tensorrt/test_builder.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_graphs import CalibratedModel, TinyGraph

from munit_edge.engines.tensorrt import api as tensorrt_api
from munit_edge.engines.tensorrt.builder import BuildOptions, build_plan
from munit_edge.engines.tensorrt.profiles import GraphProfile, declare_profiles, graph_profiles
from munit_edge.errors import EngineError
from munit_edge.export.half_precision import in_half
from munit_edge.export.onnx_graph import export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.export.quantise import EightBits
from munit_edge.model.config import DOMAINS, GRAPH_KINDS, Domain, GraphKind, ModelConfig
from munit_edge.model.manifest import Precision, graph_tensors, read_manifest
from munit_edge.trainer.checkpoint import open_checkpoint
from munit_edge.trainer.fast.folding import fold_decoders

pytestmark = pytest.mark.skipif(
    not tensorrt_api.is_installed("tensorrt-rtx"), reason="TensorRT-RTX is not installed"
)
# The earliest with fp8, so that nothing is refused for the GPU's sake.
OPTIONS = BuildOptions(target="tensorrt-rtx", compute_capabilities=("8.9",), optimization_level=0)
MODELS = {
    "munit": ("tiny_checkpoint", "tiny_model"),
    "munit-sn": ("tiny_sn_checkpoint", "tiny_sn_model"),
}
GRAPHS: list[tuple[GraphKind, Domain]] = [
    (kind, domain) for domain in DOMAINS for kind in GRAPH_KINDS
]
FIXED_HW = (64, 96)


def _build(model: Path, kind: GraphKind, domain: Domain, onnx: Any) -> None:
    """Build the graph with a fixed and a dynamic profile, and again with its sizes fixed."""
    manifest = read_manifest(model)
    profiles = [
        *declare_profiles(manifest, sizes="64x96", batch="1"),
        *declare_profiles(manifest, smallest="32", largest="128", batch="1,2"),
    ]
    shapes = graph_profiles(manifest, manifest.graph(kind, domain), profiles)
    name = f"{kind}_{domain}"
    assert _plan(name, onnx, shapes)[:4] == b"vtrt"
    assert _plan(name, _with_fixed_sizes(onnx, manifest.model, kind, domain), ())[:4] == b"vtrt"


def _plan(name: str, onnx: Any, shapes: Sequence[GraphProfile]) -> bytes:
    return build_plan(name, onnx.SerializeToString(), shapes, OPTIONS).plan


def _with_fixed_sizes(onnx: Any, config: ModelConfig, kind: GraphKind, domain: Domain) -> Any:
    """The graph as `--batch`, `--height` and `--width` declare it: no size is left to a profile."""
    fixed = type(onnx)()
    fixed.CopyFrom(onnx)
    inputs, outputs = graph_tensors(config, kind, domain, "uint8", batch=1, size_hw=FIXED_HW)
    for value, entry in zip(
        [*fixed.graph.input, *fixed.graph.output], [*inputs, *outputs], strict=True
    ):
        for axis, size in zip(value.type.tensor_type.shape.dim, entry.shape, strict=True):
            assert isinstance(size, int)
            axis.dim_value = size
    return fixed


def _types(onnx: Any) -> set[int]:
    return {tensor.data_type for tensor in onnx.graph.initializer}


@pytest.mark.parametrize(("kind", "domain"), GRAPHS)
@pytest.mark.parametrize("architecture", MODELS)
def test_fp32_graphs_build(
    architecture: str, kind: GraphKind, domain: Domain, request: pytest.FixtureRequest
) -> None:
    import onnx

    model: Path = request.getfixturevalue(MODELS[architecture][1])
    graph = onnx.load(model / read_manifest(model).graph(kind, domain).file)
    _build(model, kind, domain, graph)


@pytest.mark.parametrize(("kind", "domain"), GRAPHS)
@pytest.mark.parametrize("architecture", MODELS)
def test_fp16_graphs_build(
    architecture: str,
    kind: GraphKind,
    domain: Domain,
    fp16_graph: TinyGraph,
    request: pytest.FixtureRequest,
) -> None:
    checkpoint, model = MODELS[architecture]
    graph = fp16_graph(checkpoint, kind, domain)
    assert 10 in _types(graph), "no float16 weights"
    _build(request.getfixturevalue(model), kind, domain, graph)


@pytest.mark.parametrize(
    ("architecture", "kind", "precision"),
    [("munit", "decoder", "fp16"), ("munit-sn", "content_encoder", "fp32")],
)
def test_graphs_exported_with_fixed_sizes_build(
    architecture: str, kind: GraphKind, precision: Precision, request: pytest.FixtureRequest
) -> None:
    """The exporter folds what sizes decide into constants: other graphs than those above."""
    checkpoint = open_checkpoint(request.getfixturevalue(MODELS[architecture][0]))
    generators = checkpoint.generators()
    fold_decoders(generators)
    height, width = FIXED_HW
    options = ExportOptions(batch=1, height=height, width=width)
    options = options.model_copy(update={"precision": precision})
    typed = in_half(generators, "fp16") if precision == "fp16" else generators
    graph = export_graph(typed, checkpoint.config, kind, "a", options, {})
    assert _plan(f"{kind}_a", graph, ())[:4] == b"vtrt"


@pytest.mark.parametrize(("kind", "domain"), GRAPHS)
def test_bf16_graphs_build(kind: GraphKind, domain: Domain, bf16_model: Path) -> None:
    import onnx

    graph = onnx.load(bf16_model / read_manifest(bf16_model).graph(kind, domain).file)
    assert 16 in _types(graph), "no bfloat16 weights"
    _build(bf16_model, kind, domain, graph)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
@pytest.mark.parametrize(("kind", "domain"), GRAPHS)
@pytest.mark.parametrize("architecture", MODELS)
def test_quantised_graphs_build(
    architecture: str,
    kind: GraphKind,
    domain: Domain,
    precision: EightBits,
    calibrated: CalibratedModel,
    request: pytest.FixtureRequest,
) -> None:
    model = MODELS[architecture][1]
    calibrated_graph = calibrated(model)[f"{kind}_{domain}"]
    graph = calibrated_graph.quantised(list(calibrated_graph.nodes), precision)
    assert {"int8": 3, "fp8": 17}[precision] in _types(graph), "no 8-bit weights"
    _build(request.getfixturevalue(model), kind, domain, graph)


def test_a_missing_cast_is_refused(tiny_model: Path) -> None:
    """Guards the tests above: the builder does look at types."""
    import onnx

    path = tiny_model / read_manifest(tiny_model).graph("decoder", "b").file
    graph = onnx.load(path)
    weight = next(t for t in graph.graph.initializer if t.name.endswith("conv.weight"))
    half = onnx.numpy_helper.to_array(weight).astype(np.float16)
    weight.CopyFrom(onnx.numpy_helper.from_array(half, weight.name))
    with pytest.raises(EngineError, match="graph decoder_b: node"):
        _build(tiny_model, "decoder", "b", graph)
