"""Norms that take their statistics from outside and return those that they measure themselves.

`measuring` makes a copy of a network with such norms; its call runs inside `run_with`, which hands
the statistics from norm to norm. `munit_edge.model.norm_statistics` describes their layout.

A norm measures its input before it normalises it, and only where `core` counts: parts of an image
overlap, and the overlap must count once. The second moment is taken around the mean that the norm
uses, which is the measured one or near it, so nothing cancels.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from contextvars import ContextVar

from munit_edge.model.layers import scales
from munit_edge.trainer.networks import (
    NORM_EPS,
    AdaIN,
    AffineInstanceNorm,
    ContentEncoder,
    Decoder,
    InstanceNorm,
    LayerNorm,
)
from munit_edge.trainer.torch_api import F, Tensor, nn, torch

_current: ContextVar[_Run] = ContextVar("measuring run")


class _Run:
    """One call of a network: statistics taken row by row, and what was measured."""

    def __init__(self, norm_stats: Tensor, core: Tensor) -> None:
        self._given = norm_stats
        self._core = core
        self._next = 0
        self._measured: list[Tensor] = []
        self._weights: dict[int, tuple[Tensor, Tensor]] = {}

    def centre(self, x: Tensor, num_rows: int, enlargement: int) -> tuple[Tensor, Tensor, Tensor]:
        """Subtract the mean of the next norm from its input.

        Args:
            x: [B, C, H, W].
            num_rows: C, or 1 where all channels are normalised as one.
            enlargement: activations of `x` along one side of a content pixel.

        Returns:
            x - mean, the variance to divide by [B, R, 1, 1], and the number of measured values
            for each row [B, 1, 1, 1].
        """
        rows = self._given[:, self._next : self._next + num_rows, :, None, None]
        self._next += num_rows
        given_mean, given_variance = rows[:, :, 0], rows[:, :, 1]  # [B, R, 1, 1]
        weights, count = self._weights_for(enlargement)
        count = count * (x.shape[1] // num_rows)

        def mean_of(values: Tensor) -> Tensor:
            sums = values.flatten(2) @ weights  # [B, C, 1]
            if num_rows == 1:
                sums = sums.sum(1, keepdim=True)
            return sums[..., None] / count  # [B, R, 1, 1]

        uses_own = given_variance < 0
        mean = torch.where(uses_own, mean_of(x), given_mean)
        centred = x - mean
        offset = mean_of(centred)
        variance = mean_of(centred.square()) - offset.square()
        self._measured.append(torch.cat([mean + offset, variance], dim=2)[..., 0])  # [B, R, 2]
        return centred, torch.where(uses_own, variance, given_variance), count

    def measured(self) -> Tensor:
        """[B, K, 2] of all norms so far."""
        return torch.cat(self._measured, dim=1)

    def _weights_for(self, enlargement: int) -> tuple[Tensor, Tensor]:
        """`core` at the size of an activation, [B, H * W, 1], and its sum [B, 1, 1, 1]."""
        if enlargement not in self._weights:
            core = self._core
            if enlargement > 1:
                core = F.interpolate(core, scale_factor=float(enlargement), mode="nearest")
            weights = core.flatten(2).transpose(1, 2)
            self._weights[enlargement] = weights, weights.sum(1, keepdim=True)[..., None]
        return self._weights[enlargement]


class _MeasuredInstanceNorm(InstanceNorm):
    enlargement: int

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        centred, variance, _ = _current.get().centre(x, x.shape[1], self.enlargement)
        return centred * (variance + NORM_EPS).rsqrt()


class _MeasuredAffineInstanceNorm(AffineInstanceNorm):
    enlargement: int

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        centred, variance, _ = _current.get().centre(x, x.shape[1], self.enlargement)
        scale = self.weight[:, None, None] * (variance + NORM_EPS).rsqrt()
        return centred * scale + self.bias[:, None, None]


class _MeasuredAdaIN(AdaIN):
    enlargement: int

    def normalised(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        centred, variance, _ = _current.get().centre(x, x.shape[1], self.enlargement)
        return centred * (variance + NORM_EPS).rsqrt()


class _MeasuredLayerNorm(LayerNorm):
    enlargement: int

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        centred, variance, count = _current.get().centre(x, 1, self.enlargement)
        unbiased = variance * (count / (count - 1))
        std = unbiased.clamp_min(torch.finfo(torch.float32).tiny).sqrt()
        scale = self.weight[:, None, None] / (std + NORM_EPS)  # [B, C, 1, 1]
        return centred * scale + self.bias[:, None, None]


_TWINS: dict[type[nn.Module], type[nn.Module]] = {
    InstanceNorm: _MeasuredInstanceNorm,
    AffineInstanceNorm: _MeasuredAffineInstanceNorm,
    AdaIN: _MeasuredAdaIN,
    LayerNorm: _MeasuredLayerNorm,
}


def measuring(network: nn.Module) -> nn.Module:
    """A copy of a content encoder or decoder with norms that measure; call it in `run_with`."""
    assert isinstance(network, (ContentEncoder, Decoder)), type(network)
    twin = copy.deepcopy(network)
    norms = [module for module in twin.modules() if type(module) in _TWINS]
    for norm, enlargement in zip(norms, _enlargements(network), strict=True):
        # In place: hooks that cast for float16 stay where they are.
        norm.__class__ = _TWINS[type(norm)]
        norm.enlargement = enlargement  # type: ignore[assignment]
    return twin


@contextlib.contextmanager
def run_with(norm_stats: Tensor, core: Tensor) -> Iterator[_Run]:
    """Hand statistics to the measuring network that is called inside.

    Args:
        norm_stats: float32 [B, K, 2], laid out as in `munit_edge.model.norm_statistics`.
        core: float32 [B, 1, h, w], the weight of each content pixel in what is measured.
    """
    run = _Run(norm_stats, core)
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


def _enlargements(network: ContentEncoder | Decoder) -> Iterator[int]:
    """Activations along one side of a content pixel, for the input of each norm."""
    is_encoder = isinstance(network, ContentEncoder)
    content = max(reduction for _, reduction in scales(network.layers))  # 1 in a decoder
    for layer, (enlargement, reduction) in zip(network.layers, scales(network.layers), strict=True):
        if layer.norm != "none":
            yield content // reduction if is_encoder else enlargement
