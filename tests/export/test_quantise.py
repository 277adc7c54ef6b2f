"""int8 and fp8: what is stored, what it computes, and the gate's choice of layers."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    create_calibrator,
)
from tiny_graphs import CalibratedModel, soft_images

from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.runner import directory_graphs, open_session
from munit_edge.errors import ConfigError
from munit_edge.export.choose_layers import Choice, Reference, choose_eight_bits
from munit_edge.export.options import ExportOptions
from munit_edge.export.quantise import CalibratedGraph, Range, calibrate, quantised_graphs
from munit_edge.model.config import DOMAINS, GRAPH_KINDS, graph_name
from munit_edge.model.manifest import read_manifest
from munit_edge.model.precision import PRECISION_FACTS, Precision
from munit_edge.trainer.checkpoint import open_checkpoint

KINDS = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
EIGHT_BITS = [name for name, facts in PRECISION_FACTS.items() if facts.family == "eight-bit"]


def _constants(model: Any) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


@pytest.mark.parametrize("precision", EIGHT_BITS)
def test_weights_are_stored_in_eight_bits(
    precision: Precision, calibrated: CalibratedModel
) -> None:
    graph = calibrated("tiny_model")["decoder_b"]
    model = graph.quantised(list(graph.nodes), precision)
    onnx.checker.check_model(model, full_check=True)
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    before, after = _constants(graph.model), _constants(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    convolutions = [
        node
        for node in model.graph.node
        if node.op_type == "Conv" and not node.input[1].endswith(".moves")
    ]
    assert len(convolutions) == sum(map(len, graph.nodes.values())) >= 5
    for conv in convolutions:
        image, weight = (makers[name] for name in conv.input[:2])
        assert image.op_type == weight.op_type == "DequantizeLinear"
        assert makers[image.input[0]].op_type == "QuantizeLinear"
        stored, scale, zero = weight.input
        name = stored.removesuffix("_quantized")
        assert name not in after
        assert kinds[stored] == kinds[zero] == KINDS[precision]
        exact, steps = before[name], after[stored].astype(np.float32)
        per_channel = precision == "int8"
        assert after[scale].shape == ((exact.shape[0],) if per_channel else ())
        assert not after[zero].astype(np.float32).any()
        step = after[scale].reshape(-1, 1, 1, 1)
        # Half a step in int8; half of a number's last place, 1 of 3 bits after the first, in fp8.
        allowed = step / 2 if per_channel else np.maximum(np.abs(exact) / 16, step * 2.0**-10)
        assert np.all(np.abs(steps * step - exact) <= 1.001 * allowed)
        assert np.abs(steps).max() == (127 if per_channel else 448)
    assert model.ByteSize() < 0.6 * graph.model.ByteSize()


@pytest.mark.parametrize("precision", EIGHT_BITS)
def test_storing_weights_quantised_changes_no_result(
    precision: Precision, calibrated: CalibratedModel
) -> None:
    """Against the form that quantises float32 weights at run time, by ONNX Runtime's kernels."""
    graph = calibrated("tiny_model")["decoder_b"]
    stored = graph.quantised(list(graph.nodes), precision)
    at_run_time = type(stored)()
    at_run_time.CopyFrom(stored)
    weights = {name for name in _constants(stored) if name.endswith("weight_quantized")}
    floats = {t.name: t for t in graph.model.graph.initializer}
    nodes = []
    for node in at_run_time.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            name = node.input[0].removesuffix("_quantized")
            at_run_time.graph.initializer.append(floats[name])
            quantise = helper.make_node("QuantizeLinear", [name, *node.input[1:]], [node.input[0]])
            quantise.attribute.extend(node.attribute)
            nodes.append(quantise)
        nodes.append(node)
    kept = [t for t in at_run_time.graph.initializer if t.name not in weights]
    del at_run_time.graph.node[:], at_run_time.graph.initializer[:]
    at_run_time.graph.node.extend(nodes)
    at_run_time.graph.initializer.extend(kept)
    random = np.random.default_rng(0)
    feeds = {
        "content": random.normal(size=(2, 32, 8, 12)).astype(np.float32),
        "style": random.normal(size=(2, 8)).astype(np.float32),
    }
    found, expected = (
        open_session(model.SerializeToString(), "decoder_b", Device("cpu")).run(None, feeds)[0]
        for model in (stored, at_run_time)
    )
    assert found.std() > 10
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("precision", EIGHT_BITS)
def test_a_layer_of_several_convolutions(precision: Precision) -> None:
    """Both are reduced, and what they share is quantised once; values beyond the range are cut."""
    random = np.random.default_rng(0)
    weights = {f"decoder.up.0.conv.{n}.weight": random.normal(size=(3, 2, 1, 1)) for n in "ab"}
    nodes = [
        helper.make_node("Conv", ["x", name], [f"y{index}"], name=f"conv_{index}")
        for index, name in enumerate(weights)
    ]
    nodes.append(helper.make_node("Add", ["y0", "y1"], ["y"]))
    values = [helper.make_tensor_value_info(n, 1, [1, c, 2, 2]) for n, c in (("x", 2), ("y", 3))]
    constants = [
        numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values[:1], values[1:], constants),
        opset_imports=[helper.make_opsetid("", 19)],
        ir_version=10,
    )
    seen = {"x": Range(np.array([-1, 0], np.float32), np.array([0.5, 0.25], np.float32))}
    graph = CalibratedGraph(model, seen, {"decoder_b.up.0": ("conv_0", "conv_1")})
    reduced = graph.quantised(["decoder_b.up.0"], precision)
    onnx.checker.check_model(reduced, full_check=True)
    kinds = [node.op_type for node in reduced.graph.node]
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (1, 3)
    assert graph.quantised(["decoder_a.up.0"], precision) == model
    session = open_session(reduced.SerializeToString(), "decoder_b", Device("cpu"))
    x = np.array([[-7, 0.5], [1, 7]], np.float32)[None, None].repeat(2, axis=1)
    expected = sum(
        np.einsum("oc,nchw->nohw", w[..., 0, 0], x.clip(-1, 1)) for w in weights.values()
    )
    found = session.run(None, {"x": x})[0]
    assert np.allclose(found, expected, atol=0.02 if precision == "int8" else 0.2)
    assert not np.allclose(found, expected, atol=1e-4)


def _optimised(model: Any, folder: Path) -> Any:
    """The graph that ONNX Runtime's CPU provider makes of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx").graph


def test_onnxruntime_computes_int8_layers_in_integers(
    calibrated: CalibratedModel, tmp_path: Path
) -> None:
    """All but those that its kernels do not take, and SplitConv2d's zeros and ones."""
    graph = calibrated("tiny_model")["decoder_b"]
    model = graph.quantised(list(graph.nodes), "int8")
    before = {t.name: t.dims for t in graph.model.graph.initializer}
    chosen = {name for names in graph.nodes.values() for name in names}
    weights = [before[n.input[1]] for n in graph.model.graph.node if n.name in chosen]
    taken = [dims for dims in weights if dims[1] % 4 == dims[0] % 16 == 0]
    kinds = [node.op_type for node in _optimised(model, tmp_path).node]
    assert kinds.count("QLinearConv") == len(taken) == len(weights) - 1 >= 8


def test_rounded_outputs_before_a_norm_are_around_zero(calibrated: CalibratedModel) -> None:
    graph = calibrated("tiny_model")["content_encoder_a"]
    layer = "content_encoder_a.residual.0.block_0"
    model = graph.quantised([layer], "int8")
    constants, before = _constants(model), _constants(graph.model)
    (conv,) = (node for node in model.graph.node if node.name in graph.nodes[layer])
    (original,) = (node for node in graph.model.graph.node if node.name == conv.name)
    (rounding,) = (node for node in model.graph.node if conv.output[0] in node.input)
    (result,) = (node for node in model.graph.node if rounding.output[0] in node.input)
    (norm,) = (node for node in model.graph.node if result.output[0] in node.input)
    kinds = [node.op_type for node in (rounding, result, norm)]
    assert kinds == ["QuantizeLinear", "DequantizeLinear", "InstanceNormalization"]
    assert result.output[0] == original.output[0]
    seen = graph.ranges[original.output[0]]
    spread = (seen.largest - seen.smallest) / 2
    assert constants[rounding.input[1]] == pytest.approx(spread.max() / 127)
    assert spread.max() < seen.magnitude
    moved = before[original.input[2]] - constants[conv.input[2]]
    assert np.allclose(moved, (seen.largest + seen.smallest) / 2, atol=1e-6)


def test_rounded_outputs_before_anything_else_keep_their_place(calibrated: CalibratedModel) -> None:
    graph = calibrated("tiny_model")["style_encoder_a"]
    layer = "style_encoder_a.down.0"
    model = graph.quantised([layer], "int8")
    (conv,) = (node for node in model.graph.node if node.name in graph.nodes[layer])
    (original,) = (node for node in graph.model.graph.node if node.name == conv.name)
    (rounding,) = (node for node in model.graph.node if conv.output[0] in node.input)
    assert conv.input[2] == original.input[2]
    magnitude = graph.ranges[original.output[0]].magnitude
    assert _constants(model)[rounding.input[1]] == pytest.approx(magnitude / 127)


def test_ranges_are_those_of_onnxruntimes_calibrator(
    calibrated: CalibratedModel, tiny_model: Path, tmp_path: Path
) -> None:
    """Which runs the graph without optimising it."""
    images = soft_images(read_manifest(tiny_model).model).calibration["a"]
    feeds = iter([{"image": image} for image in images])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(feeds, None)

    calibrator = create_calibrator(
        tiny_model / "content_encoder_a.onnx",
        ["Conv"],
        augmented_model_path=str(tmp_path / "augmented.onnx"),
        calibrate_method=CalibrationMethod.MinMax,
    )
    calibrator.collect_data(Reader())
    expected = {
        name: max(abs(end).max() for end in found.range_value)
        for name, found in calibrator.compute_data().data.items()
    }
    ranges = calibrated("tiny_model")["content_encoder_a"].ranges
    found = {name: seen.magnitude for name, seen in ranges.items()}
    assert found == pytest.approx(expected, rel=1e-5)


def test_calibration_tells_what_it_does(tiny_model: Path) -> None:
    manifest = read_manifest(tiny_model)
    told: list[tuple[float, str]] = []
    calibrate(
        tiny_model,
        manifest,
        soft_images(manifest.model).calibration,
        lambda graph: told.append((2, graph)),
        lambda part, note: told.append((part, note)),
    )
    ends = [note for part, note in told if part == 2]
    assert sorted(ends) == sorted(graph_name(kind, d) for kind in GRAPH_KINDS for d in DOMAINS)
    # Two images of each domain; decoders get those of both.
    assert len(told) - len(ends) == 4 * 2 + 2 * 4
    for (part, _), (later, _) in itertools.pairwise(told):
        assert 0 < part < later or part == 2
    assert (0.5, "calibrating decoder_b: run 2 of 4") in told


def test_every_layer_has_its_convolution(calibrated: CalibratedModel) -> None:
    graphs = calibrated("tiny_sn_model")
    for name, graph in graphs.items():
        assert graph.nodes
        assert all(layer.startswith(f"{name}.") for layer in graph.nodes)
    assert "content_encoder_a.residual.0.block_1" in graphs["content_encoder_a"].nodes


# ----------------------------------------------------------------------------------------------
# The gate


class Gate:
    """Chooses the layers of `tiny_model` in int8."""

    def __init__(self, checkpoint: Path, model: Path) -> None:
        self.tried: list[str] = []
        opened, self._directory = open_checkpoint(checkpoint), model
        self.told: list[tuple[float, str]] = []
        images = soft_images(opened.config)
        self._float32 = Reference(
            opened.config,
            opened.generators(),
            images,
            self.tried.append,
            lambda part, note: self.told.append((part, note)),
        )

    def __call__(self, **settings: Any) -> Choice:
        options = ExportOptions(precision="int8", calibration=(Path("unused"),), **settings)
        manifest = read_manifest(self._directory)
        with directory_graphs(self._directory, manifest, Device("cpu")) as exported:
            return choose_eight_bits(
                self._float32, "int8", self._directory, manifest, exported, options
            )[0]


@pytest.fixture(scope="module")
def gate(tiny_checkpoint: Path, tiny_model: Path) -> Gate:
    return Gate(tiny_checkpoint, tiny_model)


def _psnr(choice: Choice) -> float:
    return min(result.psnr_db for result in choice.gate.results)


def test_int8_keeps_the_worst_layers_until_the_gate_holds(gate: Gate) -> None:
    plain = gate(min_psnr_db=10)
    assert plain.gate.kept_fp32 == ()
    assert gate.tried == []
    assert gate.told[-4:] == [
        (0.25, "quality gate: image 1 of 2, a2b"),
        (0.5, "quality gate: image 2 of 2, a2b"),
        (0.75, "quality gate: image 1 of 2, b2a"),
        (1.0, "quality gate: image 2 of 2, b2a"),
    ]
    wanted = _psnr(plain) + 3
    mixed = gate(min_psnr_db=wanted, auto_mixed=True)
    assert gate.tried == list(plain.reduced), "every layer is measured, and reported"
    assert _psnr(mixed) >= wanted
    kept = mixed.gate.kept_fp32
    assert 0 < len(kept) < len(plain.reduced)
    assert set(kept) | set(mixed.reduced) == set(plain.reduced)


def test_int8_layers_named_to_be_kept_are(gate: Gate) -> None:
    plain = gate(min_psnr_db=10)
    kept = gate(min_psnr_db=10, keep_fp32=("decoder_*", "style_encoder_a.stem"))
    assert "style_encoder_a.stem" in kept.gate.kept_fp32
    assert {layer for layer in plain.reduced if layer.startswith("decoder")} < set(
        kept.gate.kept_fp32
    )
    assert _psnr(kept) > _psnr(plain)
    with pytest.raises(ConfigError, match="keeps every layer"):
        gate(keep_fp32=("*",))


def test_kept_layers_are_float32_in_the_graphs(
    calibrated: CalibratedModel, tiny_model: Path
) -> None:
    """No layer reduced: exactly the graphs that were calibrated."""
    manifest, images = read_manifest(tiny_model), soft_images(read_manifest(tiny_model).model)
    graphs = calibrated("tiny_model")
    with (
        quantised_graphs(graphs, manifest, (), "int8") as candidate,
        directory_graphs(tiny_model, manifest, Device("cpu")) as exported,
    ):
        found, expected = (
            opened.runner("style_encoder", "a").run({"image": images.gate["a"][0]})["style"]
            for opened in (candidate, exported)
        )
    assert np.array_equal(found, expected)
