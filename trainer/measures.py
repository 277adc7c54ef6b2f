"""Numbers that tell during training how good the generators are; the lower the better."""

from __future__ import annotations

from munit_edge.config import DIRECTIONS, Domain, split_direction
from munit_edge.trainer.config import LossConfig
from munit_edge.trainer.graphs import image_from_bytes
from munit_edge.trainer.losses import (
    content_reconstruction_loss,
    image_reconstruction_loss,
    style_reconstruction_loss,
)
from munit_edge.trainer.networks import Generator
from munit_edge.trainer.torch_api import Tensor, nn, torch


def reconstruction_error(
    generators: nn.ModuleDict, images: dict[Domain, Tensor], styles: Tensor, weights: LossConfig
) -> float:
    """Equations 1 to 3 of the paper with their weights, on images that always are the same.

    Args:
        generators: keys `a` and `b`.
        images: bytes [N, H, W, C] of each domain.
        styles: [S, style_dim]; translation i has style i modulo S.
        weights: those of the image, style and content reconstruction are used.

    Returns:
        The mean over the images of a domain, summed over both domains; not finite where the
        networks' results are not.
    """
    was_training = generators.training
    generators.eval()
    with torch.no_grad():
        means = []
        for direction in DIRECTIONS:
            source, target = (generators[domain] for domain in split_direction(direction))
            assert isinstance(source, Generator)
            assert isinstance(target, Generator)
            errors = [
                _error(source, target, image[None], styles[i % len(styles)][None], weights)
                for i, image in enumerate(images[split_direction(direction)[0]])
            ]
            means.append(torch.stack(errors).mean())
    generators.train(was_training)
    return float(torch.stack(means).sum())


def _error(
    source: Generator, target: Generator, image: Tensor, style: Tensor, weights: LossConfig
) -> Tensor:
    x_a = image_from_bytes(image)
    c_a, s_aa = source.encode(x_a)
    c_aba, s_bab = target.encode(target.decoder(c_a, style))
    return (
        weights.image_weight * image_reconstruction_loss(source.decoder(c_a, s_aa), x_a)
        + weights.style_weight * style_reconstruction_loss(s_bab, style)
        + weights.content_weight * content_reconstruction_loss(c_aba, c_a)
    )
