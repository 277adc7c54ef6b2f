"""The interface of every backend: runners for single graphs, and the set of graphs of one model."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union, overload

import numpy as np
from numpy.typing import NDArray

from munit_edge.closing import Closing
from munit_edge.errors import EngineError
from munit_edge.model.config import Domain, GraphKind, ModelConfig, TensorIO, graph_name
from munit_edge.model.manifest import TensorEntry

if TYPE_CHECKING:
    from typing_extensions import Self

Array = NDArray[Any]


class DeviceArray(ABC):
    """An array in the memory of a GPU, made by a runner and taken by runners of the same graph set.

    Its contents never change. `numpy.asarray` copies it to the host.

    Args:
        base_shape: of the array in memory, which a view shares.
        dtype: type of its elements.
        where: the device that holds it, such as "cuda:0".
        rows: those of the first axis that belong to this view, in order; None: all.
    """

    def __init__(
        self,
        base_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        where: str,
        rows: Sequence[int] | None = None,
    ) -> None:
        self.dtype = dtype
        self.where = where
        self.rows = list(range(base_shape[0])) if rows is None else list(rows)
        self._base_shape = base_shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""
        return (len(self.rows), *self._base_shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._base_shape)

    @property
    def row_nbytes(self) -> int:
        """Size of one item of the first axis in bytes."""
        return math.prod(self._base_shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return len(self.rows) * self.row_nbytes

    def take(self, rows: Sequence[int]) -> Self:
        """The chosen items of the first axis, in that order; nothing is copied."""
        # Rows are counted in the memory's own, so that a view of a view needs no chain of views.
        return self._view([self.rows[row] for row in rows])

    @abstractmethod
    def _view(self, rows: list[int]) -> Self:
        """A view of these rows of the array in memory."""

    @abstractmethod
    def to_host(self) -> Array:
        """A copy in the host's memory."""

    def __len__(self) -> int:
        return len(self.rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        # NumPy 2 passes copy=False for "no copy or an error".
        if copy is False:
            raise ValueError("an array on a GPU cannot be seen by the host without a copy")
        return self.to_host().astype(dtype or self.dtype, copy=False)


AnyArray = Union[Array, DeviceArray]  # noqa: UP007 - a value, which Python 3.10 cannot always make
"""An array of the host, or one on a GPU."""


def take_rows(array: AnyArray, rows: Sequence[int]) -> AnyArray:
    """The chosen items of the first axis, wherever the array is."""
    if isinstance(array, DeviceArray):
        return array.take(rows)
    chosen: Array = array[np.asarray(rows, dtype=np.intp)]
    return chosen


class Runner(ABC):
    """Runs one graph. Safe to call from several threads; every output is a new array.

    Attributes:
        name: the graph's, such as `decoder_b`.
        inputs: its inputs.
        outputs: its outputs.
        batch_limits: smallest and largest batch that one run takes; None: no limit.
        several_styles: it is a decoder that takes several styles for each content code, in order.
    """

    def __init__(
        self, name: str, inputs: tuple[TensorEntry, ...], outputs: tuple[TensorEntry, ...]
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        batch = inputs[0].shape[0]
        self.batch_limits: tuple[int, int | None] = (
            (batch, batch) if isinstance(batch, int) else (1, None)
        )
        # Content and style have batches of their own, unless the export fixed the batch.
        self.several_styles = len({spec.shape[0] for spec in inputs}) > 1

    @overload
    def run(self, feeds: Mapping[str, AnyArray]) -> dict[str, Array]: ...

    @overload
    def run(
        self, feeds: Mapping[str, AnyArray], *, keep_on_device: bool
    ) -> dict[str, AnyArray]: ...

    @abstractmethod
    def run(self, feeds: Mapping[str, AnyArray], *, keep_on_device: bool = False) -> dict[str, Any]:
        """Run the graph once.

        Args:
            feeds: one array for each input, by name.
            keep_on_device: leave the outputs where the backend computes, for later runs of the same
                graph set. A backend that cannot do so returns arrays of the host.

        Returns:
            One new array for each output, by name.

        Raises:
            InputError: the backend was built for other sizes.
            EngineError: a feed is missing, unknown, or of the wrong type or shape, or the backend
                failed (too little memory, say).
        """

    def close(self) -> None:  # noqa: B027 - most backends free their memory when collected
        """Free the backend's memory; the runner cannot be used afterwards."""


def check_feeds(runner: Runner, feeds: Mapping[str, AnyArray]) -> None:
    """Compare feeds with the inputs of a graph, before the backend sees them.

    Raises:
        EngineError: lists every feed that is missing, unknown, or of the wrong type or shape.
    """
    names = [spec.name for spec in runner.inputs]
    faults = [f"'{name}' is missing" for name in names if name not in feeds]
    faults += [f"'{name}' is unknown" for name in feeds if name not in names]
    faults += [
        fault
        for spec in runner.inputs
        if spec.name in feeds and (fault := _mismatch(spec, feeds[spec.name]))
    ]
    if faults:
        raise EngineError(f"graph {runner.name} cannot take its inputs: " + "; ".join(faults))


_HEAD_START_S = 0.003
"""Head start of whoever asks for a graph ahead of its use, before the graph is opened (seconds)."""


MEMORY_FIX = "if memory ran out, use a smaller image (--size) or fewer styles at once"
"""End of a message on a run that failed."""


def failed_run(title: str, runner: Runner, feeds: Mapping[str, AnyArray], why: str) -> EngineError:
    """The error of a run that failed.

    Args:
        title: the backend, such as "ONNX Runtime".
        runner: the graph.
        feeds: its inputs.
        why: the backend's reason, and what to do.
    """
    shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
    return EngineError(f"{title} failed in graph {runner.name} on {shapes}: {why}")


class GraphSet(Closing):
    """The graphs of one model on one backend; each is opened when first asked for, or just before.

    Attributes:
        config: the model's configuration.
        io: images at the graphs' borders, uint8 NHWC or float32 NCHW in [-1, 1].
        model_id: SHA-256 of configuration and weights, the same in a checkpoint and its exports.
        engine: name of the backend.
        device: where it runs, such as "cpu" or "cuda:0".
        opens_ahead: whether `open_ahead` does anything; not where opening may take minutes.
        reason: why "auto" took this backend; "" if the user named it, or there was no other.
    """

    opens_ahead = True
    reason = ""

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
        self._ahead: dict[tuple[GraphKind, Domain], threading.Thread] = {}
        """Threads that open graphs; `_starting` guards it."""
        self._starting = threading.Lock()
        self._closed = False

    def runner(self, kind: GraphKind, domain: Domain) -> Runner:
        """The runner of one graph, opened at the first call.

        Raises:
            ModelError: the graph's file is damaged.
            EngineError: the backend cannot open it.
        """
        key = (kind, domain)
        # Without the lock: what is open can run while another graph is being opened.
        if (opened := self._runners.get(key)) is not None:
            return opened
        # Opening may build a TensorRT engine for minutes: a second thread waits for it.
        with self._lock:
            if key not in self._runners:
                self._runners[key] = self._open(kind, domain)
            return self._runners[key]

    def open_ahead(self, kind: GraphKind, domain: Domain) -> None:
        """Begin to open a graph that is about to be used; returns at once.

        `runner` waits for it. An error is raised there: it opens the graph once more.
        """
        key = (kind, domain)
        if not self.opens_ahead or key in self._runners:
            return
        with self._starting:
            if self._closed or key in self._ahead:
                return
            name = f"munit-edge-open-{graph_name(kind, domain)}"
            thread = threading.Thread(target=self._open_quietly, args=key, name=name, daemon=True)
            self._ahead[key] = thread
            thread.start()

    def _open_quietly(self, kind: GraphKind, domain: Domain) -> None:
        # Opening may hold Python's own lock all the time, as that of some ONNX Runtimes does: what
        # the caller does next, such as decoding an image without that lock, has to begin first.
        time.sleep(_HEAD_START_S)
        with self._lock, contextlib.suppress(Exception):
            if (kind, domain) not in self._runners and not self._closed:
                self._runners[kind, domain] = self._open(kind, domain)

    @property
    def opened(self) -> list[str]:
        """Names of the graphs opened so far, such as `decoder_b`."""
        return [graph_name(kind, domain) for kind, domain in list(self._runners)]

    @abstractmethod
    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        """Open one graph."""

    def close(self) -> None:
        """Close every runner."""
        with self._starting:
            self._closed = True
        for thread in self._ahead.values():
            thread.join()  # not left alone with a backend that is being freed
        with self._lock:
            for runner in self._runners.values():
                runner.close()
            self._runners.clear()


def _mismatch(spec: TensorEntry, array: AnyArray) -> str | None:
    """What is wrong with `array` as this tensor, or None."""
    if array.dtype != spec.dtype:
        return f"'{spec.name}' has type {array.dtype} instead of {spec.dtype}"
    fits = len(array.shape) == len(spec.shape) and all(
        isinstance(want, str) or want == have
        for want, have in zip(spec.shape, array.shape, strict=True)
    )
    return None if fits else f"'{spec.name}' has shape {array.shape} instead of {spec.shape}"
