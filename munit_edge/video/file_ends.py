"""Truncated video files: the sizes stored in them reach beyond the end of the file.

Only explicit sizes count. A structure that is not understood counts as complete.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO

_SLACK = 8
"""Bytes that some writers leave out at the end, such as padding."""

_MATROSKA_HEADER, _MATROSKA_SEGMENT = 0x1A45DFA3, 0x18538067
_BLOCK = 1 << 20
_FRAGMENT = b"moof"
_BOX_HEADER = 8
_FLV_TAGS = (8, 9, 18)
_FLV_HEADER, _FLV_TRAILER = 11, 4
_OGG_TAIL = 128 * 1024
_PS_PACK = 0xBA
_TS_SYNC = 0x47
_TS_SIZES = (188, 192, 204)


def broken_structure(path: Path, format_name: str) -> str | None:
    """Why a video file is truncated or damaged, by its structure; None: it is not.

    Args:
        path: the file.
        format_name: FFmpeg's names for its format, such as "matroska,webm".
    """
    find_end = next((find for name, find in _ENDS.items() if name in format_name.split(",")), None)
    if find_end is None:
        return None
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            end = find_end(file, size)
    except (OSError, ValueError, LookupError, struct.error):
        return None
    if isinstance(end, str):
        return end
    if end <= size:
        return None
    missing = f"{end - size:,} bytes are" if end - size > 1 else "1 byte is"
    return f"at least {missing} missing at its end"


def _matroska_end(file: IO[bytes], size: int) -> int:
    position = 0
    while position < size:
        file.seek(position)
        identifier, _ = _ebml_number(file, keep_marker=True)
        length, is_unknown = _ebml_number(file, keep_marker=False)
        if identifier not in (_MATROSKA_HEADER, _MATROSKA_SEGMENT) or is_unknown:
            return 0  # a recorder that cannot seek leaves the length open
        position = file.tell() + length
    return position


def _ebml_number(file: IO[bytes], *, keep_marker: bool) -> tuple[int, bool]:
    """A number of variable length, and whether all of its bits are set, which means unknown."""
    (first,) = struct.unpack("B", file.read(1))
    if not first:
        raise struct.error("no number of at most 8 bytes")
    num_more = 8 - first.bit_length()
    value = first if keep_marker else first & (0x7F >> num_more)
    for byte in struct.unpack(f"{num_more}B", file.read(num_more)):
        value = value << 8 | byte
    return value, value == (1 << 7 * (num_more + 1)) - 1


def _boxes_end(file: IO[bytes], size: int) -> int | str:
    """MP4 and MOV: boxes that start with 4 bytes of length and 4 of name."""
    position = 0
    while position + _BOX_HEADER <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(_BOX_HEADER))
        if length == 1:
            if position + 2 * _BOX_HEADER > size:
                return position + 2 * _BOX_HEADER
            (length,) = struct.unpack(">Q", file.read(8))
        if not length and name == b"mdat":
            return 0  # it reaches to the end of the file
        if length < 8:
            return _fragments_after(file, position)
        position += length
    if 4 <= size - position < _BOX_HEADER:  # fewer bytes are no evidence
        file.seek(position)
        is_cut = int.from_bytes(file.read(4), "big") >= _BOX_HEADER
        return position + _BOX_HEADER if is_cut else position
    return position


def _fragments_after(file: IO[bytes], position: int) -> int | str:
    """Data that is not a box may be a camera's trailer; followed by fragments, it is damage."""
    file.seek(position)
    before = b""
    while block := file.read(_BLOCK):
        if _FRAGMENT in before + block:
            return f"it is damaged at byte {position:,}, and fragments after that cannot be read"
        before = block[-len(_FRAGMENT) :]
    return 0


def _riff_end(file: IO[bytes], size: int) -> int | str:
    """AVI: one or more RIFF chunks, with the frames as chunks in lists."""
    position = end = 0
    while position + 12 <= size:
        file.seek(position)
        name, length, kind = struct.unpack("<4sI4s", file.read(12))
        if name == b"RIFF" and length:
            end = position + 8 + length
            position += 12
        elif not end or position >= end - _SLACK:
            break  # what follows is not part of the AVI
        elif name == b"LIST" and kind in (b"movi", b"rec "):
            position += 12
        elif any(byte < ord(" ") for byte in name):
            return f"it is damaged at byte {position:,}"
        else:
            position += 8 + length + length % 2
    return end - _SLACK


def _flv_end(file: IO[bytes], size: int) -> int:
    file.seek(5)
    position = int.from_bytes(file.read(4), "big") + _FLV_TRAILER
    while position < size:
        file.seek(position)
        header = file.read(_FLV_HEADER)
        if header[0] & 0x1F not in _FLV_TAGS:
            return 0
        length = int.from_bytes(header[1:4], "big") if len(header) == _FLV_HEADER else 0
        position += _FLV_HEADER + length + _FLV_TRAILER
    return position - _FLV_TRAILER  # some writers leave the last one out


def _ogg_end(file: IO[bytes], size: int) -> int:
    start = max(0, size - _OGG_TAIL)
    file.seek(start)
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return 0
    if page + 27 > len(tail):
        return size + 1
    num_segments = tail[page + 26]
    sizes = tail[page + 27 : page + 27 + num_segments]
    return start + page + 27 + num_segments + sum(sizes)


def _ts_end(file: IO[bytes], size: int) -> int:
    head = file.read(8 * max(_TS_SIZES))
    for length in _TS_SIZES:
        for first in (0, 4):  # M2TS has 4 bytes before each
            marks = head[first::length]
            if len(marks) >= 3 and set(marks[: len(marks) - 1]) == {_TS_SYNC}:
                return -(-size // length) * length
    return 0


def _ps_end(file: IO[bytes], size: int) -> int:
    """MPEG program streams: packs, headers and packets with their lengths."""
    position = 0
    while position + 14 <= size:
        file.seek(position)
        head = file.read(14)
        if head[:3] != b"\0\0\1":
            return 0
        if head[3] == _PS_PACK:
            is_mpeg2 = head[4] >> 6 == 1
            position += 14 + (head[13] & 7) if is_mpeg2 else 12
        elif head[3] > _PS_PACK:
            position += 6 + int.from_bytes(head[4:6], "big")
        else:
            return 0
    return position


def _jpegs_end(file: IO[bytes], size: int) -> int:
    file.seek(max(0, size - _BLOCK))
    is_whole = file.read().rstrip(b"\0").endswith(b"\xff\xd9")
    return 0 if is_whole else size + 2


def _y4m_end(file: IO[bytes], size: int) -> int:
    """A header line, then frames of one size, each after a line of its own."""
    header = file.readline(1024)
    start = len(header)
    line = len(file.readline(1024))
    words = {word[:1]: word[1:] for word in header.split()[1:]}
    kind = words.get(b"C", b"420")
    if not kind.startswith(b"420") or b"p1" in kind or line != len(b"FRAME\n"):
        return 0
    width, height = int(words[b"W"]), int(words[b"H"])
    length = line + width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    return start + -(-(size - start) // length) * length


_ENDS: dict[str, Callable[[IO[bytes], int], int | str]] = {
    "matroska": _matroska_end,
    "mov": _boxes_end,
    "avi": _riff_end,
    "flv": _flv_end,
    "ogg": _ogg_end,
    "mpegts": _ts_end,
    "mpeg": _ps_end,
    "mjpeg": _jpegs_end,
    "jpeg_pipe": _jpegs_end,
    "yuv4mpegpipe": _y4m_end,
}
"""By format: the least size of the file in bytes, or what is wrong with it; 0: unknown."""
