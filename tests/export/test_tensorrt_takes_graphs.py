"""Every graph in every precision, sizes fixed and free, in the vendor's own TensorRT-RTX.

Types are what can fail here: every build is strongly typed. How the builder behaves is in
tests/engines/tensorrt/test_builder.py. Builds that repeat one with other weights or other types are
marked `slow`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needs_rtx import needs_rtx
from tiny_graphs import CalibratedModel, TinyGraph

from munit_edge.engines.tensorrt.builder import BuildOptions, build_plan
from munit_edge.engines.tensorrt.profiles import GraphProfile, declare_profiles, graph_profiles
from munit_edge.errors import EngineError
from munit_edge.export.half_precision import in_half
from munit_edge.export.onnx_graph import export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.model.config import DOMAINS, GRAPH_KINDS, Domain, GraphKind, ModelConfig
from munit_edge.model.manifest import graph_tensors, read_manifest
from munit_edge.model.precision import Precision
from munit_edge.trainer.checkpoint import open_checkpoint
from munit_edge.trainer.fast.folding import fold_decoders

pytestmark = needs_rtx
# The earliest with fp8, so that nothing is refused for the GPU's sake.
OPTIONS = BuildOptions(target="tensorrt-rtx", compute_capabilities=("8.9",), optimization_level=0)
MODELS = {
    "munit": ("tiny_checkpoint", "tiny_model"),
    "munit-sn": ("tiny_sn_checkpoint", "tiny_sn_model"),
}
FIXED_HW = (64, 96)


def _builds(*architectures: str, quick: Sequence[str]) -> pytest.MarkDecorator:
    """Parameters for one build of each graph with free sizes, and one with fixed sizes.

    `munit` has the same graphs in both domains: `test_the_domains_of_munit_have_the_same_graphs`.
    By default those of domain A with free sizes are built, of the architectures in `quick`.
    """
    builds = []
    for architecture, domain, kind in itertools.product(architectures, DOMAINS, GRAPH_KINDS):
        for sizes in ("free", "fixed"):
            is_quick = architecture in quick and domain == "a" and sizes == "free"
            marks = [] if is_quick else [pytest.mark.slow]
            builds.append(pytest.param(architecture, kind, domain, sizes, marks=marks))
    return pytest.mark.parametrize(("architecture", "kind", "domain", "sizes"), builds)


def _build(model: Path, kind: GraphKind, domain: Domain, sizes: str, onnx: Any) -> None:
    """Build the graph with a fixed and a dynamic profile, or with its own sizes fixed."""
    manifest = read_manifest(model)
    name = f"{kind}_{domain}"
    if sizes == "fixed":
        plan = _plan(name, _with_fixed_sizes(onnx, manifest.model, kind, domain), ())
    else:
        profiles = [
            *declare_profiles(manifest, sizes="64x96", batch="1"),
            *declare_profiles(manifest, smallest="32", largest="128", batch="1,2"),
        ]
        plan = _plan(name, onnx, graph_profiles(manifest, manifest.graph(kind, domain), profiles))
    assert plan[:4] == b"vtrt"


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


def test_the_domains_of_munit_have_the_same_graphs(tiny_model: Path) -> None:
    """Their weights differ, which no type or shape depends on: one domain stands for both."""
    import onnx

    manifest = read_manifest(tiny_model)
    for kind in GRAPH_KINDS:
        graph_a, graph_b = (
            onnx.load(tiny_model / manifest.graph(kind, domain).file) for domain in DOMAINS
        )
        assert _without_weights(graph_a) == _without_weights(graph_b)


def _without_weights(onnx: Any) -> bytes:
    graph = onnx.graph
    graph.name = ""
    for node in graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for tensor in graph.initializer:
        tensor.ClearField("raw_data")
    return bytes(graph.SerializeToString(deterministic=True))


@_builds("munit", "munit-sn", quick=["munit", "munit-sn"])
def test_fp32_graphs_build(
    architecture: str,
    kind: GraphKind,
    domain: Domain,
    sizes: str,
    request: pytest.FixtureRequest,
) -> None:
    import onnx

    model: Path = request.getfixturevalue(MODELS[architecture][1])
    graph = onnx.load(model / read_manifest(model).graph(kind, domain).file)
    _build(model, kind, domain, sizes, graph)


@_builds("munit", "munit-sn", quick=["munit"])
def test_fp16_graphs_build(
    architecture: str,
    kind: GraphKind,
    domain: Domain,
    sizes: str,
    fp16_graph: TinyGraph,
    request: pytest.FixtureRequest,
) -> None:
    checkpoint, model = MODELS[architecture]
    graph = fp16_graph(checkpoint, kind, domain)
    assert 10 in _types(graph), "no float16 weights"
    _build(request.getfixturevalue(model), kind, domain, sizes, graph)


@pytest.mark.parametrize(
    ("architecture", "kind", "precision"),
    [("munit", "decoder", "fp16"), ("munit-sn", "content_encoder", "fp32")],
)
@pytest.mark.slow
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


@_builds("munit-sn", quick=["munit-sn"])
def test_bf16_graphs_build(
    architecture: str, kind: GraphKind, domain: Domain, sizes: str, bf16_model: Path
) -> None:
    import onnx

    graph = onnx.load(bf16_model / read_manifest(bf16_model).graph(kind, domain).file)
    assert 16 in _types(graph), "no bfloat16 weights"
    _build(bf16_model, kind, domain, sizes, graph)


@pytest.fixture
def build_quantised(
    calibrated: CalibratedModel, request: pytest.FixtureRequest
) -> Callable[..., None]:
    """Builds a graph of a model in 8 bits, after a look at its weights."""

    def build(
        architecture: str, kind: GraphKind, domain: Domain, sizes: str, to: Precision
    ) -> None:
        model = MODELS[architecture][1]
        graph = calibrated(model)[f"{kind}_{domain}"]
        quantised = graph.quantised(list(graph.nodes), to)
        assert {"int8": 3, "fp8": 17}[to] in _types(quantised), "no 8-bit weights"
        _build(request.getfixturevalue(model), kind, domain, sizes, quantised)

    return build


@_builds("munit", "munit-sn", quick=["munit"])
def test_int8_graphs_build(
    architecture: str,
    kind: GraphKind,
    domain: Domain,
    sizes: str,
    build_quantised: Callable[..., None],
) -> None:
    build_quantised(architecture, kind, domain, sizes, "int8")


@_builds("munit", "munit-sn", quick=["munit-sn"])
def test_fp8_graphs_build(
    architecture: str,
    kind: GraphKind,
    domain: Domain,
    sizes: str,
    build_quantised: Callable[..., None],
) -> None:
    build_quantised(architecture, kind, domain, sizes, "fp8")


def test_a_missing_cast_is_refused(tiny_model: Path) -> None:
    """Guards the tests above: the builder does look at types."""
    import onnx

    path = tiny_model / read_manifest(tiny_model).graph("decoder", "b").file
    graph = onnx.load(path)
    weight = next(t for t in graph.graph.initializer if t.name.endswith("conv.weight"))
    half = onnx.numpy_helper.to_array(weight).astype(np.float16)
    weight.CopyFrom(onnx.numpy_helper.from_array(half, weight.name))
    with pytest.raises(EngineError, match="graph decoder_b: node"):
        _build(tiny_model, "decoder", "b", "free", graph)
