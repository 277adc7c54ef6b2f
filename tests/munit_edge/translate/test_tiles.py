"""Tiles against the whole image, in torch: what the exported graphs do is tests/export's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munit_edge.errors import ConfigError, InputError, ModelError
from munit_edge.model.norm_statistics import NormStatistics, largest_change
from munit_edge.translate.tiles import TiledTranslation, reduced
from munit_edge.translate.tiling import cut
from munit_edge.translator import Translator

CORE = 48
STYLES = 2


def photo(height: int, width: int, channels: int) -> np.ndarray:
    """Uneven on purpose: brightness and texture differ from tile to tile."""
    generator = np.random.default_rng(0)
    coarse = generator.uniform(0, 200, (-(-height // 7), -(-width // 7), channels))
    soft = coarse.repeat(7, axis=0).repeat(7, axis=1)[:height, :width]
    slope = np.linspace(0, 55, width)[None, :, None]
    noise = generator.normal(0, 1, soft.shape) * np.linspace(0, 20, height)[:, None, None]
    return np.clip(soft + slope + noise, 0, 255).astype(np.uint8)


def psnr(got: np.ndarray, expected: np.ndarray) -> float:
    error = np.square(got.astype(float) - expected).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.fixture(scope="module")
def opened(tiny_checkpoint: Path) -> Iterator[Translator]:
    with Translator.open(tiny_checkpoint, device="cpu") as translator:
        yield translator


@pytest.fixture(scope="module")
def opened_sn(tiny_sn_checkpoint: Path) -> Iterator[Translator]:
    with Translator.open(tiny_sn_checkpoint, device="cpu") as translator:
        yield translator


def tiled(translator: Translator, image: np.ndarray, statistics: Any, **options: Any) -> np.ndarray:
    job = TiledTranslation(translator, "a2b", statistics=statistics, **options)
    styles = translator.sample_styles(STYLES)
    return np.stack(list(job.translate(image, styles, core=CORE)))


@pytest.mark.parametrize("fixture", ["opened", "opened_sn"])
def test_exact_statistics_give_the_whole_translation(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    """Sizes that are no multiples, borders and corners included; the bar is 45 dB."""
    translator: Translator = request.getfixturevalue(fixture)
    image = photo(130, 171, translator.config.channels_a)
    whole = translator.translate(image[None], "a2b", styles=translator.sample_styles(STYLES))[0]
    got = tiled(translator, image, "exact")
    assert got.shape == whole.shape
    assert psnr(got, whole) > 60
    assert np.abs(got.astype(int) - whole).max() <= 2
    # Guards the numbers above: without common statistics tiles look different.
    assert psnr(_tiles_for_themselves(translator, image), whole[0]) < 30


def _tiles_for_themselves(translator: Translator, image: np.ndarray) -> np.ndarray:
    result = np.empty((*image.shape[:2], translator.config.channels_b), np.uint8)
    for top in range(0, image.shape[0], CORE):
        for left in range(0, image.shape[1], CORE):
            part = image[top : top + CORE, left : left + CORE]
            styles = translator.sample_styles(STYLES)[:1]
            out = translator.translate(part[None], "a2b", styles=styles)[0, 0]
            result[top : top + CORE, left : left + CORE] = out
    return result


@pytest.mark.parametrize("statistics", ["thumbnail", "exact"])
def test_no_seam(statistics: str, opened: Translator) -> None:
    """The mean step across each tile border against those across all other rows and columns."""
    image = photo(150, 190, 3)
    got = tiled(opened, image, statistics)[0].astype(int)
    alone = _tiles_for_themselves(opened, image).astype(int)
    grid = cut((150, 190), CORE, opened.config)
    for axis in (0, 1):
        borders = sorted({tile.core[axis].start for tile in grid.tiles} - {0})
        across, elsewhere = _steps(got, axis, borders)
        assert across.max() <= elsewhere.max()
        assert across.mean() <= 1.15 * elsewhere.mean()
        across, elsewhere = _steps(alone, axis, range(CORE, got.shape[axis], CORE))
        assert across.mean() > 1.3 * elsewhere.mean(), "this would not see a seam"


def _steps(image: np.ndarray, axis: int, borders: Iterable[int]) -> tuple[Any, Any]:
    """Mean step across the borders and elsewhere; up-sampling has a rhythm of four pixels."""
    steps = np.abs(np.diff(image, axis=axis)).mean(axis=(1 - axis, 2))
    across = [border - 1 for border in borders]
    elsewhere = sorted(set(range(3, len(steps), 4)) - set(across))
    return steps[across], steps[elsewhere]


def test_each_pass_makes_one_more_norm_exact(opened: Translator) -> None:
    """From statistics that are all wrong: after as many passes as norms they are those of the
    whole image, and not before."""
    image = photo(96, 120, 3)
    _, expected = opened.encode_measured(image[None], "a")
    found: list[NormStatistics] = []

    class Watched(Translator):
        def encode_measured(self, *args: Any, **kwargs: Any) -> Any:
            content, measured = super().encode_measured(*args, **kwargs)
            if len(args) < 3:  # of the thumbnail
                return content, np.ones_like(measured)
            found.append(args[2])
            return content, measured

    tiled(Watched(opened._graphs), image, "exact")
    changes = {largest_change(given, expected) for given in found}
    assert min(changes) < 1e-3 < max(changes)
    passes = len({given.tobytes() for given in found})
    assert 3 <= passes <= 1 + 5  # the tiny model has five norms; the first pass is given ones


def test_several_styles_are_those_of_one_at_a_time(
    opened: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photo(70, 100, 3)
    together = tiled(opened, image, "thumbnail")
    monkeypatch.setattr("munit_edge.translate.tiles.RESULT_BYTES", 1)
    assert (tiled(opened, image, "thumbnail") == together).all()
    assert psnr(together[0], together[1]) < 40


def test_the_cost_is_reported_before_the_work(opened: Translator) -> None:
    notes: list[str] = []
    job = TiledTranslation(opened, "a2b", statistics="exact", notify=notes.append)
    results = job.translate(photo(100, 90, 3), opened.sample_styles(1), core=CORE, name="x.png")
    next(results)
    (line,) = notes
    assert line.startswith("x.png: 90 x 100 pixels in 6 tiles with exact statistics: ")
    assert "TMAC in total" in line


@pytest.mark.parametrize("statistics", ["thumbnail", "exact"])
@pytest.mark.parametrize("result_bytes", [1 << 26, 1], ids=["together", "each style"])
def test_every_tile_is_reported(
    statistics: Any, result_bytes: int, opened: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("munit_edge.translate.tiles.RESULT_BYTES", result_bytes)
    job = TiledTranslation(opened, "a2b", statistics=statistics)
    reported: list[tuple[float, str]] = []
    list(
        job.translate(
            photo(100, 90, 3),
            opened.sample_styles(STYLES),
            core=CORE,
            on_part=lambda part, note: reported.append((part, note)),
        )
    )
    parts = [part for part, _ in reported]
    assert parts == sorted(set(parts)), "it never goes back"
    assert parts[-1] == 1
    assert [note for _, note in reported[-6:]] == [f"tile {number} of 6" for number in range(1, 7)]
    passes = len(reported) // 6
    if statistics == "thumbnail":
        assert passes == (1 if result_bytes > 1 else STYLES)
    else:
        assert reported[6 + 1][1] == "measuring pass 2, tile 2 of 6"
        assert passes > 2


def test_a_core_that_is_too_small(opened: Translator) -> None:
    job = TiledTranslation(opened, "a2b")
    with pytest.raises(ConfigError, match="--tile 8 is too small"):
        next(job.translate(photo(100, 90, 3), opened.sample_styles(1), core=8))


def test_a_model_of_one_size_is_refused_with_the_reason(
    opened: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Translator, "padded_size", lambda *args: (256, 256))
    job = TiledTranslation(opened, "a2b")
    with pytest.raises(InputError, match=r"exported for one size.* without --height and --width"):
        next(job.translate(photo(100, 90, 3), opened.sample_styles(1), core=CORE))


def test_a_model_without_stats_graphs_is_refused_with_the_fix(tiny_model: Path) -> None:
    with Translator.open(tiny_model, device="cpu") as translator:
        job = TiledTranslation(translator, "a2b")
        with pytest.raises(ModelError, match="lists no content_encoder_a_stats: export the model"):
            next(job.translate(photo(100, 90, 3), translator.sample_styles(1), core=CORE))


def test_measured_statistics_fed_back_change_nothing(opened: Translator) -> None:
    images = np.stack([photo(40, 52, 3), 255 - photo(40, 52, 3)])
    plain = opened.encode_content(images, "a")
    content, measured = opened.encode_measured(images, "a")
    again, _ = opened.encode_measured(images, "a", measured)
    for found in (content, again):
        assert found.size_hw == (40, 52)
        np.testing.assert_allclose(found.codes, plain.codes, atol=1e-4)
    swapped, _ = opened.encode_measured(images, "a", measured[::-1])
    assert np.abs(np.asarray(swapped.codes) - np.asarray(plain.codes)).max() > 0.1
    styles = opened.sample_styles(2)
    expected = opened.decode(plain, styles, "b")[[0, 1], [0, 1]].astype(int)
    decoded, measured = opened.decode_measured(content, styles, "b")
    assert np.abs(decoded - expected).max() <= 1
    decoded, _ = opened.decode_measured(content, styles, "b", measured)
    assert np.abs(decoded - expected).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm_stats": np.ones((1, 3, 2), np.float32)}, r"norm_stats have shape \(1, 3, 2\)"),
        ({"core": np.ones((3, 3), np.float32)}, r"core has shape \(3, 3\)"),
        ({"core": np.zeros((10, 10), np.float32)}, "sum 0"),
    ],
)
def test_statistics_of_a_wrong_shape(
    options: dict[str, Any], message: str, opened: Translator
) -> None:
    with pytest.raises(InputError, match=message):
        opened.encode_measured(photo(40, 40, 3)[None], "a", **options)


@pytest.mark.parametrize("size", [(9, 13), (1, 7), (300, 5000)])
def test_reduced_takes_the_mean_of_squares(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert (reduced(image, 1) == image).all()
    small = reduced(image, 4)
    height, width = (max(1, side // 4) for side in size)
    assert small.shape == (height, width, 3)
    corner = image[: min(4, size[0]), : min(4, size[1])]
    assert (small[0, 0] == np.rint(corner.astype(float).mean((0, 1)))).all()
