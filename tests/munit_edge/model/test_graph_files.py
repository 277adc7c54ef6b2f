"""Graphs that would load other files are found wherever the file is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import munit_edge
from munit_edge.errors import ModelError
from munit_edge.files.atomic import sha256
from munit_edge.model.graph_files import WeightsFile, check_other_files
from munit_edge.model.manifest import MANIFEST_FILE, read_manifest
from munit_edge.model.opening import checked_graph, read_graph
from munit_edge.translator import Translator

FLOAT = TensorProto.FLOAT
SELFTEST = Path(munit_edge.__file__).parent / "doctor" / "selftest_model"


def tensor(*, external: bool = True) -> TensorProto:
    made = numpy_helper.from_array(np.arange(6, dtype=np.float32), "weights")
    if external:
        onnx.external_data_helper.set_external_data(made, "weights.bin")
    return made


def graph(**parts: object) -> onnx.GraphProto:
    value = helper.make_tensor_value_info("x", FLOAT, [6])
    node = helper.make_node("Identity", ["weights"], ["x"])
    return helper.make_graph([node], "g", [], [value], **parts)


def model(**parts: object) -> onnx.ModelProto:
    return helper.make_model(graph(**parts))


def with_attribute(**attribute: object) -> onnx.ModelProto:
    made = model()
    made.graph.node.append(helper.make_node("If", ["x"], ["y"], **attribute))
    return made


def sparse() -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.arange(6, dtype=np.int64), "i")
    return helper.make_sparse_tensor(tensor(), indices, [6])


def in_function() -> onnx.ModelProto:
    made = model()
    node = helper.make_node("Constant", [], ["y"], value=tensor())
    made.functions.append(
        helper.make_function("own", "f", [], ["y"], [node], [helper.make_opsetid("", 18)])
    )
    return made


def in_training() -> onnx.ModelProto:
    made = model()
    made.training_info.add().algorithm.CopyFrom(graph(initializer=[tensor()]))
    return made


def undeclared() -> onnx.ModelProto:
    """With the name of a file, and a location that is not marked as external."""
    made = model(initializer=[tensor()])
    made.graph.initializer[0].data_location = TensorProto.DEFAULT
    return made


def nested() -> onnx.ModelProto:
    inner = graph()
    inner.node.append(
        helper.make_node("If", ["x"], ["z"], then_branch=graph(initializer=[tensor()]))
    )
    return with_attribute(then_branch=inner)


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "initialiser": lambda: model(initializer=[tensor()]),
    "second initialiser": lambda: model(initializer=[tensor(external=False), tensor()]),
    "sparse initialiser": lambda: model(sparse_initializer=[sparse()]),
    "attribute": lambda: with_attribute(value=tensor()),
    "attribute of tensors": lambda: with_attribute(values=[tensor()]),
    "sparse attribute": lambda: with_attribute(value=sparse()),
    "subgraph": lambda: with_attribute(then_branch=graph(initializer=[tensor()])),
    "subgraph of a subgraph": nested,
    "subgraphs": lambda: with_attribute(branches=[graph(initializer=[tensor()])]),
    "function": in_function,
    "training": in_training,
    "undeclared": undeclared,
}


@pytest.mark.parametrize("case", MODELS)
def test_external_data_is_found_wherever_it_is(case: str) -> None:
    with pytest.raises(ModelError, match=r"g\.onnx would load weights from another file"):
        check_other_files(MODELS[case]().SerializeToString(), "g.onnx")
    with pytest.raises(ModelError, match=r"'weights\.bin'\), which the manifest has no hash of"):
        check_other_files(MODELS[case]().SerializeToString(), "g.onnx", WeightsFile("x", 1000))


WEIGHTS = WeightsFile("weights.bin", 1000)


def placed(*entries: tuple[str, str], location: int = TensorProto.EXTERNAL) -> bytes:
    """A graph with weights at the place that `entries` name."""
    made = model(initializer=[tensor()])
    found = made.graph.initializer[0]
    found.data_location = location  # type: ignore[assignment]
    del found.external_data[:]
    for key, value in entries:
        found.external_data.add(key=key, value=value)
    return made.SerializeToString()


def place(location: str = "weights.bin", offset: str = "976", length: str = "24") -> bytes:
    return placed(("location", location), ("offset", offset), ("length", length))


def test_a_graph_may_load_its_weights_file() -> None:
    check_other_files(place(), "g.onnx", WEIGHTS)
    check_other_files(place(offset="0"), "g.onnx", WEIGHTS)


@pytest.mark.parametrize(
    "location",
    [
        *("", "weights.bi", "weights.bin/", "./weights.bin", "../weights.bin", "/etc/hostname"),
        *("sub/../weights.bin", "WEIGHTS.BIN", "weights.bin\0", "*/_ORT_MEM_ADDR_/*", "\u202e"),
    ],
)
def test_a_graph_may_load_no_other_file(location: str) -> None:
    with pytest.raises(
        ModelError, match=r"g\.onnx would load weights from another file \("
    ) as caught:
        check_other_files(place(location), "g.onnx", WEIGHTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        *(("977", "24"), ("0", "1001"), ("1000", "1"), ("-1", "24"), ("0", "-24"), ("", "24")),
        *(
            ("0", ""),
            ("0x10", "24"),
            ("1e2", "24"),
            (" 0", "24"),
            ("\u0663", "24"),
            ("9" * 19, "0"),
        ),
        ("18446744073709551616", "24"),
    ],
)
def test_weights_lie_in_their_file(offset: str, length: str) -> None:
    with pytest.raises(ModelError, match=r"would load weights that are not in weights\.bin"):
        check_other_files(place(offset=offset, length=length), "g.onnx", WEIGHTS)


LOCATION, OFFSET, LENGTH = ("location", "weights.bin"), ("offset", "0"), ("length", "24")


@pytest.mark.parametrize(
    "data",
    [
        placed(LOCATION),
        placed(LOCATION, OFFSET),
        placed(LOCATION, LENGTH),
        placed(LOCATION, OFFSET, LENGTH, OFFSET),
        placed(("location", "../other"), LOCATION, OFFSET, LENGTH),
        placed(LOCATION, OFFSET, LENGTH, ("basepath", "/etc")),
        placed(LOCATION, OFFSET, LENGTH, location=TensorProto.DEFAULT),
    ],
    ids=range(7),
)
def test_places_that_parsers_may_read_differently(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"weights from weights\.bin in an unknown way"):
        check_other_files(data, "g.onnx", WEIGHTS)


def field(number: int, data: bytes) -> bytes:
    """A field of bytes in protobuf's encoding."""
    size = len(data)
    return bytes([number << 3 | 2, size & 127 | 128, size >> 7]) + data


def test_a_value_given_twice_counts_as_parsers_take_it() -> None:
    """Protobuf takes the last of repeated fields."""

    def named(*values: str) -> bytes:
        location = field(1, b"location") + b"".join(field(2, value.encode()) for value in values)
        entries = [location, *(field(1, k.encode()) + field(2, v.encode()) for k, v in rest)]
        weights = tensor(external=False).SerializeToString() + b"\x70\x01"  # EXTERNAL
        weights += b"".join(field(13, entry) for entry in entries)
        return field(7, graph().SerializeToString() + field(5, weights))

    rest = (OFFSET, LENGTH)
    for values in (("../other", "weights.bin"), ("weights.bin", "../other")):
        parsed = onnx.load_from_string(named(*values)).graph.initializer[0]
        assert parsed.external_data[0].value == values[-1]
    check_other_files(named("../other", "weights.bin"), "g.onnx", WEIGHTS)
    with pytest.raises(ModelError, match="would load weights from another file"):
        check_other_files(named("weights.bin", "../other"), "g.onnx", WEIGHTS)


def test_compiled_graphs_are_found() -> None:
    made = model()
    made.graph.node.append(helper.make_node("EPContext", [], ["y"], ep_cache_context="../x.engine"))
    with pytest.raises(ModelError, match="would load a compiled graph"):
        check_other_files(made.SerializeToString(), "g.onnx")


def test_graphs_that_hold_all_they_need() -> None:
    check_other_files(model(initializer=[tensor(external=False)]).SerializeToString(), "g")
    for folder in sorted(SELFTEST.glob("model*")):
        manifest = read_manifest(folder)
        for entry in manifest.graphs:
            assert checked_graph(folder, entry).read_bytes() == read_graph(folder, entry)


WHOLE = model(initializer=[tensor(external=False)]).SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no graph",
        WHOLE[:-1],
        WHOLE[: len(WHOLE) // 2],
        b"\x08\x08",  # a version alone
        b"\x18\x00\x00\x00ORTM" + WHOLE,
        WHOLE + b"\x00",
        WHOLE + b"\x0b",  # a group
        WHOLE + b"\xba\x80\x80\x80\x10\x00",  # field 7 for those who drop the highest bits
        WHOLE + b"\xff" * 11,
    ],
)
def test_what_is_no_graph(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"g\.onnx is not a valid ONNX file"):
        check_other_files(data, "g.onnx")


def test_deep_nesting_is_refused() -> None:
    made = graph()
    for _ in range(24):
        outer = graph()
        outer.node.append(helper.make_node("If", ["x"], ["y"], then_branch=made))
        made = outer
    with pytest.raises(ModelError, match="nested too deeply"):
        check_other_files(helper.make_model(made).SerializeToString(), "g.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname"])
def test_a_model_whose_weights_lie_elsewhere_is_not_opened(
    location: str, tiny_model: Path, tmp_path: Path
) -> None:
    """Even where manifest and graph agree: no hash speaks of the other file."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = folder / "decoder_b.onnx"
    made = onnx.load(path)
    weights = max(made.graph.initializer, key=lambda each: len(each.raw_data))
    (folder / "weights.bin").write_bytes(weights.raw_data)
    onnx.external_data_helper.set_external_data(weights, location)
    weights.ClearField("raw_data")
    path.write_bytes(made.SerializeToString())
    data = json.loads((folder / MANIFEST_FILE).read_text())
    for entry in data["graphs"]:
        entry["sha256"] = sha256(folder / entry["file"])
    (folder / MANIFEST_FILE).write_text(json.dumps(data))
    entry = read_manifest(folder).graph("decoder", "b")
    with pytest.raises(ModelError, match="would load weights from another file"):
        read_graph(folder, entry)
    image = np.zeros((1, 32, 32, read_manifest(folder).model.channels_a), np.uint8)
    with (
        pytest.raises(ModelError, match="would load weights from another file"),
        Translator.open(folder, device="cpu") as translator,
    ):
        translator.translate(image, "a2b", styles=translator.sample_styles(1))
