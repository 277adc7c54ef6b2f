"""The loss functions of MUNIT, as pure functions of tensors.

Equation numbers are those of Huang, Liu, Belongie, Kautz: Multimodal Unsupervised Image-to-Image
Translation, ECCV 2018, section 3.2. Discriminators answer high for real and low for fake images,
with one tensor for each image scale.

Two conventions of the GAN losses are in use:

    paper     mean over each scale's outputs, then the sum over scales; least squares as they are
    improved  mean over each scale's outputs, then the mean over scales; least squares halved
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from munit_edge.trainer.config import GanConvention, GanLoss
from munit_edge.trainer.networks import instance_norm
from munit_edge.trainer.torch_api import F, Tensor, torch

ScaleLoss = Callable[[Tensor], Tensor]
"""One scale's outputs [B, ...] -> a scalar."""


def gan_discriminator_loss(
    real: Sequence[Tensor],
    fake: Sequence[Tensor],
    kind: GanLoss,
    convention: GanConvention = "paper",
) -> Tensor:
    """What the discriminator of one domain minimises: equation 4, from its side.

    Args:
        real: its outputs for real images, one [B, ...] for each scale.
        fake: its outputs for translations, detached from the generators.
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
    """What the generators minimise to be taken for real in one domain: equation 4, their side.

    Non-saturating for `nsgan`: -log D(x_ab), not log(1 - D(x_ab)).

    Args:
        fake: the discriminator's outputs for translations, one [B, ...] for each scale.
        kind: as for the discriminator.
        convention: as for the discriminator.

    Returns:
        A scalar; at least 0 for `lsgan` and `nsgan`, of any sign for `hinge`.
    """
    return _over_scales([_GENERATOR[kind](f) for f in fake], kind, convention)


def image_reconstruction_loss(x_aa: Tensor, x_a: Tensor) -> Tensor:
    """Equation 1: mean |D_a(E_a(x_a)) - x_a|, images [B, C, H, W] in [-1, 1] -> scalar."""
    return F.l1_loss(x_aa, x_a)


def content_reconstruction_loss(c_aba: Tensor, c_a: Tensor) -> Tensor:
    """Equation 2: mean |content of x_ab - content that it was decoded from| -> scalar.

    Whether the target lets gradients through is the caller's choice: detach it or not.
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
    """Half the squared gradient of the discriminator's verdict with respect to real images.

    Mescheder, Geiger, Nowozin: Which Training Methods for GANs do actually Converge?, ICML 2018,
    equation 9 without its gamma. The verdict on an image is what the GAN loss makes of many
    outputs: their mean in each scale, then sum or mean over scales.

    Args:
        real: the discriminator's outputs for `images`, one [B, ...] for each scale.
        images: [B, C, H, W], which `real` was computed from with gradients.
        convention: see the module's docstring.

    Returns:
        A scalar, the mean over the batch; differentiable with respect to the discriminator.
    """
    verdicts = torch.stack([output.flatten(1).mean(1) for output in real])  # [scales, B]
    verdict = verdicts.sum(0) if convention == "paper" else verdicts.mean(0)
    (gradient,) = torch.autograd.grad(verdict.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean() / 2


def perceptual_loss(features_ab: Tensor, features_a: Tensor) -> Tensor:
    """Mean squared difference of instance-normalised features (section 4) -> scalar.

    The norm takes away each channel's mean and deviation, which tell the domains apart more than
    they tell what is in the picture.

    Args:
        features_ab: of a translation, [B, C, h, w], h * w > 1.
        features_a: of the picture that it was made from.
    """
    return F.mse_loss(instance_norm(features_ab), instance_norm(features_a))


def _over_scales(scales: Sequence[Tensor], kind: GanLoss, convention: GanConvention) -> Tensor:
    total = torch.stack(list(scales)).sum()
    if convention == "paper":
        return total
    mean = total / len(scales)
    return mean / 2 if kind == "lsgan" else mean


def _least_squares(target: float) -> ScaleLoss:
    return lambda output: (output - target).square().mean()


# With D = sigmoid(output): -log D = softplus(-output) and -log(1 - D) = softplus(output), which
# stay finite where the logarithm of a rounded sigmoid does not.
def _minus_log(output: Tensor) -> Tensor:
    return F.softplus(-output).mean()


def _minus_log_of_complement(output: Tensor) -> Tensor:
    return F.softplus(output).mean()


def _hinge_real(output: Tensor) -> Tensor:
    return F.relu(1 - output).mean()


def _hinge_fake(output: Tensor) -> Tensor:
    return F.relu(1 + output).mean()


def _hinge_generator(output: Tensor) -> Tensor:
    return -output.mean()


_DISCRIMINATOR: dict[GanLoss, tuple[ScaleLoss, ScaleLoss]] = {
    "lsgan": (_least_squares(1.0), _least_squares(0.0)),
    "nsgan": (_minus_log, _minus_log_of_complement),
    "hinge": (_hinge_real, _hinge_fake),
}
"""Loss on real outputs, loss on fake outputs."""

_GENERATOR: dict[GanLoss, ScaleLoss] = {
    "lsgan": _least_squares(1.0),
    "nsgan": _minus_log,
    "hinge": _hinge_generator,
}
