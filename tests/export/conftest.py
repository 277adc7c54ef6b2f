"""Graphs in reduced precision, made once for all tests that look at them. Do not change them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import onnx
import pytest
from PIL import Image
from shared_files import shared_folder
from tiny_graphs import CalibratedModel, TinyGraph, soft_areas, soft_images

from munit_edge.export.half_precision import in_half
from munit_edge.export.model_directory import export_model
from munit_edge.export.onnx_graph import export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.export.quantise import calibrate
from munit_edge.model.config import Domain, GraphKind
from munit_edge.model.manifest import read_manifest
from munit_edge.trainer.checkpoint import open_checkpoint
from munit_edge.trainer.fast.folding import fold_decoders


@pytest.fixture(scope="session")
def fp16_graph(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> TinyGraph:
    """Any graph of the tiny models with every layer in fp16, sizes free."""

    @functools.cache
    def graph(checkpoint: str, kind: GraphKind, domain: Domain) -> Any:
        def make(folder: Path) -> None:
            opened = open_checkpoint(request.getfixturevalue(checkpoint))
            options = ExportOptions().model_copy(update={"precision": "fp16"})
            generators = opened.generators()
            fold_decoders(generators)
            half = in_half(generators, "fp16")
            folder.mkdir()
            onnx.save(
                export_graph(half, opened.config, kind, domain, options, {}), folder / "graph.onnx"
            )

        name = f"fp16-{checkpoint}-{kind}-{domain}"
        target = tmp_path_factory.mktemp("fp16") / name
        return onnx.load(shared_folder(request.config, name, make, target) / "graph.onnx")

    return graph


@pytest.fixture(scope="session")
def bf16_model(
    request: pytest.FixtureRequest,
    tiny_sn_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The model directory of `tiny_sn_checkpoint` in bf16, with its last layers in fp32."""
    root = tmp_path_factory.mktemp("bf16")

    def make(model: Path) -> None:
        for domain, mode in (("A", "L"), ("B", "RGBA")):
            folder = root / "data" / f"train{domain}"
            folder.mkdir(parents=True)
            for number, image in enumerate(soft_areas(2, len(mode), ord(domain))):
                Image.fromarray(image[0].squeeze()).save(folder / f"{number}.png")
        options = ExportOptions(
            precision="bf16",
            calibration=(root / "data",),
            keep_fp32=("decoder_?.to_image",),
            stats_graphs=False,
        )
        export_model(tiny_sn_checkpoint, model, options)

    return shared_folder(request.config, "bf16_model", make, root / "model")


@pytest.fixture(scope="session")
def calibrated(request: pytest.FixtureRequest) -> CalibratedModel:
    """The tiny models' fp32 graphs with the ranges of their activations, ready for 8 bits."""

    @functools.cache
    def model(name: str) -> Any:
        directory: Path = request.getfixturevalue(name)
        manifest = read_manifest(directory)
        images = soft_images(manifest.model)
        graphs = calibrate(directory, manifest, images.calibration)
        for graph in graphs.values():
            # Float8 Q/DQ begins there; what these graphs use has the same meaning in 18.
            graph.model.opset_import[0].version = 19
        return graphs

    return model
