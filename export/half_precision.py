"""Networks typed for 16 bits: which layers run in them, and the casts around those that do not.

A layer is a convolution with its activation, or the sum of a residual block; its name is that of
the graph and of the module: `decoder_b.up.0`, `content_encoder_a.residual.3.sum`. Norms, the AdaIN
arithmetic, the style encoder's mean and head, the MLP, the last tanh and the rounding to bytes stay
in float32 in every precision. Operators cast their inputs where necessary, and never their outputs,
so that no two casts follow each other.
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Collection, Iterator, Sequence

from munit_edge.errors import ConfigError
from munit_edge.model.config import DOMAINS, GRAPH_KINDS, graph_name
from munit_edge.model.precision import PRECISION_FACTS, Precision
from munit_edge.trainer.networks import ConvBlock, Decoder, ResidualBlock, StyleEncoder
from munit_edge.trainer.torch_api import Tensor, nn, torch


def networks(generators: nn.ModuleDict) -> Iterator[tuple[str, nn.Module]]:
    """The six networks by the names of their graphs, such as `decoder_b`."""
    for domain in DOMAINS:
        for kind in GRAPH_KINDS:
            yield graph_name(kind, domain), generators[domain].get_submodule(kind)


def layers(generators: nn.ModuleDict) -> Iterator[tuple[str, nn.Module]]:
    """Every layer that can run in a reduced type, with its name: `ConvBlock`s and sums."""
    for graph, network in networks(generators):
        for name, module in network.named_modules():
            if isinstance(module, ConvBlock):
                yield f"{graph}.{name}", module
            elif isinstance(module, ResidualBlock):
                yield f"{graph}.{name}.sum", module


def layer_names(generators: nn.ModuleDict) -> list[str]:
    """The names of `layers`."""
    return [name for name, _ in layers(generators)]


def matching(names: Sequence[str], patterns: Sequence[str]) -> frozenset[str]:
    """The layers that match `patterns`: by glob, or by a module that contains them.

    Raises:
        ConfigError: a pattern matches no layer.
    """
    found = set()
    for pattern in patterns:
        hits = [name for name in names if _is_in(name, pattern)]
        if not hits:
            some = ", ".join(names[:: max(1, len(names) // 4)][:4])
            raise ConfigError(
                f"--keep-fp32 '{pattern}' matches no layer of this model: names look like {some}; "
                "* stands for any characters"
            )
        found.update(hits)
    return frozenset(found)


def alike_in_both_domains(names: Collection[str]) -> bool:
    """Whether layers of `layers` are the same ones in domain A as in domain B."""
    parts = [name.partition(".") for name in names]
    of = {
        domain: {(graph[:-1], rest) for graph, _, rest in parts if graph.endswith(f"_{domain}")}
        for domain in DOMAINS
    }
    return of["a"] == of["b"]


def half_type(precision: Precision) -> torch.dtype:
    """The 16-bit type that a precision of the family "half" stands for."""
    found: torch.dtype = getattr(torch, PRECISION_FACTS[precision].dtype)
    return found


def in_half(
    generators: nn.ModuleDict, precision: Precision, keep: Collection[str] = ()
) -> nn.ModuleDict:
    """A copy of both generators with all layers in 16 bits except those in `keep`.

    Content codes of fp16 are always float16; those of bf16, which NumPy does not have, are float32.
    Style codes are float32.

    Args:
        generators: both generators in float32, spectral norm folded in.
        precision: which 16-bit type.
        keep: names of layers, as `layers` gives them.
    """
    typed = copy.deepcopy(generators)
    for name, module in layers(typed):
        dtype = torch.float32 if name in keep else half_type(precision)
        if isinstance(module, ConvBlock):
            # The last activation and everything after it are float32.
            _type_block(module, dtype, torch.float32 if name.endswith(".to_image") else dtype)
        else:  # the sum of a residual block: both of its terms
            # TensorRT's strongly typed networks add tensors of one type only.
            _cast_input(module, dtype)
            _cast_output(module.get_submodule("block_1"), dtype)
    for graph, network in networks(typed):
        if isinstance(network, Decoder):
            _cast_output(network.to_image.conv, torch.float32)
        elif isinstance(network, StyleEncoder):
            # What follows is the mean over H * W and the linear head.
            _cast_output(network.down[-1] if len(network.down) else network.stem, torch.float32)
        elif graph.startswith("content_encoder"):
            # The border's type, whatever the last layer runs in (`munit_edge.model.manifest`).
            _cast_output(network, getattr(torch, PRECISION_FACTS[precision].content_dtype))
    return typed


def round_weights(
    generators: nn.ModuleDict, precision: Precision, keep: Collection[str] = ()
) -> nn.ModuleDict:
    """A float32 copy of both generators with the weights that `in_half` would store.

    Args:
        generators: both generators in float32, spectral norm folded in.
        precision: the 16-bit type that weights are rounded to.
        keep: names of layers whose weights are not rounded.
    """
    rounded = copy.deepcopy(generators)
    for name, module in layers(rounded):
        if isinstance(module, ConvBlock) and name not in keep:
            module.conv.to(half_type(precision)).to(torch.float32)
    return rounded


def _type_block(block: ConvBlock, dtype: torch.dtype, activation_dtype: torch.dtype) -> None:
    block.conv.to(dtype)
    _cast_input(block.conv, dtype)
    if not isinstance(block.norm, nn.Identity):
        # Norms sum squares over H * W values (layer norm over C * H * W). In float16 the square of
        # 256 is infinite already (limit 65504); in bfloat16, with 8 significant bits, a long sum
        # stops growing.
        _cast_input(block.norm, torch.float32)
    if not isinstance(block.activation, nn.Identity):
        # PReLU has a weight.
        block.activation.to(activation_dtype)
        _cast_input(block.activation, activation_dtype)


def _cast_input(module: nn.Module, dtype: torch.dtype) -> None:
    def cast(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Only the activation: what else a norm is given are AdaIN's float32 parameters.
        return args[0].to(dtype), *args[1:]

    module.register_forward_pre_hook(cast)


def _cast_output(module: nn.Module, dtype: torch.dtype) -> None:
    def cast(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output.to(dtype)

    module.register_forward_hook(cast)


def _is_in(name: str, pattern: str) -> bool:
    parts = name.split(".")
    # `decoder_b.up` names everything below it: every prefix of the name is compared.
    return any(
        fnmatch.fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1)
    )
