"""Images per second of training: a plain step against ours, on the same batches, in one run.

    python benchmarks/train_throughput.py [--size 128] [--batch 4] [--runs 3] [--set KEY=VALUE]

The plain step is written below with the same networks, as the original release computes it:
float32, eager, separate forwards for both updates, the translations detached in the discriminators'
update but their graph kept, the style encoded there though unused, gradients of the discriminators'
weights computed in the generators' update too, upsampling before the 5x5 convolutions.

Both start with the same weights. The first iteration is the warm-up and the parity check: its
losses and gradients must agree. Then both alternate, so that other work on the machine slows both.
Wall time and processor time are printed; other work disturbs the latter less. Peak memory is
measured in two more processes, one for each step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from munit_edge.model.config import DOMAINS
from munit_edge.system.limits import peak_memory_bytes
from munit_edge.system.machine import look_at_machine
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.config_files import set_key
from munit_edge.trainer.losses import (
    content_reconstruction_loss,
    cycle_loss,
    gan_discriminator_loss,
    gan_generator_loss,
    image_reconstruction_loss,
    style_reconstruction_loss,
)
from munit_edge.trainer.run.state import RunState
from munit_edge.trainer.step import Losses, Pair, TrainingStep
from munit_edge.trainer.torch_api import torch

LOSS_TOLERANCE = 1e-4
"""Largest relative difference of a loss."""
GRADIENT_TOLERANCE = 1e-2
"""Largest ||g - g_plain|| / ||g_plain||, over all parameters of the generators, or of the
discriminators. The generators' gradient comes after an update of the discriminators, in which Adam
makes whole steps out of gradients that are rounding alone."""
MIB = 2**20


class PlainStep:
    """One iteration as the original release computes it."""

    def __init__(self, state: RunState) -> None:
        config = state.config
        self.config = config
        self.generators, self.discriminators = state.generators, state.discriminators
        rates = (config.optimizer.generator_lr, config.optimizer.discriminator_lr)
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(
                networks.parameters(),
                lr=rate,
                betas=(config.optimizer.beta1, config.optimizer.beta2),
                weight_decay=config.optimizer.weight_decay,
            )
            for networks, rate in zip((self.generators, self.discriminators), rates, strict=True)
        )

    def run(self, iteration: int, images: Pair, styles: Pair, other_styles: Pair) -> Losses:
        """Like `TrainingStep.run`, with the initial learning rate."""
        losses = self._update_discriminators(images, styles)
        return losses | self._update_generators(images, other_styles)

    def _update_discriminators(self, images: Pair, styles: Pair) -> Losses:
        self.discriminator_optimizer.zero_grad()
        gen_a, gen_b = self.generators["a"], self.generators["b"]
        c_a, _ = gen_a.encode(images.a)  # type: ignore[operator]
        c_b, _ = gen_b.encode(images.b)  # type: ignore[operator]
        x_ba = gen_a.decoder(c_b, styles.a)  # type: ignore[operator]
        x_ab = gen_b.decoder(c_a, styles.b)  # type: ignore[operator]
        losses = {}
        for domain, real, fake in (("a", images.a, x_ba), ("b", images.b, x_ab)):
            discriminator = self.discriminators[domain]
            losses[f"discriminator_{domain}"] = gan_discriminator_loss(
                discriminator(real), discriminator(fake.detach()), self.config.loss.gan
            )
        total = self.config.loss.gan_weight * torch.stack(list(losses.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self.discriminator_optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def _update_generators(self, images: Pair, styles: Pair) -> Losses:
        self.generator_optimizer.zero_grad()
        weights = self.config.loss
        total = torch.zeros((), device=images.a.device)
        gen_a, gen_b = (self.generators[domain] for domain in DOMAINS)
        losses: Losses = {}
        c_a, s_aa = gen_a.encode(images.a)  # type: ignore[operator]
        c_b, s_bb = gen_b.encode(images.b)  # type: ignore[operator]
        codes = {"a": (c_a, s_aa), "b": (c_b, s_bb)}
        for domain, gen, other in (("a", gen_a, gen_b), ("b", gen_b, gen_a)):
            foreign = "b" if domain == "a" else "a"
            real, style = getattr(images, domain), getattr(styles, domain)
            content, own_style = codes[domain]
            foreign_content, foreign_style = codes[foreign]
            reconstruction = gen.decoder(content, own_style)  # type: ignore[operator]
            translation = gen.decoder(foreign_content, style)  # type: ignore[operator]
            content_again, style_again = gen.encode(translation)  # type: ignore[operator]
            terms = {
                f"image_{domain}": image_reconstruction_loss(reconstruction, real),
                f"style_{domain}": style_reconstruction_loss(style_again, style),
                f"content_{foreign}": content_reconstruction_loss(content_again, foreign_content),
                f"gan_{domain}": gan_generator_loss(
                    self.discriminators[domain](translation), weights.gan
                ),
            }
            if weights.cycle_weight:
                cycled = other.decoder(content_again, foreign_style)  # type: ignore[operator]
                terms[f"cycle_{foreign}"] = cycle_loss(cycled, getattr(images, foreign))
            for name, loss in terms.items():
                total = total + getattr(weights, f"{name.rpartition('_')[0]}_weight") * loss
            losses |= terms
        total.backward()  # type: ignore[no-untyped-call]
        self.generator_optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}


AnyStep = PlainStep | TrainingStep


@dataclass
class Times:
    """Times of the iterations of one step."""

    wall_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)


def main() -> int:
    args = _arguments()
    if args.only is not None:
        print(json.dumps(_memory(args)))
        return 0
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    print(_head(args, device), flush=True)
    if args.memory:
        # Before this process allocates memory itself.
        peaks = [f"{name} {_child(name):.0f} MiB" for name in ("plain", "ours")]
        print(f"peak memory of a process with two iterations: {', '.join(peaks)}", flush=True)
    steps, batch = _steps(args, device), _batch(_config(args), device)
    agree = _compare(steps, batch)
    times = _time(steps, batch, args.runs, device)
    for name, each in times.items():
        print(f"{name}: {_rates(each, args.batch)}")
    ratios = {
        "median": _ratio(times, lambda t: statistics.median(t.wall_s)),
        "fastest": _ratio(times, lambda t: min(t.wall_s)),
        "processor time": _ratio(times, lambda t: min(t.processor_s)),
    }
    print("ours to plain: " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    met = ratios["median"] >= args.target
    print(f"target {args.target:g} (median): {'met' if met else 'MISSED'}")
    print(f"load average after: {os.getloadavg()[0]:.1f}")
    return 0 if met and agree else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A plain training step against ours.")
    parser.add_argument("--size", type=int, default=128, help="image height and width [128]")
    parser.add_argument("--batch", type=int, default=4, help="images of each domain [4]")
    parser.add_argument("--width", type=int, default=64, help="of generators, discriminators [64]")
    parser.add_argument("--runs", type=int, default=3, help="of each, after one more [3]")
    parser.add_argument("--threads", type=int, default=2, help="of torch on the CPU [2]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    parser.add_argument("--target", type=float, default=1.2, help="least ratio [1.2]")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="changes our step"
    )
    parser.add_argument(
        "--memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure peak memory, too [yes]",
    )
    parser.add_argument("--only", choices=("plain", "ours"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _config(args: argparse.Namespace, settings: list[str] | None = None) -> TrainConfig:
    data: dict[str, Any] = {
        "batch_size": args.batch,
        "data": {"resize": args.size, "crop_height": args.size, "crop_width": args.size},
        "model": {"width": args.width, "discriminator": {"width": args.width}},
    }
    for setting in settings or ():
        set_key(data, setting)
    return TrainConfig.model_validate(data)


def _steps(args: argparse.Namespace, device: torch.device) -> dict[str, AnyStep]:
    """Both with the same first weights, or the one that `--only` names."""
    steps: dict[str, AnyStep] = {}
    if args.only != "ours":
        steps["plain"] = _plain(_config(args), device)
    if args.only != "plain":
        steps["ours"] = RunState(_config(args, args.set), device).step
    return steps


def _plain(config: TrainConfig, device: torch.device) -> PlainStep:
    unfolded = config.model_copy(
        update={"speed": config.speed.model_copy(update={"fold_up_sampling": False})}
    )
    return PlainStep(RunState(unfolded, device))


def _batch(config: TrainConfig, device: torch.device) -> tuple[Pair, Pair, Pair]:
    random = torch.Generator().manual_seed(0)
    shape = (config.batch_size, 3, config.data.crop_height, config.data.crop_width)
    images = [torch.rand(shape, generator=random) * 2 - 1 for _ in DOMAINS]
    styles = [
        torch.randn(config.batch_size, config.model.style_dim, generator=random) for _ in range(4)
    ]
    tensors = [tensor.to(device) for tensor in (*images, *styles)]
    return Pair(*tensors[:2]), Pair(*tensors[2:4]), Pair(*tensors[4:])


def _compare(steps: dict[str, AnyStep], batch: tuple[Pair, Pair, Pair]) -> bool:
    """Run the first iteration of both, and print its duration and the differences."""
    losses = {}
    for name in ("plain", "ours"):
        wall, processor = time.perf_counter(), _processor_s()
        losses[name] = steps[name].run(1, *batch)
        wall, processor = time.perf_counter() - wall, _processor_s() - processor
        print(f"first iteration, {name}: {wall:.3g} s, processor {processor:.3g} s", flush=True)
    plain, ours = losses["plain"], losses["ours"]
    loss = max(abs(ours[n] - plain[n]).item() / (abs(plain[n]).item() or 1.0) for n in plain)
    gradients = {
        networks: _gradient_error(steps, networks) for networks in ("generator", "discriminator")
    }
    worst = max(gradients.values())
    agree = loss <= LOSS_TOLERANCE and worst <= GRADIENT_TOLERANCE
    differences = ", ".join(
        f"gradient of the {name}s {error:.1e}" for name, error in gradients.items()
    )
    print(
        f"ours against plain, relative: losses {loss:.1e}, {differences} "
        f"(allowed {LOSS_TOLERANCE:g} and {GRADIENT_TOLERANCE:g}): "
        f"{'equal' if agree else 'NOT EQUAL'}"
    )
    return agree


def _processor_s() -> float:
    """Processor time so far, including that of compilers."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _gradient_error(steps: dict[str, AnyStep], networks: str) -> float:
    """Relative distance of the gradients of the first iteration.

    From Adam's first moment, which is then (1 - beta1) times gradient and weight decay: of the
    gradients themselves, those of the plain step's discriminators are overwritten.
    """
    moments = []
    for name in ("plain", "ours"):
        optimizer = getattr(steps[name], f"{networks}_optimizer")
        (group,) = optimizer.param_groups
        moments.append([optimizer.state[p]["exp_avg"].double() for p in group["params"]])
    plain, ours = (torch.cat([m.flatten() for m in each]) for each in moments)
    return float((ours - plain).norm() / plain.norm())


def _time(
    steps: dict[str, AnyStep], batch: tuple[Pair, Pair, Pair], runs: int, device: torch.device
) -> dict[str, Times]:
    times = {name: Times() for name in steps}
    for iteration in range(2, runs + 2):
        for name, step in steps.items():
            wall, processor = time.perf_counter(), time.process_time()
            step.run(iteration, *batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[name].wall_s.append(time.perf_counter() - wall)
            times[name].processor_s.append(time.process_time() - processor)
    return times


def _rates(times: Times, batch: int) -> str:
    """Images of both domains per second, with the times behind it."""
    images = batch * len(DOMAINS)
    median, fastest = statistics.median(times.wall_s), min(times.wall_s)
    return (
        f"{images / median:.3g} images/s (an iteration: median {median:.3g} s, fastest "
        f"{fastest:.3g} s, processor {min(times.processor_s):.3g} s, n = {len(times.wall_s)})"
    )


def _ratio(times: dict[str, Times], measure: Callable[[Times], float]) -> float:
    return measure(times["plain"]) / measure(times["ours"])


def _child(only: str) -> float:
    """Peak memory in MiB of a process that does two iterations of one of the steps."""
    command = [sys.executable, *sys.argv, "--only", only]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout)) / MIB


def _memory(args: argparse.Namespace) -> int:
    """Peak memory in bytes: of the GPU if there is one, else of the process."""
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    ((_, step),) = _steps(args, device).items()
    for iteration in (1, 2):
        step.run(iteration, *_batch(_config(args), device))
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return peak_memory_bytes()


def _head(args: argparse.Namespace, device: torch.device) -> str:
    facts = look_at_machine().platform
    where = f"{facts.processor or facts.machine}, {facts.num_cores} cores, {args.threads} threads"
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}, {where}"
    settings = f", ours with {' '.join(args.set)}" if args.set else ""
    return (
        f"{where}, torch {torch.__version__}, load average {os.getloadavg()[0]:.1f}\n"
        f"training, {args.size} x {args.size} pixels, batch {args.batch}, width {args.width}, "
        f"{args.runs} iterations of each in turn{settings}"
    )


if __name__ == "__main__":
    sys.exit(main())
