"""torch: runs a checkpoint without an export. Slower to start; the reference of parity checks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from munit_edge.engines.base import AnyArray, GraphSet, Runner, check_feeds, failed_run
from munit_edge.engines.devices import Device
from munit_edge.errors import EngineError
from munit_edge.extras import require
from munit_edge.model.config import Domain, GraphKind, ModelConfig, TensorIO, graph_name
from munit_edge.model.manifest import TensorEntry, graph_tensors, is_model_directory
from munit_edge.model.precision import Precision

if TYPE_CHECKING:
    from munit_edge.trainer.torch_api import nn


class TorchRunner(Runner):
    """One graph as a torch module."""

    def __init__(
        self,
        name: str,
        module: Any,
        inputs: tuple[TensorEntry, ...],
        outputs: tuple[TensorEntry, ...],
        device: Device,
    ) -> None:
        super().__init__(name, inputs, outputs)
        self._torch: Any = require("torch", "running a checkpoint")
        self._on = device
        self._device = str(device)
        self._module: Any = module.to(self._device)

    def run(self, feeds: Mapping[str, AnyArray], *, keep_on_device: bool = False) -> dict[str, Any]:
        """See `Runner.run`; outputs are always on the host."""
        check_feeds(self, feeds)
        torch = self._torch
        arrays = [np.ascontiguousarray(feeds[spec.name]) for spec in self.inputs]
        try:
            with torch.inference_mode(), _multiplying(torch, self._on):
                # A copy: torch refuses read-only arrays, and callers keep theirs.
                tensors = [torch.tensor(array, device=self._device) for array in arrays]
                results = self._module(*tensors)
                if not isinstance(results, tuple):
                    results = (results,)
                arrays = [result.cpu().numpy() for result in results]
        except RuntimeError as exc:
            raise failed_run("torch", self, feeds, str(exc)) from exc
        return {spec.name: array for spec, array in zip(self.outputs, arrays, strict=True)}

    def close(self) -> None:
        """Free the module."""
        self._module = None


class TorchGraphs(GraphSet):
    """Both generators in torch.

    Args:
        generators: keys `a` and `b`, in eval mode with spectral norm folded in.
        config: their configuration.
        model_id: SHA-256 of configuration and weights.
        device: where to run.
        io: images at the graphs' borders.
        precision: type of the generators' convolutions; content codes of fp16 are float16.
    """

    runner_class = TorchRunner

    def __init__(
        self,
        generators: nn.ModuleDict,
        config: ModelConfig,
        model_id: str,
        device: Device,
        *,
        io: TensorIO = "uint8",
        precision: Precision = "fp32",
    ) -> None:
        super().__init__(config, io, model_id, engine="torch", device=str(device))
        self._generators = generators
        self._on = device
        self._precision = precision

    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        from munit_edge.trainer.graphs import build_graph

        module = build_graph(self._generators, kind, domain, self.io)
        inputs, outputs = graph_tensors(
            self.config, kind, domain, self.io, precision=self._precision
        )
        return self.runner_class(graph_name(kind, domain), module, inputs, outputs, self._on)


_MULTIPLYING = threading.Lock()
"""torch's TF32 setting belongs to the process, and a run on a GPU changes it for a while."""


@contextlib.contextmanager
def _multiplying(torch: Any, device: Device) -> Iterator[None]:
    """Allow TF32 in convolutions and matrix products, or not; torch's own defaults differ."""
    if device.kind == "cpu":
        yield
        return
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    # Held during the run, so that two models with different settings do not mix.
    with _MULTIPLYING:
        before = [place.allow_tf32 for place in places]
        for place in places:
            place.allow_tf32 = device.tf32
        try:
            yield
        finally:
            for place, allowed in zip(places, before, strict=True):
                place.allow_tf32 = allowed


def open_torch(
    path: Path,
    device: str,
    weights: Literal["average", "live"] | None = None,
    *,
    tf32: bool = False,
) -> TorchGraphs:
    """Open a checkpoint, or the newest one of a run folder, in torch.

    Args:
        path: checkpoint or run folder.
        device: "cpu", "cuda", "cuda:N" or "auto" (CUDA where there is one).
        weights: which weights; None takes the average where there is one.
        tf32: see `munit_edge.engines.devices.Device`.

    Raises:
        ConfigError: TF32 is asked for on a CPU.
        InputError, ModelError: see `munit_edge.trainer.checkpoint.open_checkpoint`.
        EngineError: torch is not installed, has no such device, or `path` is a model directory.
    """
    if is_model_directory(path):
        raise EngineError(
            f"{path} is a model directory and the torch engine runs checkpoints: "
            "use --engine onnxruntime, or name the checkpoint"
        )
    torch = require("torch", "running a checkpoint")
    from munit_edge.trainer.checkpoint import open_checkpoint

    if device == "auto":
        chosen = Device("cuda" if torch.cuda.is_available() else "cpu", tf32=tf32)
    else:
        chosen = Device.parse(device, tf32=tf32)
    if chosen.kind == "cuda" and chosen.index >= torch.cuda.device_count():
        reason = (
            f"torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices"
            if torch.version.cuda
            else f"torch {torch.__version__} is built without CUDA"
        )
        raise EngineError(f"device '{device}' cannot be used: {reason}; use --device cpu")
    checkpoint = open_checkpoint(path)
    generators, model_id = checkpoint.generators(weights), checkpoint.weights_sha256(weights)
    return TorchGraphs(generators, checkpoint.config, model_id, chosen)
