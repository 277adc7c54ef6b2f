from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from munit_edge import Translator
from munit_edge import translator as translator_module
from munit_edge.engines.base import AnyArray, Array
from munit_edge.engines.onnxruntime.runner import open_onnxruntime
from munit_edge.errors import EngineError, InputError, ModelError
from munit_edge.trainer.checkpoint import open_checkpoint
from munit_edge.trainer.graphs import build_graph
from munit_edge.translator import Content


def noise_images(count: int, height: int, width: int, channels: int = 3) -> np.ndarray:  # type: ignore[type-arg]
    shape = (count, height, width, channels)
    return np.random.default_rng(height * width).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width"),
    [(32, 32), (33, 47), (16, 64), (7, 5), (1, 1), (1, 40)],
)
def test_same_size_out_as_in_on_both_engines(
    height: int, width: int, tiny_model: Path, tiny_checkpoint: Path
) -> None:
    images = noise_images(2, height, width)
    with Translator.open(tiny_model) as exported, Translator.open(tiny_checkpoint) as reference:
        assert (exported.engine, reference.engine) == ("onnxruntime", "torch")
        assert exported.model_id == reference.model_id
        styles = exported.sample_styles(3, seed=1)
        got = exported.translate(images, "a2b", styles=styles)
        expected = reference.translate(images, "a2b", styles=styles)
    assert got.shape == (2, 3, height, width, 3)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1
    assert len({got[0, s].tobytes() for s in range(3)}) == 3


def test_channels_per_domain(tiny_sn_model: Path) -> None:
    with Translator.open(tiny_sn_model) as translator:
        styles = translator.sample_styles(1)
        assert translator.translate(noise_images(1, 8, 8, 1), "a2b", styles=styles).shape[-1] == 4
        assert translator.translate(noise_images(1, 8, 8, 4), "b2a", styles=styles).shape[-1] == 1
        with pytest.raises(InputError, match=r"domain a takes uint8 \[N, height, width, 1\]"):
            translator.translate(noise_images(1, 8, 8, 3), "a2b", styles=styles)


def test_content_is_kept_and_decoded_again(tiny_model: Path) -> None:
    images = noise_images(2, 20, 36)
    with Translator.open(tiny_model) as translator:
        content = translator.encode_content(images, "a")
        assert content.codes.shape == (2, 32, 5, 9)
        guided = translator.encode_style(noise_images(3, 50, 31), "b")
        assert guided.shape == (3, 8)
        first = translator.decode(content, guided, "b")
        assert first.shape == (2, 3, 20, 36, 3)
        again = translator.decode(content, guided[1:2], "b")
        np.testing.assert_array_equal(again[:, 0], first[:, 1])


def test_only_needed_graphs_are_opened(tiny_model: Path) -> None:
    with Translator.open(tiny_model) as translator:
        assert translator.opened_graphs == []
        translator.translate(noise_images(1, 16, 16), "b2a", styles=translator.sample_styles(1))
        assert sorted(translator.opened_graphs) == ["content_encoder_b", "decoder_a"]


def test_a_graph_that_is_not_the_exported_one_never_runs(tiny_model: Path, tmp_path: Path) -> None:
    """Opened ahead, in a thread, it is compared with its hash as ever."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    decoder = folder / "decoder_b.onnx"
    data = bytearray(decoder.read_bytes())
    data[len(data) // 2] ^= 1
    decoder.write_bytes(data)
    with Translator.open(folder) as translator:
        styles = translator.sample_styles(1)
        translator.open_ahead("decoder", "b")
        with pytest.raises(ModelError, match=r"decoder_b\.onnx is not the file that was exported"):
            translator.translate(noise_images(1, 16, 16), "a2b", styles=styles)
        assert translator.opened_graphs == ["content_encoder_a"]


@pytest.mark.parametrize(
    ("at_once", "several_styles", "batches"),
    [
        (2, True, [(1, 2), (1, 1)] * 3),
        (7, True, [(2, 6), (1, 3)]),
        (9, True, [(3, 9)]),
        (7, False, [(7, 7), (2, 2)]),
    ],
    ids=["part of an image", "whole images", "all", "an engine that cannot share"],
)
def test_each_content_is_decoded_in_all_styles_in_batches(
    at_once: int,
    several_styles: bool,
    batches: list[tuple[int, int]],
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The decoder is given so many contents and styles; results do not depend on it."""
    monkeypatch.setattr(translator_module, "DECODE_PIXELS_CPU", at_once * 16 * 24)
    graphs = open_onnxruntime(tiny_model, "cpu")
    with Translator(graphs) as translator:
        decoder = graphs.runner("decoder", "b")
        assert decoder.several_styles
        monkeypatch.setattr(decoder, "several_styles", several_styles)
        run, given = decoder.run, []

        def watched(feeds: Mapping[str, AnyArray], **options: bool) -> dict[str, Array]:
            given.append((len(feeds["content"]), len(feeds["style"])))
            return run(feeds, **options)

        monkeypatch.setattr(decoder, "run", watched)
        styles = translator.sample_styles(3)
        content = translator.encode_content(noise_images(3, 16, 24), "a")
        got = translator.decode(content, styles, "b")
        assert given == batches
        for i in range(3):
            for j in range(3):
                one = Content(np.asarray(content.codes)[i][None], content.size_hw)
                alone = translator.decode(one, styles[j][None], "b")
                assert np.abs(got[i, j].astype(int) - alone[0, 0].astype(int)).max() <= 1


def test_threads_give_the_same_bytes(tiny_model: Path) -> None:
    batches = [noise_images(1, 16 + 4 * i, 32) for i in range(6)]
    with Translator.open(tiny_model) as translator:
        styles = translator.sample_styles(2)

        def translate(images: np.ndarray) -> bytes:  # type: ignore[type-arg]
            return translator.translate(images, "a2b", styles=styles).tobytes()

        alone = [translate(images) for images in batches]
    with Translator.open(tiny_model) as translator, ThreadPoolExecutor(6) as pool:
        together = list(pool.map(translate, batches * 4))
    assert together == alone * 4


def test_output_is_clipped_not_wrapped(tiny_sn_model: Path, tiny_sn_checkpoint: Path) -> None:
    """`munit-sn` has no tanh: a strong style pushes the image outside [-1, 1]."""
    generators = open_checkpoint(tiny_sn_checkpoint).generators()
    decoder = build_graph(generators, "decoder", "b", "float32")
    with Translator.open(tiny_sn_model) as translator:
        content = translator.encode_content(noise_images(1, 16, 16, 1), "a")
        styles = 100 * translator.sample_styles(1)
        got = translator.decode(content, styles, "b")[0, 0]
    with torch.inference_mode():
        raw = decoder(torch.from_numpy(content.codes), torch.from_numpy(styles))[0].numpy()
    assert raw.min() < -1.5
    assert raw.max() > 1.5
    expected = np.rint(np.clip((raw + 1) * 127.5, 0, 255)).transpose(1, 2, 0)
    assert np.abs(got - expected).max() <= 1


def test_sampled_styles_are_the_same_everywhere(tiny_model: Path, tiny_checkpoint: Path) -> None:
    with Translator.open(tiny_model) as exported, Translator.open(tiny_checkpoint) as reference:
        styles = exported.sample_styles(4, seed=3)
        np.testing.assert_array_equal(styles, reference.sample_styles(4, seed=3))
        np.testing.assert_array_equal(styles[:2], exported.sample_styles(2, seed=3))
        assert not np.array_equal(styles, exported.sample_styles(4, seed=4))
    np.testing.assert_allclose(
        styles[0], np.random.Generator(np.random.PCG64(3)).standard_normal(8, np.float32)
    )


@pytest.mark.parametrize(
    ("styles", "message"),
    [
        (np.zeros((2, 7), np.float32), r"takes \[styles, 8\]"),
        (np.zeros((0, 8), np.float32), r"takes \[styles, 8\]"),
        (np.full((1, 8), np.nan, np.float32), "not finite"),
    ],
)
def test_bad_styles(styles: np.ndarray, message: str, tiny_model: Path) -> None:  # type: ignore[type-arg]
    with Translator.open(tiny_model) as translator, pytest.raises(InputError, match=message):
        translator.translate(noise_images(1, 16, 16), "a2b", styles=styles)


def test_bad_images(tiny_model: Path) -> None:
    with Translator.open(tiny_model) as translator:
        for images in (noise_images(1, 8, 8)[0], noise_images(1, 8, 8).astype(np.float32)):
            with pytest.raises(InputError, match="takes"):
                translator.encode_content(images, "a")
        with pytest.raises(InputError, match="nothing to translate"):
            translator.encode_content(noise_images(1, 8, 8)[:0], "a")


def test_torch_engine_names_the_fix_for_a_model_directory(tiny_model: Path) -> None:
    with pytest.raises(EngineError, match="name the checkpoint"):
        Translator.open(tiny_model, engine="torch")


def test_translating_a_model_directory_never_loads_torch(tiny_model: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from munit_edge import Translator\n"
        f"t = Translator.open({str(tiny_model)!r})\n"
        "t.translate(np.zeros((1, 16, 16, 3), np.uint8), 'a2b', styles=t.sample_styles(1))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
