"""Large tensors lie in weights files, and graphs hold what they held before."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from tiny_graphs import soft_areas

from munit_edge.export.model_directory import export_model
from munit_edge.export.options import ExportOptions
from munit_edge.export.weights_files import LARGE, PAGE, load_graph, move_weights, write_graph
from munit_edge.files.atomic import sha256
from munit_edge.model.config import DOMAINS, TWINS, graph_name
from munit_edge.model.manifest import MODEL_DIRECTORY, read_manifest
from munit_edge.model.opening import checked_graph
from munit_edge.model.precision import Precision


def _places(path: Path) -> dict[str, dict[str, str]]:
    """Where a graph file says that its tensors outside are."""
    model = onnx.load(path, load_external_data=False)
    return {
        tensor.name: {item.key: item.value for item in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }


def test_twins_share_one_file(tiny_stats_model: Path) -> None:
    manifest = read_manifest(tiny_stats_model)
    for kind, twin in TWINS.items():
        for domain in DOMAINS:
            entries = manifest.graph(kind, domain), manifest.graph(twin, domain)
            weights = entries[0].weights
            assert weights
            assert weights == entries[1].weights
            assert weights.file == f"{graph_name(kind, domain)}.weights"
            assert weights.sha256 == sha256(tiny_stats_model / weights.file)
            assert weights.bytes == (tiny_stats_model / weights.file).stat().st_size
            for entry in entries:
                places = _places(tiny_stats_model / entry.file)
                assert places
                for place in places.values():
                    assert place["location"] == weights.file
                    assert int(place["offset"]) % PAGE == 0
                    assert int(place["offset"]) + int(place["length"]) <= weights.bytes


def test_graphs_without_twins_have_weights_files(tiny_model: Path) -> None:
    for entry in read_manifest(tiny_model).graphs:
        assert entry.weights
        assert entry.weights.file == f"{entry.name}.weights"
        assert _places(tiny_model / entry.file)


def test_each_large_tensor_is_stored_once(tiny_stats_model: Path) -> None:
    manifest = read_manifest(tiny_stats_model)
    graph, twin = (manifest.graph(kind, "b") for kind in ("decoder", "decoder_stats"))
    held = [len(t.raw_data) for e in (graph, twin) for t in _inside(tiny_stats_model / e.file)]
    assert max(held) < LARGE
    places = [_places(tiny_stats_model / entry.file) for entry in (graph, twin)]
    offsets = [{place["offset"] for place in found.values()} for found in places]
    assert offsets[0] == offsets[1]


def _inside(path: Path) -> list[onnx.TensorProto]:
    model = onnx.load(path, load_external_data=False)
    return [t for t in model.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]


def test_both_exports_hold_the_same_graphs(tiny_stats_model: Path, tiny_model: Path) -> None:
    for entry in read_manifest(tiny_model).graphs:
        for file in entry.files:
            assert (tiny_stats_model / file).read_bytes() == (tiny_model / file).read_bytes()


def test_moving_again_changes_nothing(tiny_stats_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_stats_model, tmp_path / "model"))
    before = {path.name: sha256(path) for path in model.iterdir() if path.is_file()}
    entries = read_manifest(model).graphs
    assert move_weights(model, entries) == entries
    assert before == {path.name: sha256(path) for path in model.iterdir() if path.is_file()}


@pytest.mark.parametrize("factor", [0, 1, 2])
def test_a_twin_with_other_weights_keeps_them(
    factor: int, tiny_stats_model: Path, tmp_path: Path
) -> None:
    """As int8 graphs and their twins in float32."""
    model = Path(shutil.copytree(tiny_stats_model, tmp_path / "model"))
    manifest = read_manifest(model)
    entry = manifest.graph("decoder", "b")
    other = load_graph(model, entry)
    for tensor in other.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.nbytes >= LARGE:
            tensor.CopyFrom(onnx.numpy_helper.from_array(factor * values, tensor.name))
    changed = write_graph(other, model, entry.model_copy(update={"weights": None}))
    others = [each for each in manifest.graphs if each is not entry]
    moved = {e.name: e for e in move_weights(model, [changed, *others])}
    assert moved["decoder_b"].weights
    assert (moved["decoder_b_stats"].weights is None) == (factor != 1)
    for each in moved.values():
        checked_graph(model, each)
    assert load_graph(model, moved["decoder_b"]) == other
    twin = "decoder_b_stats"
    assert load_graph(model, moved[twin]) == load_graph(
        tiny_stats_model, manifest.graph("decoder_stats", "b")
    )
    assert moved[twin].weights or onnx.load(model / f"{twin}.onnx", load_external_data=False) == (
        load_graph(model, moved[twin])
    )


def test_a_graph_of_small_tensors_has_no_weights_file(tiny_model: Path, tmp_path: Path) -> None:
    entry = read_manifest(tiny_model).graph("style_encoder", "a")
    graph = load_graph(tiny_model, entry)
    for tensor in graph.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(3, np.float32), tensor.name))
    small = write_graph(graph, tmp_path, entry.model_copy(update={"weights": None}))
    assert move_weights(tmp_path, [small]) == (small,)
    assert [path.name for path in tmp_path.iterdir()] == [entry.file]


@pytest.mark.parametrize(
    "precision", ["fp16", "int8", pytest.param("bf16", marks=pytest.mark.slow)]
)
def test_reduced_precision(precision: Precision, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """In 16 bits all is shared; with 8 bits what the twin needs in float32 stays in its file."""
    for domain in "AB":
        folder = tmp_path / "data" / f"train{domain}"
        folder.mkdir(parents=True)
        for number, image in enumerate(soft_areas(2, 3, ord(domain))):
            Image.fromarray(image[0]).save(folder / f"{number}.png")
    options = ExportOptions(
        precision=precision,
        calibration=(tmp_path / "data",),
        min_psnr_db=1.0,
    )
    manifest = export_model(tiny_checkpoint, tmp_path / "model", options)
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files == {"munit_edge.json", *(f for e in manifest.graphs for f in e.files)}
    assert files <= MODEL_DIRECTORY.files({})
    for entry in manifest.graphs:
        checked_graph(tmp_path / "model", entry)
    graph, twin = (manifest.graph(kind, "b") for kind in ("decoder", "decoder_stats"))
    inside = [_inside(tmp_path / "model" / entry.file) for entry in (graph, twin)]
    large = [[t.name for t in found if len(t.raw_data) >= LARGE] for found in inside]
    if precision == "int8":
        assert all(re.search(r"_quantized$", name) for name in large[0])
        assert large[1]
    else:
        assert large == [[], []]
        assert graph.weights
