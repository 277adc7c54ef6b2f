"""Make munit_edge/doctor/selftest_model: the tiny model of `munit-edge doctor --selftest`.

    python tools/make_selftest_model.py

Random weights, seeded; the graphs come from our own exporter, the expected outputs from torch on
the CPU, and those of graphs with 8 bits from ONNX's reference implementation, which computes each
operator by its definition. Run it again when the manifest's format or the networks change, and
commit the result. It prints how far ONNX Runtime is from the expected outputs: the tolerances in
`munit_edge.doctor.selftest_child` should be a few times that.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from munit_edge.doctor.selftest import CHECKPOINT_FOLDER, FOLDER, graphs_folder
from munit_edge.doctor.selftest_child import (
    Arrays,
    compute,
    directions,
    expected_file,
    tolerance,
    write_images,
)
from munit_edge.engines.base import AnyArray, GraphSet, Runner, check_feeds
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.table import ENGINE_FACTS
from munit_edge.export.model_directory import export_model
from munit_edge.export.options import ExportOptions
from munit_edge.export.parity import Case, test_images
from munit_edge.model.config import Domain, GraphKind, ModelConfig, split_direction
from munit_edge.model.manifest import (
    MANIFEST_FILE,
    GraphEntry,
    Manifest,
    manifest_json,
    read_manifest,
)
from munit_edge.model.precision import PRECISION_FACTS, PRECISIONS, Precision
from munit_edge.styles.codes import sample_styles
from munit_edge.trainer.checkpoint import CheckpointInfo, build_generators, save_checkpoint
from munit_edge.trainer.torch_api import torch

CONFIG = ModelConfig(
    width=2, num_style_downsamples=3, num_res_blocks=1, num_mlp_layers=2, mlp_dim=8, style_dim=4
)
IMAGE_HW = (18, 25)  # not multiples of 4: the translation has to pad and crop
WEIGHT_BITS = 6
"""Significant bits of the weights: zeros compress well in a wheel."""
MAX_BYTES = 200_000
"""Of the compressed files, as in a wheel."""


def main() -> int:
    torch.manual_seed(0)
    shutil.rmtree(FOLDER, ignore_errors=True)
    checkpoint = FOLDER / CHECKPOINT_FOLDER
    info = CheckpointInfo(iteration=1)
    save_checkpoint(checkpoint, CONFIG, info, generators=_generators())
    given = _given()
    with tempfile.TemporaryDirectory() as scratch:
        images = write_images(given, Path(scratch))
        for precision in PRECISIONS:
            options = ExportOptions(
                precision=precision,
                calibration=images if precision != "fp32" else (),
                stats_graphs=False,
            )
            export_model(checkpoint, FOLDER / graphs_folder(precision), options)
            _trim(FOLDER / graphs_folder(precision), precision)
    with open_graphs(checkpoint, "torch", "cpu") as graphs:
        expected: Arrays = {**given, **compute(graphs, given)}
    np.savez_compressed(FOLDER / expected_file("fp32"), allow_pickle=False, **expected)
    for precision, facts in PRECISION_FACTS.items():
        if not facts.expected_exactly:
            continue
        own = compute(DefinedGraphs(FOLDER / graphs_folder(precision)), given, precision)
        np.savez_compressed(FOLDER / expected_file(precision), allow_pickle=False, **own)
    for precision in PRECISIONS:
        if precision in ENGINE_FACTS["onnxruntime"].cpu_speed:
            _print_differences(precision, given)

    contents = [path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()]
    size = sum(len(zlib.compress(content)) for content in contents)
    print(f"wrote {FOLDER}: {sum(map(len, contents))} bytes, {size} compressed")
    return 0 if size <= MAX_BYTES else 1


class DefinedGraphs(GraphSet):
    """The graphs of a model directory in ONNX's reference implementation."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._manifest: Manifest = read_manifest(directory)
        super().__init__(
            self._manifest.model,
            self._manifest.io,
            self._manifest.checkpoint_sha256,
            engine="onnx reference",
            device="cpu",
        )

    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        entry = self._manifest.graph(kind, domain)
        return DefinedRunner(self._directory / entry.file, entry)


class DefinedRunner(Runner):
    """One graph in ONNX's reference implementation."""

    def __init__(self, file: Path, entry: GraphEntry) -> None:
        super().__init__(entry.name, entry.inputs, entry.outputs)
        model = onnx.load(file)
        # The reference has Q/DQ from 19 on, in which all that these graphs use is as it was in 18.
        model.opset_import[0].version = max(19, model.opset_import[0].version)
        self._graph = ReferenceEvaluator(model)

    def run(self, feeds: Mapping[str, AnyArray], *, keep_on_device: bool = False) -> dict[str, Any]:
        """See `Runner.run`; outputs are always on the host."""
        check_feeds(self, feeds)
        values: Any = self._graph.run(None, dict(feeds))
        return {spec.name: value for spec, value in zip(self.outputs, values, strict=True)}


def _generators() -> torch.nn.ModuleDict:
    generators = build_generators(CONFIG)
    with torch.no_grad():
        for parameter in generators.parameters():
            if parameter.ndim == 1:  # a bias or scale without effect would hide a fault
                parameter.add_(0.1 * torch.randn_like(parameter))
            mantissa, exponent = torch.frexp(parameter)
            rounded = torch.round(mantissa * 2**WEIGHT_BITS) / 2**WEIGHT_BITS
            parameter.copy_(torch.ldexp(rounded, exponent))
    return generators


def _given() -> Arrays:
    image_a, image_b = (test_images(Case(1, IMAGE_HW), 3, seed) for seed in (0, 1))
    return {
        "image_a": image_a,
        "image_b": image_b,
        "style": sample_styles(1, CONFIG.style_dim),
    }


def _trim(directory: Path, precision: Precision) -> None:
    """Remove the graphs that the precision's directions do not need, and their parity entries."""
    manifest = read_manifest(directory)
    pairs = [split_direction(direction) for direction in directions(precision)]
    needed = {
        f"{kind}_{domain}"
        for source, target in pairs
        for kind, domain in (
            ("content_encoder", source),
            ("style_encoder", target),
            ("decoder", target),
        )
    }
    for entry in manifest.graphs:
        if entry.name not in needed:
            for file in entry.files:
                (directory / file).unlink()
    kept = {
        "graphs": tuple(entry for entry in manifest.graphs if entry.name in needed),
        "parity": tuple(p for p in manifest.parity if p.check in {*needed, *directions(precision)}),
    }
    text = manifest_json(manifest.model_copy(update=kept))
    (directory / MANIFEST_FILE).write_text(text, encoding="utf-8")


def _print_differences(precision: Precision, given: Arrays) -> None:
    """How far ONNX Runtime's outputs are from the expected ones, and from those in fp32."""
    own, exact = (
        dict(np.load(FOLDER / expected_file(p), allow_pickle=False)) for p in (precision, "fp32")
    )
    directory = FOLDER / graphs_folder(precision)
    with open_graphs(directory, "onnxruntime", "cpu") as graphs:
        found = compute(graphs, given, precision)
    for name, values in found.items():
        off, lost = (np.abs(values.astype(float) - e[name]).max() for e in (own, exact))
        limit = tolerance(precision, "cpu", own[name])
        print(f"{precision} {name:<18} off by {off:.2g} of {limit:.2g}; from fp32 {lost:.2g}")


if __name__ == "__main__":
    sys.exit(main())
