"""Differentiable augmentation against changes worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from munit_edge.trainer.data.augmentation import NUM_DRAWS, augmented, change_colours, cut_out, move
from munit_edge.trainer.data.batches import draw_augmentations

ALL = ("colour", "translation", "cutout")


def images(channels: int = 3, height: int = 8, width: int = 16) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(2, channels, height, width, dtype=torch.float64) * 2 - 1


def draws(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_colours_by_hand() -> None:
    x = torch.tensor([[0.2, 0.5], [-0.4, 0.1], [0.2, -0.6]], dtype=torch.float64).view(1, 3, 1, 2)
    got = change_colours(x, draws((0.75, 0.25, 1.0)))
    brighter = x.numpy() + 0.25
    grey = brighter.mean(1, keepdims=True)
    faded = grey + (brighter - grey) * 0.5
    mean = faded.mean()
    np.testing.assert_allclose(got.numpy(), mean + (faded - mean) * 1.5)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_middle_of_the_draws_changes_nothing(channels: int) -> None:
    x = images(channels)
    middle = torch.full((2, NUM_DRAWS), 0.5, dtype=torch.float64)
    assert torch.allclose(augmented(x, middle, ("colour", "translation")), x)


def test_transparency_keeps_its_values() -> None:
    x = images(4)
    got = change_colours(x, draws((0.9, 0.1, 0.2), (0.1, 0.9, 0.7)))
    assert torch.equal(got[:, 3], x[:, 3])
    assert not torch.allclose(got[:, :3], x[:, :3])


def test_images_move_by_up_to_an_eighth_and_zeros_follow() -> None:
    x = images()
    # 8 rows move by 1 at most, 16 columns by 2: 3 and 5 choices.
    got = move(x, draws((0.99, 0.0), (0.0, 0.7)))
    assert torch.equal(got[0, :, 1:, :-2], x[0, :, :-1, 2:])
    assert not got[0, :, 0].any()
    assert not got[0, :, :, -2:].any()
    assert torch.equal(got[1, :, :-1, 1:], x[1, :, 1:, :-1])
    assert not got[1, :, -1].any()
    assert not got[1, :, :, 0].any()


def test_half_of_height_and_width_is_cut_out() -> None:
    x = images() + 5
    got = cut_out(x, draws((0.5, 0.5), (0.0, 0.99)))
    hole = got == 0
    assert hole[0, :, 2:6, 4:12].all()
    assert hole[0].sum() == 3 * 4 * 8
    assert hole[1, :, :2, 12:].all()
    assert hole[1].sum() == 3 * 2 * 4  # three quarters of it are outside
    assert torch.equal(got[~hole], x[~hole])


def test_gradients_pass_through_all_changes() -> None:
    x = images().requires_grad_()
    numbers = torch.rand(2, NUM_DRAWS, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda image: augmented(image, numbers, ALL), (x,))


def test_each_image_has_its_own_draws_and_kinds_are_obeyed() -> None:
    x = images(height=8, width=8)[:1].repeat(2, 1, 1, 1)
    numbers = torch.from_numpy(draw_augmentations(0, 1, 2, NUM_DRAWS))
    both = augmented(x, numbers, ALL)
    assert not torch.equal(both[0], both[1])
    alone = augmented(x[1:], numbers[1:], ALL)
    assert torch.equal(both[1:], alone)
    assert torch.equal(augmented(x, numbers, ()), x)
    assert torch.equal(augmented(x, numbers, ("cutout",)), cut_out(x, numbers[:, 5:].double()))


def test_draws_depend_on_seed_and_iteration_and_fill_0_to_1() -> None:
    first = draw_augmentations(3, 1, 500, NUM_DRAWS)
    assert first.shape == (500, NUM_DRAWS)
    assert first.min() >= 0
    assert first.max() < 1
    assert abs(first.mean() - 0.5) < 0.02
    assert np.array_equal(first, draw_augmentations(3, 1, 500, NUM_DRAWS))
    for other in (draw_augmentations(3, 2, 500, NUM_DRAWS), draw_augmentations(4, 1, 500, 7)):
        assert not np.array_equal(first, other)
