"""Norms whose gradient stays bounded where there is nothing to normalise.

A norm divides by the deviation of what it gets. A picture of one colour, or a blank crop, has none:
the result is 0 whatever came in, yet the derivative is as large as it can be, 1 / eps or its root,
in every norm on the way, and the product over all norms of a network overflows. Such a derivative
means nothing. Below `FLAT_VARIANCE` it is therefore lowered in proportion to the variance, to 0
where there is none. Values are those of the plain norms everywhere; so are gradients elsewhere.
"""

from __future__ import annotations

from typing import Any

from munit_edge.trainer.torch_api import F, Tensor, torch

FLAT_VARIANCE = 1e-6
"""What has a smaller variance counts as flat: a deviation of 0.001, for values around 1,
and a tenth of what norms add to the variance."""


def steady_instance_norm(
    x: Tensor, eps: float, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Instance norm with a bounded gradient.

    Args:
        x: [B, C, H, W], float32 or float64, H * W > 1.
        eps: added to the variance.
        weight: scale of each channel [C], or None together with `bias`.
        bias: shift of each channel [C].

    Returns:
        [B, C, H, W].

    Raises:
        ValueError: a channel has one value.
    """
    if not x.requires_grad:  # also the form that is exported
        return F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    if x.shape[2:].numel() == 1:
        raise ValueError(f"instance norm needs more than one value in a channel: {x.shape}")
    if weight is not None and bias is not None:
        weight, bias = weight.repeat(len(x)), bias.repeat(len(x))
    return _InstanceNorm.apply(x, weight, bias, eps)  # type: ignore[no-any-return,no-untyped-call]


def steady_product(centred: Tensor, scale: Tensor, variance: Tensor) -> Tensor:
    """``centred * scale``, with a bounded gradient of `centred`.

    Args:
        centred: what a norm has taken the mean from [B, C, H, W].
        scale: its factor, one over the deviation among others, [B, C, 1, 1].
        variance: of `centred`, [B, 1, 1, 1].
    """
    return _Product.apply(centred, scale, _share(variance.detach()))  # type: ignore[no-any-return,no-untyped-call]


def _share(variance: Tensor) -> Tensor:
    """What is left of a gradient."""
    return (variance / FLAT_VARIANCE).clamp(0, 1)


class _InstanceNorm(torch.autograd.Function):
    """As a batch norm of one sample with B * C channels, which is how torch computes it too.

    The share of the gradient takes the place of the weight in the backward pass, or multiplies it:
    it costs no pass over the picture. Written with differentiable operators, for the R1 penalty.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        y, mean, inverse_deviation = torch.ops.aten.native_batch_norm(
            _one_sample(x), weight, bias, None, None, True, 0.0, eps
        )
        ctx.save_for_backward(x, weight, mean, inverse_deviation)
        ctx.eps = eps
        return y.view(x.shape)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, inverse_deviation = ctx.saved_tensors
        share = _share(inverse_deviation.square().reciprocal() - ctx.eps)  # [B * C]
        is_affine = weight is not None
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            _one_sample(gradient),
            _one_sample(x),
            share * weight if is_affine else share,
            None,
            None,
            mean,
            inverse_deviation,
            True,
            ctx.eps,
            [True, is_affine, is_affine],
        )
        if not is_affine:
            of_weight = of_bias = None
        return of_x.view(x.shape), of_weight, of_bias, None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, share: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale, share)
        return x * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale, share = ctx.saved_tensors
        return gradient * (scale * share), (gradient * x).sum((2, 3), keepdim=True), None


def _one_sample(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [1, B * C, H, W]."""
    return x.contiguous().view(1, -1, *x.shape[2:])
