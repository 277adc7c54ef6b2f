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

The generators do not move in the discriminators' update. So what both updates need of them is
computed once, before, with its graph: the content codes, and the translations where they are
reused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from munit_edge.model.config import DOMAINS
from munit_edge.trainer.config import LossConfig, OptimizerConfig, TrainConfig
from munit_edge.trainer.data.augmentation import NUM_DRAWS, augmented
from munit_edge.trainer.data.batches import draw_augmentations
from munit_edge.trainer.fast.network_calls import (
    GeneratorCalls,
    NetworkCalls,
    compile_errors,
    network_calls,
)
from munit_edge.trainer.fast.up_convolution import fold_up_sampling
from munit_edge.trainer.features.vgg import VggFeatures, read_vgg
from munit_edge.trainer.losses import (
    content_reconstruction_loss,
    cycle_loss,
    gan_discriminator_loss,
    gan_generator_loss,
    image_reconstruction_loss,
    perceptual_loss,
    r1_penalty,
    style_reconstruction_loss,
)
from munit_edge.trainer.torch_api import Tensor, nn, torch

Losses = dict[str, Tensor]
"""Scalars by name: `discriminator_*`, `r1_*`, `gan_*`, `image_*`, `style_*`, `content_*`,
`cycle_*`, `perceptual_*` for each domain, before their weights; `discriminator_total` and
`generator_total` with them; `discriminator_gradient_norm` and `generator_gradient_norm`, over all
their parameters together. What has no weight is not there."""

Codes = tuple[Tensor, Tensor]
"""Content or style codes for domains a and b."""


class Decoded(NamedTuple):
    """What the generators make of content codes; names as in the legend."""

    s_aa: Tensor
    s_bb: Tensor
    x_aa: Tensor
    x_bb: Tensor
    x_ab: Tensor
    x_ba: Tensor


class Beginning(NamedTuple):
    """What the generators compute before the discriminators move, with its graph."""

    contents: Codes
    decoded: Decoded | None
    """None where each update takes style codes of its own."""


_NUM_SHOWN = 6
"""Batches that the discriminators are shown in an iteration: real and translated of both domains,
then the translations of the generators' update."""

Role = Literal["discriminator", "generator"]
"""Whose update it is; the names of its losses' total and gradient norm begin so."""


@dataclass(frozen=True)
class Pair:
    """One tensor for each domain: images [B, C, H, W], or style codes [B, S]."""

    a: Tensor
    b: Tensor


class Placement(Protocol):
    """What a step needs of Accelerate's `Accelerator`."""

    process_index: int
    """Number of this process, from 0."""
    num_processes: int
    """How many train together."""

    def prepare(self, *objects: Any) -> Any:
        """The same objects, ready for the device and the other processes."""

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        """Combine a tensor over all processes."""


class DiscriminatorObjective(nn.Module):
    """What the two discriminators minimise."""

    def __init__(
        self, discriminators: nn.ModuleDict, calls: NetworkCalls, config: LossConfig
    ) -> None:
        super().__init__()
        self.discriminators = discriminators
        self._calls = calls
        self.config = config

    def forward(
        self,
        x_a: Tensor,
        x_b: Tensor,
        x_ab: Tensor,
        x_ba: Tensor,
        draws: Tensor | None = None,
        penalised: bool = False,
    ) -> Losses:
        """Real images and translations, which carry no gradient -> losses.

        `draws` [4, B, NUM_DRAWS] are for the augmentation of x_a, x_ba, x_b, x_ab, in this order;
        `penalised` says whether the R1 penalty is due.
        """
        config = self.config
        shown = [x_a, x_ba, x_b, x_ab]
        if draws is not None:
            shown = [augmented(*pair, config.augment) for pair in zip(shown, draws, strict=True)]
        losses = {}
        for domain, real, fake in zip(DOMAINS, shown[::2], shown[1::2], strict=True):
            discriminator = self._calls.discriminators[domain]
            if penalised:
                # torch.compile cannot differentiate twice.
                discriminator = self.discriminators[domain]
                real = real.detach().requires_grad_()
            on_real = discriminator(real)
            losses[f"discriminator_{domain}"] = gan_discriminator_loss(
                on_real, discriminator(fake), config.gan, config.gan_convention
            )
            if penalised:
                losses[f"r1_{domain}"] = r1_penalty(on_real, real, config.gan_convention)
        losses["discriminator_total"] = config.gan_weight * _of_both("discriminator", losses)
        if penalised:
            weight = config.r1_weight * config.r1_interval
            losses["discriminator_total"] += weight * _of_both("r1", losses)
        return losses


class GeneratorObjective(nn.Module):
    """What encoders and decoders of both domains minimise: equation 5 of the paper."""

    def __init__(
        self,
        generators: nn.ModuleDict,
        calls: NetworkCalls,
        config: LossConfig,
        vgg: VggFeatures | None = None,
    ) -> None:
        super().__init__()
        self.generators = generators
        # Discriminators and VGG are no part of this module: it only asks them.
        self._calls = calls
        self._vgg = (vgg,)
        self.config = config

    def forward(
        self,
        x_a: Tensor,
        x_b: Tensor,
        styles: Codes | None = None,
        beginning: Beginning | None = None,
        draws: Tensor | None = None,
    ) -> Beginning | Losses:
        """Images, and styles to translate with -> losses, in two calls.

        The first, without `beginning`, returns it; it decodes where it is given styles. The second
        always has styles. `draws` [2, B, NUM_DRAWS] are for the augmentation of x_ba and x_ab, in
        this order.
        """
        gen_a, gen_b = self._calls.generators.values()
        if beginning is None:
            contents = gen_a.content_encoder(x_a), gen_b.content_encoder(x_b)
            decoded = None if styles is None else self._decoded(x_a, x_b, contents, styles)
            return Beginning(contents, decoded)
        assert styles is not None
        contents, (s_a, s_b) = beginning.contents, styles
        c_a, c_b = contents
        s_aa, s_bb, x_aa, x_bb, x_ab, x_ba = beginning.decoded or self._decoded(
            x_a, x_b, contents, styles
        )
        c_bab, s_aba = gen_a.encode(x_ba)
        c_aba, s_bab = gen_b.encode(x_ab)

        losses = {
            "image_a": image_reconstruction_loss(x_aa, x_a),
            "image_b": image_reconstruction_loss(x_bb, x_b),
            "style_a": style_reconstruction_loss(s_aba, s_a),
            "style_b": style_reconstruction_loss(s_bab, s_b),
            "content_a": content_reconstruction_loss(c_aba, self._content_target(c_a)),
            "content_b": content_reconstruction_loss(c_bab, self._content_target(c_b)),
            "gan_a": self._gan_loss("a", x_ba, None if draws is None else draws[0]),
            "gan_b": self._gan_loss("b", x_ab, None if draws is None else draws[1]),
        }
        if self.config.cycle_weight:
            losses["cycle_a"] = cycle_loss(gen_a.decoder(c_aba, s_aa), x_a)
            losses["cycle_b"] = cycle_loss(gen_b.decoder(c_bab, s_bb), x_b)
        if self.config.perceptual_weight:
            losses["perceptual_a"] = self._perceptual_loss(x_ba, x_b)
            losses["perceptual_b"] = self._perceptual_loss(x_ab, x_a)
        losses["generator_total"] = self._total(losses)
        return losses

    def _decoded(self, x_a: Tensor, x_b: Tensor, contents: Codes, styles: Codes) -> Decoded:
        gen_a, gen_b = self._calls.generators.values()
        (c_a, c_b), (s_a, s_b) = contents, styles
        s_aa, s_bb = gen_a.style_encoder(x_a), gen_b.style_encoder(x_b)
        x_aa, x_ba = _decode_both(gen_a, (c_a, c_b), (s_aa, s_a))
        x_bb, x_ab = _decode_both(gen_b, (c_b, c_a), (s_bb, s_b))
        return Decoded(s_aa, s_bb, x_aa, x_bb, x_ab, x_ba)

    def _content_target(self, content: Tensor) -> Tensor:
        return content.detach() if self.config.detach_content_target else content

    def _gan_loss(self, domain: str, translation: Tensor, draws: Tensor | None) -> Tensor:
        if draws is not None:
            translation = augmented(translation, draws, self.config.augment)
        outputs = self._calls.discriminators[domain](translation)
        return gan_generator_loss(outputs, self.config.gan, self.config.gan_convention)

    def _perceptual_loss(self, translation: Tensor, source: Tensor) -> Tensor:
        (vgg,) = self._vgg
        assert vgg is not None
        with torch.autocast(source.device.type, enabled=False):
            with torch.no_grad():
                wanted = vgg(source)
            return perceptual_loss(vgg(translation), wanted)

    def _total(self, losses: Losses) -> Tensor:
        weights = {
            "gan": self.config.gan_weight,
            "image": self.config.image_weight,
            "style": self.config.style_weight,
            "content": self.config.content_weight,
            "cycle": self.config.cycle_weight,
            "perceptual": self.config.perceptual_weight,
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
        self.skipped: tuple[Role, ...] = ()
        """Whose updates the last iteration left out because something was not finite."""
        self._config = config
        self._placement = placement
        self.vgg = self._vgg()
        """What the perceptual loss compares pictures with; None where it has no weight."""
        fold_up_sampling(generators, config.speed.fold_up_sampling)
        if config.speed.channels_last:
            for networks in (generators, discriminators):
                networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # it can
        self._calls = network_calls(generators, discriminators, compiled=config.speed.compile)
        self.discriminator_objective: nn.Module = DiscriminatorObjective(
            discriminators, self._calls, config.loss
        )
        self.generator_objective: nn.Module = GeneratorObjective(
            generators, self._calls, config.loss, self.vgg
        )
        self.discriminator_optimizer = adam(
            discriminators.parameters(),
            config.optimizer,
            config.optimizer.discriminator_lr,
            fused=config.speed.fused_adam,
        )
        self.generator_optimizer = adam(
            generators.parameters(),
            config.optimizer,
            config.optimizer.generator_lr,
            fused=config.speed.fused_adam,
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

        Raises:
            EngineError: a network cannot be compiled (`speed.compile`).
        """
        self.skipped = ()
        self.set_learning_rates(iteration)
        reused = self._config.speed.reuse_translations
        styles = discriminator_styles if reused else generator_styles
        with compile_errors():
            beginning = self.begin(images, discriminator_styles if reused else None)
            losses = self.update_discriminators(iteration, images, beginning, discriminator_styles)
            return losses | self.update_generators(iteration, images, beginning, styles)

    def begin(self, images: Pair, styles: Pair | None = None) -> Beginning:
        """What both updates need of the generators: the translations, too, if `styles` are given.

        No generator may move between this and the updates.
        """
        codes = None if styles is None else (styles.a, styles.b)
        with self._autocast(images):
            beginning: Beginning = self.generator_objective(images.a, images.b, codes)
        return beginning

    def set_learning_rates(self, iteration: int) -> None:
        """Give both optimisers the learning rate of `iteration`, counted from 1."""
        config = self._config.optimizer
        factor = config.factor(iteration)
        for optimizer, lr in (
            (self.generator_optimizer, config.generator_lr),
            (self.discriminator_optimizer, config.discriminator_lr),
        ):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor

    def update_discriminators(
        self, iteration: int, images: Pair, beginning: Beginning, styles: Pair
    ) -> Losses:
        """Show the discriminators real images and translations, and move them.

        Args:
            iteration: counted from 1.
            images: a batch of each domain.
            beginning: of `begin`, for the same images.
            styles: drawn from N(0, I), where `begin` had none.
        """
        self.discriminators.requires_grad_(True)
        config, draws = self._config.loss, self._draws(iteration, images)
        with self._autocast(images):
            losses: Losses = self.discriminator_objective(
                images.a,
                images.b,
                *self._translations(beginning, styles),
                None if draws is None else draws[:4],
                config.r1_weight > 0 and iteration % config.r1_interval == 0,
            )
        return self._move("discriminator", self.discriminator_optimizer, losses)

    def update_generators(
        self, iteration: int, images: Pair, beginning: Beginning, styles: Pair
    ) -> Losses:
        """Reconstruct and translate, and move encoders and decoders.

        Args:
            iteration: counted from 1.
            images: a batch of each domain.
            beginning: of `begin`, for the same images.
            styles: those that `begin` had, or others drawn from N(0, I) where it had none.
        """
        # Gradients pass through the discriminators, but none is wanted of their weights.
        self.discriminators.requires_grad_(False)
        draws = self._draws(iteration, images)
        with self._autocast(images):
            losses: Losses = self.generator_objective(
                images.a,
                images.b,
                (styles.a, styles.b),
                beginning,
                None if draws is None else draws[4:],
            )
        return self._move("generator", self.generator_optimizer, losses)

    def _translations(self, beginning: Beginning, styles: Pair) -> tuple[Tensor, Tensor]:
        """x_ab and x_ba, without graph."""
        if beginning.decoded is not None:
            return beginning.decoded.x_ab.detach(), beginning.decoded.x_ba.detach()
        (gen_a, gen_b), (c_a, c_b) = self._calls.generators.values(), beginning.contents
        with torch.no_grad():
            return gen_b.decoder(c_a, styles.b), gen_a.decoder(c_b, styles.a)

    def _autocast(self, images: Pair) -> torch.autocast:
        enabled = self._config.speed.precision == "bf16"
        return torch.autocast(images.a.device.type, torch.bfloat16, enabled=enabled)

    def _vgg(self) -> VggFeatures | None:
        config = self._config.loss
        if not config.perceptual_weight or config.perceptual_file is None:
            return None
        vgg = read_vgg(config.perceptual_file, config.perceptual_layer)
        return vgg.to(next(self.generators.parameters()))

    def _draws(self, iteration: int, images: Pair) -> Tensor | None:
        """Chance for the augmentation of all that an iteration shows: [6, B, NUM_DRAWS]."""
        if not self._config.loss.augment:
            return None
        batch = len(images.a)
        index, processes = 0, 1
        if self._placement is not None:
            index, processes = self._placement.process_index, self._placement.num_processes
        numbers = draw_augmentations(
            self._config.seed, iteration, _NUM_SHOWN * processes * batch, NUM_DRAWS
        )
        draws = torch.from_numpy(numbers).view(_NUM_SHOWN, processes, batch, NUM_DRAWS)
        return draws[:, index].to(images.a.device)

    def _move(self, role: Role, optimizer: torch.optim.Optimizer, losses: Losses) -> Losses:
        """Take a step down the total loss, or skip it; all losses, detached."""
        optimizer.zero_grad()
        loss = losses[f"{role}_total"]
        if self._placement is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._placement.backward(loss)
        values = _detached(losses) | {f"{role}_gradient_norm": _gradient_norm(optimizer)}
        if self._config.on_non_finite == "skip" and not self._finite(values):
            self.skipped += (role,)
        else:
            optimizer.step()
        return values

    def _finite(self, losses: Losses) -> bool:
        """Whether all are finite in every process: all of them have to decide alike."""
        values = torch.stack(list(losses.values()))
        if self._placement is not None:
            values = self._placement.reduce(values, "sum")
        return bool(torch.isfinite(values).all())


def adam(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig, lr: float, *, fused: bool
) -> torch.optim.Optimizer:
    """Adam as the paper's authors used it: weight decay is added to the gradient (not AdamW)."""
    return torch.optim.Adam(
        parameters,
        lr=lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=fused,
    )


def _decode_both(generator: GeneratorCalls, contents: Codes, styles: Codes) -> tuple[Tensor, ...]:
    """Two batches of codes as one, decoded: every norm sees one sample, so nothing else changes."""
    return generator.decoder(torch.cat(contents), torch.cat(styles)).chunk(2)  # type: ignore[no-any-return]


def _of_both(term: str, losses: Losses) -> Tensor:
    return losses[f"{term}_a"] + losses[f"{term}_b"]


def _gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _detached(losses: Losses) -> Losses:
    return {name: loss.detach() for name, loss in losses.items()}
