from __future__ import annotations

import numpy as np
import pytest

from munit_edge.model.config import ModelConfig
from munit_edge.model.norm_statistics import (
    Joined,
    largest_change,
    norm_layers,
    num_rows,
    own_statistics,
)


def test_rows_of_the_papers_networks() -> None:
    config = ModelConfig()
    assert num_rows(config, "content_encoder_stats") == 64 + 128 + 256 + 8 * 256
    assert num_rows(config, "decoder_stats") == 8 * 256 + 2  # two layer norms
    assert [layer.outputs for layer in norm_layers(config, "decoder")][-2:] == [128, 64]


def test_rows_where_channels_are_capped_and_every_norm_is_adain() -> None:
    config = ModelConfig(architecture="munit-sn", width=16, max_width=48, num_res_blocks=1)
    assert num_rows(config, "content_encoder") == 16 + 32 + 48 + 2 * 48
    assert num_rows(config, "decoder") == 2 * 48 + 24 + 12


def test_joined_parts_are_the_whole() -> None:
    values = np.random.default_rng(0).normal(500, 0.1, (3, 1000))
    values[0] += np.linspace(0, 9, 1000)
    joined = Joined()
    for part in np.split(values, [1, 300, 310], axis=1):
        stats = np.stack([part.mean(1), part.var(1)], axis=-1)[None]
        joined.add(stats, part.shape[1])
    expected = np.stack([values.mean(1), values.var(1)], axis=-1)[None]
    assert joined.result().dtype == np.float32
    np.testing.assert_allclose(joined.result(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("after", "change"),
    [
        ([[0.0, 4.0]], 0.0),
        ([[1.0, 4.0]], 0.5),  # half a std
        ([[0.0, 1.0]], 1.0),  # the std was 2 and is 1
        ([[0.0, -1e-12]], 2e5),  # rounding below zero is no error
    ],
)
def test_largest_change_counts_in_stds(after: list[list[float]], change: float) -> None:
    before = np.array([[0.0, 4.0]], np.float32)
    found = largest_change(before, np.array(after, np.float32))
    assert found == pytest.approx(change, rel=1e-3)


def test_own_statistics_ask_for_measuring() -> None:
    own = own_statistics(ModelConfig(), "decoder", 3)
    assert own.shape == (3, 2050, 2)
    assert (own[..., 1] < 0).all()
