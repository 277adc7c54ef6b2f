"""GAN losses of the improved release, from its own discriminators' outputs, within 1e-4."""

from __future__ import annotations

import json
from typing import get_args

import pytest
import torch
from reference_cases import Case

from munit_edge.trainer.config import GanLoss
from munit_edge.trainer.losses import gan_discriminator_loss, gan_generator_loss

KINDS: dict[str, GanLoss] = {
    "hinge": "hinge",
    "least_square": "lsgan",
    "non_saturated": "nsgan",
}
"""That program's names, and ours."""


def test_every_loss_of_ours_is_compared() -> None:
    assert set(KINDS.values()) == set(get_args(GanLoss))


def test_gan_losses(imaginaire_case: Case) -> None:
    path = imaginaire_case.folder / "gan_losses.json"
    if not path.is_file():
        pytest.skip(f"{imaginaire_case.name} has no GAN losses")
    for mode, expected in json.loads(path.read_text(encoding="utf-8")).items():
        kind = KINDS[mode]
        real_a, real_b, fake_a, fake_b = (
            scales(imaginaire_case, name) for name in ("a", "b", "ba", "ab")
        )
        computed = {
            "dis_a": gan_discriminator_loss(real_a, fake_a, kind, "improved"),
            "dis_b": gan_discriminator_loss(real_b, fake_b, kind, "improved"),
            "gen_a": gan_generator_loss(fake_a, kind, "improved"),
            "gen_b": gan_generator_loss(fake_b, kind, "improved"),
        }
        ours = {name: float(computed[name]) for name in expected}
        assert ours == pytest.approx(expected, rel=1e-4), mode


def scales(case: Case, name: str) -> list[torch.Tensor]:
    """The discriminator's outputs for one kind of image, from the first scale on."""
    arrays = {n: v for n, v in case.arrays.items() if n.startswith(f"dis_out_{name}_")}
    return [torch.from_numpy(arrays[f"dis_out_{name}_{i}"]) for i in range(len(arrays))]
