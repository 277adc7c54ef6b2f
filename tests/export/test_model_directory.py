from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from munit_edge.errors import ConfigError, OutputError, ParityError
from munit_edge.export import model_directory
from munit_edge.export.model_directory import export_model
from munit_edge.export.options import ExportOptions
from munit_edge.files.atomic import sha256
from munit_edge.model.config import Domain, GraphKind, ModelConfig, graph_name
from munit_edge.model.manifest import read_manifest
from munit_edge.trainer.checkpoint import open_checkpoint
from munit_edge.translate.tiles import TiledTranslation
from munit_edge.translator import Translator

ALL_GRAPHS = {
    f"{kind}_{domain}"
    for kind in ("content_encoder", "style_encoder", "decoder")
    for domain in "ab"
}

STATS_GRAPHS = {
    f"{kind}_{domain}_stats" for kind in ("content_encoder", "decoder") for domain in "ab"
}


def test_directory_holds_graphs_and_manifest(tiny_model: Path) -> None:
    files = {path.name for path in tiny_model.iterdir()}
    graphs = {f"{name}.{suffix}" for name in ALL_GRAPHS for suffix in ("onnx", "weights")}
    assert files == {"munit_edge.json", *graphs}


def test_manifest_says_what_is_there(tiny_model: Path, tiny_checkpoint: Path) -> None:
    manifest = read_manifest(tiny_model)
    checkpoint = open_checkpoint(tiny_checkpoint)
    assert manifest.model == checkpoint.config
    assert manifest.checkpoint_sha256 == checkpoint.weights_sha256()
    assert manifest.checkpoint_iteration == 7
    assert {f"{e.kind}_{e.domain}" for e in manifest.graphs} == ALL_GRAPHS
    for entry in manifest.graphs:
        assert entry.sha256 == sha256(tiny_model / entry.file)


def test_parity_covers_graphs_directions_batches_and_sizes(tiny_model: Path) -> None:
    parity = read_manifest(tiny_model).parity
    assert {entry.check for entry in parity} == {*ALL_GRAPHS, "a2b", "b2a"}
    for check in (*ALL_GRAPHS, "a2b"):
        cases = {(e.batch, e.size_hw) for e in parity if e.check == check}
        assert {batch for batch, _ in cases} == {1, 2}
        sizes = {size for _, size in cases}
        assert len(sizes) == 2
        assert any(height != width for height, width in sizes)
        assert len(cases) == 4
    assert all(entry.worst <= entry.tolerance for entry in parity)


def test_graph_files_describe_themselves(tiny_sn_model: Path) -> None:
    model = onnx.load(tiny_sn_model / "decoder_b.onnx")
    metadata = {item.key: item.value for item in model.metadata_props}
    assert metadata["munit_edge.graph"] == "decoder"
    assert metadata["munit_edge.domain"] == "b"
    assert metadata["munit_edge.architecture"] == "munit-sn"
    config = ModelConfig.model_validate_json(metadata["munit_edge.model"])
    assert config == read_manifest(tiny_sn_model).model
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]


def test_graph_files_name_no_source_files(tiny_model: Path) -> None:
    for path in tiny_model.glob("*.onnx"):
        data = path.read_bytes()
        assert b".py" not in data
        assert str(Path.cwd()).encode() not in data


@pytest.mark.parametrize("model", ["tiny_model", "tiny_sn_model"])
def test_nothing_is_left_to_compute_beforehand(model: str, request: pytest.FixtureRequest) -> None:
    directory: Path = request.getfixturevalue(model)
    for path in directory.glob("*.onnx"):
        graph = onnx.load(path).graph
        constants = {tensor.name for tensor in graph.initializer}
        constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
        left = [
            node.name
            for node in graph.node
            if node.op_type != "Constant" and constants.issuperset(filter(None, node.input))
        ]
        assert not left, f"{path.name} computes with constants alone in {left}"


@pytest.mark.parametrize("fold", [True, False])
def test_decoders_are_folded_unless_switched_off(
    fold: bool, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Seen in the weights that would be exported: as trained the kernels are 5 x 5 and 7 x 7."""
    seen: dict[str, tuple[int, ...]] = {}

    def stop(generators: torch.nn.ModuleDict, *_: Any) -> None:
        seen.update({name: tuple(p.shape[2:]) for name, p in generators.named_parameters()})
        raise LookupError("seen")

    monkeypatch.setattr(model_directory, "export_graph", stop)
    with pytest.raises(LookupError, match="seen"):
        export_model(tiny_checkpoint, tmp_path / "model", ExportOptions(fold=fold))
    assert seen["a.decoder.up.0.conv.weight"] == ((3, 3) if fold else (5, 5))
    assert seen["b.decoder.to_image.conv.weight"] == ((7, 1) if fold else (7, 7))


def test_casts_stand_first_and_last(tiny_model: Path) -> None:
    """TensorRT takes bytes only so."""
    encoder = onnx.load(tiny_model / "content_encoder_a.onnx").graph
    users = [node for node in encoder.node if "image" in node.input]
    assert [node.op_type for node in users] == ["Cast"]
    decoder = onnx.load(tiny_model / "decoder_b.onnx").graph
    makers = [node for node in decoder.node if "image" in node.output]
    assert [node.op_type for node in makers] == ["Cast"]


def test_spectral_norm_and_weight_arithmetic_are_folded(tiny_sn_model: Path) -> None:
    graph = onnx.load(tiny_sn_model / "content_encoder_a.onnx").graph
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        assert not set(node.input) <= constants, f"{node.op_type} computes a constant"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ExportOptions(io="float32", batch=2, height=32, width=48, opset=22, stats_graphs=False),
            id="float32-fixed-opset22",
        ),
        pytest.param(ExportOptions(batch=1), id="one-image-stats", marks=pytest.mark.slow),
    ],
)
def test_variants_translate_like_the_checkpoint(
    options: ExportOptions, tiny_sn_checkpoint: Path, tmp_path: Path
) -> None:
    manifest = export_model(tiny_sn_checkpoint, tmp_path / "model", options)
    assert {entry.opset for entry in manifest.graphs} == {options.opset}
    assert {entry.name for entry in manifest.graphs} == ALL_GRAPHS | (
        STATS_GRAPHS if options.stats_graphs else set()
    )
    assert {entry.check for entry in manifest.parity} >= {entry.name for entry in manifest.graphs}
    images = np.random.default_rng(0).integers(0, 256, (3, 29, 41, 1), dtype=np.uint8)
    with (
        Translator.open(tmp_path / "model", device="cpu") as exported,
        Translator.open(tiny_sn_checkpoint, device="cpu") as reference,
    ):
        styles = exported.sample_styles(2)
        if options.height is None:
            expected = reference.translate(images, "a2b", styles=styles)
        else:
            padded = np.pad(images, ((0, 0), (0, 3), (0, 7), (0, 0)), mode="reflect")
            expected = reference.translate(padded, "a2b", styles=styles)[:, :, :29, :41]
        got = exported.translate(images, "a2b", styles=styles)
        if options.stats_graphs:
            _check_tiles(exported, reference)
    assert got.shape == (3, 2, 29, 41, 4)
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1


def _check_tiles(exported: Translator, reference: Translator) -> None:
    """The exported `*_stats` graphs on tiles agree with torch on the whole image."""
    coarse = np.random.default_rng(1).integers(0, 256, (1, 12, 15, 1), dtype=np.uint8)
    image = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :93, :118]
    styles = exported.sample_styles(2)
    whole = reference.translate(image, "a2b", styles=styles)[0].astype(int)
    tiles = TiledTranslation(exported, "a2b", statistics="exact")
    got = np.stack(list(tiles.translate(image[0], styles, core=48)))
    assert np.abs(got - whole).max() <= 2


def test_failed_parity_lists_every_failure_and_leaves_nothing(
    tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs of other weights must be caught, and not be left behind."""

    def with_two_spoilt(
        generators: Any, config: Any, kind: GraphKind, domain: Domain, *_: Any
    ) -> Any:
        model = onnx.load(tiny_model / f"{graph_name(kind, domain)}.onnx")
        if (kind, domain) in {("content_encoder", "a"), ("decoder", "a")}:
            weight = next(t for t in model.graph.initializer if t.name.endswith("conv.weight"))
            spoilt = onnx.numpy_helper.to_array(weight) + np.float32(0.5)
            weight.CopyFrom(onnx.numpy_helper.from_array(spoilt, weight.name))
        return model

    monkeypatch.setattr(model_directory, "export_graph", with_two_spoilt)
    with pytest.raises(ParityError) as caught:
        export_model(tiny_checkpoint, tmp_path / "model", ExportOptions(stats_graphs=False))
    message = str(caught.value)
    for check in ("content_encoder_a", "decoder_a", "a2b", "b2a"):
        for batch in (1, 2):
            assert f"{check} at batch {batch}, 64 x 64" in message
            assert f"{check} at batch {batch}, 64 x 96" in message
    for check in ("content_encoder_b ", "style_encoder_a ", "style_encoder_b ", "decoder_b "):
        assert check not in message
    assert list(tmp_path.iterdir()) == []


def test_existing_directory_is_kept(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        export_model(tiny_checkpoint, tmp_path / "model", ExportOptions())
    assert (tmp_path / "model" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions(height=30, width=32), "--height 30 .* multiples of 4 pixels, at least 16"),
        (ExportOptions(height=32, width=8), "--width 8 .* at least 16"),
    ],
)
def test_sizes_that_the_model_cannot_take(
    options: ExportOptions, message: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        export_model(tiny_checkpoint, tmp_path / "model", options)
