"""The update step: what moves, what does not, and the loss curves of 20 steps.

`MUNIT_EDGE_WRITE_GOLDEN=1 pytest tests/trainer/test_step.py` records the curves again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import tiny_config, write_vgg

from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.data.augmentation import augmented
from munit_edge.trainer.data.batches import draw_styles
from munit_edge.trainer.features.vgg import read_vgg
from munit_edge.trainer.losses import GENERATOR_LOSSES, perceptual_loss
from munit_edge.trainer.run.state import RunState
from munit_edge.trainer.step import Losses, Pair, TrainingStep

GOLDEN = Path(__file__).parents[1] / "golden" / "training_curves.json"
CPU = torch.device("cpu")

TERMS = ("image", "style", "content", "gan")


def images(config: TrainConfig, seed: int = 0) -> Pair:
    random = np.random.default_rng(seed)
    shape = (2, config.data.crop_height, config.data.crop_width)
    return Pair(
        *(
            torch.from_numpy(
                random.uniform(-1, 1, (shape[0], config.model.channels(d), *shape[1:]))
            )
            for d in ("a", "b")
        )
    )


def styles(config: TrainConfig, iteration: int, update: int) -> Pair:
    codes = (
        draw_styles(config.seed, iteration, 2 * update + i, 2, config.model.style_dim)
        for i in range(2)
    )
    return Pair(*(torch.from_numpy(c).double() for c in codes))


def double_precision_step(config: TrainConfig) -> TrainingStep:
    state = RunState(config, CPU)
    return TrainingStep(state.generators.double(), state.discriminators.double(), config)


def run(step: TrainingStep, config: TrainConfig, iteration: int = 1) -> Losses:
    return step.run(
        iteration,
        images(config, iteration),
        styles(config, iteration, 0),
        styles(config, iteration, 1),
    )


def weights(step: TrainingStep) -> dict[str, torch.Tensor]:
    found = {f"g.{n}": p.detach().clone() for n, p in step.generators.named_parameters()}
    return found | {f"d.{n}": p.detach().clone() for n, p in step.discriminators.named_parameters()}


def moved(before: dict[str, torch.Tensor], step: TrainingStep) -> set[str]:
    return {name for name, value in weights(step).items() if not torch.equal(value, before[name])}


def test_each_update_moves_its_own_networks_only() -> None:
    config = tiny_config()
    step = double_precision_step(config)
    before = weights(step)
    shared = step.shared_forward(images(config))
    step.update_discriminators(1, images(config), shared, styles(config, 1, 0))
    assert moved(before, step) == {name for name in before if name.startswith("d.")}
    before = weights(step)
    step.update_generators(1, images(config), shared, styles(config, 1, 1))
    assert moved(before, step) == {name for name in before if name.startswith("g.")}


def test_every_loss_is_reported_and_the_totals_are_weighted() -> None:
    config = tiny_config("loss.gan_weight=2", "loss.style_weight=3", "loss.content_weight=4")
    losses = run(double_precision_step(config), config)
    names = {f"{term}_{d}" for term in (*TERMS, "cycle", "discriminator") for d in ("a", "b")}
    roles = ("discriminator", "generator")
    assert set(losses) == names | {f"{r}_{n}" for r in roles for n in ("total", "gradient_norm")}
    assert not any(value.requires_grad for value in losses.values())
    weight = {"gan": 2, "image": 10, "style": 3, "content": 4, "cycle": 10}
    total = sum(w * (losses[f"{t}_a"] + losses[f"{t}_b"]) for t, w in weight.items())
    assert losses["generator_total"].item() == pytest.approx(float(total))
    total = 2 * (losses["discriminator_a"] + losses["discriminator_b"])
    assert losses["discriminator_total"].item() == pytest.approx(float(total))


def test_the_cycle_loss_is_left_out_when_its_weight_is_0() -> None:
    config = tiny_config("loss.cycle_weight=0")
    assert not any("cycle" in name for name in run(double_precision_step(config), config))


def test_a_loss_of_the_table_is_weighted_and_reported_without_further_edits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_config()
    loss = config.loss.model_copy(update={"blur_weight": 3.0})
    config = config.model_copy(update={"loss": loss})
    plain = run(double_precision_step(config), config)
    monkeypatch.setitem(GENERATOR_LOSSES, "blur", lambda at, config: at.x_ba.square().mean())
    losses = run(double_precision_step(config), config)
    assert losses.keys() - plain.keys() == {"blur_a", "blur_b"}
    added = losses["generator_total"] - plain["generator_total"]
    assert added.item() == pytest.approx(3 * (losses["blur_a"] + losses["blur_b"]).item())


def test_learning_rates_follow_the_schedule() -> None:
    config = tiny_config(
        "optimizer.generator_lr=0.1",
        "optimizer.discriminator_lr=0.4",
        "optimizer.step_size=2",
    )
    step = double_precision_step(config)
    for iteration, factor in ((1, 1), (2, 0.5), (4, 0.25)):
        step.set_learning_rates(iteration)
        assert step.generator_optimizer.param_groups[0]["lr"] == 0.1 * factor
        assert step.discriminator_optimizer.param_groups[0]["lr"] == 0.4 * factor


def test_a_detached_content_target_changes_gradients_and_no_loss() -> None:
    results = []
    for detached in ("false", "true"):
        config = tiny_config(f"loss.detach_content_target={detached}")
        step = double_precision_step(config)
        results.append((run(step, config)["generator_total"], weights(step)))
    (loss, plain), (same_loss, detached_weights) = results
    assert torch.equal(loss, same_loss)
    assert any(not torch.equal(plain[n], detached_weights[n]) for n in plain)


def test_style_reconstruction_reaches_the_decoder_of_the_other_domain() -> None:
    """s_b is given to the decoder of b, and the style encoder of b must find it again."""
    weights_0 = [f"loss.{name}_weight=0" for name in ("gan", "image", "content", "cycle")]
    config = tiny_config(*weights_0, "optimizer.weight_decay=0")
    step = double_precision_step(config)
    before = weights(step)
    step.update_generators(
        1, images(config), step.shared_forward(images(config)), styles(config, 1, 1)
    )
    parts = {".".join(name.split(".")[1:3]) for name in moved(before, step)}
    assert parts == {
        f"{d}.{p}" for d in "ab" for p in ("content_encoder", "style_encoder", "decoder")
    }


# ----------------------------------------------------------------------------------------------
# What may be added to the objective


def test_the_r1_penalty_comes_in_in_every_nth_iteration_with_n_times_the_weight() -> None:
    config = tiny_config("loss.r1_weight=0.5", "loss.r1_interval=3", "loss.gan_weight=2")
    step = double_precision_step(config)
    rows = [run(step, config, i) for i in range(1, 7)]
    assert ["r1_a" in row for row in rows] == [False, False, True, False, False, True]
    for row in rows:
        total = 2 * (row["discriminator_a"] + row["discriminator_b"])
        if "r1_a" in row:
            assert row["r1_a"] > 0
            total = total + 0.5 * 3 * (row["r1_a"] + row["r1_b"])
        assert row["discriminator_total"].item() == pytest.approx(total.item())


def test_the_r1_penalty_flattens_the_discriminators() -> None:
    alone = ("loss.gan_weight=0", "loss.r1_weight=1", "loss.r1_interval=1")
    config = tiny_config(*alone, "optimizer.discriminator_lr=0.01", "optimizer.weight_decay=0")
    step = double_precision_step(config)
    penalties = []
    for _ in range(5):
        shared = step.shared_forward(images(config))
        row = step.update_discriminators(1, images(config), shared, styles(config, 1, 0))
        penalties.append((row["r1_a"] + row["r1_b"]).item())
    assert penalties == sorted(penalties, reverse=True)


def test_the_perceptual_loss_compares_a_translation_with_its_source(tmp_path: Path) -> None:
    vgg_file = write_vgg(tmp_path / "vgg.pth")
    settings = (f"loss.perceptual_file={vgg_file}", "loss.perceptual_layer=relu2_2")
    weights_0 = [f"loss.{n}_weight=0" for n in ("gan", "image", "content", "cycle", "style")]
    config = tiny_config("loss.perceptual_weight=2", *settings, *weights_0)
    step = double_precision_step(config)
    x, s = images(config), styles(config, 1, 1)
    with torch.no_grad():
        gen_a, gen_b = step.generators["a"], step.generators["b"]
        x_ab = gen_b.get_submodule("decoder")(gen_a.get_submodule("content_encoder")(x.a), s.b)
        vgg = read_vgg(vgg_file, "relu2_2").double()
        wanted = perceptual_loss(vgg(x_ab), vgg(x.a))
    before = weights(step)
    row = step.update_generators(1, x, step.shared_forward(x), s)
    assert row["perceptual_b"].item() == pytest.approx(wanted.item())
    total = 2 * (row["perceptual_a"] + row["perceptual_b"])
    assert row["generator_total"].item() == pytest.approx(total.item())
    assert any(name.startswith("g.a.content_encoder") for name in moved(before, step))

    plain = tiny_config(*settings)
    assert not any("perceptual" in name for name in run(double_precision_step(plain), plain))


def test_augmentation_changes_what_discriminators_see_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_config("loss.augment=[translation, cutout]")
    seen: list[torch.Tensor] = []
    kinds = []

    def spy(images: torch.Tensor, draws: torch.Tensor, wanted: Any) -> torch.Tensor:
        seen.append(draws)
        kinds.append(wanted)
        return augmented(images, draws, wanted)

    monkeypatch.setattr("munit_edge.trainer.step.augmented", spy)
    changed = run(double_precision_step(config), config)
    plain_config = tiny_config()
    plain = run(double_precision_step(plain_config), plain_config)
    assert {name for name in plain if plain[name] != changed[name]} >= {
        f"{term}_{d}" for term in ("discriminator", "gan") for d in ("a", "b")
    }
    for name in ("image_a", "style_b", "content_a", "cycle_b"):
        assert torch.equal(plain[name], changed[name])
    # Real and translated of both domains, then two translations: each with draws of its own.
    assert len(seen) == len({tuple(d.flatten().tolist()) for d in seen}) == 6
    assert set(kinds) == {("translation", "cutout")}


def test_processes_draw_their_own_part_of_the_augmentation() -> None:
    config = tiny_config("loss.augment=[colour]")
    x = images(config)
    step = double_precision_step(config)
    whole = step._draws(5, x)
    assert whole is not None
    single = Pair(x.a[:1], x.b[:1])
    for index in range(2):
        step._placement = SimpleNamespace(process_index=index, num_processes=2)  # type: ignore
        part = step._draws(5, single)
        assert part is not None
        assert torch.equal(part, whole[:, index : index + 1])


@pytest.mark.parametrize(
    "setting",
    ["speed.fold_up_sampling=false", "speed.fused_adam=false", "speed.channels_last=true"],
)
def test_faster_settings_give_the_same(setting: str) -> None:
    results = []
    for settings in ((), (setting,)):
        config = tiny_config(*settings)
        step = double_precision_step(config)
        losses = [run(step, config, i) for i in (1, 2)][-1]
        results.append((losses, weights(step)))
    (fast, fast_weights), (slow, slow_weights) = results
    for name, loss in slow.items():
        assert fast[name].item() == pytest.approx(loss.item(), rel=1e-9)
    for name, value in slow_weights.items():
        # Adam makes whole steps of gradients that are rounding alone: biases in front of a norm.
        if not name.endswith("conv.bias"):
            torch.testing.assert_close(fast_weights[name], value, rtol=1e-6, atol=1e-9)


def float_step(config: TrainConfig) -> TrainingStep:
    state = RunState(config, CPU)
    return TrainingStep(state.generators, state.discriminators, config)


def float_pair(pair: Pair) -> Pair:
    return Pair(pair.a.float(), pair.b.float())


@pytest.mark.parametrize(
    "settings", [(), ("model.architecture=munit-sn", "model.pre_activation=true")], ids=str
)
def test_bf16_is_close_with_norms_and_outputs_in_float32(
    settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    normed = set()
    instance_norm = torch.nn.functional.instance_norm

    def recorded(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        normed.add(x.dtype)
        return instance_norm(x, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "instance_norm", recorded)
    losses = []
    for precision in ("fp32", "bf16"):
        config = tiny_config(f"speed.precision={precision}", *settings)
        step = float_step(config)
        x = float_pair(images(config))
        s = float_pair(styles(config, 1, 0))
        losses.append(step.run(1, x, s, s))
        assert {value.dtype for value in weights(step).values()} == {torch.float32}
    assert normed == {torch.float32}
    single, brain = losses
    for name in ("generator_total", "discriminator_total"):
        assert brain[name].dtype == torch.float32
        assert brain[name].item() == pytest.approx(single[name].item(), rel=0.02)
        assert brain[name].item() != single[name].item()


def test_reused_translations_are_decoded_once() -> None:
    calls, rows = [], []
    for reused in ("false", "true"):
        config = tiny_config(f"speed.reuse_translations={reused}", "loss.cycle_weight=0")
        step = double_precision_step(config)
        decoded: list[int] = []
        for d in "ab":
            step.generators[d].get_submodule("decoder").register_forward_hook(
                lambda _module, given, _made, decoded=decoded: decoded.append(len(given[0]))
            )
        rows.append(run(step, config))
        calls.append(sorted(decoded))
    # Batches of 2: translations for the discriminators alone, then with the reconstructions.
    assert calls == [[2, 2, 4, 4], [4, 4]]
    one, other = rows
    assert one["discriminator_a"].item() == pytest.approx(other["discriminator_a"].item())
    assert one["style_a"].item() != pytest.approx(other["style_a"].item())  # other styles


# ----------------------------------------------------------------------------------------------
# Curves

CURVES: dict[str, tuple[str, ...]] = {
    "munit, lsgan, cycle": ("optimizer.step_size=10", "optimizer.generator_lr=0.001"),
    "munit-sn, hinge": (
        "model.architecture=munit-sn",
        "model.pre_activation=true",
        "model.discriminator={kind: multiresolution-patch, padding: zero, width: 4, num_layers: 2}",
        "loss.gan=hinge",
        "loss.gan_convention=improved",
        "loss.cycle_weight=0",
        "optimizer.generator_lr=0.001",
        "optimizer.discriminator_lr=0.004",
    ),
}


def curve(overrides: tuple[str, ...]) -> dict[str, list[float]]:
    config = tiny_config(*overrides)
    step = double_precision_step(config)
    rows = [run(step, config, i) for i in range(1, 21)]
    names = ("discriminator_total", "generator_total", "image_a", "style_b", "content_a", "gan_b")
    return {name: [float(f"{row[name].item():.6g}") for row in rows] for name in names}


def test_losses_of_20_steps_are_as_recorded() -> None:
    """In float64: rounding differs between machines and would add up in float32."""
    curves: dict[str, Any] = {name: curve(overrides) for name, overrides in CURVES.items()}
    if os.environ.get("MUNIT_EDGE_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(curves, indent=1) + "\n")
    recorded = json.loads(GOLDEN.read_text())
    assert curves.keys() == recorded.keys()
    for name, curve_now in curves.items():
        for term, values in curve_now.items():
            np.testing.assert_allclose(
                values, recorded[name][term], rtol=1e-4, err_msg=f"{name}: {term}"
            )
