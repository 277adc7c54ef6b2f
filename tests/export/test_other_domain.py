"""A graph with the weights of the other domain is the one that tracing would have given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from munit_edge.export.half_precision import in_half
from munit_edge.export.onnx_graph import export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.export.other_domain import with_weights_of
from munit_edge.export.weights_files import load_graph
from munit_edge.model.config import Domain
from munit_edge.model.manifest import read_manifest
from munit_edge.model.precision import Precision
from munit_edge.trainer.checkpoint import open_checkpoint
from munit_edge.trainer.fast.folding import fold_decoders
from munit_edge.trainer.graphs import build_graph
from munit_edge.trainer.torch_api import nn, torch


def _module(generators: nn.ModuleDict, kind: Any, domain: Any) -> nn.Module:
    return build_graph(generators, kind, domain, "uint8")


def test_the_copy_is_what_tracing_gives(tiny_checkpoint: Path, tiny_model: Path) -> None:
    """A decoder has weights of every form: some norms' scales are stored as [C, 1, 1]."""
    generators = open_checkpoint(tiny_checkpoint).generators()
    fold_decoders(generators)
    _check_copy(
        load_graph(tiny_model, read_manifest(tiny_model).graph("decoder", "a")),
        generators,
        "fp32",
        tiny_checkpoint,
    )


@pytest.mark.slow
def test_the_copy_of_fp16_is_what_tracing_gives(tiny_checkpoint: Path) -> None:
    generators = in_half(open_checkpoint(tiny_checkpoint).generators(), "fp16")
    traced = _trace(generators, "a", "fp16", tiny_checkpoint)
    _check_copy(traced, generators, "fp16", tiny_checkpoint)


def _check_copy(
    graph: Any, generators: nn.ModuleDict, precision: Precision, checkpoint: Path
) -> None:
    modules = [_module(generators, "decoder", domain) for domain in ("a", "b")]
    copy = with_weights_of(graph, *modules, "decoder_b", {"of": "b"})
    assert copy is not None
    expected = _trace(generators, "b", precision, checkpoint)
    assert copy.SerializeToString() == expected.SerializeToString()


def _trace(
    generators: nn.ModuleDict, domain: Domain, precision: Precision, checkpoint: Path
) -> Any:
    options = ExportOptions().model_copy(update={"precision": precision})
    config = open_checkpoint(checkpoint).config
    return export_graph(generators, config, "decoder", domain, options, {"of": domain})


def test_domains_with_other_channels_have_graphs_of_their_own(
    tiny_sn_checkpoint: Path, tiny_sn_model: Path
) -> None:
    generators = open_checkpoint(tiny_sn_checkpoint).generators()
    graph = onnx.load(tiny_sn_model / "content_encoder_a.onnx")
    a, b = (_module(generators, "content_encoder", domain) for domain in ("a", "b"))
    assert with_weights_of(graph, a, a, "content_encoder_a", {}) is not None
    assert with_weights_of(graph, a, b, "content_encoder_b", {}) is None


def test_weights_that_cannot_be_told_apart_are_not_exchanged(
    tiny_checkpoint: Path, tiny_model: Path
) -> None:
    """Neither where the graph holds a result of them, nor where two that it reshapes are equal."""
    generators = open_checkpoint(tiny_checkpoint).generators()
    fold_decoders(generators)
    graph = load_graph(tiny_model, read_manifest(tiny_model).graph("decoder", "a"))
    a, b = (_module(generators, "decoder", domain) for domain in ("a", "b"))
    assert with_weights_of(graph, a, b, "decoder_b", {}) is not None
    norms = [value for name, value in a.named_parameters() if ".up.0.norm." in name]
    assert len(norms) == 2
    with torch.no_grad():
        kept = norms[0].clone()
        norms[0].add_(1)  # the graph holds what it was before
        assert with_weights_of(graph, a, b, "decoder_b", {}) is None
        norms[0].copy_(kept)
        for initializer in graph.graph.initializer:
            if initializer.raw_data == norms[1].numpy().tobytes():
                initializer.raw_data = kept.numpy().tobytes()
        norms[1].copy_(kept)
    assert with_weights_of(graph, a, b, "decoder_b", {}) is None
