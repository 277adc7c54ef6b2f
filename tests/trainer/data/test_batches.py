"""Batches: which images an iteration sees, and what is done to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from training_runs import tiny_config, write_data

from munit_edge.errors import InputError
from munit_edge.model.config import Domain
from munit_edge.trainer.config import DataConfig
from munit_edge.trainer.data.batches import (
    TrainingBatches,
    augment,
    centre_crop,
    draw_styles,
    first_images,
    fit,
)
from munit_edge.trainer.data.image_sets import ImageSets, training_images

PLAIN = ("data.resize=null", "data.crop_height=8", "data.crop_width=8", "data.flip=false")
DISCRIMINATOR = ("model.discriminator.num_layers=1",)


def numbered(root: Path, count: int) -> Path:
    """Images of 8 x 8 pixels whose grey level encodes their number."""
    for name in ("trainA", "trainB"):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (10 * i,) * 3).save(root / name / f"{i}.png")
    return root


def batches(root: Path, *overrides: str) -> TrainingBatches:
    config = tiny_config(f"data.root={root}", *overrides)
    return TrainingBatches(training_images(config.data), config)


def seen(source: TrainingBatches, domain: Domain, iterations: range) -> list[int]:
    return [
        int(image[0, 0, 0]) // 10 for i in iterations for image in source.batch(i).images[domain]
    ]


def test_every_round_shows_every_image_once_in_a_new_order(tmp_path: Path) -> None:
    source = batches(numbered(tmp_path, 6), *PLAIN)
    first, second = (seen(source, "a", range(i, i + 3)) for i in (1, 4))
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second
    assert seen(source, "b", range(1, 4)) != first


def test_a_batch_depends_on_seed_and_iteration_alone(tmp_path: Path) -> None:
    root = write_data(tmp_path)
    one, two = batches(root), batches(root)
    later = one.batch(7).images
    for i in range(1, 7):
        two.batch(i)
    for domain in ("a", "b"):
        np.testing.assert_array_equal(later[domain], two.batch(7).images[domain])
    other = batches(root, "seed=1").batch(7).images
    assert any((other[domain] != later[domain]).any() for domain in ("a", "b"))


def test_processes_share_the_batch_of_one(tmp_path: Path) -> None:
    root = write_data(tmp_path)
    config = tiny_config(f"data.root={root}", "batch_size=2")
    sets = training_images(config.data)
    alone = TrainingBatches(sets, tiny_config(f"data.root={root}", "batch_size=6"))
    shares = [TrainingBatches(sets, config, process, 3).batch(4).images for process in range(3)]
    for domain, images in alone.batch(4).images.items():
        np.testing.assert_array_equal(np.concatenate([s[domain] for s in shares]), images)


def test_batches_larger_than_the_set_go_round(tmp_path: Path) -> None:
    source = batches(numbered(tmp_path, 2), *PLAIN, "batch_size=5")
    counts = np.bincount(seen(source, "a", range(1, 3)), minlength=2)
    assert counts.tolist() == [5, 5]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels_are_those_of_the_domain(channels: int, mode: str, tmp_path: Path) -> None:
    source = batches(write_data(tmp_path), f"model.channels_b={channels}")
    assert source.batch(1).images["a"].shape == (2, 16, 16, 3)
    assert source.batch(1).images["b"].shape == (2, 16, 16, channels)


def test_a_broken_image_is_named_and_another_stands_in(tmp_path: Path) -> None:
    root = numbered(tmp_path, 3)
    (root / "trainA" / "1.png").write_bytes(b"no image")
    source = batches(root, *PLAIN, "batch_size=3")
    batch = source.batch(1)
    assert sorted({*seen(source, "a", range(1, 2))}) == [0, 2]
    assert len(batch.broken) == 1
    assert "trainA/1.png" in batch.broken[0]
    assert batch.images["a"].shape[0] == 3


THIN = (400, 2)
"""Width and height; a crop of 8 x 8 needs 1600 x 8 pixels of it."""


@pytest.mark.parametrize(
    ("size", "limit", "words"),
    [
        ((40, 40), 0.001, "has 40 x 40 pixels, 0.0 megapixels, and 0.001 are allowed"),
        (THIN, 0.01, "has 400 x 2 pixels and would have 1600 x 8, 0.0 megapixels"),
        (THIN[::-1], 0.01, "has 2 x 400 pixels and would have 8 x 1600"),
    ],
    ids=["large", "wide", "tall"],
)
def test_images_that_are_too_large_are_skipped_by_name(
    size: tuple[int, int], limit: float, words: str, tmp_path: Path
) -> None:
    root = numbered(tmp_path, 3)
    Image.new("RGB", size).save(root / "trainA" / "1.png")
    source = batches(root, *PLAIN, "batch_size=3", f"data.max_megapixels={limit}")
    (fault,) = source.batch(1).broken
    assert "trainA/1.png" in fault
    assert words in fault
    assert "--max-megapixels" in fault
    assert not batches(root, *PLAIN, "batch_size=3").batch(1).broken
    config = tiny_config(f"data.root={root}", *PLAIN, f"data.max_megapixels={limit}")
    assert first_images(training_images(config.data)["a"], "a", config, 3)[0] == (
        "0.png",
        "2.png",
    )


def test_a_thin_image_is_refused_before_it_is_enlarged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_data(tmp_path)
    for file in (root / "trainA").iterdir():
        Image.new("L", (200_000, 1)).save(file)  # 3 terabytes at 4096 pixels

    def never(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(Image.Image, "resize", never)
    with pytest.raises(InputError, match=r"819200000 x 4096, 3355443\.2 megapixels"):
        batches(root, "data.resize=4096").batch(1)


def test_images_of_one_colour_are_named_when_they_are_first_read(tmp_path: Path) -> None:
    root = write_data(tmp_path, 2)
    Image.new("RGB", (20, 24), (9, 90, 200)).save(root / "trainB" / "01.png")
    source = batches(root)
    assert source.batch(1).flat == (str(root / "trainB" / "01.png"),)
    assert source.batch(2).flat == ()


def test_nothing_readable_stops_training(tmp_path: Path) -> None:
    root = numbered(tmp_path, 2)
    for i in range(2):
        (root / "trainB" / f"{i}.png").write_bytes(b"")
    source = batches(root, *PLAIN)
    with pytest.raises(InputError, match=r"no image of domain b in .*trainB can be read"):
        source.batch(1)
    # Worker processes hand errors over as they are.
    assert isinstance(source[1], InputError)


def test_styles_differ_by_iteration_use_and_seed_only() -> None:
    codes = draw_styles(0, 5, 1, 3, 8)
    assert codes.shape == (3, 8)
    assert codes.dtype == np.float32
    np.testing.assert_array_equal(codes, draw_styles(0, 5, 1, 3, 8))
    for other in ((1, 5, 1), (0, 6, 1), (0, 5, 0)):
        assert (draw_styles(*other, 3, 8) != codes).all()


def test_styles_are_standard_normal() -> None:
    codes = draw_styles(0, 1, 0, 20_000, 2)
    np.testing.assert_allclose(codes.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(codes.T), np.eye(2), atol=0.03)


# ----------------------------------------------------------------------------------------------
# Preparation


def data(**settings: Any) -> DataConfig:
    return DataConfig(**{"crop_height": 8, "crop_width": 8, "resize": None} | settings)


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        ((20, 30), {"resize": 10}, (10, 15)),
        ((20, 30), {"resize": None}, (20, 30)),
        ((20, 30), {"resize": 10, "resize_b": 12}, (12, 18)),
        ((4, 6), {"resize": None}, (8, 12)),  # enlarged for the crop
        ((16, 8), {"resize": 8, "crop_width": 10}, (20, 10)),
        ((10, 40), {"resize": 10, "crop_height": 16, "crop_width": 16}, (16, 64)),
        ((10, 11), {"resize": 10, "crop_width": 16}, (15, 16)),
    ],
)
def test_fitting(
    size: tuple[int, int], settings: dict[str, Any], expected: tuple[int, int]
) -> None:
    image = np.zeros((*size, 3), np.uint8)
    assert fit(image, data(**settings), "b").shape == (*expected, 3)


def image_of_places(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([rows, columns, 0 * rows]).astype(np.uint8)


def test_crops_reach_every_place_and_every_other_is_mirrored() -> None:
    image = image_of_places(9, 11)
    corners, mirrored = set(), 0
    for i in range(200):
        crop = augment(fit(image, data(), "a"), data(), np.random.default_rng(i))
        assert crop.shape == (8, 8, 3)
        columns = crop[0, :, 1].astype(int)
        step = set(np.diff(columns).tolist())
        assert step in ({1}, {-1})
        mirrored += step == {-1}
        corners.add((int(crop[0, 0, 0]), int(columns.min())))
    assert corners == {(top, left) for top in range(2) for left in range(4)}
    assert 70 < mirrored < 130


def test_without_flip_nothing_is_mirrored_and_the_crop_stays() -> None:
    image = image_of_places(9, 11)
    for i in range(20):
        plain, flipped = (
            augment(fit(image, data(), "a"), data(flip=flip), np.random.default_rng(i))
            for flip in (False, True)
        )
        assert plain[0, 0, 1] < plain[0, 1, 1]
        assert (plain == flipped).all() or (plain[:, ::-1] == flipped).all()


def test_the_middle_is_shown() -> None:
    crop = centre_crop(fit(image_of_places(10, 12), data(), "a"), data())
    assert crop[0, 0].tolist() == [1, 2, 0]


def test_first_images_leave_out_broken_ones(tmp_path: Path) -> None:
    root = numbered(tmp_path, 4)
    (root / "trainA" / "0.png").write_bytes(b"")
    config = tiny_config(f"data.root={root}", *PLAIN)
    sets: ImageSets = training_images(config.data)
    names, found = first_images(sets["a"], "a", config, 2)
    assert names == ("1.png", "2.png")
    assert found[:, 0, 0, 0].tolist() == [10, 20]
    assert len(first_images(sets["a"], "a", config, 9)[1]) == 3
    for name in sets["a"].names:
        (root / "trainA" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"no image of domain a in .* can be read: .* is empty"):
        first_images(sets["a"], "a", config, 2)
