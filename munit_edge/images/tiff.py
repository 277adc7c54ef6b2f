"""TIFF: interprets the tags about samples where Pillow does not.

Pillow supports a list of combinations of tags. It reads some of them wrongly without an error
(16-bit white-is-zero, 12 bits as 16, signed samples as unsigned, 16-bit planes as 8), and does not
recognise any others as an image. Here each combination is read correctly or refused with its name.
"""

from __future__ import annotations

import struct
from typing import IO, Any

from PIL import ImagePalette
from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2, TiffImageFile

from munit_edge.images.kinds import UnsupportedImage
from munit_edge.images.pixel_formats import Encoding

# Tags and their values, by the numbers of TIFF 6.0 and its supplements.
_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 254, 258, 259, 262, 266
_SAMPLES, _PLANAR, _COLORMAP, _INK_SET, _EXTRA, _FORMAT = 277, 284, 320, 332, 338, 339
_SUB_IFDS, _REFERENCE = 330, 532
_THUMBNAIL, _MASK = 1, 4

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_PHOTOMETRICS = {
    _WHITE_IS_ZERO: "white-is-zero grey",
    _BLACK_IS_ZERO: "grey",
    _RGB: "RGB",
    _PALETTE: "palette",
    4: "transparency mask",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32803: "colour filter array (camera raw)",
    34892: "linear camera raw",
    32844: "LogL",
    32845: "LogLuv",
}
_FORMATS = {1: "unsigned", 2: "signed", 3: "float", 4: "undefined", 5: "complex signed"}
_FORMATS[6] = "complex float"
_NOT_COMPRESSED = 1
_MAX_PAGES = 1 << 16
_MAX_TAGS = 1 << 12


class TiffImage(TiffImageFile):
    """The first image of a TIFF file, opened for `convert_image`.

    Raises:
        UnsupportedImage: its samples are of a kind that is not supported.
    """

    encoding: Encoding

    def _setup(self) -> None:
        tags = self.tag_v2
        described = _described(tags)
        _refuse(tags, described)
        bits = _numbers(tags, _BITS, (1,))
        photometric = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO)
        # Pillow inverts only some of these: all of them are inverted later, by `convert_image`.
        inverted = photometric == _WHITE_IS_ZERO
        if inverted:
            tags[_PHOTOMETRIC] = _BLACK_IS_ZERO
        self._prefer_libtiff()
        try:
            super()._setup()
        except SyntaxError as exc:
            if "pixel mode" in str(exc):
                raise UnsupportedImage(f"{described} samples") from exc
            raise
        if self.mode == "F" and self.use_load_libtiff:
            # libtiff has put the bytes into this machine's order already.
            (tile,) = self.tile
            self.tile = [tile._replace(args=("F;32NF", False, self.tag_v2.offset))]
        if self.mode in ("P", "PA"):
            self._take_narrow_palette()
        self.encoding = Encoding(white=2 ** max(bits) - 1, inverted=inverted)

    def _prefer_libtiff(self) -> None:
        """Let libtiff decode what Pillow's own code for uncompressed files reads wrongly."""
        tags = self.tag_v2
        if tags.get(_SAMPLES, 1) == 1:
            tags[_PLANAR] = 1  # a single plane is the same as interleaved
        misread = (
            tags.get(_PLANAR, 1) == 2  # planes of other than 8 bits
            or tags.get(_FILL_ORDER, 1) == 2  # palettes
            or (tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_SAMPLES, 1) > 1)  # fewer colours
        )
        if misread and tags.get(_COMPRESSION, _NOT_COMPRESSED) == _NOT_COMPRESSED:
            # Any other value makes Pillow use libtiff, which reads the tag from the file itself.
            tags[_COMPRESSION] = 8

    def _take_narrow_palette(self) -> None:
        """Use palettes that some programs write with colours of 0 to 255 instead of 0 to 65535."""
        colours = _numbers(self.tag_v2, _COLORMAP, ())
        if colours and max(colours) < 256:
            self.palette = ImagePalette.raw("RGB;L", bytes(colours))


def count_pages(file: IO[bytes]) -> int:
    """Number of pages, at least 1; thumbnails, reduced copies and masks do not count."""
    position = file.tell()
    try:
        return max(1, _count_pages(file))
    except (OSError, struct.error, OverflowError, ValueError):
        return 1  # a damaged list of pages does not matter: the first page is used
    finally:
        file.seek(position)


def _count_pages(file: IO[bytes]) -> int:
    file.seek(0)
    header = file.read(16)
    endian = "<" if header[:2] == b"II" else ">"
    big = 43 in header[2:4]
    # BigTIFF (version 43 instead of 42) counts and points with 8 bytes.
    number, offset, entry = ("Q", "Q", 20) if big else ("H", "I", 12)

    def read(kind: str) -> int:
        return int(struct.unpack(endian + kind, file.read(struct.calcsize(endian + kind)))[0])

    file.seek(8 if big else 4)
    seen: set[int] = set()
    pages, place = 0, read(offset)
    # A damaged list may lead back to an earlier page.
    while place and place not in seen and len(seen) < _MAX_PAGES:
        seen.add(place)
        file.seek(place)
        count = read(number)
        if count > _MAX_TAGS:
            break
        table = file.read(entry * count)
        pages += not _subfile(table, entry, endian) & (_THUMBNAIL | _MASK)
        place = read(offset)
    return pages


def _subfile(table: bytes, entry: int, endian: str) -> int:
    for start in range(0, len(table) - entry + 1, entry):
        if struct.unpack_from(endian + "H", table, start)[0] == _SUBFILE:
            # Before the value: tag and type, 2 bytes each, and a count of 4 or 8.
            value = start + (8 if entry == 12 else 12)
            return int(struct.unpack_from(endian + "I", table, value)[0])
    return 0


def _refuse(tags: ImageFileDirectory_v2, described: str) -> None:
    """Refuse what Pillow would read wrongly."""
    formats = set(_numbers(tags, _FORMAT, (1,)))
    photometric = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO)
    # Pillow reads signed samples (2) as unsigned.
    if formats - {1, 3, 4}:
        raise UnsupportedImage(f"{described} samples")
    if photometric not in range(9) or photometric == 4:
        raise UnsupportedImage(f"{described} samples")
    compression = tags.get(_COMPRESSION, _NOT_COMPRESSED)
    if compression not in COMPRESSION_INFO:
        raise UnsupportedImage(f"compression {compression}")
    if _SUB_IFDS in tags and int(tags.get(_SUBFILE, 0)) & _THUMBNAIL:
        raise UnsupportedImage("a thumbnail before the image itself, as camera raw files have")
    if tags.get(_PLANAR, 1) == 2 and not _planes_are_read(tags, photometric):
        raise UnsupportedImage(f"{described} samples in separate planes")
    if photometric == _CMYK and tags.get(_INK_SET, 1) != 1:
        raise UnsupportedImage("inks other than CMYK")
    if photometric in (_RGB, _YCBCR) and not _full_range(tags):
        raise UnsupportedImage(f"{described} samples whose black and white are not 0 and 255")


def _planes_are_read(tags: ImageFileDirectory_v2, photometric: int) -> bool:
    extra = _numbers(tags, _EXTRA, ())
    if photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _PALETTE):
        return not any(extra)
    if photometric == _YCBCR:
        return not extra
    return photometric in (_RGB, _CMYK) and (not any(extra) or len(extra) == 1)


def _full_range(tags: ImageFileDirectory_v2) -> bool:
    if _REFERENCE not in tags:
        return True
    # Black and white of the first sample, R or Y.
    found = [float(value) for value in tags[_REFERENCE]]
    # A damaged file may claim any number of bits.
    white = 2 ** min(max(_numbers(tags, _BITS, (1,))), 64) - 1
    return found[0] == 0 and abs(found[1] - white) <= 1


def _described(tags: ImageFileDirectory_v2) -> str:
    """Such as "16-bit signed grey"."""
    bits = _numbers(tags, _BITS, (1,))
    formats = _numbers(tags, _FORMAT, (1,))
    photometric = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO)
    widths = "/".join(str(number) for number in sorted(set(bits)))
    kinds = "/".join(_FORMATS.get(number, f"format {number}") for number in sorted(set(formats)))
    colour = _PHOTOMETRICS.get(photometric, f"photometric interpretation {photometric}")
    parts = [f"{widths}-bit", kinds, colour]
    if kinds == "unsigned":
        parts.remove(kinds)
    samples = tags.get(_SAMPLES, 1)
    text = " ".join(parts)
    return f"{text} ({samples} a pixel)" if samples != 1 else text


def _numbers(tags: ImageFileDirectory_v2, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    value: Any = tags.get(tag, default)
    values = value if isinstance(value, tuple) else (value,)
    return tuple(int(number) for number in values) or default
