"""What a file is by its first bytes, so that messages can name it."""

from __future__ import annotations

import struct


class UnsupportedPicture(Exception):  # noqa: N818 - inside of `images`, which makes an error of it
    """A sound picture of a kind that is not read; the text says what it holds."""


READABLE = "PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, AVIF or TGA"
"""In words: formats that are read."""

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
    (b"P7", "PAM picture"),
    (b"PF", "PFM picture with colours"),
    (b"\xff\x0a", "JPEG XL picture"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL picture"),
    (b"\x76\x2f\x31\x01", "OpenEXR picture"),
    (b"#?RADIANCE", "Radiance HDR picture"),
    (b"#?RGBE", "Radiance HDR picture"),
    (b"8BPS", "Photoshop document"),
    (b"gimp xcf", "GIMP document"),
    (b"\0\0\1\0", "Windows icon"),
    (b"DDS ", "DirectDraw surface"),
    (b"qoif", "QOI picture"),
    (b"IIU\0", "camera raw file"),
    (b"IIRO", "camera raw file"),
    (b"FUJIFILM", "camera raw file"),
    (b"\x8aMNG", "MNG animation"),
    (b"\x8bJNG", "JNG picture"),
    (b"%PDF", "PDF document"),
    (b"%!PS", "PostScript document"),
    (b"SIMPLE  =", "FITS file"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    (b"version https://git-lfs", "Git LFS pointer without its picture"),
)
_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"mif1": "HEIF picture",
    b"msf1": "HEIF picture",
    b"crx ": "camera raw file",
}


def kind_of(head: bytes) -> tuple[str, bool] | None:
    """What a file is, and whether such files are read; None where the bytes do not tell.

    Args:
        head: its first bytes, 1024 where there are as many.
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
    """ISO media: the main brand says what it is, or else one that it is compatible with."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[place : place + 4] for place in range(16, size, 4))]
    names = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    if "AVIF" in names:
        return "AVIF", True
    return (names[0] if names else "MP4 or QuickTime video"), False


def jpeg_fault(data: bytes) -> str | None:
    """What a JPEG file holds that is not read, such as "12-bit samples"; None: nothing."""
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
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
    """The name of an HDR transfer function by its code in ITU-T H.273; None: it is none."""
    return {16: "PQ", 18: "HLG"}.get(code)
