"""What a checkpoint of a run brings back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_runs import tiny_config, write_data, write_images, write_vgg

from munit_edge.errors import ConfigError, InputError, ModelError, TrainingError
from munit_edge.trainer.checkpoint import folded_state, open_checkpoint
from munit_edge.trainer.data.image_sets import training_images
from munit_edge.trainer.run.state import RunState
from munit_edge.trainer.step import Pair

CPU = torch.device("cpu")
MORE_LOSSES = (
    *("loss.perceptual_weight=1", "loss.perceptual_file=vgg.pth", "loss.perceptual_layer=relu2_1"),
    *("loss.r1_weight=1", "loss.r1_interval=2", "loss.augment=[colour,translation,cutout]"),
)
SPECTRAL = ("model.architecture=munit-sn", "model.pre_activation=true")


def advance(state: RunState, seed: int = 0) -> None:
    random = torch.Generator().manual_seed(seed)
    images = Pair(*(torch.rand(2, 3, 16, 16, generator=random) * 2 - 1 for _ in "ab"))
    styles = Pair(*(torch.randn(2, 3, generator=random) for _ in "ab"))
    state.step.run(state.iteration + 1, images, styles, styles)
    state.iteration += 1
    state.update_average()


def tensors(state: RunState) -> dict[str, torch.Tensor]:
    assert state.average is not None
    networks = {"g": state.generators, "d": state.discriminators, "average": state.average}
    found = {f"{n}.{k}": v for n, net in networks.items() for k, v in net.state_dict().items()}
    for optimizer in (state.step.generator_optimizer, state.step.discriminator_optimizer):
        for i, values in enumerate(optimizer.state.values()):
            found |= {f"{id(optimizer)}.{i}.{k}": v for k, v in values.items()}
    return found


def test_the_seed_decides_the_first_weights_and_leaves_torchs_own_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (RunState(tiny_config(f"seed={s}"), CPU).generators for s in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    first, same, different = (list(networks.parameters()) for networks in (one, two, other))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, different, strict=True))


@pytest.mark.parametrize(
    "overrides", [(), SPECTRAL, MORE_LOSSES], ids=["munit", "munit-sn", "more losses"]
)
def test_a_restored_state_goes_on_bit_for_bit(
    overrides: tuple[str, ...], working_folder: Path
) -> None:
    write_vgg(working_folder / "vgg.pth")
    config = tiny_config(f"data.root={write_data(working_folder)}", *overrides)
    sets = training_images(config.data)
    state = RunState(config, CPU)
    advance(state)
    state.save(working_folder / "checkpoint", sets)
    restored = RunState(config, CPU)
    restored.restore(open_checkpoint(working_folder / "checkpoint"), sets)
    assert restored.iteration == 1
    for each in (state, restored):
        advance(each, seed=1)
    ours, theirs = tensors(state), tensors(restored)
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))


def test_other_images_are_refused(tmp_path: Path) -> None:
    config = tiny_config(f"data.root={write_data(tmp_path)}")
    state = RunState(config, CPU)
    state.save(tmp_path / "checkpoint", training_images(config.data))
    write_images(tmp_path / "trainB", 6)
    with pytest.raises(InputError, match=r"domain b are not those .* \(5 then, 6 now"):
        state.restore(open_checkpoint(tmp_path / "checkpoint"), training_images(config.data))


def test_an_iteration_keeps_its_number_of_images(tmp_path: Path) -> None:
    config = tiny_config(f"data.root={write_data(tmp_path)}", "batch_size=4")
    sets = training_images(config.data)
    RunState(config, CPU).save(tmp_path / "checkpoint", sets)
    other = RunState(tiny_config("batch_size=3"), CPU)
    with pytest.raises(ConfigError, match=r"has 4 images .* now have 3: .* product is 4"):
        other.restore(open_checkpoint(tmp_path / "checkpoint"), sets)


def test_weights_without_training_state_are_no_start(tiny_checkpoint: Path, tmp_path: Path) -> None:
    config = tiny_config(f"data.root={write_data(tmp_path)}")
    with pytest.raises(ModelError, match="holds only weights and cannot be resumed"):
        RunState(config, CPU).restore(
            open_checkpoint(tiny_checkpoint), training_images(config.data)
        )


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    config = tiny_config(f"data.root={write_data(tmp_path)}")
    state = RunState(config, CPU)
    with torch.no_grad():
        next(state.discriminators.parameters()).fill_(torch.inf)
    with pytest.raises(TrainingError, match="of the discriminators are not finite"):
        state.save(tmp_path / "checkpoint", training_images(config.data))
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("overrides", [(), SPECTRAL], ids=["munit", "munit-sn"])
def test_the_average_follows_the_folded_weights(overrides: tuple[str, ...]) -> None:
    state = RunState(tiny_config("average_decay=0.5", *overrides), CPU)
    assert state.average is not None
    assert state.best_generators is state.average
    before = {name: value.clone() for name, value in state.average.state_dict().items()}
    advance(state)
    now = folded_state(state.generators)
    assert before.keys() == now.keys()
    decay = 2 / 11  # less than 0.5 in the first iterations
    for name, value in state.average.state_dict().items():
        torch.testing.assert_close(value, decay * before[name] + (1 - decay) * now[name])


def test_without_an_average_the_live_weights_are_exported() -> None:
    state = RunState(tiny_config("average_decay=null"), CPU)
    assert state.average is None
    assert state.best_generators is state.generators


def test_the_weights_of_the_perceptual_loss_may_move_and_not_change(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    files = [write_vgg(tmp_path / f"{i}.pth", seed) for i, seed in enumerate((0, 0, 1))]
    first, moved, other = (
        tiny_config(f"data.root={data}", *MORE_LOSSES, f"loss.perceptual_file={file}")
        for file in files
    )
    sets = training_images(first.data)
    RunState(first, CPU).save(tmp_path / "checkpoint", sets)
    RunState(moved, CPU).restore(open_checkpoint(tmp_path / "checkpoint"), sets)
    with pytest.raises(InputError, match=r"2\.pth holds other weights than the run started with"):
        RunState(other, CPU).restore(open_checkpoint(tmp_path / "checkpoint"), sets)
