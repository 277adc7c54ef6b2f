"""Images kept in memory: they are the same, and no more of them than fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_runs import tiny_config, write_data

from munit_edge.errors import InputError
from munit_edge.model.config import DOMAINS
from munit_edge.trainer.data import cache as image_cache
from munit_edge.trainer.data.batches import TrainingBatches
from munit_edge.trainer.data.cache import CACHED_SHARE, ImageCache, cache_size
from munit_edge.trainer.data.image_sets import training_images

SIZE = 12
"""Bytes of `image`."""


def image(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((2, 2, 3), value, np.uint8)


def test_what_does_not_fit_is_not_kept() -> None:
    cache = ImageCache(2 * SIZE + 1)
    for i in range(3):
        cache.offer("a", i, image(i))
    assert [cache.get("a", i) is None for i in range(3)] == [False, False, True]
    assert cache.get("b", 0) is None


def test_a_kept_image_is_a_copy_that_cannot_be_changed() -> None:
    cache, given = ImageCache(SIZE), image(7)
    cache.offer("a", 0, given)
    given[:] = 0
    kept = cache.get("a", 0)
    assert kept is not None
    assert (kept == 7).all()
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1


@pytest.mark.parametrize(("available", "size"), [(1000, 250), (None, 0)])
def test_processes_share_what_is_free(
    available: int | None, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CACHED_SHARE == 0.5
    monkeypatch.setattr(image_cache, "available_memory", lambda: available)
    assert cache_size(2) == size


@pytest.mark.parametrize("cache", ["true", "false"])
def test_kept_images_are_not_read_again(cache: str, tmp_path: Path) -> None:
    root = write_data(tmp_path, 4)  # two batches a round
    config = tiny_config(f"data.root={root}", f"data.cache={cache}")
    source = TrainingBatches(training_images(config.data), config)
    plain = TrainingBatches(
        training_images(config.data), tiny_config(f"data.root={root}", "data.cache=false")
    )
    wanted = [plain.batch(i) for i in range(1, 7)]
    for i in (1, 2):
        source.batch(i)
    for file in root.rglob("*.png"):
        file.unlink()
    if cache == "false":
        with pytest.raises(InputError, match="can be read"):
            source.batch(3)
        return
    for i in range(1, 7):
        for domain in DOMAINS:
            np.testing.assert_array_equal(
                source.batch(i).images[domain], wanted[i - 1].images[domain]
            )
