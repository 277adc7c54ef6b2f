"""The losses of MUNIT as pure functions of tensors, and the table of those of the generators.

Equation numbers are those of Huang, Liu, Belongie, Kautz: Multimodal Unsupervised Image-to-Image
Translation, ECCV 2018, section 3.2. Discriminators return logits, high for real and low for fake
images, one tensor per image scale.

Two conventions of the GAN losses are in use:

    paper     mean over the logits of each scale, then sum over scales; least squares as they are
    improved  mean over the logits of each scale, then mean over scales; least squares halved

A new loss of the generators needs three edits:

    here               its function, and its line in `GENERATOR_LOSSES`
    trainer/config.py  its weight in `LossConfig`: `<name>_weight`, 0 by default
    docs/training.md   its row in the table of curves

The training step computes what the table lists wherever the weight is not 0, and weights it. The
curves, the page of a run and the trackers take any loss by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from munit_edge.trainer.config import GanConvention, GanLoss, LossConfig
from munit_edge.trainer.networks import instance_norm
from munit_edge.trainer.torch_api import F, Tensor, torch

ScaleLoss = Callable[[Tensor], Tensor]
"""The logits of one scale [B, ...] -> scalar."""


def gan_discriminator_loss(
    real: Sequence[Tensor],
    fake: Sequence[Tensor],
    kind: GanLoss,
    convention: GanConvention = "paper",
) -> Tensor:
    """Equation 4 as the discriminator of one domain minimises it.

    Args:
        real: logits of real images, one [B, ...] per scale.
        fake: logits of translations that are detached from the generators.
        kind: `lsgan` (Mao et al., 2017), `nsgan` (Goodfellow et al., 2014) or `hinge`
            (Lim and Ye, 2017).
        convention: see the module's docstring.

    Returns:
        A scalar, at least 0.
    """
    on_real, on_fake = _DISCRIMINATOR[kind]
    scales = [on_real(r) + on_fake(f) for r, f in zip(real, fake, strict=True)]
    return _over_scales(scales, kind, convention)


def gan_generator_loss(
    fake: Sequence[Tensor], kind: GanLoss, convention: GanConvention = "paper"
) -> Tensor:
    """Equation 4 as the generators minimise it, for one domain.

    Non-saturating for `nsgan`: -log D(x_ab), not log(1 - D(x_ab)).

    Args:
        fake: logits of translations, one [B, ...] per scale.
        kind: as for the discriminator.
        convention: as for the discriminator.

    Returns:
        A scalar: at least 0 for `lsgan` and `nsgan`, of any sign for `hinge`.
    """
    return _over_scales([_GENERATOR[kind](f) for f in fake], kind, convention)


def image_reconstruction_loss(x_aa: Tensor, x_a: Tensor) -> Tensor:
    """Equation 1: mean |D_a(E_a(x_a)) - x_a|, images [B, C, H, W] in [-1, 1] -> scalar."""
    return F.l1_loss(x_aa, x_a)


def content_reconstruction_loss(c_aba: Tensor, c_a: Tensor) -> Tensor:
    """Equation 2: mean |content of x_ab - content it was decoded from| -> scalar.

    Gradients flow through the target `c_a`, unless the caller detaches it.
    """
    return F.l1_loss(c_aba, c_a)


def style_reconstruction_loss(s_bab: Tensor, s_b: Tensor) -> Tensor:
    """Equation 3: mean |style of x_ab - style drawn from N(0, I)|, [B, S] -> scalar."""
    return F.l1_loss(s_bab, s_b)


def cycle_loss(x_aba: Tensor, x_a: Tensor) -> Tensor:
    """Style-augmented cycle consistency (section 4), images [B, C, H, W] in [-1, 1] -> scalar.

    x_aba has the content of x_ab and the style of x_a. Equations 1 to 4 imply this loss; adding it
    explicitly helps where domains differ much.
    """
    return F.l1_loss(x_aba, x_a)


def r1_penalty(
    real: Sequence[Tensor], images: Tensor, convention: GanConvention = "paper"
) -> Tensor:
    """Half the squared gradient of the discriminator's score with respect to real images.

    Mescheder, Geiger, Nowozin: Which Training Methods for GANs do actually Converge?, ICML 2018,
    equation 9 without its gamma. The score of an image reduces its logits as the GAN losses do:
    mean over each scale, then sum or mean over scales.

    Args:
        real: logits of `images`, one [B, ...] per scale.
        images: [B, C, H, W], requiring gradients before `real` was computed from them.
        convention: see the module's docstring.

    Returns:
        A scalar, the mean over the batch; differentiable with respect to the discriminator.
    """
    scores = torch.stack([logits.flatten(1).mean(1) for logits in real])  # [scales, B]
    score = scores.sum(0) if convention == "paper" else scores.mean(0)  # [B]
    # Scores depend on their own image alone: the gradient of their sum holds each one's.
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean() / 2


def perceptual_loss(features_ab: Tensor, features_a: Tensor) -> Tensor:
    """Mean squared difference of instance-normalised features (section 5.1) -> scalar.

    The norm removes the mean and std of each channel, which depend on the domain more than on what
    the image shows.

    Args:
        features_ab: of a translation, [B, C, h, w], h * w > 1.
        features_a: of its source image.
    """
    return F.mse_loss(instance_norm(features_ab), instance_norm(features_a))


def _over_scales(scales: Sequence[Tensor], kind: GanLoss, convention: GanConvention) -> Tensor:
    total = torch.stack(list(scales)).sum()
    if convention == "paper":
        return total
    mean = total / len(scales)
    return mean / 2 if kind == "lsgan" else mean


def _least_squares(target: float) -> ScaleLoss:
    return lambda logits: (logits - target).square().mean()


# With D = sigmoid(logits): -log D = softplus(-logits) and -log(1 - D) = softplus(logits), which
# stay finite where the logarithm of a rounded sigmoid does not.
def _minus_log(logits: Tensor) -> Tensor:
    return F.softplus(-logits).mean()


def _minus_log_of_complement(logits: Tensor) -> Tensor:
    return F.softplus(logits).mean()


def _hinge_real(logits: Tensor) -> Tensor:
    return F.relu(1 - logits).mean()


def _hinge_fake(logits: Tensor) -> Tensor:
    return F.relu(1 + logits).mean()


def _hinge_generator(logits: Tensor) -> Tensor:
    return -logits.mean()


_DISCRIMINATOR: dict[GanLoss, tuple[ScaleLoss, ScaleLoss]] = {
    "lsgan": (_least_squares(1.0), _least_squares(0.0)),
    "nsgan": (_minus_log, _minus_log_of_complement),
    "hinge": (_hinge_real, _hinge_fake),
}
"""Loss of the logits of real images, loss of those of translations."""

_GENERATOR: dict[GanLoss, ScaleLoss] = {
    "lsgan": _least_squares(1.0),
    "nsgan": _minus_log,
    "hinge": _hinge_generator,
}


# ----------------------------------------------------------------------------------------------
# The generators' objective, loss by loss


@dataclass(frozen=True)
class DomainTensors:
    """The tensors that the losses of one domain compare.

    Names are those of domain a; the legend is in step.py. Tensors that every step has are values. A
    tensor that costs another network call is a function, called only by the losses that need it.
    """

    x_a: Tensor
    x_aa: Tensor
    s_a: Tensor
    """The style code drawn for the translation into this domain."""
    s_aba: Tensor
    """The style code that is found in that translation."""
    c_a: Tensor
    c_aba: Tensor
    x_ba: Tensor
    """The translation into this domain."""
    x_b: Tensor
    """Its source."""
    logits: Callable[[], Sequence[Tensor]]
    """Those of the discriminator of this domain for x_ba, augmented as in `LossConfig.augment`."""
    x_aba: Callable[[], Tensor]
    features: Callable[[Tensor], Tensor] | None
    """VGG features of images [B, C, H, W]; None where the perceptual loss has no weight."""


GeneratorLoss = Callable[[DomainTensors, LossConfig], Tensor]
"""One loss of one domain -> scalar, before its weight."""


def _content(at: DomainTensors, config: LossConfig) -> Tensor:
    target = at.c_a.detach() if config.detach_content_target else at.c_a
    return content_reconstruction_loss(at.c_aba, target)


def _perceptual(at: DomainTensors, config: LossConfig) -> Tensor:
    assert at.features is not None, "the step opens VGG where this loss has a weight"
    # In float32: the loss is a difference of features, which bfloat16 would round before.
    with torch.autocast(at.x_b.device.type, enabled=False):
        with torch.no_grad():
            target = at.features(at.x_b)
        return perceptual_loss(at.features(at.x_ba), target)


GENERATOR_LOSSES: dict[str, GeneratorLoss] = {
    "image": lambda at, config: image_reconstruction_loss(at.x_aa, at.x_a),
    "style": lambda at, config: style_reconstruction_loss(at.s_aba, at.s_a),
    "content": _content,
    "gan": lambda at, config: gan_generator_loss(at.logits(), config.gan, config.gan_convention),
    "cycle": lambda at, config: cycle_loss(at.x_aba(), at.x_a),
    "perceptual": _perceptual,
}
"""By name: `LossConfig` has the weight `<name>_weight`, and the loss of domain a is `<name>_a`."""

EQUATION_5 = frozenset({"image", "style", "content", "gan"})
"""Losses that are computed and reported even where their weight is 0."""
