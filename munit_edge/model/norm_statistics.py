"""Statistics of the norms as data: what `*_stats` graphs take and give, and how parts are merged.

A norm divides its input by the std over the whole image. The `*_stats` graphs take means and
variances from outside instead (`norm_stats`) and output what they measured (`norm_stats_out`), so
that parts of an image, or frames of a video, can share them.

Both are float32 [batch, K, 2], mean and biased variance, K rows in the order in which the network
computes its norms: one row for each channel of an instance norm (AdaIN's too), one for a layer
norm. A negative variance asks the graph to use its own mean and variance for that row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from munit_edge.model.config import GraphKind, ModelConfig
from munit_edge.model.layers import Layer, content_encoder, decoder

NormStatistics = NDArray[np.float32]
"""float32 [batch, K, 2]: mean and biased variance; a negative variance stands for "your own"."""

MEAN, VARIANCE = 0, 1
_OWN = -1.0


def norm_layers(config: ModelConfig, kind: GraphKind) -> tuple[Layer, ...]:
    """The layers of a content encoder or decoder that have a norm, in the order of their rows.

    Args:
        config: the model's configuration.
        kind: `content_encoder` or `decoder`, or their `_stats` twins.
    """
    assert not kind.startswith("style_encoder"), "a style encoder has no norms"
    network = content_encoder if kind.startswith("content_encoder") else decoder
    return tuple(layer for layer in network(config, config.channels_a) if layer.norm != "none")


def num_rows(config: ModelConfig, kind: GraphKind) -> int:
    """K: rows of statistics of a content encoder or decoder."""
    return sum(1 if layer.norm == "layer" else layer.outputs for layer in norm_layers(config, kind))


def own_statistics(config: ModelConfig, kind: GraphKind, batch: int) -> NormStatistics:
    """Statistics with which a `*_stats` graph behaves as the plain one: each norm uses its own."""
    return np.full((batch, num_rows(config, kind), 2), _OWN, dtype=np.float32)


class Merged:
    """Statistics of parts that do not overlap, merged into those of the whole.

    By the parallel rule of Chan, Golub and LeVeque (1979) in float64: exact but for rounding.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean: NDArray[np.float64] | float = 0.0
        self._squares: NDArray[np.float64] | float = 0.0

    def add(self, measured: NormStatistics, count: int) -> None:
        """Take in one part.

        Args:
            measured: [..., K, 2] of that part.
            count: its size, in any unit that is the same for all parts.
        """
        # S += S_part + d^2 * n * n_part / (n + n_part) and mean += d * n_part / (n + n_part), with
        # S the sum of squared differences from the mean and d = mean_part - mean. Unlike a plain
        # sum of squares, S loses no digits where the mean is large.
        part = measured.astype(np.float64)
        total = self._count + count
        difference = part[..., MEAN] - self._mean
        self._squares += part[..., VARIANCE] * count
        self._squares += difference**2 * (self._count * count / total)
        self._mean += difference * (count / total)
        self._count = total

    def result(self) -> NormStatistics:
        """The statistics of everything taken in."""
        assert self._count, "nothing was measured"
        variance = np.asarray(self._squares) / self._count
        return np.stack([np.asarray(self._mean), variance], axis=-1).astype(np.float32)


def largest_change(before: NormStatistics, after: NormStatistics) -> float:
    """The largest change of any mean or std, in units of the std afterwards."""
    std = np.sqrt(np.maximum(after[..., VARIANCE], 1e-10, dtype=np.float64))
    old_std = np.sqrt(np.maximum(before[..., VARIANCE], 0, dtype=np.float64))
    moved = np.abs(after[..., MEAN].astype(np.float64) - before[..., MEAN])
    stretched = np.abs(np.sqrt(np.maximum(after[..., VARIANCE], 0, dtype=np.float64)) - old_std)
    return float((np.maximum(moved, stretched) / std).max())
