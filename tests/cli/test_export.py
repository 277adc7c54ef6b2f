"""`munit-edge export onnx --precision`, from images to a model that translates."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import outcome
from PIL import Image

from munit_edge.cli import progress
from munit_edge.export import model_directory
from munit_edge.model.manifest import read_manifest
from munit_edge.translator import Translator


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, three images of each domain."""
    root = tmp_path_factory.mktemp("data")
    for folder, seed in (("trainA", 0), ("trainB", 1)):
        (root / folder).mkdir()
        random = np.random.default_rng(seed)
        for number in range(3):
            coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
            soft = coarse.repeat(8, axis=0).repeat(8, axis=1)
            Image.fromarray(soft).save(root / folder / f"{number}.png")
    return root


_export = partial(outcome, "export", "onnx")


def _translations(model: Path, images: Path, channels: int) -> np.ndarray:
    with Image.open(images / "trainA" / "2.png") as file:
        image = np.asarray(file.convert("L" if channels == 1 else "RGB")).reshape(32, 40, channels)
    with Translator.open(model, device="cpu") as translator:
        styles = translator.sample_styles(2)
        return translator.translate(image[None, :30, :37], "a2b", styles=styles).astype(int)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_inputs_and_folders_of_the_user_are_never_replaced(
    overwrite: tuple[str, ...],
    tiny_checkpoint: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Said before the checkpoint is read."""
    monkeypatch.setattr(model_directory, "open_checkpoint", lambda path: pytest.fail("too late"))
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "00000007"
    shutil.copytree(tiny_checkpoint, checkpoint)
    shutil.copytree(images, tmp_path / "photos")
    (tmp_path / "link").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for output in ("run", "run/", "./run/../run", "link/checkpoints", "photos", ".", "..", "/"):
        words = [run, "--precision", "fp16", "--calibration", "photos", "-o", output, *overwrite]
        code, out, err = _export(*words)
        assert (code, out) == (2, ""), output
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    for output, words in {
        "run": "which is an input",
        "run/checkpoints": "which is an input",
    }.items():
        assert words in _export(checkpoint, "-o", output, *overwrite)[2]
    assert "lies in run, which is an input" in _export("run", "-o", "run/model", *overwrite)[2]
    assert sorted(tmp_path.rglob("*")) == before


def test_two_exports_to_one_folder(
    tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one to finish says so, and leaves what the first one has written."""

    def export(_: object) -> object:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "theirs").touch()
        return read_manifest(tiny_model)

    monkeypatch.setattr(model_directory, "_export_fp32", export)
    code, _, err = _export(tiny_checkpoint, "-o", tmp_path / "model")
    assert code == 2
    assert "in the meantime, and it stays: name another folder" in err
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_fp16(
    tiny_checkpoint: Path,
    tiny_model: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    model = tmp_path / "model"
    code, out, err = _export(
        *(tiny_checkpoint, "-o", model, "--precision", "fp16", "--calibration", images),
        *("--keep-fp32", "decoder_?.to_image", "--no-stats-graphs"),
    )
    assert code == 0, err
    _check_progress(err, 12)
    assert ", comparison with torch: batch 2, 64 x 96 pixels\n" in err
    assert ", quality gate: image 1 of 1, b2a\n" in err
    manifest = read_manifest(model)
    assert {entry.precision for entry in manifest.graphs} == {"fp16"}
    decoder = manifest.graph("decoder", "b")
    assert [tensor.dtype for tensor in decoder.inputs] == ["float16", "float32"]
    assert [gate.arithmetic for gate in manifest.gate] == ["rounded-float32", "onnxruntime"]
    for gate in manifest.gate:
        assert gate.kept_fp32 == ("decoder_a.to_image", "decoder_b.to_image")
        assert min(result.psnr_db for result in gate.results) > 45
    assert "fp16 against fp32, rounded arithmetic, a2b: PSNR " in out
    assert re.search(r"^decoder_b\.weights +\d+\.\d\d MB   of decoder_b\.onnx$", out, re.MULTILINE)
    assert "kept in fp32: decoder_a.to_image, decoder_b.to_image\n" in out
    graph = onnx.load(model / "decoder_b.onnx")
    assert {"munit_edge.precision": "fp16"}.items() <= {
        item.key: item.value for item in graph.metadata_props
    }.items()
    difference = np.abs(_translations(model, images, 3) - _translations(tiny_model, images, 3))
    assert 0 < difference.max() <= 4


def _check_progress(err: str, steps: int) -> None:
    """Every step is counted, and long ones are reported while they run."""
    lines = [line for line in err.splitlines() if line.startswith("exporting: ")]
    counts = [line.split(",")[0] for line in lines]
    assert list(dict.fromkeys(counts)) == [f"exporting: {n}/{steps}" for n in range(steps + 1)]
    assert len(lines) > len(set(counts))


def test_int8(
    tiny_sn_checkpoint: Path,
    tiny_sn_model: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    model = tmp_path / "model"
    code, out, err = _export(
        *(tiny_sn_checkpoint, "-o", model, "--precision", "int8"),
        *("--calibration", images / "trainA", "--calibration", images / "trainB"),
        *("--keep-fp32", "decoder_b.to_image", "--no-stats-graphs"),
    )
    assert code == 0, err
    assert "int8 against fp32, ONNX Runtime, b2a: PSNR " in out
    _check_progress(err, 17)
    assert ", calibrating decoder_b: run 3 of 4\n" in err
    manifest = read_manifest(model)
    assert {entry.precision for entry in manifest.graphs} == {"int8"}
    assert all(entry.worst <= entry.tolerance for entry in manifest.parity)
    assert manifest.gate[0].kept_fp32 == ("decoder_b.to_image",)
    assert all(result.psnr_db > 30 for result in manifest.gate[0].results)
    # The last layer is two convolutions; the second, which only moves its results, stays float32.
    for name, unquantised in {"decoder_a": 1, "decoder_b": 2, "content_encoder_a": 0}.items():
        _check_form(model / f"{name}.onnx", unquantised)
    expected = _translations(tiny_sn_model, images, 1)
    difference = np.abs(_translations(model, images, 1) - expected)
    assert 0 < difference.mean() < 8


def _check_form(path: Path, unquantised: int) -> None:
    """What TensorRT's parser takes: symmetric int8 before both inputs, float32 biases."""
    graph = onnx.load(path).graph
    makers = {output: node for node in graph.node for output in node.output}
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    plain = rounded = 0
    for conv in convolutions:
        pairs = [makers.get(name) for name in conv.input[:2]]
        if not any(pair is not None and pair.op_type == "DequantizeLinear" for pair in pairs):
            plain += 1
            continue
        image, weight = (pair for pair in pairs if pair is not None)
        quantise = makers[image.input[0]]
        assert (quantise.op_type, image.op_type) == ("QuantizeLinear", "DequantizeLinear")
        assert image.input[1:] == quantise.input[1:]
        stored = constants[weight.input[0]]
        assert stored.dtype == np.int8
        assert constants[image.input[1]].size == 1
        assert constants[weight.input[1]].size == stored.shape[0]
        for dequantise in (image, weight):
            zero = constants[dequantise.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
        assert all(constants[bias].dtype == np.float32 for bias in conv.input[2:])
        readers = [node.op_type for node in graph.node if conv.output[0] in node.input]
        if readers == ["QuantizeLinear"]:
            rounded += 1
        outputs, inputs = stored.shape[:2]
        assert (readers == ["QuantizeLinear"]) == (inputs % 4 == outputs % 16 == 0)
    assert plain == unquantised
    assert rounded
    pairs_of = Counter(node.op_type for node in graph.node)
    quantised = len(convolutions) - plain
    assert pairs_of["QuantizeLinear"] == quantised + rounded
    assert pairs_of["DequantizeLinear"] == 2 * quantised + rounded


def test_a_gate_that_does_not_hold(tiny_checkpoint: Path, images: Path, tmp_path: Path) -> None:
    code, out, err = _export(
        *(tiny_checkpoint, "-o", tmp_path / "model", "--precision", "fp16"),
        *("--calibration", images, "--calibration-images", 1, "--min-psnr", 99),
    )
    assert code == 1
    assert out == ""
    (error,) = (line for line in err.splitlines() if not line.startswith("exporting: "))
    assert "minimum 99 dB; the layers that lose most are " in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_no_images(precision: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    code, _, err = _export(tiny_checkpoint, "-o", tmp_path / "model", "--precision", precision)
    assert code == 2
    assert err.count("\n") == 1
    assert f"--precision {precision} is judged by your own images, and none are given" in err


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("trainB", "images of both domains are needed"),
        ("trainA/*", "domain a has no images in"),
    ],
)
def test_images_of_one_domain(
    removed: str, message: str, tiny_checkpoint: Path, images: Path, tmp_path: Path
) -> None:
    shutil.copytree(images, tmp_path / "data")
    for path in (tmp_path / "data").glob(removed):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, _, err = _export(
        *(tiny_checkpoint, "-o", tmp_path / "model", "--precision", "int8"),
        *("--calibration", tmp_path / "data"),
    )
    assert code == 2
    assert err.count("\n") == 1
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_layer_that_does_not_exist(tiny_checkpoint: Path, images: Path, tmp_path: Path) -> None:
    code, _, err = _export(
        *(tiny_checkpoint, "-o", tmp_path / "model", "--precision", "fp16"),
        *("--calibration", images, "--keep-fp32", "decoder_b.upp"),
    )
    assert code == 2
    assert "'decoder_b.upp' matches no layer of this model" in err
