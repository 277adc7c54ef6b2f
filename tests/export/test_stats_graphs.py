"""`*_stats` graphs: what ONNX Runtime and TensorRT-RTX make of them.

`export_model` checks them against the networks; here is what that check does not vary: statistics
of something else, and a core that is not the whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from needs_rtx import needs_rtx
from shared_files import shared_folder

from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.runner import OnnxRuntimeRunner
from munit_edge.engines.tensorrt.builder import BuildOptions, build_plan
from munit_edge.engines.tensorrt.profiles import declare_profiles, graph_profiles
from munit_edge.export.half_precision import in_half
from munit_edge.export.onnx_graph import export_graph, graph_entry
from munit_edge.export.options import ExportOptions
from munit_edge.model.config import Domain, GraphKind, ModelConfig
from munit_edge.model.manifest import read_manifest
from munit_edge.model.norm_statistics import own_statistics
from munit_edge.model.precision import Precision
from munit_edge.trainer.checkpoint import open_checkpoint
from munit_edge.trainer.graphs import build_graph

CASES: dict[str, tuple[str, GraphKind, Domain, Precision]] = {
    "content_encoder": ("tiny_checkpoint", "content_encoder_stats", "a", "fp32"),
    "decoder": ("tiny_checkpoint", "decoder_stats", "b", "fp32"),
    "adain-everywhere-fp16": ("tiny_sn_checkpoint", "decoder_stats", "b", "fp16"),
}
BATCH, CONTENT_HW = 2, (12, 16)


class Exported:
    """One graph as torch and as ONNX."""

    def __init__(
        self,
        checkpoint: Path,
        kind: GraphKind,
        domain: Domain,
        precision: Precision,
        shared: Callable[[Callable[[Path], None]], Path],
    ) -> None:
        opened = open_checkpoint(checkpoint)
        self.config: ModelConfig = opened.config
        self.kind, self.domain, self.precision = kind, domain, precision
        generators = opened.generators()
        self.module = build_graph(generators, kind, domain, "float32")
        typed = in_half(generators, "fp16") if precision == "fp16" else generators
        options = ExportOptions(io="float32").model_copy(update={"precision": precision})

        def make(folder: Path) -> None:
            folder.mkdir()
            graph = export_graph(typed, self.config, kind, domain, options, {})
            onnx.save(graph, folder / "graph.onnx")

        self.onnx = onnx.load(shared(make) / "graph.onnx")
        self.entry = graph_entry(self.config, kind, domain, options)

    def feeds(self) -> dict[str, np.ndarray]:
        """Numbers for every input; the statistics are a graph's own."""
        generator = np.random.default_rng(0)
        height, width = CONTENT_HW
        factor = self.config.size_multiple
        sizes: dict[int | str, int] = {
            "batch": BATCH,
            "content_height": height,
            "content_width": width,
            "height": height * factor,
            "width": width * factor,
        }
        feeds = {
            spec.name: generator.normal(
                0,
                0.5,
                [sizes.get(size, size) for size in spec.shape],  # type: ignore[misc]
            ).astype(spec.dtype)
            for spec in self.entry.inputs
        }
        feeds["norm_stats"] = own_statistics(self.config, self.kind, BATCH)
        feeds["core"] = np.ones((BATCH, 1, height, width), np.float32)
        return feeds

    def in_torch(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs of the network in float32."""
        tensors = [torch.from_numpy(feeds[s.name].astype(np.float32)) for s in self.entry.inputs]
        with torch.inference_mode():
            return [output.numpy() for output in self.module(*tensors)]

    def in_onnxruntime(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs of the exported graph."""
        runner = OnnxRuntimeRunner(self.onnx.SerializeToString(), self.entry, Device("cpu"))
        found = runner.run(feeds)
        return [found[spec.name].astype(np.float32) for spec in self.entry.outputs]


@pytest.fixture(scope="module", params=CASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    checkpoint, kind, domain, precision = CASES[request.param]

    def shared(make: Callable[[Path], None]) -> Path:
        target = tmp_path_factory.mktemp("stats") / "graph"
        return shared_folder(request.config, f"stats-{request.param}", make, target)

    return Exported(request.getfixturevalue(checkpoint), kind, domain, precision, shared)


def test_given_statistics_and_a_core(exported: Exported) -> None:
    feeds = exported.feeds()
    _, own = exported.in_torch(feeds)
    # Half of the rows given, and not quite those that they would measure.
    feeds["norm_stats"][:, ::2] = own[:, ::2] * 1.1
    feeds["core"][:] = 0
    feeds["core"][:, :, 2:9, 3:16] = 1
    expected, measured = exported.in_torch(feeds)
    got, got_measured = exported.in_onnxruntime(feeds)
    tolerance = 1e-4 if exported.precision == "fp32" else 2e-2
    np.testing.assert_allclose(got, expected, atol=tolerance, rtol=tolerance)
    np.testing.assert_allclose(got_measured, measured, atol=tolerance, rtol=10 * tolerance)
    assert np.abs(measured - own).max() > 0.05


def test_only_the_core_is_measured(exported: Exported) -> None:
    """The first norm sees what its convolution gives: its row is that of the part alone."""
    feeds = exported.feeds()
    feeds["core"][0, :, :, 8:] = 0
    if "content" in feeds:
        feeds["content"][0, :, :, 10:] += 9  # a 3x3 convolution further on
    else:
        half = feeds["image"].shape[3] // 2
        feeds["image"][0, :, :, half + 8 :] = 1
    changed = exported.in_onnxruntime(feeds)[1]
    plain = exported.feeds()
    plain["core"][0, :, :, 8:] = 0
    before = exported.in_onnxruntime(plain)[1]
    first = 4  # rows of the first norm, whatever the network
    np.testing.assert_allclose(changed[0, :first], before[0, :first], atol=1e-3)
    np.testing.assert_allclose(changed[1], before[1], atol=1e-3)
    plain["core"][:] = 1
    everything = exported.in_onnxruntime(plain)[1]
    assert np.abs(everything[0, :first] - before[0, :first]).max() > 1e-3


@needs_rtx
def test_tensorrt_builds_them(exported: Exported, request: pytest.FixtureRequest) -> None:
    """With a fixed and a dynamic profile, which are those of the model."""
    fixture = "tiny_model" if exported.precision == "fp32" else "tiny_sn_model"
    manifest = read_manifest(request.getfixturevalue(fixture))
    profiles = [
        *declare_profiles(manifest, sizes="64x96", batch="1"),
        *declare_profiles(manifest, smallest="32", largest="128", batch="1,2"),
    ]
    manifest = manifest.model_copy(update={"io": "float32"})
    shapes = graph_profiles(manifest, exported.entry, profiles)
    assert [set(shape) for shape in shapes] == [{s.name for s in exported.entry.inputs}] * 2
    options = BuildOptions(
        target="tensorrt-rtx", compute_capabilities=("8.9",), optimization_level=0
    )
    graph = exported.onnx.SerializeToString()
    assert build_plan(exported.entry.name, graph, shapes, options).plan[:4] == b"vtrt"
