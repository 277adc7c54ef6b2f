"""Arrays in the memory of ONNX Runtime's device: outputs stay there, later runs read them there.

The same calls work on the CPU, which the tests use. Nothing here has run on a GPU yet.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from munit_edge.engines.base import AnyArray, Array, DeviceArray
from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.session import open_session
from munit_edge.errors import EngineError
from munit_edge.model.manifest import TensorEntry

_IR_VERSION = 8  # of ONNX files with opset 18
_INT64 = 7  # as ONNX numbers it
_ELEMENT_TYPES = {"float32": 1, "float16": 10}
"""ONNX's numbers of the types that content codes have."""


class OrtArray(DeviceArray):
    """Rows of an `OrtValue`; the value lives as long as a view of it.

    Args:
        value: the `OrtValue`, [N, ...].
        dtype: type of its elements.
        device: where it is.
        rows: those of the first axis that belong to this view; None: all.
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
        super().__init__(tuple(value.shape()), dtype, str(device), rows)
        self.device = device
        self._value = value
        self._keeper = keeper

    @property
    def is_one_range(self) -> bool:
        """Whether its rows are neighbours in memory, in order."""
        return all(b == a + 1 for a, b in zip(self.rows, self.rows[1:], strict=False))

    @property
    def address(self) -> int:
        """Where its first row is; the bytes after it are its other rows only if `is_one_range`."""
        # `data_ptr` is the start of the whole value; the view's bytes begin at its first row.
        return int(self._value.data_ptr() + self.rows[0] * self.row_nbytes)

    def whole(self) -> OrtArray:
        """All rows of the value."""
        return OrtArray(self._value, self.dtype, self.device, None, self._keeper)

    def _view(self, rows: list[int]) -> OrtArray:
        return OrtArray(self._value, self.dtype, self.device, rows, self._keeper)

    def to_host(self) -> Array:
        """A copy in the host's memory."""
        copied: Array = self._value.numpy()[self.rows]  # a list of rows always copies
        return copied


class OrtMemory:
    """Runs sessions on arrays that are on their device already, and leaves results there.

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
            # The session's allocator owns the memory: it must not be closed before the array.
            OrtArray(value, np.dtype(spec.dtype), self.device, keeper=session)
            for value, spec in zip(binding.get_outputs(), outputs, strict=True)
        ]

    def _bind(
        self, session: Any, feeds: Mapping[str, AnyArray], outputs: Sequence[str], results: Device
    ) -> tuple[Any, list[AnyArray]]:
        """Bind everything and run; the bound arrays must live as long as the binding."""
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
        # Bound by device alone: ONNX Runtime allocates each output once its shape is known.
        for name in outputs:
            binding.bind_output(name, results.kind, results.index)
        # Copies and runs may be on different streams: wait before and after.
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding, held

    def _here(self, array: AnyArray) -> Array | OrtArray:
        """`array` as one contiguous piece of the device's memory or of the host's."""
        # An empty array has no first row, so no address: it goes through the host.
        if isinstance(array, OrtArray) and array.device == self.device and len(array):
            return array if array.is_one_range else self._picked(array)
        return np.ascontiguousarray(array)

    def _picked(self, array: OrtArray) -> OrtArray:
        """A contiguous copy on the device."""
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
        """Free what only this object holds."""
        with self._lock:
            self._pickers.clear()


def picking_graph(dtype: np.dtype[Any]) -> bytes:
    """An ONNX graph (opset 18): y = x[rows], x [n, c, h, w] of `dtype`, rows int64 [m].

    It is written in protobuf's own encoding, since devices do not have the package onnx. The field
    numbers are those of onnx.proto.

    Raises:
        EngineError: content codes never have this type.
    """
    if dtype.name not in _ELEMENT_TYPES:
        raise EngineError(
            f"an array of type {dtype} is not content: it has type " + " or ".join(_ELEMENT_TYPES)
        )
    element = _ELEMENT_TYPES[dtype.name]
    # NodeProto: input 1, output 2, op_type 4. Gather's axis is 0 by default.
    node = _text(1, "x") + _text(1, "rows") + _text(2, "y") + _text(4, "Gather")
    graph = (
        # GraphProto: node 1, name 2, input 11, output 12.
        _message(1, node)
        + _text(2, "take")
        + _message(11, _tensor("x", element, "nchw"))
        + _message(11, _tensor("rows", _INT64, "m"))
        + _message(12, _tensor("y", element, "mchw"))
    )
    # OperatorSetIdProto: domain 1, version 2. ModelProto: ir_version 1, graph 7, opset_import 8.
    opset = _text(1, "") + _number(2, 18)
    return _number(1, _IR_VERSION) + _message(7, graph) + _message(8, opset)


def _tensor(name: str, element: int, axes: str) -> bytes:
    """A `ValueInfoProto` with one free axis for each character of `axes`."""
    # TensorShapeProto.dim 1 with dim_param 2: a free axis with a name.
    shape = b"".join(_message(1, _text(2, axis)) for axis in axes)
    tensor_type = _number(1, element) + _message(2, shape)
    return _text(1, name) + _message(2, _message(1, tensor_type))


def _number(field: int, value: int) -> bytes:
    # A key is the field number times 8 plus the kind: 0 a number, 2 bytes with their length.
    return bytes([field << 3, value])  # below 128, so that one byte holds it


def _message(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2, len(content)]) + content  # shorter than 128 bytes


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
