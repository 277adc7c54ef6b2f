"""Graphs of reduced precision in the vendor's own parser and builder, TensorRT-RTX.

float32 is in tests/engines/test_tensorrt_builder.py. Types are what can fail here: every build is
strongly typed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munit_edge.config import Domain, GraphKind
from munit_edge.engines import tensorrt_api
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime_runner import OnnxRuntimeGraphs
from munit_edge.engines.profiles import declare_profiles, graph_profiles
from munit_edge.engines.tensorrt_builder import BuildOptions, build_plan
from munit_edge.errors import EngineError
from munit_edge.export.onnx_graph import export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.export.precision import in_half, layer_names
from munit_edge.export.quantise import calibrate
from munit_edge.manifest import read_manifest
from munit_edge.trainer.checkpoint import open_checkpoint

pytestmark = pytest.mark.skipif(
    not tensorrt_api.is_installed("tensorrt-rtx"), reason="TensorRT-RTX is not installed"
)
# The earliest with fp8, so that nothing is refused for the GPU's sake.
OPTIONS = BuildOptions(target="tensorrt-rtx", compute_capabilities=("8.9",), optimization_level=0)
MODELS = {
    "munit": ("tiny_checkpoint", "tiny_model"),
    "munit-sn": ("tiny_sn_checkpoint", "tiny_sn_model"),
}
# In fp16 the graphs of the two domains differ by the pictures' channels alone.
FP16_GRAPHS: list[tuple[GraphKind, Domain]] = [
    ("content_encoder", "a"),
    ("style_encoder", "b"),
    ("decoder", "b"),
]


def _build(model: Path, kind: GraphKind, domain: Domain, onnx: Any) -> bytes:
    """A plan with a fixed and a dynamic profile."""
    manifest = read_manifest(model)
    profiles = [
        *declare_profiles(manifest, sizes="64x96", batch="1"),
        *declare_profiles(manifest, smallest="32", largest="128", batch="1,2"),
    ]
    shapes = graph_profiles(manifest, manifest.graph(kind, domain), profiles)
    return build_plan(f"{kind}_{domain}", onnx.SerializeToString(), shapes, OPTIONS).plan


def _types(onnx: Any) -> set[int]:
    return {tensor.data_type for tensor in onnx.graph.initializer}


@pytest.mark.parametrize("architecture", MODELS)
def test_fp16_graphs_build(architecture: str, request: pytest.FixtureRequest) -> None:
    checkpoint_fixture, model_fixture = MODELS[architecture]
    checkpoint = open_checkpoint(request.getfixturevalue(checkpoint_fixture))
    model = request.getfixturevalue(model_fixture)
    options = ExportOptions().model_copy(update={"precision": "fp16"})
    typed = in_half(checkpoint.generators())
    for kind, domain in FP16_GRAPHS:
        graph = export_graph(typed, checkpoint.config, kind, domain, options, {})
        assert 10 in _types(graph), "no float16 weights"
        assert _build(model, kind, domain, graph)[:4] == b"vtrt"


@pytest.mark.parametrize("architecture", MODELS)
def test_int8_graphs_build(architecture: str, request: pytest.FixtureRequest) -> None:
    checkpoint_fixture, model_fixture = MODELS[architecture]
    model: Path = request.getfixturevalue(model_fixture)
    manifest = read_manifest(model)
    layers = layer_names(open_checkpoint(request.getfixturevalue(checkpoint_fixture)).generators())
    generator = np.random.default_rng(0)
    pictures: Any = {
        domain: [generator.integers(0, 256, (1, 64, 64, channels), dtype=np.uint8)]
        for domain, channels in (("a", manifest.model.channels_a), ("b", manifest.model.channels_b))
    }
    with OnnxRuntimeGraphs(model, manifest, Device("cpu")) as exported:
        graphs = calibrate(model, manifest, exported, pictures)
    for entry in manifest.graphs:
        graph = graphs[f"{entry.kind}_{entry.domain}"].quantised(layers)
        assert 3 in _types(graph), "no int8 weights"
        assert _build(model, entry.kind, entry.domain, graph)[:4] == b"vtrt"


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
