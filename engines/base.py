"""What every backend offers: runners for single graphs, and the set of graphs of one model."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from munit_edge.config import Domain, GraphKind, ModelConfig, TensorIO
from munit_edge.errors import EngineError
from munit_edge.manifest import TensorEntry

Array = NDArray[Any]


class Runner(ABC):
    """Runs one graph. Safe to call from several threads; every output is a new array."""

    def __init__(
        self, name: str, inputs: tuple[TensorEntry, ...], outputs: tuple[TensorEntry, ...]
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once.

        Args:
            feeds: one array for each input, by name.

        Returns:
            One new array for each output, by name.

        Raises:
            EngineError: a feed is missing, unknown, or of the wrong type or shape, or the backend
                failed (too little memory, say).
        """
        names = [spec.name for spec in self.inputs]
        faults = [f"'{name}' is missing" for name in names if name not in feeds]
        faults += [f"'{name}' is unknown" for name in feeds if name not in names]
        faults += [
            fault
            for spec in self.inputs
            if spec.name in feeds and (fault := _mismatch(spec, feeds[spec.name]))
        ]
        if faults:
            raise EngineError(f"graph {self.name} cannot take its inputs: " + "; ".join(faults))
        return self._run(feeds)

    @abstractmethod
    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the backend on checked feeds."""

    def close(self) -> None:  # noqa: B027 - most backends free their memory when collected
        """Give the backend's memory back; the runner cannot be used afterwards."""


class GraphSet(ABC):
    """The graphs of one model on one backend; each is opened when first asked for.

    Attributes:
        config: the model's configuration.
        io: pictures at the graphs' borders, uint8 NHWC or float32 NCHW in [-1, 1].
        model_id: SHA-256 of configuration and weights, the same in a checkpoint and its exports.
        engine: name of the backend.
        device: where it runs, such as "cpu" or "cuda:0".
    """

    def __init__(
        self, config: ModelConfig, io: TensorIO, model_id: str, *, engine: str, device: str
    ) -> None:
        self.config = config
        self.io = io
        self.model_id = model_id
        self.engine = engine
        self.device = device
        self._runners: dict[tuple[GraphKind, Domain], Runner] = {}
        self._lock = threading.Lock()

    def runner(self, kind: GraphKind, domain: Domain) -> Runner:
        """The runner of one graph, opened at the first call.

        Raises:
            ModelError: the graph's file is damaged.
            EngineError: the backend cannot open it.
        """
        with self._lock:
            key = (kind, domain)
            if key not in self._runners:
                self._runners[key] = self._open(kind, domain)
            return self._runners[key]

    @property
    def opened(self) -> list[str]:
        """Names of the graphs opened so far, such as `decoder_b`."""
        return [f"{kind}_{domain}" for kind, domain in self._runners]

    @abstractmethod
    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        """Open one graph."""

    def close(self) -> None:
        """Close every runner."""
        with self._lock:
            for runner in self._runners.values():
                runner.close()
            self._runners.clear()

    def __enter__(self) -> GraphSet:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _mismatch(spec: TensorEntry, array: Array) -> str | None:
    """What is wrong with `array` as this tensor, or None."""
    if array.dtype != spec.dtype:
        return f"'{spec.name}' has type {array.dtype} instead of {spec.dtype}"
    fits = len(array.shape) == len(spec.shape) and all(
        isinstance(want, str) or want == have
        for want, have in zip(spec.shape, array.shape, strict=True)
    )
    return None if fits else f"'{spec.name}' has shape {array.shape} instead of {spec.shape}"
