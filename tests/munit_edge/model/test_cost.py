"""Parameters and multiplications, against torch's own count of the networks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from munit_edge.model.config import DOMAINS, GRAPH_KINDS, ModelConfig
from munit_edge.model.cost import Cost, graph_cost, macs_per_pixel, model_costs
from munit_edge.trainer.checkpoint import build_generators
from munit_edge.trainer.fast.folding import fold_decoders
from munit_edge.trainer.networks import fold_spectral_norm

CONFIGS = {
    "munit": ModelConfig(width=4, num_res_blocks=2, mlp_dim=6, channels_a=1),
    "munit, deep": ModelConfig(
        width=3,
        max_width=10,
        num_downsamples=3,
        num_style_downsamples=2,
        num_res_blocks=1,
        num_mlp_layers=4,
        mlp_dim=6,
        style_dim=5,
        padding="zero",
        activation="prelu",
        channels_b=4,
    ),
    "munit-sn": ModelConfig(
        architecture="munit-sn",
        width=4,
        max_width=12,
        num_downsamples=1,
        num_style_downsamples=5,
        num_res_blocks=3,
        num_mlp_layers=2,
        mlp_dim=7,
        pre_activation=True,
        activation="prelu",
        channels_b=1,
    ),
    "munit-sn, post": ModelConfig(
        architecture="munit-sn", width=3, num_res_blocks=1, num_mlp_layers=1, mlp_dim=5
    ),
}


def torch_macs(network: nn.Module, *inputs: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    flops: int = counter.get_total_flops()
    return flops // 2


@pytest.mark.parametrize("size_hw", [(32, 32), (48, 64)])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_counts_are_torchs(config: ModelConfig, size_hw: tuple[int, int]) -> None:
    generators = build_generators(config).eval()
    fold_spectral_norm(generators)
    folded = copy.deepcopy(generators)
    fold_decoders(folded)
    side = config.size_multiple
    for domain in DOMAINS:
        image = torch.zeros(1, config.channels(domain), *size_hw)
        content = torch.zeros(1, config.content_channels, size_hw[0] // side, size_hw[1] // side)
        style = torch.zeros(1, config.style_dim)
        for kind in GRAPH_KINDS:
            network = generators[domain].get_submodule(kind)
            inputs = (content, style) if kind == "decoder" else (image,)
            wanted = Cost(
                parameters=sum(p.numel() for p in network.parameters()),
                macs=torch_macs(network, *inputs),
                folded_macs=torch_macs(folded[domain].get_submodule(kind), *inputs),
            )
            assert graph_cost(config, kind, domain, size_hw) == wanted, (kind, domain)


def test_the_papers_networks() -> None:
    costs = model_costs(ModelConfig(), (256, 256))
    gmacs = {name: round(cost.macs / 1e9, 2) for name, cost in costs.items()}
    assert round(costs["decoder_a"].folded_macs / 1e9, 2) == 29.74
    for domain in DOMAINS:
        assert gmacs[f"content_encoder_{domain}"] == 24.24
        assert gmacs[f"style_encoder_{domain}"] == 6.25
        assert gmacs[f"decoder_{domain}"] == 46.79
    assert sum(costs[f"{kind}_a"].parameters for kind in GRAPH_KINDS) == pytest.approx(
        15e6, rel=0.01
    )


def test_images_are_padded_as_for_translating() -> None:
    config = CONFIGS["munit"]
    assert config.padded_size((30, 3)) == (32, 8)
    for kind in ("content_encoder", "decoder"):
        assert graph_cost(config, kind, "a", (30, 3)) == graph_cost(config, kind, "a", (32, 8))  # type: ignore[arg-type]
    assert graph_cost(config, "style_encoder", "a", (30, 3)) == graph_cost(
        config, "style_encoder", "a", (30, 16)
    )


def test_cost_for_each_pixel_of_a_large_image() -> None:
    for kind in ("content_encoder", "decoder"):
        whole = graph_cost(ModelConfig(), kind, "a", (256, 256)).macs / 256**2  # type: ignore[arg-type]
        assert macs_per_pixel(ModelConfig(), kind, "a") == pytest.approx(whole, rel=1e-4)  # type: ignore[arg-type]
