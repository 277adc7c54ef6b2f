from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from munit_edge.engines import gpu_presence
from munit_edge.engines.factory import open_graphs
from munit_edge.errors import ConfigError, EngineError, InputError, ModelError
from munit_edge.files.atomic import sha256
from munit_edge.model.manifest import MANIFEST_FILE


@pytest.fixture
def model_copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_only_needed_graphs_are_opened(model_copy: Path) -> None:
    for path in model_copy.glob("*_a.onnx"):
        path.unlink()
    with open_graphs(model_copy, device="cpu") as graphs:
        graphs.runner("decoder", "b")
        assert graphs.opened == ["decoder_b"]
        assert graphs.runner("decoder", "b") is graphs.runner("decoder", "b")
        with pytest.raises(ModelError, match=r"decoder_a\.onnx cannot be read"):
            graphs.runner("decoder", "a")


def test_changed_graph_is_refused(model_copy: Path) -> None:
    path = model_copy / "decoder_b.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with (
        open_graphs(model_copy, device="cpu") as graphs,
        pytest.raises(ModelError, match="is not the file that was exported"),
    ):
        graphs.runner("decoder", "b")


def test_truncated_graph_with_its_own_hash_is_refused(model_copy: Path) -> None:
    path = model_copy / "decoder_b.onnx"
    before = sha256(path)
    path.write_bytes(path.read_bytes()[:1000])
    manifest = model_copy / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace(before, sha256(path)))
    with (
        open_graphs(model_copy, device="cpu") as graphs,
        pytest.raises(ModelError, match=r"decoder_b\.onnx is not a valid ONNX file"),
    ):
        graphs.runner("decoder", "b")


def test_manifest_cannot_name_files_elsewhere(model_copy: Path) -> None:
    manifest = model_copy / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace("decoder_b.onnx", "../decoder_b.onnx"))
    with (
        open_graphs(model_copy, device="cpu") as graphs,
        pytest.raises(ModelError, match=r"'\.\./decoder_b\.onnx', which is no file in"),
    ):
        graphs.runner("decoder", "b")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", ModelError, "is not JSON: .*export the model again"),
        ('{"format_version": 99}', ModelError, "format version 99"),
        ('{"format_version": 1, "modle": 1}', ModelError, "did you mean 'model'"),
        (None, InputError, "neither a model directory"),
    ],
)
def test_bad_manifest(
    text: str | None, error: type[Exception], message: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / MANIFEST_FILE).write_text(text)
    with pytest.raises(error, match=message):
        open_graphs(tmp_path)


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_graphs(tmp_path / "nothing")


def test_auto_reports_what_it_took(tiny_model: Path) -> None:
    with open_graphs(tiny_model) as graphs:
        assert graphs.engine == "onnxruntime"
        assert graphs.device in {"cpu", "cuda:0"}


def test_auto_starts_no_process_where_onnxruntime_has_no_cuda(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(gpu_presence, "ask", lambda subject: pytest.fail("a process is started"))
    with open_graphs(tiny_model) as graphs:
        assert graphs.device == "cpu"


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "CPU", ""])
def test_unknown_device(device: str, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="use auto, cpu, cuda or cuda:N"):
        open_graphs(tiny_model, "onnxruntime", device)


def test_unknown_engine(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="use auto, onnxruntime"):
        open_graphs(tiny_model, engine="tensorflow")


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "'content' is missing; 'style' is missing"),
        (
            {
                "content": np.zeros((1, 32, 8, 8), np.float64),
                "style": np.zeros((1, 8), np.float32),
            },
            "'content' has type float64 instead of float32",
        ),
        (
            {
                "content": np.zeros((1, 32, 8, 8), np.float32),
                "style": np.zeros((1, 7), np.float32),
            },
            r"'style' has shape \(1, 7\)",
        ),
        (
            {
                "content": np.zeros((1, 32, 8, 8), np.float32),
                "style": np.zeros((1, 8), np.float32),
                "image": np.zeros(1),
            },
            "'image' is unknown",
        ),
        (
            {
                "content": np.zeros((2, 32, 8, 8), np.float32),
                "style": np.zeros((3, 8), np.float32),
            },
            r"failed in graph decoder_b on content \(2, 32, 8, 8\), style \(3, 8\)",
        ),
    ],
)
def test_bad_feeds(feeds: dict[str, np.ndarray], message: str, tiny_model: Path) -> None:  # type: ignore[type-arg]
    with (
        open_graphs(tiny_model, device="cpu") as graphs,
        pytest.raises(EngineError, match=message),
    ):
        graphs.runner("decoder", "b").run(feeds)
