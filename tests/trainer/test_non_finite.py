"""Losses and gradients that are not numbers, or infinite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import Recorder, all_tensors, tiny_config, train, write_data

from munit_edge.errors import TrainingError
from munit_edge.trainer import loop
from munit_edge.trainer.checkpoint import newest_checkpoint
from munit_edge.trainer.loop import TrainingResult
from munit_edge.trainer.run.state import RunState
from munit_edge.trainer.step import Losses, Pair, TrainingStep

SKIP = "on_non_finite=skip"
ROLES = {"discriminator": "discriminators", "generator": "generators"}


@contextlib.contextmanager
def broken_gradient(step: TrainingStep, role: str, value: float) -> Iterator[None]:
    """Losses stay finite: only one number of a gradient is not."""

    def broken(gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        gradient.view(-1)[0] = value
        return gradient

    parameter = next(getattr(step, ROLES[role]).parameters())
    parameter.requires_grad_(True)
    hook = parameter.register_hook(broken)
    try:
        yield
    finally:
        hook.remove()


def advance(state: RunState) -> Losses:
    random = torch.Generator().manual_seed(state.iteration)
    images = Pair(*(torch.rand(2, 3, 16, 16, generator=random) * 2 - 1 for _ in "ab"))
    styles = Pair(*(torch.randn(2, 3, generator=random) for _ in "ab"))
    losses = state.step.run(state.iteration + 1, images, styles, styles)
    state.iteration += 1
    state.update_average()
    return losses


def all_of(state: RunState, role: str) -> list[torch.Tensor]:
    """Weights, buffers, optimiser's state and (of the generators) the EMA."""
    optimizer = getattr(state.step, f"{role}_optimizer")
    found = list(getattr(state, ROLES[role]).state_dict().values())
    found += [value for values in optimizer.state.values() for value in values.values()]
    if role == "generator":
        assert state.average is not None
        found += state.average.state_dict().values()
    return [tensor.clone() for tensor in found]


def test_gradient_norms_are_over_all_parameters_together() -> None:
    state = RunState(tiny_config(), torch.device("cpu"))
    losses = advance(state)
    for role, networks in ROLES.items():
        squares = [p.grad.square().sum() for p in getattr(state, networks).parameters()]
        expected = torch.stack(squares).sum().sqrt()
        torch.testing.assert_close(losses[f"{role}_gradient_norm"], expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("role", ROLES)
def test_a_skipped_update_changes_nothing_of_its_networks(role: str, value: float) -> None:
    state = RunState(tiny_config(SKIP), torch.device("cpu"))
    advance(state)
    other = next(each for each in ROLES if each != role)
    before, other_before = all_of(state, role), all_of(state, other)
    with broken_gradient(state.step, role, value):
        losses = advance(state)
    assert state.step.skipped == (role,)
    assert not torch.isfinite(losses[f"{role}_gradient_norm"])
    assert torch.isfinite(losses[f"{role}_total"])
    assert all(torch.equal(a, b) for a, b in zip(before, all_of(state, role), strict=True))
    after = all_of(state, other)
    assert any(not torch.equal(a, b) for a, b in zip(other_before, after, strict=True))
    advance(state)
    assert state.step.skipped == ()
    assert any(not torch.equal(a, b) for a, b in zip(before, all_of(state, role), strict=True))


# ----------------------------------------------------------------------------------------------
# Whole runs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture
def broken_iterations(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The generators' gradient is infinite in these iterations."""
    iterations: set[int] = set()
    original = TrainingStep.run

    def run(self: TrainingStep, iteration: int, *rest: Any) -> Losses:
        if iteration not in iterations:
            return original(self, iteration, *rest)
        with broken_gradient(self, "generator", float("inf")):
            return original(self, iteration, *rest)

    monkeypatch.setattr(TrainingStep, "run", run)
    return iterations


def train_plain(
    data: Path, *overrides: str, resume: bool = False, display: Recorder | None = None
) -> TrainingResult:
    run, settings = data.parent / "run", ("average_decay=null", *overrides)
    return train(data, run, *settings, resume=resume, display=display)


def test_an_infinite_gradient_stops_the_run(data: Path, broken_iterations: set[int]) -> None:
    broken_iterations.add(5)
    saved = data.parent / "run" / "checkpoints" / "00000003"
    with pytest.raises(TrainingError) as caught:
        train_plain(data)
    assert (
        "training diverged in iteration 5: generator_gradient_norm is inf "
        f"(last checkpoint: {saved})"
    ) in str(caught.value)
    assert newest_checkpoint(data.parent / "run") == saved
    assert all(torch.isfinite(tensor).all() for tensor in all_tensors(saved).values())


def test_a_stopped_run_may_go_on_and_skip(data: Path, broken_iterations: set[int]) -> None:
    broken_iterations.update({2, 4})
    display = Recorder()
    result = train_plain(data, SKIP, display=display)
    assert (result.iteration, result.skipped_updates) == (6, 2)
    assert display.messages == [
        f"iteration {i}: update of the generator skipped: generator_gradient_norm is inf"
        for i in (2, 4)
    ]
    # The count goes on with the run.
    broken_iterations.add(8)
    assert (
        train_plain(data, SKIP, "iterations=9", resume=True, display=display).skipped_updates == 3
    )


def test_a_run_that_only_skips_ends(
    data: Path, broken_iterations: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MAX_SKIPPED_IN_A_ROW", 2)
    broken_iterations.update({1, 2, 4, 5, 6})
    with pytest.raises(TrainingError, match="diverged in iteration 6: generator_gradient_norm"):
        train_plain(data, SKIP)
