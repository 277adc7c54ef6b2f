"""float16 and bfloat16: types, arithmetic, gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command_line import invoke
from PIL import Image
from tiny_graphs import TinyGraph

from munit_edge.errors import ConfigError, GateError
from munit_edge.export.calibration import UserImages
from munit_edge.export.choose_layers import Reference, choose_half
from munit_edge.export.emulated_half import HalfArithmetic
from munit_edge.export.half_precision import (
    alike_in_both_domains,
    in_half,
    layers,
    matching,
)
from munit_edge.export.onnx_graph import as_float32, export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.model.config import GRAPH_KINDS, GraphKind, ModelConfig
from munit_edge.model.manifest import read_manifest
from munit_edge.model.precision import Precision
from munit_edge.trainer.checkpoint import Checkpoint, open_checkpoint

OVERFLOWING = "decoder_b.up.0"


@pytest.fixture(params=["tiny_checkpoint", "tiny_sn_checkpoint"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return open_checkpoint(request.getfixturevalue(request.param))


def _image(config: ModelConfig, domain: str, seed: int = 0) -> torch.Tensor:
    channels = config.channels_a if domain == "a" else config.channels_b
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, 32, 40, generator=generator) * 2 - 1


@pytest.mark.parametrize(("precision", "bits"), [("fp16", 11), ("bf16", 8)])
def test_rounded_arithmetic_is_that_of_true_half(
    precision: Precision, bits: int, checkpoint: Checkpoint
) -> None:
    typed = in_half(checkpoint.generators(), precision)
    image = _image(checkpoint.config, "a")
    style = torch.randn(1, checkpoint.config.style_dim, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        true_code, true_style = typed["a"].encode(image)
        true_image = typed["b"].decoder(true_code, style)
        with HalfArithmetic():
            code, found_style = typed["a"].encode(image)
            decoded = typed["b"].decoder(true_code, style)
    assert code.dtype == true_code.dtype == (torch.float16 if bits == 11 else torch.float32)
    unit = 2.0 ** (1 - bits)  # in the last place of 1
    assert float((code - true_code).abs().max()) <= 2 * unit * float(true_code.abs().max())
    # Not float32 with rounded codes: single operators must round, which float32 does not show.
    exact = checkpoint.generators()["a"].content_encoder(image)
    assert float((code - exact).abs().mean()) > 0.1 * float((true_code - exact).abs().mean())
    assert torch.allclose(found_style, true_style, atol=2 * unit)
    assert torch.allclose(decoded, true_image, atol=4 * unit)


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_rounded_arithmetic_overflows_where_true_half_does(factor: float) -> None:
    conv = torch.nn.Conv2d(8, 2, 3, bias=False)
    with torch.no_grad():
        conv.weight.fill_(500.0)
        conv.weight[1] *= -1
    image = torch.full((1, 8, 3, 3), factor * 1.5).half()  # 8 * 9 * 500 * 1.5 = 54000
    conv.half()
    with torch.inference_mode():
        expected = conv(image)
        with HalfArithmetic():
            found = conv(image)
    assert found.dtype == torch.float16
    assert torch.equal(found, expected)
    assert bool(found.isinf().all()) == (factor > 1)


KEPT = ("*.residual.0.block_1", "decoder_b.up")


@pytest.mark.parametrize(
    "checkpoint",
    ["tiny_checkpoint", pytest.param("tiny_sn_checkpoint", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("kind", GRAPH_KINDS)
def test_types_in_the_graph(kind: GraphKind, checkpoint: str, fp16_graph: TinyGraph) -> None:
    """Of the graphs that test_tensorrt_takes_graphs.py builds."""
    _check_types(fp16_graph(checkpoint, kind, "a"), kind, frozenset())


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        ([], True),
        (["decoder_a.to_image", "decoder_b.to_image"], True),
        (["decoder_a.to_image"], False),
        (["decoder_a.to_image", "content_encoder_b.stem"], False),
        (["decoder_a.up.0", "decoder_b.up.1"], False),
    ],
)
def test_layers_that_are_kept_in_one_domain_alone(names: list[str], alike: bool) -> None:
    assert alike_in_both_domains(names) is alike


@pytest.mark.parametrize(
    ("checkpoint", "kind"),
    [("tiny_checkpoint", "decoder"), ("tiny_sn_checkpoint", "content_encoder")],
    indirect=["checkpoint"],
)
@pytest.mark.slow
def test_types_in_a_mixed_graph(kind: GraphKind, checkpoint: Checkpoint) -> None:
    generators = checkpoint.generators()
    kept = matching([name for name, _ in layers(generators)], KEPT)
    options = ExportOptions(precision="fp16", calibration=(Path("unused"),))
    model = export_graph(
        in_half(generators, "fp16", kept), checkpoint.config, kind, "b", options, {}
    )
    _check_types(model, kind, kept)


def _check_types(model: Any, kind: GraphKind, kept: frozenset[str]) -> None:
    types = _types(model)
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    makers = {output: node for node in model.graph.node for output in node.output}
    seen = set()
    for node in model.graph.node:
        seen.add(node.op_type)
        if node.op_type == "Cast":
            before = makers.get(node.input[0])
            assert before is None or before.op_type != "Cast", f"two casts follow at {node.name}"
        if node.op_type == "Conv":
            layer = node.input[1].partition(".")[2].removesuffix(".conv.weight")
            is_kept = f"{kind}_b.{layer}" in kept or layer == "head.weight"
            assert types[node.input[0]] == types[node.input[1]] == (single if is_kept else half)
        if node.op_type in {"InstanceNormalization", "Gemm", "Tanh", "Round", "Sqrt", "Clip"}:
            assert types[node.input[0]] == single, node.op_type
        if node.op_type == "ReduceMean" or "Global" in node.op_type:
            assert types[node.input[0]] == single, node.op_type
    assert "Conv" in seen
    assert "Cast" in seen
    borders = {v.name: v.type.tensor_type.elem_type for v in [*model.graph.input]}
    borders |= {v.name: v.type.tensor_type.elem_type for v in model.graph.output}
    wanted = {"content": half, "style": single, "image": onnx.TensorProto.UINT8}
    assert borders == {name: wanted[name] for name in borders}


def _types(model: Any) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("decoder_b.up.0", {"decoder_b.up.0"}),
        ("decoder_?.up.0", {"decoder_a.up.0", "decoder_b.up.0"}),
        ("decoder_b.residual.0", {f"decoder_b.residual.0.{n}" for n in ("sum", "block_0")}),
        ("content_encoder_a", {"content_encoder_a.stem"}),
    ],
)
def test_names_of_layers_to_keep(pattern: str, expected: set[str]) -> None:
    names = [
        *("content_encoder_a.stem", "decoder_a.up.0", "decoder_b.up.0", "decoder_b.up.10"),
        *("decoder_b.residual.0.sum", "decoder_b.residual.0.block_0"),
    ]
    assert matching(names, [pattern]) == expected


def test_a_name_that_no_layer_has() -> None:
    with pytest.raises(ConfigError, match=r"'decoder_c' matches no layer .* like decoder_a.up"):
        matching(["decoder_a.up.0"], ["decoder_c"])


def test_bf16_graphs_and_their_checks(bf16_model: Path) -> None:
    """Types in the files, the gate's entries, and copies that run where the files do not."""
    manifest = read_manifest(bf16_model)
    assert {(entry.precision, entry.opset) for entry in manifest.graphs} == {("bf16", 22)}
    assert manifest.graph("content_encoder", "a").outputs[0].dtype == "float32"
    assert [gate.arithmetic for gate in manifest.gate] == ["rounded-float32"]
    for gate in manifest.gate:
        assert gate.kept_fp32 == ("decoder_a.to_image", "decoder_b.to_image")
        assert 35 < min(result.psnr_db for result in gate.results) < 80
    assert all(entry.worst <= entry.tolerance for entry in manifest.parity)
    brain, single = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    for entry in manifest.graphs:
        model = onnx.load(bf16_model / entry.file)
        types = _types(model)
        for node in model.graph.node:
            if node.op_type == "Conv":
                is_float = "to_image" in node.input[1] or "head" in node.input[1]
                assert types[node.input[0]] == (single if is_float else brain), node.input[1]
            if node.op_type in {"InstanceNormalization", "ReduceMean", "Gemm", "Clip"}:
                assert types[node.input[0]] == single, node.op_type
        copy = as_float32(model)
        onnx.checker.check_model(copy, full_check=True)
        assert brain in types.values()
        assert brain not in _types(copy).values()


def test_bf16_needs_a_gpu_to_run(bf16_model: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("L", (40, 32), 99).save(photo)
    arguments = ["translate", bf16_model, photo, "-o", tmp_path / "out", "--direction", "a2b"]
    result = invoke(*arguments, "--engine", "onnxruntime")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "is in bf16, and ONNX Runtime has no bf16 convolutions on the CPU" in result.stderr
    assert "--precision fp16" in result.stderr


# ----------------------------------------------------------------------------------------------
# The gate


def _float32(checkpoint: Checkpoint, *, overflowing: bool) -> Reference:
    """The model; one layer's convolution perhaps so large that the norm after it must shrink it."""
    generators = checkpoint.generators()
    if overflowing:
        conv = generators.get_submodule("b.decoder.up.0.conv")
        with torch.no_grad():
            for parameter in conv.parameters():
                parameter.mul_(3e5)
    random = np.random.default_rng(0)
    config = checkpoint.config
    images = {
        domain: [random.integers(0, 256, (1, 32, 32, config.channels(domain)), dtype=np.uint8)]
        for domain in ("a", "b")
    }
    return Reference(config, generators, UserImages(images, images))


def _options(**settings: Any) -> ExportOptions:
    return ExportOptions(precision="fp16", calibration=(Path("unused"),), **settings)


def test_gate_holds_and_reports_its_numbers(checkpoint: Checkpoint) -> None:
    choice = choose_half(_float32(checkpoint, overflowing=False), "fp16", _options())
    assert choice.gate.kept_fp32 == ()
    assert {result.direction for result in choice.gate.results} == {"a2b", "b2a"}
    for result in choice.gate.results:
        assert result.translations == 3
        assert 45 < result.worst_psnr_db <= result.psnr_db < 90
        assert 0.99 < result.worst_ssim <= result.ssim <= 1
    largest = [entry.largest for entry in choice.gate.ranges]
    assert largest == sorted(largest, reverse=True)
    assert 0 < largest[0] < choice.gate.ranges[0].limit == 65504


def test_gate_names_the_layer_that_overflows(tiny_checkpoint: Path) -> None:
    model = _float32(open_checkpoint(tiny_checkpoint), overflowing=True)
    with pytest.raises(GateError) as caught:
        choose_half(model, "fp16", _options())
    message = str(caught.value)
    assert f"infinite values in {OVERFLOWING}.conv (largest in fp32 " in message
    assert f"the layers that lose most are {OVERFLOWING} (overflows), " in message
    assert "--keep-fp32" in message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "setting", [{"auto_mixed": True}, {"keep_fp32": (OVERFLOWING,)}], ids=["auto", "named"]
)
def test_a_layer_that_overflows_is_kept(setting: dict[str, Any], tiny_checkpoint: Path) -> None:
    model = _float32(open_checkpoint(tiny_checkpoint), overflowing=True)
    choice = choose_half(model, "fp16", _options(**setting))
    assert choice.gate.kept_fp32 == (OVERFLOWING,)
    assert OVERFLOWING not in choice.reduced
    assert min(result.psnr_db for result in choice.gate.results) > 45


def test_auto_mixed_reaches_a_threshold_of_its_own(tiny_checkpoint: Path) -> None:
    model = _float32(open_checkpoint(tiny_checkpoint), overflowing=False)
    plain = choose_half(model, "fp16", _options()).gate
    wanted = min(result.psnr_db for result in plain.results) + 3
    mixed = choose_half(model, "fp16", _options(auto_mixed=True, min_psnr_db=wanted))
    assert min(result.psnr_db for result in mixed.gate.results) >= wanted
    assert 0 < len(mixed.gate.kept_fp32) < len(list(layers(model.generators)))


def test_nothing_left_to_reduce(tiny_checkpoint: Path) -> None:
    model = _float32(open_checkpoint(tiny_checkpoint), overflowing=False)
    with pytest.raises(ConfigError, match="keeps every layer"):
        choose_half(model, "fp16", _options(keep_fp32=("*",)))
