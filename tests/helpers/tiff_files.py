"""TIFF files of any kind, those too that Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

WHITE_IS_ZERO, GREY, RGB, PALETTE, MASK, CMYK, YCBCR, LAB = 0, 1, 2, 3, 4, 5, 6, 8
ICC_LAB, CFA, LOG_L, LOG_LUV, LINEAR_RAW = 9, 32803, 32844, 32845, 34892
UNSIGNED, SIGNED, FLOAT, UNDEFINED, COMPLEX_SIGNED, COMPLEX_FLOAT = 1, 2, 3, 4, 5, 6
PLAIN, DEFLATE, PACK_BITS = 1, 8, 32773

_SHORT, _LONG = 3, 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class TiffKind:
    """How samples are stored."""

    photometric: int = GREY
    bits: int | tuple[int, ...] = 8
    format: int = UNSIGNED
    planar: int = 1
    endian: str = "<"
    fill_order: int = 1
    compression: int = PLAIN
    predictor: int = 1
    tile: int | None = None
    """Height and width of tiles in pixels."""
    extra: tuple[int, ...] = ()
    """ExtraSamples: 0 unspecified, 1 associated alpha, 2 unassociated alpha."""
    tags: dict[int, Sequence[int]] = field(default_factory=dict)
    """Further tags, as 16-bit numbers."""
    without: tuple[int, ...] = ()
    """Tags that are left out."""


def tiff(samples: np.ndarray, kind: TiffKind, *more_pages: np.ndarray) -> bytes:
    """A TIFF file.

    Args:
        samples: [H, W, S] as they are stored: integers, floats or complex numbers.
        kind: how.
        more_pages: further pages of the same kind.
    """
    endian = kind.endian
    data = (b"II*\0" if endian == "<" else b"MM\0*") + b"\0\0\0\0"
    link = 4
    for page in (samples, *more_pages):
        offset, directory, link_inside = _page(page, kind, len(data))
        data = data[:link] + struct.pack(endian + "I", offset) + data[link + 4 :]
        link = len(data) + link_inside
        data += directory
    return data


def _page(samples: np.ndarray, kind: TiffKind, base: int) -> tuple[int, bytes, int]:
    """Offset of a directory, the bytes with it, and where in them the link to the next one is."""
    height, width, count = samples.shape
    bits = kind.bits if isinstance(kind.bits, tuple) else (kind.bits,) * count
    parts = [_coded(part, bits, kind) for part in _parts(samples, kind)]
    places, body = [], b""
    for part in parts:
        places.append(base + len(body))
        body += part + b"\0" * (len(part) % 2)
    tags: dict[int, tuple[int, Sequence[int]]] = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, bits),
        259: (_SHORT, [kind.compression]),
        262: (_SHORT, [kind.photometric]),
        266: (_SHORT, [kind.fill_order]),
        277: (_SHORT, [count]),
        284: (_SHORT, [kind.planar]),
        317: (_SHORT, [kind.predictor]),
        339: (_SHORT, [kind.format] * count),
    }
    if kind.tile:
        tags |= {322: (_LONG, [kind.tile]), 323: (_LONG, [kind.tile])}
    tags |= {
        (324 if kind.tile else 273): (_LONG, places),
        (325 if kind.tile else 279): (_LONG, [len(part) for part in parts]),
    }
    if not kind.tile:
        tags[278] = (_LONG, [height])
    if kind.extra:
        tags[338] = (_SHORT, kind.extra)
    tags |= {tag: (_SHORT, values) for tag, values in kind.tags.items()}
    for tag in kind.without:
        tags.pop(tag, None)
    return base + len(body), *_directory(tags, kind.endian, base, body)


def _directory(
    tags: dict[int, tuple[int, Sequence[int]]], endian: str, base: int, body: bytes
) -> tuple[bytes, int]:
    start = base + len(body)
    table, beside = struct.pack(endian + "H", len(tags)), b""
    beside_at = start + 2 + 12 * len(tags) + 4
    for tag, (type_, values) in sorted(tags.items()):
        packed = struct.pack(f"{endian}{len(values)}{'H' if type_ == _SHORT else 'I'}", *values)
        table += struct.pack(endian + "HHI", tag, type_, len(values))
        if len(packed) > 4:
            table += struct.pack(endian + "I", beside_at + len(beside))
            beside += packed + b"\0" * (len(packed) % 2)
        else:
            table += packed.ljust(4, b"\0")
    return body + table + b"\0\0\0\0" + beside, len(body) + len(table)


def _parts(samples: np.ndarray, kind: TiffKind) -> list[np.ndarray]:
    """Strips or tiles, plane after plane."""
    count = samples.shape[2]
    planes = [samples[..., i : i + 1] for i in range(count)] if kind.planar == 2 else [samples]
    if not kind.tile:
        return planes
    side = kind.tile
    below, right = (-size % side for size in samples.shape[:2])
    padded = [np.pad(plane, ((0, below), (0, right), (0, 0))) for plane in planes]
    return [
        plane[y : y + side, x : x + side]
        for plane in padded
        for y in range(0, plane.shape[0], side)
        for x in range(0, plane.shape[1], side)
    ]


def _coded(part: np.ndarray, bits: tuple[int, ...], kind: TiffKind) -> bytes:
    rows = part.reshape(part.shape[0], -1)
    if kind.predictor == 2:
        before = np.pad(part, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        rows = (part - before).reshape(rows.shape)  # unsigned numbers wrap as they should
    if len(set(bits)) == 1 and bits[0] in (8, 16, 32, 64, 128):
        data = rows.astype(_dtype(bits[0], kind)).tobytes()
        length = len(data) // len(rows)
        lines = [data[i : i + length] for i in range(0, len(data), length)]
    else:
        lines = [_packed_bits(row, bits, kind) for row in rows]
    if kind.compression == DEFLATE:
        data = zlib.compress(b"".join(lines), 1)
    elif kind.compression == PACK_BITS:
        data = b"".join(_literal_runs(line) for line in lines)
    else:
        data = b"".join(lines)
    return data.translate(_REVERSED) if kind.fill_order == 2 else data


def _dtype(bits: int, kind: TiffKind) -> str:
    letter = {UNSIGNED: "u", UNDEFINED: "u", SIGNED: "i", FLOAT: "f"}.get(kind.format, "c")
    return f"{kind.endian}{letter}{bits // 8}"


def _packed_bits(row: np.ndarray, bits: tuple[int, ...], kind: TiffKind) -> bytes:
    widths = [bits[i % len(bits)] for i in range(len(row))]
    text = "".join(f"{int(value):0{width}b}" for value, width in zip(row, widths, strict=True))
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def _literal_runs(line: bytes) -> bytes:
    runs = (line[i : i + 128] for i in range(0, len(line), 128))
    return b"".join(bytes([len(run) - 1]) + run for run in runs)
