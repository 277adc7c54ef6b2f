"""OpenVINO against ONNX Runtime and torch, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from noise_images import noise
from shared_files import shared_folder

from munit_edge.doctor.selftest import FOLDER, graphs_folder
from munit_edge.engines.base import GraphSet
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.openvino.runner import open_openvino
from munit_edge.errors import EngineError
from munit_edge.export.model_directory import export_model
from munit_edge.export.options import ExportOptions
from munit_edge.model.config import Domain, GraphKind
from munit_edge.model.precision import PRECISION_FACTS
from munit_edge.translator import Translator

SIZES_HW = [(32, 48), (33, 47), (7, 5), (48, 32)]


@pytest.mark.parametrize(
    ("model", "checkpoint"),
    [("tiny_model", "tiny_checkpoint"), ("tiny_sn_model", "tiny_sn_checkpoint")],
)
def test_translations_are_those_of_the_networks(
    model: str, checkpoint: str, request: pytest.FixtureRequest
) -> None:
    """Several sizes one after the other, batches and styles: one level for rounding."""
    with (
        Translator.open(request.getfixturevalue(model), engine="openvino") as opened,
        Translator.open(request.getfixturevalue(checkpoint), device="cpu") as torch,
    ):
        assert (opened.engine, opened.device) == ("openvino", "cpu")
        assert opened.model_id == torch.model_id
        for count, (height, width) in enumerate(SIZES_HW, start=1):
            channels = opened.config.channels_a
            images = np.stack([noise(height, width, channels, seed) for seed in range(count)])
            styles = opened.sample_styles(3, seed=count)
            got = opened.translate(images, "a2b", styles=styles)
            expected = torch.translate(images, "a2b", styles=styles)
            assert got.shape == (count, 3, height, width, opened.config.channels_b)
            assert np.abs(got.astype(int) - expected).max() <= 1
            references = np.stack([noise(40, 36, opened.config.channels_b, 9)] * count)
            codes = opened.encode_style(references, "b")
            np.testing.assert_allclose(codes, torch.encode_style(references, "b"), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_reduced_precision_differs_as_little_as_in_onnxruntime(precision: str) -> None:
    model = FOLDER / graphs_folder(precision)  # type: ignore[arg-type]
    exact = FOLDER / graphs_folder("fp32")
    # ONNX Runtime has no bf16 on CPUs; int8 is rounded as the file says, on every engine.
    reference = exact if precision == "bf16" else model
    images = noise(32, 48, 3)[None]
    with (
        open_graphs(model, "openvino", "cpu") as opened,
        open_graphs(reference, "onnxruntime", "cpu") as other,
    ):
        translators = [Translator(graphs) for graphs in (opened, other)]
        styles = translators[0].sample_styles(2)
        got, expected = (t.translate(images, "a2b", styles=styles) for t in translators)
    worst = np.abs(got.astype(int) - expected).max()
    assert worst <= {"fp16": 1, "bf16": 4, "int8": 1}[precision]


def test_norms_over_many_values_in_an_fp16_export() -> None:
    """More than 65504, the largest number of float16: with f16 arithmetic OpenVINO divides by
    infinity, on CPUs that have it."""
    images = noise(256, 256, 3)[None]
    model = FOLDER / graphs_folder("fp16")
    with (
        Translator.open(model, engine="openvino", device="cpu") as opened,
        Translator.open(model, engine="onnxruntime", device="cpu") as other,
    ):
        assert 256 * 256 * opened.config.width > 65504
        styles = opened.sample_styles(1)
        got, expected = (t.translate(images, "a2b", styles=styles) for t in (opened, other))
    assert np.abs(got.astype(int) - expected).max() <= PRECISION_FACTS["fp16"].on_cpu.levels


def test_float32_borders_and_fixed_sizes(
    tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    def make(folder: Path) -> None:
        options = ExportOptions(io="float32", batch=2, height=32, width=48, stats_graphs=False)
        export_model(tiny_checkpoint, folder, options)

    target = tmp_path_factory.mktemp("fixed") / "model"
    model = shared_folder(request.config, "fixed-float32", make, target)
    images = np.stack([noise(30, 41, 3, seed) for seed in range(3)])
    with (
        Translator.open(model, engine="openvino") as opened,
        Translator.open(model, engine="onnxruntime", device="cpu") as other,
    ):
        styles = opened.sample_styles(2)
        got, expected = (t.translate(images, "a2b", styles=styles) for t in (opened, other))
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_stats_graphs(tiny_stats_model: Path) -> None:
    """With norms of its own, with given ones, and with a part of the image that is measured."""
    images = noise(32, 48, 3)[None]
    core = np.zeros((8, 12), np.float32)
    core[1:5, 2:9] = 1
    with (
        Translator.open(tiny_stats_model, engine="openvino") as opened,
        Translator.open(tiny_stats_model, engine="onnxruntime", device="cpu") as other,
    ):
        styles = opened.sample_styles(1)
        found = []
        for translator in (opened, other):
            content, own = translator.encode_measured(images, "a", core=core)
            image, decoded = translator.decode_measured(content, styles, "b", core=core)
            given, again = translator.encode_measured(images, "a", own * np.float32(1.1))
            arrays = (np.asarray(content.codes), own, image, decoded, given.codes, again)
            found.append([np.asarray(array, np.float64) for array in arrays])
    names = ("content", "statistics", "image", "statistics of the decoder", "given", "measured")
    for name, got, expected in zip(names, *found, strict=True):
        assert got.shape == expected.shape
        limit = 1 if name == "image" else 1e-4 * max(1, np.abs(expected).max())
        assert np.abs(got - expected).max() <= limit, name
    # What is given has an effect.
    assert np.abs(found[0][4] - found[0][0]).max() > 0.01


def runs(graphs: GraphSet, kind: GraphKind, domain: Domain, feeds: dict[str, np.ndarray]) -> bytes:  # type: ignore[type-arg]
    return b"".join(a.tobytes() for a in graphs.runner(kind, domain).run(feeds).values())


def test_threads_give_the_same_bytes(tiny_model: Path) -> None:
    with open_openvino(tiny_model, "cpu") as graphs, ThreadPoolExecutor(4) as pool:
        many = [{"image": noise(16 + 4 * (i % 3), 32, seed=i)[None]} for i in range(12)]

        def encode(feeds: dict[str, np.ndarray]) -> bytes:  # type: ignore[type-arg]
            return runs(graphs, "content_encoder", "a", feeds)

        alone = [encode(feeds) for feeds in many]
        assert list(pool.map(encode, many * 3)) == alone * 3


def test_outputs_are_not_overwritten_and_inputs_are_left_alone(tiny_model: Path) -> None:
    image = noise(16, 24)[None]
    image.setflags(write=False)
    turned = noise(24, 16)[None].transpose(0, 2, 1, 3)  # not contiguous
    with open_openvino(tiny_model, "cpu") as graphs:
        encoder = graphs.runner("content_encoder", "a")
        first = encoder.run({"image": image})["content"]
        copy = first.copy()
        second = encoder.run({"image": turned})["content"]
        again = encoder.run({"image": np.ascontiguousarray(turned)})["content"]
    np.testing.assert_array_equal(first, copy)
    np.testing.assert_array_equal(second, again)
    assert first.flags.writeable


@pytest.mark.parametrize(
    ("batch", "results", "message"),
    [(2, 3, "3 styles cannot be shared by 2 contents"), (2, 1, "1 styles"), (3, 4, "4 styles")],
)
def test_styles_that_do_not_fit(batch: int, results: int, message: str, tiny_model: Path) -> None:
    """After a run that fits, OpenVINO itself takes them, and gives images of something else."""
    with open_openvino(tiny_model, "cpu") as graphs:
        decoder = graphs.runner("decoder", "b")
        content = np.zeros((batch, 32, 8, 8), np.float32)
        decoder.run({"content": content, "style": np.zeros((2 * batch, 8), np.float32)})
        with pytest.raises(EngineError, match=rf"decoder_b on content \({batch}.*{message}"):
            decoder.run({"content": content, "style": np.zeros((results, 8), np.float32)})


def test_sizes_that_do_not_fit(tiny_stats_model: Path) -> None:
    with open_openvino(tiny_stats_model, "cpu") as graphs:
        decoder = graphs.runner("decoder_stats", "b")
        rows = next(spec.shape[1] for spec in decoder.inputs if spec.name == "norm_stats")
        assert isinstance(rows, int)
        feeds = {
            "content": np.zeros((1, 32, 8, 8), np.float32),
            "style": np.zeros((1, 8), np.float32),
            "norm_stats": np.full((1, rows, 2), -1, np.float32),
            "core": np.ones((1, 1, 8, 9), np.float32),
        }
        with pytest.raises(EngineError, match="content_width is 8 and 9"):
            decoder.run(feeds)


def test_importing_openvino_tells_nobody(tmp_path: Path) -> None:
    """By itself `import openvino` writes an identity into the home folder and sends an event."""
    program = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from pathlib import Path\n"
        "from munit_edge.engines.openvino.runner import open_openvino\n"
        "open_openvino(Path(sys.argv[1]), 'cpu').runner('decoder', 'b')\n"
        "assert 'openvino' in sys.modules\n"
        "print(sorted(name for name in sys.modules if 'telemetry' in name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, FOLDER / graphs_folder("fp32")],
        env={**os.environ, "HOME": str(tmp_path), "CI": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "openvino_telemetry" not in done.stdout
    assert list(tmp_path.iterdir()) == []
