"""ONNX graphs as feature networks: the contract, and what breaks it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from munit_edge.errors import EngineError, InputError, ModelError
from munit_edge.evaluation.onnx_network import FeatureGraph
from munit_edge.images.io import Images


def write_graph(
    path: Path,
    shape: Sequence[Any] = ("batch", 3, "height", "width"),
    element: int = TensorProto.FLOAT,
    *,
    last: str = "Flatten",
) -> Path:
    """The means of red, green and blue."""
    image = helper.make_tensor_value_info("image", element, shape)
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["float"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node(last, ["means" if last == "Identity" else "flat"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "means", [image], [output])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3)).astype(np.uint8)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_images_come_as_they_are_in_0_to_1(
    batch: str | int, images: Images, tmp_path: Path
) -> None:
    path = write_graph(tmp_path / "means.onnx", (batch, 3, "height", "width"))
    network = FeatureGraph(path, "cpu")
    np.testing.assert_allclose(network.features(images), images.mean(axis=(1, 2)) / 255, rtol=1e-5)
    grey = images[..., :1]
    assert (np.ptp(network.features(grey), axis=1) < 1e-6).all()
    rgba = np.concatenate([images, grey], axis=3)
    np.testing.assert_array_equal(network.features(rgba), network.features(images))
    assert network.card.name == "ONNX graph means.onnx"
    assert len(network.card.sha256["means.onnx"]) == 64


def test_a_graph_of_one_size_gets_resized_images(images: Images, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "means.onnx", ("batch", 3, 6, 5))
    steps = np.broadcast_to(images[:, :1, :1], images.shape)  # one colour each
    found = FeatureGraph(path, "cpu").features(steps)
    np.testing.assert_allclose(found, steps[:, 0, 0] / 255, rtol=1e-5)


def test_logits_and_probabilities(images: Images, tmp_path: Path) -> None:
    logits = FeatureGraph(write_graph(tmp_path / "logits.onnx"), "cpu").probabilities(images)
    ready = FeatureGraph(write_graph(tmp_path / "ready.onnx", last="Softmax"), "cpu")
    powers = np.exp(images.mean(axis=(1, 2)) / 255)
    np.testing.assert_allclose(logits, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(ready.probabilities(images), logits, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "element"),
    [
        ((2, 3, "height", "width"), TensorProto.FLOAT),
        (("batch", 1, "height", "width"), TensorProto.FLOAT),
        (("batch", 3, "height", "width"), TensorProto.DOUBLE),
    ],
)
def test_graphs_with_another_input(shape: Sequence[Any], element: int, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "graph.onnx", shape, element)
    with pytest.raises(
        ModelError, match=r"graph.onnx takes image tensor.*: a feature network takes"
    ):
        FeatureGraph(path, "cpu")


def test_other_files_are_refused(images: Images, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.onnx is not a file"):
        FeatureGraph(tmp_path / "missing.onnx", "cpu")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ModelError, match=r"text\.onnx is not a valid ONNX file"):
        FeatureGraph(tmp_path / "text.onnx", "cpu")
    maps = FeatureGraph(write_graph(tmp_path / "maps.onnx", last="Identity"), "cpu")
    with pytest.raises(ModelError, match=r"returned \(5, 3, 1, 1\) for 5 images"):
        maps.features(images)


def test_a_graph_that_fails_is_reported_with_the_size(images: Images, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "means.onnx", ("batch", 3, 8, "width"))
    network = FeatureGraph(path, "cpu")
    with pytest.raises(EngineError, match=r"means\.onnx failed on images of 7 x 12 pixels"):
        network.features(images[:, :7])
