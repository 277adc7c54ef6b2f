"""Numbers that tell during training how good the generators are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from munit_edge.errors import InputError
from munit_edge.evaluation.feature_networks import NetworkFiles
from munit_edge.evaluation.pictures import MIN_PICTURES
from munit_edge.images.io import Images
from munit_edge.model.config import DIRECTIONS, Domain, split_direction
from munit_edge.trainer.config import BestBy, LossConfig, TrainConfig
from munit_edge.trainer.data.batches import first_pictures
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


class Evaluation:
    """The numbers of `munit-edge evaluate`, on pictures that are read once.

    They are measured on saved checkpoints, so they are those that the command gives for the same
    pictures, and an evaluation that is cut short costs no iteration.
    """

    def __init__(self, config: TrainConfig, sets: ImageSets, device: torch.device) -> None:
        """Read the pictures and the networks, and try these on a picture of each domain.

        Args:
            config: of the run.
            sets: where the pictures are.
            device: where to run.

        Raises:
            InputError: there are too few, or too small ones for a network, or its file is missing.
            ModelError: a network's file holds no such network.
            EngineError: a network cannot be run.
        """
        from munit_edge.evaluation.open_networks import open_networks

        # One of several processes on the CPU has "cpu:0".
        self._device = "cpu" if device.type == "cpu" else str(device)
        files = NetworkFiles(features=config.evaluation.features, lpips=config.evaluation.lpips)
        self._networks = open_networks(files, self._device)
        self._num_styles = config.evaluation.styles
        self._seed = config.seed
        count = config.evaluation.count
        self._images: dict[Domain, Images] = {
            domain: first_pictures(found.spread(count), domain, config, count)[1]
            for domain, found in sets.items()
        }
        for domain, images in self._images.items():
            if len(images) < MIN_PICTURES:
                raise InputError(
                    f"domain {domain} has {len(images)} pictures in {sets[domain].folder} that can "
                    f"be used: best_by {config.best_by} needs at least {MIN_PICTURES}; add some, "
                    "or set best_by to reconstruction"
                )
            if self._networks.features is not None:
                self._networks.features.features(images[:1])
            if self._networks.lpips is not None:
                self._networks.lpips.distances(images[:1], images[:1])

    def measure(self, checkpoint: Path, on_step: Callable[[], None]) -> dict[BestBy, float]:
        """The numbers of a checkpoint.

        Args:
            checkpoint: its folder.
            on_step: called after each picture; what it raises ends the evaluation.

        Raises:
            ModelError: the model gives codes that are not finite.
            EngineError: the device failed (too little memory, say).
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
