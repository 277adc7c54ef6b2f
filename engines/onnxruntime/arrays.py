"""Arrays in the memory of ONNX Runtime's device: outputs stay there, later runs read them there.

Everything works on the CPU too, by the same calls; tests use that. It has not run on a GPU yet.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from munit_edge.engines.base import AnyArray, Array, DeviceArray
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.session import open_session
from munit_edge.errors import EngineError
from munit_edge.model.manifest import TensorEntry

_ELEMENT_TYPES = {"float32": 1, "float16": 10}
"""ONNX's numbers of the types that content has."""


class OrtArray(DeviceArray):
    """Rows of an `OrtValue`; the value lives as long as a view of it.

    Args:
        value: the `OrtValue`, [N, ...].
        dtype: type of its elements.
        device: where it is.
        rows: those of the first axis that count; None: all.
        keeper: kept as long as the array: what owns the memory.
    """

    def __init__(
        self,
        value: Any,
        dtype: np.dtype[Any],
        device: Device,
        rows: Sequence[int] | None = None,
        keeper: object = None,
    ) -> None:
        self.device = device
        self._value = value
        self._dtype = dtype
        self._base_shape = tuple(value.shape())
        self._rows = list(range(self._base_shape[0]) if rows is None else rows)
        self._keeper = keeper

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""
        return (len(self._rows), *self._base_shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its elements."""
        return self._dtype

    @property
    def where(self) -> str:
        """The device that holds it, such as "cuda:0"."""
        return str(self.device)

    @property
    def rows(self) -> list[int]:
        """The rows of the value that it consists of."""
        return list(self._rows)

    @property
    def is_one_range(self) -> bool:
        """Whether its rows are neighbours in memory, in order."""
        return all(b == a + 1 for a, b in zip(self._rows, self._rows[1:], strict=False))

    @property
    def address(self) -> int:
        """Where its first row is; what follows are its rows only if `is_one_range`."""
        item = math.prod(self._base_shape[1:]) * self._dtype.itemsize
        return int(self._value.data_ptr() + self._rows[0] * item)

    def take(self, rows: Sequence[int]) -> OrtArray:
        """The chosen items of the first axis, in that order; nothing is copied."""
        chosen = [self._rows[row] for row in rows]
        return OrtArray(self._value, self._dtype, self.device, chosen, self._keeper)

    def whole(self) -> OrtArray:
        """All rows of the value."""
        return OrtArray(self._value, self._dtype, self.device, None, self._keeper)

    def to_host(self) -> Array:
        """A copy in the host's memory."""
        copied: Array = self._value.numpy()[self._rows]  # a list of rows always copies
        return copied


class OrtMemory:
    """Runs sessions on one device on arrays that are there already, and leaves results there.

    Safe to use from several threads.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._lock = threading.Lock()
        self._pickers: dict[str, Any] = {}

    def run(self, session: Any, feeds: Mapping[str, AnyArray], outputs: Sequence[str]) -> list[Any]:
        """Run a session of this device; the outputs are on the host.

        Returns:
            NumPy arrays, in the order of `outputs`.
        """
        binding, _held = self._bind(session, feeds, outputs, Device("cpu"))
        return list(binding.copy_outputs_to_cpu())

    def run_and_keep(
        self, session: Any, feeds: Mapping[str, AnyArray], outputs: Sequence[TensorEntry]
    ) -> list[OrtArray]:
        """Run a session of this device; the outputs stay there."""
        names = [spec.name for spec in outputs]
        binding, _held = self._bind(session, feeds, names, self.device)
        return [
            OrtArray(value, np.dtype(spec.dtype), self.device, keeper=session)
            for value, spec in zip(binding.get_outputs(), outputs, strict=True)
        ]

    def _bind(
        self, session: Any, feeds: Mapping[str, AnyArray], outputs: Sequence[str], results: Device
    ) -> tuple[Any, list[AnyArray]]:
        """Bind everything and run; what was bound must be held as long as the binding."""
        binding = session.io_binding()
        held: list[AnyArray] = []
        for name, array in feeds.items():
            here = self._here(array)
            held.append(here)
            if isinstance(here, OrtArray):
                binding.bind_input(
                    name,
                    self.device.kind,
                    self.device.index,
                    here.dtype.type,
                    list(here.shape),
                    here.address,
                )
            else:
                binding.bind_cpu_input(name, here)
        for name in outputs:
            binding.bind_output(name, results.kind, results.index)
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding, held

    def _here(self, array: AnyArray) -> Array | OrtArray:
        """`array` as one piece of this device's memory or of the host's."""
        if isinstance(array, OrtArray) and array.device == self.device and len(array):
            return array if array.is_one_range else self._picked(array)
        return np.ascontiguousarray(array)

    def _picked(self, array: OrtArray) -> OrtArray:
        """A copy on the device whose rows are neighbours."""
        rows = np.asarray(array.rows, np.int64)
        picker = self._picker(array.dtype)
        binding, _held = self._bind(picker, {"x": array.whole(), "rows": rows}, ["y"], self.device)
        (value,) = binding.get_outputs()
        return OrtArray(value, array.dtype, self.device, keeper=picker)

    def _picker(self, dtype: np.dtype[Any]) -> Any:
        with self._lock:
            if dtype.name not in self._pickers:
                graph = picking_graph(dtype)
                self._pickers[dtype.name] = open_session(graph, "take", self.device)
            return self._pickers[dtype.name]

    def close(self) -> None:
        """Give back what only this object holds."""
        with self._lock:
            self._pickers.clear()


def picking_graph(dtype: np.dtype[Any]) -> bytes:
    """An ONNX graph (opset 18): y = x[rows], x [n, c, h, w] of `dtype`, rows int64 [m].

    Raises:
        EngineError: content never has this type.
    """
    if dtype.name not in _ELEMENT_TYPES:
        raise EngineError(
            f"an array of type {dtype} is not content: it has type " + " or ".join(_ELEMENT_TYPES)
        )
    element = f"08{_ELEMENT_TYPES[dtype.name]:02x}"
    return bytes.fromhex(
        "08083a730a140a01780a04726f77731201792206476174686572120474616b655a1f0a0178121a0a18"
        + element
        + "12140a0312016e0a031201630a031201680a031201775a130a04726f7773120b0a09080712050a0312016d"
        "621f0a0179121a0a18" + element + "12140a0312016d0a031201630a031201680a0312017742040a001012"
    )
