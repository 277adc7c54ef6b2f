"""One iteration of training: the update of the discriminators, then that of the generators.

Legend (domain b is the same with the letters swapped):
    x_a     image batch of domain a [B, C, H, W] in [-1, 1]
    c_a     its content code [B, content_channels, h, w]
    s_a     style code drawn from N(0, I) for domain a [B, S]
    s_aa    style code that the encoder of a finds in x_a [B, S]
    x_aa    x_a encoded and decoded again in its own domain
    x_ab    x_a translated: its content, decoded by b with s_b
    c_aba   content code that the encoder of b finds in x_ab
    s_bab   style code that the encoder of b finds in x_ab: it should be s_b
    x_aba   x_ab translated back with the style of x_a

Each objective is one module whose `forward` calls every network that its optimiser moves, so a
wrapper that synchronises gradients over processes sees all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from munit_edge.config import DOMAINS
from munit_edge.trainer.config import LossConfig, OptimizerConfig, TrainConfig
from munit_edge.trainer.losses import (
    content_reconstruction_loss,
    cycle_loss,
    gan_discriminator_loss,
    gan_generator_loss,
    image_reconstruction_loss,
    style_reconstruction_loss,
)
from munit_edge.trainer.networks import Generator
from munit_edge.trainer.torch_api import Tensor, nn, torch

Losses = dict[str, Tensor]
"""Scalars by name: `discriminator_*`, `gan_*`, `image_*`, `style_*`, `content_*`, `cycle_*` for
each domain, before their weights; `discriminator_total` and `generator_total` with them."""


@dataclass(frozen=True)
class Pair:
    """One tensor for each domain: images [B, C, H, W], or style codes [B, S]."""

    a: Tensor
    b: Tensor


class Placement(Protocol):
    """What a step needs of Accelerate's `Accelerator`."""

    def prepare(self, *objects: Any) -> Any:
        """The same objects, ready for the device and the other processes."""

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""


class DiscriminatorObjective(nn.Module):
    """What the two discriminators minimise."""

    def __init__(self, discriminators: nn.ModuleDict, config: LossConfig) -> None:
        super().__init__()
        self.discriminators = discriminators
        self.config = config

    def forward(self, x_a: Tensor, x_b: Tensor, x_ab: Tensor, x_ba: Tensor) -> Losses:
        """Real images and translations, which carry no gradient -> losses."""
        images = {"a": (x_a, x_ba), "b": (x_b, x_ab)}
        losses = {}
        for domain in DOMAINS:
            real, fake = images[domain]
            discriminator = self.discriminators[domain]
            losses[f"discriminator_{domain}"] = gan_discriminator_loss(
                discriminator(real),
                discriminator(fake),
                self.config.gan,
                self.config.gan_convention,
            )
        total = losses["discriminator_a"] + losses["discriminator_b"]
        losses["discriminator_total"] = self.config.gan_weight * total
        return losses


class GeneratorObjective(nn.Module):
    """What encoders and decoders of both domains minimise: equation 5 of the paper."""

    def __init__(
        self, generators: nn.ModuleDict, discriminators: nn.ModuleDict, config: LossConfig
    ) -> None:
        super().__init__()
        self.generators = generators
        # In a tuple, so that they are no part of this module: it only asks them.
        self._discriminators = (discriminators,)
        self.config = config

    def forward(self, x_a: Tensor, x_b: Tensor, s_a: Tensor, s_b: Tensor) -> Losses:
        """Images, and the styles to translate them with -> losses."""
        gen_a, gen_b = _both(self.generators)
        c_a, s_aa = gen_a.encode(x_a)
        c_b, s_bb = gen_b.encode(x_b)
        x_aa = gen_a.decoder(c_a, s_aa)
        x_bb = gen_b.decoder(c_b, s_bb)
        x_ba = gen_a.decoder(c_b, s_a)
        x_ab = gen_b.decoder(c_a, s_b)
        c_bab, s_aba = gen_a.encode(x_ba)
        c_aba, s_bab = gen_b.encode(x_ab)

        losses = {
            "image_a": image_reconstruction_loss(x_aa, x_a),
            "image_b": image_reconstruction_loss(x_bb, x_b),
            "style_a": style_reconstruction_loss(s_aba, s_a),
            "style_b": style_reconstruction_loss(s_bab, s_b),
            "content_a": content_reconstruction_loss(c_aba, self._content_target(c_a)),
            "content_b": content_reconstruction_loss(c_bab, self._content_target(c_b)),
            "gan_a": self._gan_loss("a", x_ba),
            "gan_b": self._gan_loss("b", x_ab),
        }
        if self.config.cycle_weight:
            losses["cycle_a"] = cycle_loss(gen_a.decoder(c_aba, s_aa), x_a)
            losses["cycle_b"] = cycle_loss(gen_b.decoder(c_bab, s_bb), x_b)
        losses["generator_total"] = self._total(losses)
        return losses

    def _content_target(self, content: Tensor) -> Tensor:
        return content.detach() if self.config.detach_content_target else content

    def _gan_loss(self, domain: str, translation: Tensor) -> Tensor:
        outputs = self._discriminators[0][domain](translation)
        return gan_generator_loss(outputs, self.config.gan, self.config.gan_convention)

    def _total(self, losses: Losses) -> Tensor:
        weights = {
            "gan": self.config.gan_weight,
            "image": self.config.image_weight,
            "style": self.config.style_weight,
            "content": self.config.content_weight,
            "cycle": self.config.cycle_weight,
        }
        return torch.stack(
            [weights[name.rpartition("_")[0]] * loss for name, loss in losses.items()]
        ).sum()


class TrainingStep:
    """The two updates and their optimisers.

    The networks stay the caller's: they are on their device and in training mode already.
    """

    def __init__(
        self,
        generators: nn.ModuleDict,
        discriminators: nn.ModuleDict,
        config: TrainConfig,
        placement: Placement | None = None,
    ) -> None:
        self.generators = generators
        self.discriminators = discriminators
        self._config = config.optimizer
        self._placement = placement
        self.discriminator_objective: nn.Module = DiscriminatorObjective(
            discriminators, config.loss
        )
        self.generator_objective: nn.Module = GeneratorObjective(
            generators, discriminators, config.loss
        )
        self.discriminator_optimizer = adam(
            discriminators.parameters(), config.optimizer, config.optimizer.discriminator_lr
        )
        self.generator_optimizer = adam(
            generators.parameters(), config.optimizer, config.optimizer.generator_lr
        )
        if placement is not None:
            self.discriminator_objective, self.discriminator_optimizer = placement.prepare(
                self.discriminator_objective, self.discriminator_optimizer
            )
            self.generator_objective, self.generator_optimizer = placement.prepare(
                self.generator_objective, self.generator_optimizer
            )

    def run(
        self, iteration: int, images: Pair, discriminator_styles: Pair, generator_styles: Pair
    ) -> Losses:
        """Do one iteration.

        Args:
            iteration: counted from 1; it decides the learning rates.
            images: a batch of each domain.
            discriminator_styles: drawn from N(0, I) for the translations that the discriminators
                are shown.
            generator_styles: another draw, for the generators' update.

        Returns:
            Every loss, detached.
        """
        self.set_learning_rates(iteration)
        losses = self.update_discriminators(images, discriminator_styles)
        return losses | self.update_generators(images, generator_styles)

    def set_learning_rates(self, iteration: int) -> None:
        """Give both optimisers the learning rate of `iteration`, counted from 1."""
        factor = self._config.factor(iteration)
        for optimizer, lr in (
            (self.generator_optimizer, self._config.generator_lr),
            (self.discriminator_optimizer, self._config.discriminator_lr),
        ):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor

    def update_discriminators(self, images: Pair, styles: Pair) -> Losses:
        """Show the discriminators real images and translations, and move them."""
        with torch.no_grad():
            gen_a, gen_b = _both(self.generators)
            x_ba = gen_a.decoder(gen_b.content_encoder(images.b), styles.a)
            x_ab = gen_b.decoder(gen_a.content_encoder(images.a), styles.b)
        self.discriminators.requires_grad_(True)
        losses: Losses = self.discriminator_objective(images.a, images.b, x_ab, x_ba)
        self._move(self.discriminator_optimizer, losses["discriminator_total"])
        return _detached(losses)

    def update_generators(self, images: Pair, styles: Pair) -> Losses:
        """Reconstruct and translate, and move encoders and decoders."""
        # Gradients pass through the discriminators, but none is wanted of their weights.
        self.discriminators.requires_grad_(False)
        losses: Losses = self.generator_objective(images.a, images.b, styles.a, styles.b)
        self._move(self.generator_optimizer, losses["generator_total"])
        return _detached(losses)

    def _move(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        if self._placement is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._placement.backward(loss)
        optimizer.step()


def adam(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig, lr: float
) -> torch.optim.Optimizer:
    """Adam as the paper's authors used it: weight decay is added to the gradient (not AdamW)."""
    return torch.optim.Adam(
        parameters,
        lr=lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
    )


def _both(generators: nn.ModuleDict) -> tuple[Generator, Generator]:
    return cast(Generator, generators["a"]), cast(Generator, generators["b"])


def _detached(losses: Losses) -> Losses:
    return {name: loss.detach() for name, loss in losses.items()}
