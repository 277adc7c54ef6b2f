"""PNG files chunk by chunk, those too that Pillow does not write."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


def chunk(kind: bytes, data: bytes, *, intact: bool = True) -> bytes:
    """One chunk; with a wrong checksum where it is not intact."""
    checksum = zlib.crc32(kind + data) ^ (not intact)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(
    samples: np.ndarray,
    depth: int,
    colour: int,
    *before: bytes,
    after: bytes = b"",
    intact: bool = True,
) -> bytes:
    """A PNG file.

    Args:
        samples: [H, W, S], whole numbers of `depth` bits.
        depth: bits of a sample.
        colour: colour type.
        before: chunks before the pixels.
        after: chunks after them.
        intact: whether the checksum of the pixels is right.
    """
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = samples.reshape(height, -1)
    if depth >= 8:
        lines = [row.astype(f">u{depth // 8}").tobytes() for row in rows]
    else:
        lines = [_packed(row, depth) for row in rows]
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines))
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels, intact=intact), after]
    return SIGNATURE + b"".join(parts) + chunk(b"IEND", b"")


def _packed(row: np.ndarray, depth: int) -> bytes:
    text = "".join(f"{int(value):0{depth}b}" for value in row)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
