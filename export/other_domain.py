"""The graph of one domain from that of the other, where they differ in their weights alone.

Tracing is nearly all the time that an export takes, and the generators of both domains have the
same layers unless their images have different numbers of channels.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

from munit_edge.extras import require
from munit_edge.trainer.torch_api import Tensor, nn, torch


def with_weights_of(
    model: Any, traced: nn.Module, other: nn.Module, name: str, metadata: dict[str, str]
) -> Any | None:
    """A copy of a graph with the weights of another module; None if they cannot be exchanged.

    Args:
        model: the `onnx.ModelProto` that the exporter made of `traced`.
        traced: the module in `model`.
        other: the same graph of the other domain: a module with the layers and hooks of `traced`.
        name: of the copy.
        metadata: of the copy, in place of the model's.

    Returns:
        None where a tensor of `other` has another shape or type, or where one of `traced` is not
        found in the graph as it is: the exporter may have computed with it.
    """
    old, new = traced.state_dict(), other.state_dict()
    if {name: _form(value) for name, value in old.items()} != {
        name: _form(value) for name, value in new.items()
    }:
        return None
    names = _names_in_graph(model, old)
    if names is None:
        return None
    copy = type(model)()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in names:
            tensor.raw_data = _raw(new[names[tensor.name]])
    copy.graph.name = name
    require("onnx", "exporting graphs").helper.set_model_props(copy, metadata)
    return copy


def _names_in_graph(model: Any, state: dict[str, Tensor]) -> dict[str, str] | None:
    """For each initializer that holds a tensor of `state`, possibly reshaped, that one's name."""
    # Hashes, so that the weights are not all held once more.
    by_hash = defaultdict(list)
    for name, value in state.items():
        by_hash[hashlib.sha256(_raw(value)).digest()].append(name)
    found = {}
    for tensor in model.graph.initializer:
        same = by_hash.get(hashlib.sha256(tensor.raw_data).digest(), [])
        if tensor.name in same:
            found[tensor.name] = tensor.name
        elif tensor.name in state:
            return None
        elif len(same) == 1:
            # Scales of norms are stored as [C, 1, 1] under a name of the exporter's.
            found[tensor.name] = same[0]
        elif same:
            return None  # which of the equal ones it is cannot be seen
    return found if set(found.values()) == state.keys() else None


def _form(value: Tensor) -> tuple[torch.Size, torch.dtype]:
    return value.shape, value.dtype


def _raw(value: Tensor) -> bytes:
    return value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
