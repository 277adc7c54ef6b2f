"""One training iteration: the update of the discriminators, then that of the generators.

Legend (domain b is the same with the letters swapped):
    x_a     image batch of domain a [B, C, H, W] in [-1, 1]
    c_a     its content code [B, content_channels, h, w]
    s_a     style code drawn from N(0, I) for domain a [B, S]
    s_aa    style code that the encoder of a extracts from x_a [B, S]
    x_aa    x_a encoded and decoded again in its own domain
    x_ab    x_a translated: its content, decoded by b with s_b
    c_aba   content code that the encoder of b extracts from x_ab
    s_bab   style code that the encoder of b extracts from x_ab: it should be s_b
    x_aba   x_ab translated back with the style of x_a

Each objective is one module whose `forward` calls every network that its optimiser moves. A wrapper
that synchronises gradients between processes, such as DistributedDataParallel, sees all of them.

The generators do not move during the discriminators' update. What both updates need from them is
therefore computed once, with its graph, before either: the content codes, and the translations
where both updates use the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

from munit_edge.model.config import DOMAINS, Domain
from munit_edge.trainer.config import LossConfig, OptimizerConfig, TrainConfig
from munit_edge.trainer.data.augmentation import NUM_DRAWS, augmented
from munit_edge.trainer.data.batches import draw_augmentations
from munit_edge.trainer.fast.network_calls import (
    GeneratorCalls,
    NetworkCalls,
    compile_errors,
    network_calls,
)
from munit_edge.trainer.fast.up_convolution import fold_upsampling
from munit_edge.trainer.features.vgg import VggFeatures, read_vgg
from munit_edge.trainer.losses import (
    EQUATION_5,
    GENERATOR_LOSSES,
    DomainTensors,
    gan_discriminator_loss,
    r1_penalty,
)
from munit_edge.trainer.torch_api import Tensor, nn, torch

Losses = dict[str, Tensor]
"""Scalars by name. For each domain, before the weights: `discriminator_*`, `r1_*` and those of
`GENERATOR_LOSSES`, such as `image_a`. With the weights: `discriminator_total`, `generator_total`.
Over all parameters together: `discriminator_gradient_norm`, `generator_gradient_norm`. Losses that
are not computed are absent."""


class Pair(NamedTuple):
    """One tensor per domain: images [B, C, H, W], content codes or style codes [B, S]."""

    a: Tensor
    b: Tensor


class Generated(NamedTuple):
    """What the generators decode from content codes."""

    own_styles: Pair
    """s_aa, s_bb."""
    reconstructions: Pair
    """x_aa, x_bb."""
    translations: Pair
    """Into each domain: x_ba, x_ab."""


class SharedForward(NamedTuple):
    """The generators' forward pass that both updates use, with its graph."""

    contents: Pair
    """c_a, c_b."""
    generated: Generated | None
    """None where each update draws its own style codes."""


_NUM_SHOWN = 6
"""Batches that the discriminators see in an iteration: real and translated images of both domains,
then the translations of the generators' update."""

Role = Literal["discriminator", "generator"]
"""The networks that an update moves; their total loss and gradient norm are named after it."""


class Placement(Protocol):
    """The part of Accelerate's `Accelerator` that a step uses."""

    process_index: int
    """Rank of this process, from 0."""
    num_processes: int
    """Number of processes that train together."""

    def prepare(self, *objects: Any) -> Any:
        """Wrap modules and optimisers for the device and the other processes."""

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        """Reduce a tensor over all processes."""


class DiscriminatorObjective(nn.Module):
    """The loss of both discriminators."""

    def __init__(
        self, discriminators: nn.ModuleDict, calls: NetworkCalls, config: LossConfig
    ) -> None:
        super().__init__()
        self.discriminators = discriminators
        self._calls = calls
        self.config = config

    def forward(
        self,
        images: Pair,
        translations: Pair,
        draws: Tensor | None = None,
        penalised: bool = False,
    ) -> Losses:
        """Compute the losses of real images against translations.

        Args:
            images: x_a, x_b.
            translations: x_ba, x_ab, without a graph.
            draws: [4, B, NUM_DRAWS], for the augmentation of x_a, x_ba, x_b, x_ab in this order.
            penalised: whether the R1 penalty is due.
        """
        config = self.config
        shown = [images.a, translations.a, images.b, translations.b]
        if draws is not None:
            shown = [augmented(*pair, config.augment) for pair in zip(shown, draws, strict=True)]
        losses = {}
        for domain, real, fake in zip(DOMAINS, shown[::2], shown[1::2], strict=True):
            discriminator = self._calls.discriminators[domain]
            if penalised:
                # torch.compile cannot differentiate twice.
                discriminator = self.discriminators[domain]
                # A tensor of its own that shares the pixels: the images themselves, which the
                # generators' update sees next, stay without a gradient.
                real = real.detach().requires_grad_()
            # Two calls, not one for both batches: each is a power iteration of spectral norm.
            on_real = discriminator(real)
            losses[f"discriminator_{domain}"] = gan_discriminator_loss(
                on_real, discriminator(fake), config.gan, config.gan_convention
            )
            if penalised:
                losses[f"r1_{domain}"] = r1_penalty(on_real, real, config.gan_convention)
        losses["discriminator_total"] = config.gan_weight * _of_both("discriminator", losses)
        if penalised:
            # Computed in one of `r1_interval` iterations, so that it has to weigh as much more.
            weight = config.r1_weight * config.r1_interval
            losses["discriminator_total"] += weight * _of_both("r1", losses)
        return losses


class GeneratorObjective(nn.Module):
    """The loss of the encoders and decoders of both domains: equation 5 of the paper."""

    def __init__(
        self,
        generators: nn.ModuleDict,
        calls: NetworkCalls,
        config: LossConfig,
        vgg: VggFeatures | None = None,
    ) -> None:
        super().__init__()
        self.generators = generators
        # Discriminators and VGG are called, but are no submodules: their weights do not move here.
        self._calls = calls
        self._features = None if vgg is None else vgg.forward
        self.config = config

    def forward(
        self,
        images: Pair,
        styles: Pair | None = None,
        shared: SharedForward | None = None,
        draws: Tensor | None = None,
    ) -> SharedForward | Losses:
        """Compute the shared forward pass, or from it the losses.

        Both are one function because DistributedDataParallel synchronises the gradients of what
        runs inside `forward` and of nothing else.

        Args:
            images: x_a, x_b.
            styles: s_a, s_b to translate with. Without them the shared forward pass ends with the
                content codes; the losses always need them.
            shared: what the first call returned; None: this is the first call.
            draws: [2, B, NUM_DRAWS], for the augmentation of x_ba and x_ab in this order.
        """
        if shared is None:
            return self._shared(images, styles)
        assert styles is not None, "the losses need the drawn styles"
        return self._losses(images, styles, shared, draws)

    def _shared(self, images: Pair, styles: Pair | None) -> SharedForward:
        generators = self._calls.generators
        contents = Pair(*(generators[d].content_encoder(getattr(images, d)) for d in DOMAINS))
        generated = None if styles is None else self._generate(images, contents, styles)
        return SharedForward(contents, generated)

    def _generate(self, images: Pair, contents: Pair, styles: Pair) -> Generated:
        gen_a, gen_b = (self._calls.generators[d] for d in DOMAINS)
        own = Pair(gen_a.style_encoder(images.a), gen_b.style_encoder(images.b))
        x_aa, x_ba = _decode_both(gen_a, (contents.a, contents.b), (own.a, styles.a))
        x_bb, x_ab = _decode_both(gen_b, (contents.b, contents.a), (own.b, styles.b))
        return Generated(own, Pair(x_aa, x_bb), Pair(x_ba, x_ab))

    def _losses(
        self, images: Pair, styles: Pair, shared: SharedForward, draws: Tensor | None
    ) -> Losses:
        generators = self._calls.generators
        generated = shared.generated or self._generate(images, shared.contents, styles)
        own, same, into = generated  # styles; x_aa and x_bb; x_ba and x_ab
        # again[1] holds the codes of x_ab: its content should be c_a, its style the drawn s_b.
        again = [generators[domain].encode(x) for domain, x in zip(DOMAINS, into, strict=True)]
        tensors = {}
        for here, domain in enumerate(DOMAINS):
            there = 1 - here
            # The domain's view; the fields have the names of domain a.
            tensors[domain] = DomainTensors(
                x_a=images[here],
                x_aa=same[here],
                s_a=styles[here],
                s_aba=again[here][1],
                c_a=shared.contents[here],
                c_aba=again[there][0],
                x_ba=into[here],
                x_b=images[there],
                logits=partial(
                    self._logits, domain, into[here], None if draws is None else draws[here]
                ),
                x_aba=partial(generators[domain].decoder, again[there][0], own[here]),
                features=self._features,
            )
        weights = {name: getattr(self.config, f"{name}_weight") for name in GENERATOR_LOSSES}
        losses, weighted = {}, []
        # The losses of equation 5 are computed at weight 0 too: their curves are always there.
        for name, loss in GENERATOR_LOSSES.items():
            if weights[name] or name in EQUATION_5:
                for domain in DOMAINS:
                    value = loss(tensors[domain], self.config)
                    losses[f"{name}_{domain}"] = value
                    weighted.append(weights[name] * value)
        losses["generator_total"] = torch.stack(weighted).sum()
        return losses

    def _logits(self, domain: Domain, translation: Tensor, draws: Tensor | None) -> list[Tensor]:
        if draws is not None:
            translation = augmented(translation, draws, self.config.augment)
        return self._calls.discriminators[domain](translation)  # type: ignore[no-any-return]


class TrainingStep:
    """The two updates and their optimisers.

    The caller owns the networks and has put them on their device and into training mode.
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
        """The updates that the last iteration skipped because something was not finite."""
        self._config = config
        self._placement = placement
        self.vgg = self._vgg()
        """The network of the perceptual loss; None where that loss has no weight."""
        fold_upsampling(generators, config.speed.fold_up_sampling)
        # Before the objectives are prepared: DistributedDataParallel lays out its gradient buckets
        # by the strides that the parameters have then.
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
        """Run one iteration.

        Args:
            iteration: counted from 1; determines the learning rates.
            images: one batch per domain.
            discriminator_styles: drawn from N(0, I) for the translations that the discriminators
                see.
            generator_styles: a second draw, for the generators' update.

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
            shared = self.shared_forward(images, discriminator_styles if reused else None)
            losses = self.update_discriminators(iteration, images, shared, discriminator_styles)
            return losses | self.update_generators(iteration, images, shared, styles)

    def shared_forward(self, images: Pair, styles: Pair | None = None) -> SharedForward:
        """What both updates need from the generators; with `styles`, the translations too.

        The generators must not move between this call and the updates.
        """
        with self._autocast(images):
            shared: SharedForward = self.generator_objective(images, styles)
        return shared

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
        self, iteration: int, images: Pair, shared: SharedForward, styles: Pair
    ) -> Losses:
        """Move the discriminators, on real images and translations.

        Args:
            iteration: counted from 1.
            images: one batch per domain.
            shared: the result of `shared_forward` for the same images.
            styles: drawn from N(0, I); unused where `shared` holds translations.
        """
        self.discriminators.requires_grad_(True)  # the generators' update switches it off
        config, draws = self._config.loss, self._draws(iteration, images)
        with self._autocast(images):
            losses: Losses = self.discriminator_objective(
                images,
                self._translations(shared, styles),
                None if draws is None else draws[:4],
                config.r1_weight > 0 and iteration % config.r1_interval == 0,
            )
        return self._move("discriminator", self.discriminator_optimizer, losses)

    def update_generators(
        self, iteration: int, images: Pair, shared: SharedForward, styles: Pair
    ) -> Losses:
        """Move the encoders and decoders, by reconstructing and translating.

        Args:
            iteration: counted from 1.
            images: one batch per domain.
            shared: the result of `shared_forward` for the same images.
            styles: those of `shared_forward`, or where it had none, drawn from N(0, I).
        """
        # Gradients flow through the discriminators to the generators; their weights need none.
        self.discriminators.requires_grad_(False)
        draws = self._draws(iteration, images)
        with self._autocast(images):
            losses: Losses = self.generator_objective(
                images, styles, shared, None if draws is None else draws[4:]
            )
        return self._move("generator", self.generator_optimizer, losses)

    def _translations(self, shared: SharedForward, styles: Pair) -> Pair:
        """x_ba and x_ab, without a graph."""
        if shared.generated is not None:
            return Pair(*(images.detach() for images in shared.generated.translations))
        gen_a, gen_b = (self._calls.generators[d] for d in DOMAINS)
        with torch.no_grad():
            return Pair(
                gen_a.decoder(shared.contents.b, styles.a),
                gen_b.decoder(shared.contents.a, styles.b),
            )

    def _autocast(self, images: Pair) -> torch.autocast:
        # For forward passes alone: the backward pass takes the types that they chose.
        enabled = self._config.speed.precision == "bf16"
        return torch.autocast(images.a.device.type, torch.bfloat16, enabled=enabled)

    def _vgg(self) -> VggFeatures | None:
        config = self._config.loss
        if not config.perceptual_weight or config.perceptual_file is None:
            return None
        vgg = read_vgg(config.perceptual_file, config.perceptual_layer)
        return vgg.to(next(self.generators.parameters()))

    def _draws(self, iteration: int, images: Pair) -> Tensor | None:
        """Random numbers for the augmentations of an iteration: [6, B, NUM_DRAWS]."""
        if not self._config.loss.augment:
            return None
        batch = len(images.a)
        index, processes = 0, 1
        if self._placement is not None:
            index, processes = self._placement.process_index, self._placement.num_processes
        # Every process draws the numbers of all and takes its share: an image is augmented alike
        # however many processes share the batch.
        numbers = draw_augmentations(
            self._config.seed, iteration, _NUM_SHOWN * processes * batch, NUM_DRAWS
        )
        draws = torch.from_numpy(numbers).view(_NUM_SHOWN, processes, batch, NUM_DRAWS)
        # [6, P, B, NUM_DRAWS] -> [6, B, NUM_DRAWS]
        return draws[:, index].to(images.a.device)

    def _move(self, role: Role, optimizer: torch.optim.Optimizer, losses: Losses) -> Losses:
        """Step down the total loss, or skip the step; returns all losses, detached."""
        # Gradients become None, not 0: Adam skips a parameter that took no part, and its decay.
        optimizer.zero_grad()
        loss = losses[f"{role}_total"]
        if self._placement is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._placement.backward(loss)
        # Gradients are averaged by now: the norm is the same in every process.
        values = _detached(losses) | {f"{role}_gradient_norm": _gradient_norm(optimizer)}
        # Asked only with "skip": the answer waits for the device, in every update.
        if self._config.on_non_finite == "skip" and not self._finite(values):
            self.skipped += (role,)
        else:
            optimizer.step()
        return values

    def _finite(self, losses: Losses) -> bool:
        """Whether all losses are finite in every process: all processes have to decide alike."""
        values = torch.stack(list(losses.values()))
        if self._placement is not None:
            values = self._placement.reduce(values, "sum")  # NaN and infinity survive a sum
        return bool(torch.isfinite(values).all())


def adam(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig, lr: float, *, fused: bool
) -> torch.optim.Optimizer:
    """Adam as in the original program: weight decay is added to the gradient (not AdamW)."""
    return torch.optim.Adam(
        parameters,
        lr=lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=fused,
    )


def _decode_both(
    generator: GeneratorCalls, contents: tuple[Tensor, Tensor], styles: tuple[Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """Decode two batches as one: norms are per sample, so that the results are the same."""
    return generator.decoder(torch.cat(contents), torch.cat(styles)).chunk(2)  # type: ignore[no-any-return]


def _of_both(term: str, losses: Losses) -> Tensor:
    return losses[f"{term}_a"] + losses[f"{term}_b"]


def _gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _detached(losses: Losses) -> Losses:
    return {name: loss.detach() for name, loss in losses.items()}
