"""PNG: keeps the chunks that affect the image, without those that make Pillow refuse valid files.

Pillow decompresses every text and profile to at most 1 MB, and refuses the file if that is not
enough or if the checksum of any chunk is wrong. Texts are not needed, so Pillow never gets them;
profiles are decompressed here, with a higher limit. Chunks that affect the pixels stay strict.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import IO

from munit_edge.images.kinds import UnsupportedImage, hdr_transfer

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE_BYTES = 32 << 20
"""Limit after decompression; the largest profiles in use, for printing, have a few megabytes."""

_DECIDING = b"tRNS"
"""An ancillary chunk that changes the image."""
_HARMLESS = {b"tRNS": 0, b"eXIf": 0, b"pHYs": 9, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"tEXt": 0}
_HARMLESS |= {b"tIME": 0, b"sBIT": 0, b"bKGD": 0}
"""Chunks that Pillow may see, with their least length; with them most files need no copy."""
_MAX_TEXTS_BYTES = 1 << 20
"""Limit for all texts that Pillow sees."""
_ORIENTATION_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_MAX_TEXT_BYTES = 1 << 20
"""Pillow's limit for a decompressed text or profile."""
_BLOCK = 1 << 20
_SRGB_GAMMA = 1 / 2.2


@dataclass
class PngFacts:
    """Facts from the chunks that Pillow does not report, or reports wrongly."""

    depth: int = 8
    """Bits per sample."""
    frames: int = 1
    """Number of images in the file."""
    profile: bytes | None = None
    """Decompressed colour profile."""
    exponent: float = 1.0
    """Samples of 0 to 1 raised to this power are sRGB, approximately (gAMA)."""


def read_chunks(file: IO[bytes]) -> tuple[IO[bytes], PngFacts]:
    """A PNG file without unneeded chunks, and facts from its chunks.

    Args:
        file: at its start; it is returned unchanged, at its start, if nothing has to be dropped.

    Raises:
        UnsupportedImage: it is HDR, or has a profile larger than `MAX_PROFILE_BYTES`.
        ValueError: a chunk that affects the pixels has a wrong checksum.
    """
    reader = _Reader(file)
    reader.walk()
    facts = reader.facts
    facts.frames = max(1, reader.frames)
    if reader.has_standard_colours:
        # By the standard these chunks outrank gAMA.
        facts.exponent = 1.0
    file.seek(0)
    return (reader.kept.file() if reader.dropped else file), facts


class _Reader:
    """Reads the chunks once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._text_bytes = 0
        self._seen_pixels = False
        self.facts = PngFacts()
        self.kept = _Kept(file)
        self.dropped = False
        self.frames = 0
        """Frames of an animation; a default image that is not one of them counts, too."""
        self.has_standard_colours = False

    def walk(self) -> None:
        self._file.seek(len(SIGNATURE))
        kind = b""
        while kind != b"IEND":
            start = self._file.tell()
            head = self._file.read(8)
            kind, length = head[4:], int.from_bytes(head[:4], "big")
            # The names of chunks are four letters.
            if len(head) < 8 or not kind.isalpha() or not self._take(start, kind, length):
                self.kept.rest(start)  # Pillow decides whether this is an error
                break

    def _take(self, start: int, kind: bytes, length: int) -> bool:
        """Read one chunk; return whether it is complete."""
        # PNG's rule: critical chunks begin with a capital letter. Their data, above all the pixels,
        # are read for the checksum only and not kept.
        critical = kind[:1].isupper()
        keep = not critical or kind == b"IHDR"
        data, complete, valid = _read_chunk(self._file, kind, length, keep=keep)
        if not complete:
            return False
        if not valid and (critical or kind == _DECIDING):
            raise ValueError(f"wrong checksum in its {kind.decode()} chunk")
        if critical or (valid and self._is_harmless(kind, data)):
            self.kept.chunk(start, self._file.tell())
        else:
            self.dropped = True
        if valid:
            self._note(kind, data)
        return True

    def _is_harmless(self, kind: bytes, data: bytes) -> bool:
        if kind == b"iCCP":
            profile = _profile(data)
            return profile is not None and len(profile) <= _MAX_TEXT_BYTES
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            self._text_bytes += len(data)
            if self._text_bytes > _MAX_TEXTS_BYTES:
                return False
        if kind in (b"zTXt", b"iTXt"):
            return _has_orientation(kind, data)
        return kind in _HARMLESS and len(data) >= _HARMLESS[kind]

    def _note(self, kind: bytes, data: bytes) -> None:
        facts = self.facts
        self.has_standard_colours |= kind in (b"sRGB", b"iCCP", b"cICP")
        if kind == b"IHDR" and len(data) == 13:
            facts.depth = data[8]
        elif kind == b"iCCP":
            facts.profile = _profile(data)
        elif kind == b"gAMA" and len(data) == 4:
            stored = int.from_bytes(data, "big") / 100_000
            # sample = light ** stored, and sRGB is about light ** (1 / 2.2). Within 5 % nothing is
            # changed: 0.45455 is written by programs that mean sRGB.
            if stored and abs(stored / _SRGB_GAMMA - 1) > 0.05:
                facts.exponent = _SRGB_GAMMA / stored
        # Colour primaries, transfer function, matrix, range: a byte each.
        elif kind == b"cICP" and len(data) == 4 and hdr_transfer(data[1]):
            raise UnsupportedImage(f"HDR colours ({hdr_transfer(data[1])})")
        elif kind == b"fcTL":
            self.frames += 1
        # Without an fcTL before it, the default image counts in addition to the animation.
        elif kind == b"IDAT" and not self._seen_pixels:
            self._seen_pixels = True
            self.frames = max(self.frames, 1)


def _profile(data: bytes) -> bytes | None:
    """The profile of an iCCP chunk; None if it is damaged: no reason to refuse the file."""
    _, _, packed = data.partition(b"\0")
    if packed[:1] != b"\0":  # the compression method; there is only one
        return None
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    # Left over only where the limit has stopped it.
    if unpacker.unconsumed_tail:
        raise UnsupportedImage(f"a colour profile of more than {MAX_PROFILE_BYTES >> 20} MiB")
    return profile


def _has_orientation(kind: bytes, data: bytes) -> bool:
    """Whether a zTXt or iTXt chunk may have the orientation, and is not a decompression bomb."""
    if not data.startswith(_ORIENTATION_TEXTS):
        return False
    _, _, rest = data.partition(b"\0")
    if kind == b"iTXt" and rest[:1] == b"\0":
        return True
    # zTXt: keyword, 0, method, packed text. iTXt: keyword, 0, whether packed, method, language, 0,
    # translated keyword, 0, text.
    packed = rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[-1]
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, _MAX_TEXT_BYTES)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail


def _read_chunk(
    file: IO[bytes], kind: bytes, length: int, *, keep: bool
) -> tuple[bytes, bool, bool]:
    """Content (empty unless `keep`), whether it is complete, whether its checksum is right."""
    checksum, parts, left = zlib.crc32(kind), [], length
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            return b"", False, False
        checksum = zlib.crc32(block, checksum)
        left -= len(block)
        if keep:
            parts.append(block)
    stored = file.read(4)
    return b"".join(parts), len(stored) == 4, stored == struct.pack(">I", checksum)


class _Kept:
    """The parts of a file that are kept, in order; adjacent parts are merged."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._spans: list[list[int]] = [[0, len(SIGNATURE)]]

    def chunk(self, start: int, stop: int) -> None:
        if self._spans[-1][1] == start:
            self._spans[-1][1] = stop
        else:
            self._spans.append([start, stop])

    def rest(self, start: int) -> None:
        self.chunk(start, self._file.seek(0, io.SEEK_END))

    def file(self) -> IO[bytes]:
        copy = io.BytesIO()
        for start, stop in self._spans:
            self._file.seek(start)
            copy.write(self._file.read(stop - start))
        copy.seek(0)
        return copy
