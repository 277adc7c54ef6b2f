"""The kind of a file by its first bytes, for messages."""

from __future__ import annotations

import struct


class UnsupportedImage(Exception):  # noqa: N818 - `images` turns it into an error
    """A valid image of a kind that is not supported; the message says what it holds."""


READABLE = "PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, AVIF or TGA"
"""The supported formats, for messages."""

_READ: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    *((b"P" + kind, "PPM") for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"f")),
)
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"P7", "PAM image"),
    (b"PF", "PFM image with colours"),
    (b"\xff\x0a", "JPEG XL image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL image"),
    (b"\x76\x2f\x31\x01", "OpenEXR image"),
    (b"#?RADIANCE", "Radiance HDR image"),
    (b"#?RGBE", "Radiance HDR image"),
    (b"8BPS", "Photoshop document"),
    (b"gimp xcf", "GIMP document"),
    (b"\0\0\1\0", "Windows icon"),
    (b"DDS ", "DirectDraw surface"),
    (b"qoif", "QOI image"),
    (b"IIU\0", "camera raw file"),
    (b"IIRO", "camera raw file"),
    (b"FUJIFILM", "camera raw file"),
    (b"\x8aMNG", "MNG animation"),
    (b"\x8bJNG", "JNG image"),
    (b"%PDF", "PDF document"),
    (b"%!PS", "PostScript document"),
    (b"SIMPLE  =", "FITS file"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    (b"version https://git-lfs", "Git LFS pointer without its image"),
)
_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"mif1": "HEIF image",
    b"msf1": "HEIF image",
    b"crx ": "camera raw file",
}


def kind_of(head: bytes) -> tuple[str, bool] | None:
    """The kind of a file, and whether such files are supported; None: unknown.

    Args:
        head: its first bytes, up to 1024.
    """
    for start, name in _READ:
        if head.startswith(start):
            return name, True
    for start, name in _OTHERS:
        if head.startswith(start):
            return name, False
    if head[:4] == b"RIFF":
        return ("WebP", True) if head[8:12] == b"WEBP" else ("RIFF file", False)
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if head[128:132] == b"DICM":
        return "DICOM file", False
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text:
        return "SVG drawing", False
    if text.startswith((b"<!doctype html", b"<html")):
        return "web page", False
    return None


def _by_brand(head: bytes) -> tuple[str, bool]:
    """ISO media: the kind by the main brand, or else by a compatible brand."""
    # The box: size, "ftyp", main brand, version, then the compatible brands, 4 bytes each.
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[place : place + 4] for place in range(16, size, 4))]
    names = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    if "AVIF" in names:
        return "AVIF", True
    return (names[0] if names else "MP4 or QuickTime video"), False


def jpeg_fault(data: bytes) -> str | None:
    """Why a JPEG file is not supported, such as "12-bit samples"; None: it is supported."""
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        # Any number of these bytes may precede a marker.
        if marker == 0xFF:
            place += 1
            continue
        # A frame header (SOF): C0 to CF, of which C4, C8 and CC mean something else. After the
        # marker come a length of 2 bytes, the precision, height and width of 2 each, components.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, components = data[place + 4], data[place + 9]
            if marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF):
                return "lossless or hierarchical coding"
            if precision != 8:
                return f"{precision}-bit samples"
            return None if components in (1, 3, 4) else f"{components} components"
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    return None


def hdr_transfer(code: int) -> str | None:
    """Name of an HDR transfer function by its code in ITU-T H.273; None: it is not HDR."""
    return {16: "PQ", 18: "HLG"}.get(code)
