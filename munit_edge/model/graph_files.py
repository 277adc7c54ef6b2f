"""Which other files an ONNX graph would load, found without the onnx package or the weights.

The manifest has the hashes of each graph file and of the one weights file that it may name. A graph
that names another is refused before an engine reads it, since that file could be any. Devices have
no onnx package, so the few fields that can name a file are looked up in the protobuf encoding
itself: numbers and nesting are those of onnx.proto, which never change. Weights are skipped over;
they are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from munit_edge.errors import ModelError
from munit_edge.files.plain_data import shown

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 64
"""Messages inside messages; those of an export are four deep."""

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_KEY, _VALUE = 1, 2
"""Of an entry in `external_data`."""
_EXTERNAL = 1
"""TensorProto.EXTERNAL; DEFAULT is 0."""
_MAX_DIGITS = 18
"""Of an offset or a length: such numbers fit in 64 bits."""
_OPERATOR = 4
_CONTEXT_NODE = b"EPContext"
"""Operator of ONNX Runtime that may load a compiled graph from a file."""
_OTHER_FORMAT = b"ORTM"
"""Identifies ONNX Runtime's own format, which it reads as well."""

_NESTED: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
"""Messages of onnx.proto in which a tensor can be: field number -> message."""


class _Field(NamedTuple):
    """One field of a message."""

    number: int
    kind: int
    value: int
    """Of a number; of bytes where they start."""
    end: int
    """Where the field ends."""


class WeightsFile(NamedTuple):
    """The only file beside a graph's own that the graph may load."""

    name: str
    """Its name in the graph's folder."""
    size: int
    """In bytes."""


def check_other_files(
    data: bytes | memoryview, name: str, weights: WeightsFile | None = None
) -> None:
    """Check that an ONNX graph loads no file but its weights file, and nothing beyond its end.

    Args:
        data: the graph file.
        name: what messages call it.
        weights: the file that may hold its weights; None: the graph file itself holds all.

    Raises:
        ModelError: it would load something else, or is not a valid ONNX file.
    """
    try:
        with memoryview(data) as view:
            # A FlatBuffers file has its identifier at byte 4.
            if bytes(view[4:8]) == _OTHER_FORMAT:
                raise ValueError("it is in ONNX Runtime's own format")
            # Any bytes without a graph parse as a model of nothing; 7 is ModelProto.graph.
            if not any(field.number == 7 for field in _fields(view, 0, len(view))):
                raise ValueError("it holds no graph")
            fault = _find(view, "model", 0, len(view), 0, weights)
    except (ValueError, IndexError) as exc:
        raise ModelError(
            f"{name} is not a valid ONNX file ({exc}): export the model again"
        ) from exc
    if fault is not None:
        raise ModelError(f"{name} would load {fault}: export the model again")


def _find(
    view: memoryview, message: str, start: int, end: int, depth: int, weights: WeightsFile | None
) -> str | None:
    """What a message would load from elsewhere than the weights file, or None."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    if message == "tensor":
        return _fault_of_tensor(view, start, end, weights)
    nested = _NESTED[message]
    for field in _fields(view, start, end):
        if field.kind == _BYTES and field.number in nested:
            inner = nested[field.number]
            fault = _find(view, inner, field.value, field.end, depth + 1, weights)
            if fault is not None:
                return fault
        if message == "node" and field.number == _OPERATOR and field.kind == _BYTES:
            operator = bytes(view[field.value : field.end])
            if operator == _CONTEXT_NODE:
                return "a compiled graph, which the manifest has no hash of"
    return None


def _fault_of_tensor(
    view: memoryview, start: int, end: int, weights: WeightsFile | None
) -> str | None:
    """What is wrong with where a tensor's numbers lie, or None."""
    locations, entries = [], []
    for field in _fields(view, start, end):
        if field.number == _DATA_LOCATION:
            locations.append(field.value)
        elif field.number == _EXTERNAL_DATA:
            entries.append(_entry(view, field))
    # A list of file names is refused even without EXTERNAL.
    if not any(locations) and not entries:
        return None
    facts = dict(entries)
    place = facts.get("location", "")
    if weights is None or place != weights.name:
        return f"weights from another file ({shown(place)}), which the manifest has no hash of"
    # Exactly what an export writes: parsers differ in what they make of the rest.
    if locations != [_EXTERNAL] or sorted(key for key, _ in entries) != [
        *("length", "location", "offset")
    ]:
        return f"weights from {weights.name} in an unknown way"
    offset, length = (_whole(facts[key]) for key in ("offset", "length"))
    if offset is None or length is None or offset + length > weights.size:
        return (
            f"weights that are not in {weights.name} (offset {shown(facts['offset'])}, length "
            f"{shown(facts['length'])}, and the file has {weights.size} bytes)"
        )
    return None


def _entry(view: memoryview, entry: _Field) -> tuple[str, str]:
    """Key and value of an entry in `external_data`."""
    if entry.kind != _BYTES:
        raise ValueError("it has a field of an unknown kind")
    found = {_KEY: "", _VALUE: ""}
    for field in _fields(view, entry.value, entry.end):
        # Of repeated fields parsers take the last.
        if field.kind == _BYTES and field.number in found:
            found[field.number] = str(view[field.value : field.end], "utf-8", "replace")
    return found[_KEY], found[_VALUE]


def _whole(text: str) -> int | None:
    """A number in plain decimal digits; None: it is something else, or too large."""
    if len(text) > _MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def _fields(view: memoryview, start: int, end: int) -> Iterator[_Field]:
    """The fields of a message that lies from `start` to `end`."""
    at = start
    while at < end:
        key, at = _number(view, at, end)
        # protobuf's wire format: a key of field number and kind, then the value or its length.
        # Kinds 3 and 4 (groups) are not in onnx.proto.
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:  # parsers drop what is above, and would see another field
            raise ValueError("it has a field of an unknown number")
        value = at
        if kind == _VARINT:
            value, at = _number(view, at, end)
        elif kind == _BYTES:
            length, value = _number(view, at, end)
            at = value + length
        elif kind == _FIXED32:
            at += 4
        elif kind == _FIXED64:
            at += 8
        else:
            raise ValueError("it has a field of an unknown kind")
        if at > end:
            raise ValueError("it is cut off")
        yield _Field(number, kind, value, at)


def _number(view: memoryview, at: int, end: int) -> tuple[int, int]:
    """A variable-length number, and where what follows begins."""
    number = shift = 0
    while True:
        if at >= end or shift > 63:
            raise ValueError("it is cut off")
        byte = view[at]
        at += 1
        # Seven bits a byte, the lowest first; the eighth bit is set in all bytes but the last.
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            # Parsers keep 64 bits of the 70 that ten bytes hold; a number read differently here
            # could hide a field from the check.
            return number & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
