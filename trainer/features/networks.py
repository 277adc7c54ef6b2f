"""Weight files -> the networks of `munit_edge.evaluation.feature_networks`, in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from munit_edge.errors import EngineError, InputError
from munit_edge.evaluation.feature_networks import batches, card, rgb, softmax
from munit_edge.evaluation.scores import Features, NetworkCard
from munit_edge.images.io import Images
from munit_edge.trainer.features import inception, lpips
from munit_edge.trainer.features.inception import Inception
from munit_edge.trainer.features.lpips import Lpips, LpipsVersion
from munit_edge.trainer.tensor_files import read_weight_file
from munit_edge.trainer.torch_api import Tensor, torch

_KNOWN = {
    "6726825d": "TensorFlow's of 2015-12-05, the FID weights",
    "0cc3c7bd": "torchvision's, ImageNet",
    "1a9a5a14": "torchvision's of before 2021, ImageNet",
    "7be5be79": "torchvision's, ImageNet",
    "4df8aa71": "torchvision's of before 2021, ImageNet",
    "397923af": "torchvision's, ImageNet",
}
"""Published weights by the first digits of their SHA-256, which are part of their file names."""

_UNKNOWN = "not known to munit-edge"

_LINEAR_LAYERS: dict[str, LpipsVersion] = {
    "18720f55913d0af89042f13faa7e536a6ce1444a0914e6db9461355ece1e8cd5": "0.0",
    "b9e4236260c3dd988fc79d2a48d645d885afcbb21f9fd595e6744cf7419b582c": "0.0",
    "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0": "0.1",
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868": "0.1",
}
"""The lpips package's files for AlexNet and VGG-16, by their SHA-256."""


class InceptionNetwork:
    """Inception-v3: both a feature network and a classifier."""

    def __init__(self, path: Path, device: str) -> None:
        """Read the weights.

        Args:
            path: state dictionary or .safetensors.
            device: such as "cpu" or "cuda:0".

        Raises:
            InputError: there is no such file.
            ModelError: the file holds other weights.
        """
        network = Inception(read_weight_file(path, inception.EXPECTED), str(path))
        self._device = _usable(device)
        self._network = network.to(self._device)
        kind = "FID network" if network.is_fid else f"{network.classes} classes, as torchvision's"
        found = card(f"Inception-v3, {kind}", "", path)
        self.card = found.model_copy(update={"version": _version(found, path)})

    def features(self, images: Images) -> Features:
        """uint8 [N, H, W, C] -> [N, 2048]."""
        return self._run(self._network.features, images)

    def probabilities(self, images: Images) -> Features:
        """uint8 [N, H, W, C] -> [N, classes]."""
        return softmax(self._run(self._network.logits, images))

    def _run(self, function: Callable[[Tensor], Tensor], images: Images) -> Features:
        parts = [
            _run(function, (batch,), self._device)
            for batch in batches(images, inception.SIZE * inception.SIZE)
        ]
        return np.concatenate(parts)


class LpipsNetwork:
    """LPIPS with AlexNet or VGG-16."""

    def __init__(self, paths: Sequence[Path], device: str) -> None:
        """Read the weights.

        Args:
            paths: files that hold the network and the linear layers; a later one takes precedence.
            device: such as "cpu" or "cuda:0".

        Raises:
            InputError: a file does not exist.
            ModelError: the files hold other weights.
        """
        tensors: dict[str, Tensor] = {}
        for path in paths:
            tensors |= read_weight_file(path, lpips.EXPECTED)
        found = card("LPIPS", "", *paths)
        # Nothing in the weights tells the versions apart: they differ in numbers only.
        version = next(
            (_LINEAR_LAYERS[h] for h in found.sha256.values() if h in _LINEAR_LAYERS), None
        )
        source = " + ".join(map(str, paths))
        self._device = _usable(device)
        self._network = Lpips(tensors, version or "0.1", source).to(self._device)
        trunk = next((_KNOWN[h[:8]] for h in found.sha256.values() if h[:8] in _KNOWN), _UNKNOWN)
        linear = f"version {version}" if version else f"{_UNKNOWN}, assumed to be version 0.1"
        self.card = found.model_copy(
            update={
                "name": f"LPIPS with {self._network.trunk}",
                "version": f"{self._network.trunk} {trunk}; linear layers {linear}",
            }
        )

    def distances(self, first: Images, second: Images) -> Features:
        """uint8 [N, H, W, C] twice -> [N].

        Raises:
            InputError: the images are too small for the network.
        """
        height, width = first.shape[1:3]
        if min(height, width) < self._network.min_size:
            raise InputError(
                f"images have {height} x {width} pixels and {self.card.name} needs at least "
                f"{self._network.min_size} per side: measure larger ones, or omit it"
            )
        pairs = zip(batches(first, height * width), batches(second, height * width), strict=True)
        return np.concatenate([_run(self._network, pair, self._device) for pair in pairs])


def _version(found: NetworkCard, path: Path) -> str:
    return _KNOWN.get(found.sha256[path.name][:8], _UNKNOWN)


def _usable(device: str) -> str:
    """The device, or the CPU if this torch has no CUDA: the model may run on another engine."""
    return device if device == "cpu" or torch.cuda.is_available() else "cpu"


def _run(function: Callable[..., Tensor], images: Sequence[Images], device: str) -> Features:
    """Run a network on images as RGB [B, 3, H, W] in [0, 1]."""
    try:
        with torch.inference_mode():
            shown = [
                torch.from_numpy(np.ascontiguousarray(rgb(batch))).to(device).permute(0, 3, 1, 2)
                / 255
                for batch in images
            ]
            # Statistics over many images are computed in float64; the networks run in float32.
            return np.asarray(function(*shown).double().cpu().numpy())
    except RuntimeError as exc:
        raise EngineError(f"torch failed in a feature network on {device}: {exc}") from exc
