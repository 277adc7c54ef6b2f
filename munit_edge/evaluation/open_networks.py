"""Opening feature networks from files: torch runs weights, ONNX Runtime runs graphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Union

from munit_edge.evaluation.feature_networks import NetworkFiles, Networks
from munit_edge.model.config import Domain

if TYPE_CHECKING:
    from munit_edge.evaluation.onnx_network import FeatureGraph
    from munit_edge.trainer.features.networks import InceptionNetwork, LpipsNetwork

    OpenedNetwork = Union[InceptionNetwork, FeatureGraph]  # noqa: UP007

GRAPH_SUFFIX = ".onnx"


def open_networks(files: NetworkFiles, device: str) -> Networks:
    """Open the networks.

    Args:
        files: their files.
        device: where to run them, such as "cpu" or "cuda:0".

    Raises:
        InputError: a file does not exist.
        ModelError: a file does not hold such a network.
        EngineError: torch or ONNX Runtime is not installed, or has no such device.
    """
    classifiers: dict[Domain, Path | None] = {"a": files.classifier_a, "b": files.classifier_b}
    return Networks(
        features=None if files.features is None else _open(files.features, device),
        lpips=None if not files.lpips else _open_lpips(files.lpips, device),
        classifiers={
            domain: _open(path, device) for domain, path in classifiers.items() if path is not None
        },
    )


def _open(path: Path, device: str) -> OpenedNetwork:
    if path.suffix.lower() == GRAPH_SUFFIX:
        from munit_edge.evaluation.onnx_network import FeatureGraph

        return FeatureGraph(path, device)
    from munit_edge.trainer.features.networks import InceptionNetwork

    return InceptionNetwork(path, device)


def _open_lpips(paths: tuple[Path, ...], device: str) -> LpipsNetwork:
    from munit_edge.trainer.features.networks import LpipsNetwork

    return LpipsNetwork(paths, device)
