"""Feature networks and classifiers as ONNX graphs, for `munit-edge evaluate`.

The contract: one input, float32 [batch, 3, height, width], RGB in [0, 1]; any normalisation is part
of the graph. If height and width are fixed, images are resized to them with Pillow (bilinear,
antialiased); else they are not resized. The first output is float [batch, D]: features, logits or
probabilities. The batch size may be fixed to 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.session import first_line, open_session
from munit_edge.errors import EngineError, InputError, ModelError
from munit_edge.evaluation.feature_networks import batches, card, rgb, softmax
from munit_edge.evaluation.scores import Features
from munit_edge.files.paths import is_file
from munit_edge.images.io import Images

_SLACK = 1e-3
"""Rows whose sum differs from 1 by less than this are probabilities."""


class FeatureGraph:
    """An ONNX graph as feature network or classifier."""

    def __init__(self, path: Path, device: str) -> None:
        """Open the graph.

        Args:
            path: the .onnx file.
            device: such as "cpu" or "cuda:0".

        Raises:
            InputError: there is no such file.
            ModelError: it is not an ONNX graph, or its input does not follow the contract.
            EngineError: ONNX Runtime cannot use the device.
        """
        if not is_file(path):
            raise InputError(f"{path} is not a file: name an ONNX graph of a feature network")
        self._session: Any = open_session(path, path.name, Device.parse(device))
        self._path = path
        self._input = _checked_input(self._session, path)
        self.card = card(f"ONNX graph {path.name}", "not known to munit-edge", path)

    def features(self, images: Images) -> Features:
        """uint8 [N, H, W, C] -> [N, D]."""
        return self._run(images)

    def probabilities(self, images: Images) -> Features:
        """uint8 [N, H, W, C] -> [N, classes]; logits are converted to probabilities."""
        found = self._run(images)
        sums = found.sum(axis=1)
        # A graph does not say whether it ends in a softmax: its outputs do.
        if found.min() >= 0 and np.abs(sums - 1).max() < _SLACK:
            return np.asarray(found / sums[:, None])
        return softmax(found)

    def _run(self, images: Images) -> Features:
        batch, _, height, width = self._input.shape
        shown = rgb(images)
        # A dimension that is free is a name or None.
        if isinstance(height, int) and isinstance(width, int):
            shown = _resized(shown, height, width)
        pixels = shown.shape[1] * shown.shape[2]
        found = [
            self._run_batch(one)
            for several in batches(shown, pixels)
            for one in (
                [several] if not isinstance(batch, int) else np.split(several, len(several))
            )
        ]
        return np.concatenate(found)

    def _run_batch(self, images: Images) -> Features:
        shown = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / 255
        try:
            output = self._session.run(None, {self._input.name: shown})[0]
        except Exception as exc:  # ONNX Runtime raises undocumented classes
            raise EngineError(
                f"{self._path} failed on images of {shown.shape[2]} x {shown.shape[3]} pixels: "
                f"{first_line(exc)}"
            ) from exc
        if output.ndim != 2 or len(output) != len(images):
            raise ModelError(
                f"{self._path} returned {output.shape} for {len(images)} images: its first output "
                "must be [batch, features]"
            )
        return np.asarray(output, dtype=np.float64)


def _checked_input(session: Any, path: Path) -> Any:
    inputs = session.get_inputs()
    described = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
    shape = inputs[0].shape if len(inputs) == 1 else []
    fits = (
        len(shape) == 4
        and (shape[0] == 1 or not isinstance(shape[0], int))
        and shape[1] == 3
        and inputs[0].type == "tensor(float)"
    )
    if not fits:
        raise ModelError(
            f"{path} takes {described or 'nothing'}: a feature network takes one input, float32 "
            "[batch, 3, height, width], RGB in [0, 1], with any batch size or 1"
        )
    return inputs[0]


def _resized(images: Images, height: int, width: int) -> Images:
    if images.shape[1:3] == (height, width):
        return images
    size = (width, height)
    return np.stack(
        [np.asarray(Image.fromarray(i).resize(size, Image.Resampling.BILINEAR)) for i in images]
    )
