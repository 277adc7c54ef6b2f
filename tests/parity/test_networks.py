"""Converted checkpoints give what the original programs gave, within 1e-4 (absolute, float32)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_cases import Case

from munit_edge.trainer.checkpoint import (
    Checkpoint,
    build_discriminators,
    build_generators,
    open_checkpoint,
)
from munit_edge.trainer.foreign.convert import convert_checkpoint

TOLERANCE = 1e-4
INPUTS = {"x_a", "x_b", "s_a", "s_b"}


@pytest.fixture(scope="session")
def munit_checkpoint(munit_case: Case, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return converted(munit_case, tmp_path_factory.mktemp("converted") / munit_case.name)


@pytest.fixture(scope="session")
def imaginaire_checkpoint(
    imaginaire_case: Case, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    return converted(imaginaire_case, tmp_path_factory.mktemp("converted") / imaginaire_case.name)


def converted(case: Case, path: Path) -> Checkpoint:
    convert_checkpoint(case.checkpoint, case.config, path)
    return open_checkpoint(path)


def test_munit(munit_case: Case, munit_checkpoint: Checkpoint) -> None:
    arrays = munit_case.arrays
    images = codes_and_images(munit_checkpoint.generators(), arrays)
    outputs = discriminator_outputs(munit_checkpoint, arrays, images, NAMES_OF_MUNIT)
    check_all(arrays, images | outputs)


def test_imaginaire(imaginaire_case: Case, imaginaire_checkpoint: Checkpoint) -> None:
    arrays = imaginaire_case.arrays
    computed = {}
    for kind in ("live", "average"):
        if any(name.startswith(f"{kind}_") for name in arrays):
            images = codes_and_images(imaginaire_checkpoint.generators(kind), arrays)
            computed |= {f"{kind}_{name}": value for name, value in images.items()}
    images = {name.removeprefix("live_"): v for name, v in computed.items() if "live_" in name}
    computed |= discriminator_outputs(imaginaire_checkpoint, arrays, images, NAMES_OF_IMAGINAIRE)
    check_all(arrays, computed)


def test_average_is_kept_when_there_is_one(
    imaginaire_case: Case, imaginaire_checkpoint: Checkpoint
) -> None:
    expected = any(name.startswith("average_") for name in imaginaire_case.arrays)
    assert imaginaire_checkpoint.has_average == expected


def test_unfolded_live_generators(imaginaire_case: Case, imaginaire_checkpoint: Checkpoint) -> None:
    """Training goes on from the same function that the original had."""
    networks = build_generators(imaginaire_checkpoint.config).eval()
    imaginaire_checkpoint.load_live_generators(networks)
    images = codes_and_images(networks, imaginaire_case.arrays)
    live = {n: v for n, v in imaginaire_case.arrays.items() if n.startswith("live_")}
    check_all(live, {f"live_{name}": value for name, value in images.items()})


NAMES_OF_MUNIT = re.compile(r"dis_(?P<dis>[ab])_(?P<image>x_\w+)_scale(?P<scale>\d+)")
NAMES_OF_IMAGINAIRE = re.compile(r"dis_out_(?P<image>\w+)_(?P<scale>\d+)")
IMAGES_OF_IMAGINAIRE = {"aa": "x_a_recon", "bb": "x_b_recon"}


def codes_and_images(
    generators: torch.nn.ModuleDict, arrays: Mapping[str, np.ndarray]
) -> dict[str, torch.Tensor]:
    """Everything that the inputs lead to, by its name in the arrays."""
    x_a, x_b, s_a, s_b = (torch.from_numpy(arrays[name]) for name in ("x_a", "x_b", "s_a", "s_b"))
    s_a, s_b = s_a.flatten(1), s_b.flatten(1)
    a: Any = generators["a"]
    b: Any = generators["b"]
    with torch.no_grad():
        c_a, s_a_prime = a.encode(x_a)
        c_b, s_b_prime = b.encode(x_b)
        return {
            "c_a": c_a,
            "c_b": c_b,
            "s_a_prime": s_a_prime[:, :, None, None],
            "s_b_prime": s_b_prime[:, :, None, None],
            "x_a_recon": a.decoder(c_a, s_a_prime),
            "x_b_recon": b.decoder(c_b, s_b_prime),
            "x_ab": b.decoder(c_a, s_b),
            "x_ba": a.decoder(c_b, s_a),
            "x_ab_guided": b.decoder(c_a, s_b_prime),
            "x_ba_guided": a.decoder(c_b, s_a_prime),
        }


def discriminator_outputs(
    checkpoint: Checkpoint,
    arrays: Mapping[str, np.ndarray],
    images: Mapping[str, torch.Tensor],
    names: re.Pattern[str],
) -> dict[str, torch.Tensor]:
    """What our discriminators answer, for every array whose name matches `names`."""
    wanted = {name: match for name in arrays if (match := names.fullmatch(name))}
    if not wanted or not checkpoint.has_discriminators:
        return {}
    discriminators = build_discriminators(checkpoint.config).eval()
    checkpoint.load_discriminators(discriminators)
    outputs = {}
    for name, match in wanted.items():
        image = match["image"]
        domain = match.groupdict().get("dis", image[-1])  # "ab" ends in b
        image = image if image.startswith("x_") else IMAGES_OF_IMAGINAIRE.get(image, f"x_{image}")
        x = torch.from_numpy(arrays[image]) if image in INPUTS else images[image]
        with torch.no_grad():
            outputs[name] = discriminators[domain](x)[int(match["scale"])]
    return outputs


def check_all(arrays: Mapping[str, np.ndarray], computed: Mapping[str, torch.Tensor]) -> None:
    """Every array that is no input must be one that was computed, and equal to it."""
    names = sorted(set(arrays) - INPUTS)
    assert names, "the case holds no outputs"
    assert [name for name in names if name not in computed] == []
    for name in names:
        ours = computed[name].numpy()
        assert ours.dtype == arrays[name].dtype == np.float32
        assert ours.shape == arrays[name].shape, name
        assert np.abs(ours - arrays[name]).max() <= TOLERANCE, name
