"""Arrays kept in ONNX Runtime's memory: for real on the CPU, and the calls that CUDA would get."""

from __future__ import annotations

import gc
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.arrays import OrtArray, OrtMemory, picking_graph
from munit_edge.engines.onnxruntime.runner import directory_graphs
from munit_edge.engines.onnxruntime.session import open_session
from munit_edge.errors import EngineError
from munit_edge.model.config import Domain, GraphKind
from munit_edge.model.manifest import read_manifest
from munit_edge.translator import Translator

CPU = Device("cpu")
DECODER: tuple[GraphKind, Domain] = ("decoder", "b")
STYLES = np.linspace(-2, 2, 24, dtype=np.float32).reshape(3, 8)


def _graphs(model: Path, *, keep: bool) -> directory_graphs:
    return directory_graphs(model, read_manifest(model), CPU, keep_content=keep)


def _kept(values: np.ndarray[Any, Any], rows: list[int] | None = None) -> OrtArray:
    value = onnxruntime.OrtValue.ortvalue_from_numpy(values)
    return OrtArray(value, values.dtype, CPU, rows)


@pytest.fixture
def images() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)


def test_content_stays_in_the_memory_of_the_device(
    tiny_model: Path, images: np.ndarray[Any, Any]
) -> None:
    """Encoder to decoder, several images and styles: the same bytes as by way of the host."""
    with (
        Translator(_graphs(tiny_model, keep=False)) as plain,
        Translator(_graphs(tiny_model, keep=True)) as keeping,
    ):
        assert isinstance(plain.encode_content(images, "a").codes, np.ndarray)
        content = keeping.encode_content(images, "a")
        assert isinstance(content.codes, OrtArray)
        expected = plain.translate(images, "a2b", styles=STYLES)
        np.testing.assert_array_equal(keeping.decode(content, STYLES, "b"), expected)
        first = keeping.decode(content, STYLES[:1], "b")
        np.testing.assert_array_equal(first, expected[:, :1])
        np.testing.assert_array_equal(
            np.asarray(content.codes), plain.encode_content(images, "a").codes
        )


@pytest.mark.parametrize("rows", [[0, 1, 2], [1, 2], [2], [2, 2, 0, 1], [0, 0]])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows(rows: list[int], dtype: str) -> None:
    values = np.arange(72).reshape(3, 2, 3, 4).astype(dtype)
    array = _kept(values)
    chosen = array.take(rows)
    assert (chosen.shape, chosen.dtype, chosen.where) == ((len(rows), 2, 3, 4), dtype, "cpu")
    np.testing.assert_array_equal(np.asarray(chosen), values[rows])
    np.testing.assert_array_equal(chosen.take([len(rows) - 1]).to_host(), values[rows[-1:]])

    memory = OrtMemory(CPU)
    session = open_session(picking_graph(values.dtype), "take", CPU)
    feeds = {"x": chosen, "rows": np.arange(len(rows))}
    (copied,) = memory.run(session, feeds, ["y"])
    np.testing.assert_array_equal(copied, values[rows])


def test_a_copy_on_the_host_is_not_the_array() -> None:
    values = np.ones((2, 1, 2, 2), np.float32)
    array = _kept(values)
    array.to_host()[:] = 7
    np.testing.assert_array_equal(array.to_host(), 1)


def test_results_outlive_session_and_later_runs(
    tiny_model: Path, images: np.ndarray[Any, Any]
) -> None:
    graphs = _graphs(tiny_model, keep=True)
    runner = graphs.runner("content_encoder", "a")
    fed = images if graphs.io == "uint8" else images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    (kept,) = runner.run({"image": fed}, keep_on_device=True).values()
    (copied,) = runner.run({"image": fed}).values()
    before = copied.copy()
    runner.run({"image": fed[::-1]}, keep_on_device=True)
    runner.run({"image": fed[::-1]})
    graphs.close()
    del graphs, runner
    gc.collect()
    np.testing.assert_array_equal(copied, before)
    np.testing.assert_array_equal(np.asarray(kept), before)


def test_what_goes_wrong_is_reported_once(tiny_model: Path) -> None:
    """An integer array is no content, and the message stays as it was."""
    with _graphs(tiny_model, keep=True) as graphs:
        runner = graphs.runner("decoder", "b")
        codes = _kept(np.zeros((2, 32, 8, 8), np.float32), [1, 0])
        with pytest.raises(EngineError, match=r"failed in graph decoder_b on content \(2, 32"):
            feeds = {"content": codes, "style": np.zeros((3, 8), np.float32)}
            runner.run(feeds, keep_on_device=True)
    with pytest.raises(EngineError, match="type int8 is not content: it has type float32 or"):
        picking_graph(np.dtype(np.int8))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_picking_graph_is_what_its_docstring_says(dtype: str) -> None:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Gather", ["x", "rows"], ["y"])],
        "take",
        [info("x", element, list("nchw")), info("rows", TensorProto.INT64, ["m"])],
        [info("y", element, list("mchw"))],
    )
    model = onnx.load_from_string(picking_graph(np.dtype(dtype)))
    onnx.checker.check_model(model, full_check=True)
    assert model.graph == graph
    assert model.opset_import[0].version == 18


class SessionDouble:
    """A session on a GPU: keeps what is bound, by calls that the real binding would take."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ones((2, 4, 2, 2), np.float32))]

    def io_binding(self) -> SessionDouble:
        return self

    def run_with_iobinding(self, binding: SessionDouble) -> None:
        inspect.signature(onnxruntime.InferenceSession.run_with_iobinding).bind(self, binding)
        self.calls.append(("run", {}))

    def get_outputs(self) -> list[Any]:
        return self.values

    def copy_outputs_to_cpu(self) -> list[np.ndarray[Any, Any]]:
        return [value.numpy() for value in self.values]

    def __getattr__(self, name: str) -> Any:
        signature = inspect.signature(getattr(onnxruntime.IOBinding, name))

        def record(*args: Any) -> None:
            bound = dict(signature.bind(self, *args).arguments)
            del bound["self"]
            self.calls.append((name, bound))

        return record


def test_what_is_bound_on_a_gpu(tiny_model: Path) -> None:
    """Content by its address, the style from the host, the output where the GPU is."""
    gpu, session = Device("cuda", 1), SessionDouble()
    entry = read_manifest(tiny_model).graph(*DECODER)
    value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((3, 4, 2, 2), np.float32))
    content = OrtArray(value, np.dtype(np.float32), gpu).take([1, 2])
    style = np.zeros((2, 8), np.float32)
    memory = OrtMemory(gpu)
    (kept,) = memory.run_and_keep(session, {"content": content, "style": style}, entry.outputs)
    assert (kept.where, kept.shape) == ("cuda:1", (2, 4, 2, 2))
    names = [name for name, _ in session.calls]
    assert names == [
        "bind_input",
        "bind_cpu_input",
        "bind_output",
        "synchronize_inputs",
        "run",
        "synchronize_outputs",
    ]
    assert session.calls[0][1] == {
        "name": "content",
        "device_type": "cuda",
        "device_id": 1,
        "element_type": np.float32,
        "shape": [2, 4, 2, 2],
        "buffer_ptr": value.data_ptr() + 4 * 2 * 2 * 4,
    }
    output = {"name": entry.outputs[0].name, "device_type": "cuda", "device_id": 1}
    assert session.calls[2][1] == output

    session.calls.clear()
    memory.run(session, {"content": content, "style": style}, ["image"])
    assert session.calls[2][1] == {"name": "image", "device_type": "cpu", "device_id": 0}


def test_an_array_of_another_gpu_goes_by_way_of_the_host() -> None:
    session = SessionDouble()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, 4, 2, 2), np.float32))
    other = OrtArray(value, np.dtype(np.float32), Device("cuda", 0))
    OrtMemory(Device("cuda", 1)).run(session, {"content": other}, ["image"])
    assert session.calls[0][0] == "bind_cpu_input"
