"""Norms whose gradient stays bounded where there is nothing to normalise.

A norm divides by the std of its input. An image of one colour, or a blank crop, has a std of 0: the
output is 0 whatever the input, yet the derivative is as large as it can be, 1 / eps or its square
root, in every norm along the way, and the product over all norms of a network overflows. Such a
derivative carries no information. Below `FLAT_VARIANCE` it is therefore scaled down in proportion
to the variance, to 0 where the variance is 0. Outputs always equal those of the plain norms, and so
do gradients wherever the variance is larger.

On the CPU the variances are looked at first: where none is small, which is nearly always, torch's
own norm runs. On a GPU that look would wait for the device, so the scaled gradient is computed
there in any case.
"""

from __future__ import annotations

from typing import Any

from munit_edge.trainer.torch_api import F, Tensor, torch

FLAT_VARIANCE = 1e-6
"""Inputs with a smaller variance count as flat: a std of 0.001, for values around 1, and a tenth of
what norms add to the variance."""

_CLEARLY_NOT_FLAT = 2 * FLAT_VARIANCE
"""From here on the scale of the gradient is 1 in spite of any rounding."""


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
        # [C] -> [B * C], one copy for each sample; autograd adds up the copies' gradients.
        weight, bias = weight.repeat(len(x)), bias.repeat(len(x))
    if _can_look_at(x):
        y, _, inverse_std = _normalise(x, weight, bias, eps)
        # (variance + eps)**-0.5: the smallest variance has the largest.
        if float(inverse_std.detach().max()) < (_CLEARLY_NOT_FLAT + eps) ** -0.5:
            return y.view(x.shape)
    return _InstanceNorm.apply(x, weight, bias, eps)  # type: ignore[no-any-return,no-untyped-call]


def steady_product(centred: Tensor, scale: Tensor, variance: Tensor) -> Tensor:
    """``centred * scale``, with a bounded gradient with respect to `centred`.

    Args:
        centred: the input of a norm less its mean [B, C, H, W].
        scale: its factor, which contains one over the std [B, C, 1, 1].
        variance: of `centred`, [B, 1, 1, 1].
    """
    variance = variance.detach()  # only chooses the scale; the std in `scale` keeps its gradient
    if _can_look_at(centred) and float(variance.min()) >= _CLEARLY_NOT_FLAT:
        return centred * scale
    return _Product.apply(centred, scale, _gradient_scale(variance))  # type: ignore[no-any-return,no-untyped-call]


def _can_look_at(x: Tensor) -> bool:
    """Whether Python can branch on values at little cost."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _gradient_scale(variance: Tensor) -> Tensor:
    """The factor of the gradient: 1, and less below `FLAT_VARIANCE`."""
    return (variance / FLAT_VARIANCE).clamp(0, 1)


def _normalise(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """[1, B * C, H, W], mean [B * C] and one over the std [B * C].

    As a batch norm of one sample with B * C channels, which is how torch computes instance norm
    too.
    """
    return torch.ops.aten.native_batch_norm(  # type: ignore[no-any-return]
        _one_sample(x), weight, bias, None, None, True, 0.0, eps
    )


class _InstanceNorm(torch.autograd.Function):
    """Instance norm whose gradient is scaled.

    The scale takes the place of the weight in the backward pass, or multiplies it: this costs no
    pass over the image. Written with differentiable operators, for the R1 penalty.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        y, mean, inverse_std = _normalise(x, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.eps = eps
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        # The variance from its inverse root; where rounding makes it negative, the clamp gives 0.
        scale = _gradient_scale(inverse_std.square().reciprocal() - ctx.eps)  # [B * C]
        is_affine = weight is not None
        # torch differentiates this operator again, with mean and std as functions of x.
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            _one_sample(gradient),
            _one_sample(x),
            scale * weight if is_affine else scale,
            None,
            None,
            mean,
            inverse_std,
            True,
            ctx.eps,
            [True, is_affine, is_affine],
        )
        if not is_affine:
            of_weight = of_bias = None
        return of_x.view(x.shape), of_weight, of_bias, None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, gradient_scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale, gradient_scale)
        return x * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale, gradient_scale = ctx.saved_tensors
        of_x = gradient * (scale * gradient_scale)
        return of_x, (gradient * x).sum((2, 3), keepdim=True), None


def _one_sample(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [1, B * C, H, W]."""
    # In channels_last memory B and C are not adjacent: then this copies.
    return x.contiguous().view(1, -1, *x.shape[2:])
