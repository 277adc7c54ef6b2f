"""Measures of the generators' quality during training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from munit_edge.errors import InputError
from munit_edge.evaluation.feature_networks import NetworkFiles
from munit_edge.evaluation.images import MIN_IMAGES
from munit_edge.images.io import Images
from munit_edge.model.config import DIRECTIONS, Domain, split_direction
from munit_edge.trainer.config import BestBy, LossConfig, TrainConfig
from munit_edge.trainer.data.batches import first_images
from munit_edge.trainer.data.image_sets import ImageSets
from munit_edge.trainer.graphs import image_from_bytes
from munit_edge.trainer.losses import (
    content_reconstruction_loss,
    image_reconstruction_loss,
    style_reconstruction_loss,
)
from munit_edge.trainer.networks import Generator
from munit_edge.trainer.torch_api import Tensor, nn, torch

if TYPE_CHECKING:
    from munit_edge.evaluation.run import Measured


def reconstruction_error(
    generators: nn.ModuleDict, images: dict[Domain, Tensor], styles: Tensor, weights: LossConfig
) -> float:
    """Equations 1 to 3 of the paper with their weights, on a fixed set of images.

    Args:
        generators: keys `a` and `b`.
        images: uint8 [N, H, W, C] of each domain.
        styles: [S, style_dim]; translation i uses style i modulo S.
        weights: the weights of the image, style and content reconstruction.

    Returns:
        The mean over the images of a domain, summed over both domains; not finite if the outputs of
        the networks are not.
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


class Evaluation:
    """The measures of `munit-edge evaluate`, on images that are read once.

    They are taken from saved checkpoints: they equal those of the command for the same images, and
    interrupting an evaluation costs no iteration.
    """

    def __init__(self, config: TrainConfig, sets: ImageSets, device: torch.device) -> None:
        """Read the images and the feature networks, and try the networks on an image per domain.

        Args:
            config: the run's configuration.
            sets: the images.
            device: the device to run on.

        Raises:
            InputError: images are too few or too small for a network, or its file is missing.
            ModelError: a file does not hold the network that is needed.
            EngineError: a network cannot run.
        """
        from munit_edge.evaluation.open_networks import open_networks

        # In one of several processes on the CPU it is "cpu:0".
        self._device = "cpu" if device.type == "cpu" else str(device)
        files = NetworkFiles(features=config.evaluation.features, lpips=config.evaluation.lpips)
        self._networks = open_networks(files, self._device)
        self._num_styles = config.evaluation.styles
        self._seed = config.seed
        count = config.evaluation.count
        self._images: dict[Domain, Images] = {
            domain: first_images(found.spread(count), domain, config, count)[1]
            for domain, found in sets.items()
        }
        for domain, images in self._images.items():
            if len(images) < MIN_IMAGES:
                raise InputError(
                    f"domain {domain} has {len(images)} usable images in {sets[domain].folder}: "
                    f"best_by {config.best_by} needs at least {MIN_IMAGES}; add some, "
                    "or set best_by to reconstruction"
                )
            # One image through each network: better to fail here than at the first checkpoint.
            if self._networks.features is not None:
                self._networks.features.features(images[:1])
            if self._networks.lpips is not None:
                self._networks.lpips.distances(images[:1], images[:1])

    def measure(self, checkpoint: Path, on_step: Callable[[], None]) -> dict[BestBy, float]:
        """The measures of a checkpoint.

        Args:
            checkpoint: the checkpoint's folder.
            on_step: called after each image; an exception that it raises ends the evaluation.

        Raises:
            ModelError: the model's codes are not finite.
            EngineError: the device failed, for example out of memory.
        """
        from munit_edge.evaluation.run import measure
        from munit_edge.translator import Translator

        with Translator.open(checkpoint, engine="torch", device=self._device) as translator:
            found = measure(
                translator,
                self._images,
                self._num_styles,
                seed=self._seed,
                networks=self._networks,
                on_step=on_step,
            )
        return _by_name(found)


def _by_name(found: Measured) -> dict[BestBy, float]:
    """Means over domains and directions."""
    propositions, directions = found.propositions, found.directions
    assert propositions.joint is not None, "both directions are measured"
    means: dict[BestBy, list[float]] = {
        "image_error": [domain.image_error for domain in found.domains],
        "style_error": [direction.style_error for direction in directions],
        "content_error": [direction.content_error_relative for direction in directions],
        "cycle_error": [direction.cycle_error for direction in directions],
        "style_use": [direction.style_use for direction in directions],
        "translation_mmd": [test.mmd_squared for test in propositions.translations.values()],
        "pair_mmd": [propositions.joint.mmd_squared],
        "fid": [direction.fid.value for direction in found.networks if direction.fid],
        "kid": [direction.kid.mean for direction in found.networks if direction.kid],
        "lpips": [direction.lpips.mean for direction in found.networks if direction.lpips],
    }
    return {name: fmean(values) for name, values in means.items() if values}
