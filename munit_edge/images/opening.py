"""Opening an image file with Pillow, and reading facts that Pillow ignores.

Pillow's global settings are not changed here; `io` lifts its limit on pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import IO

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import PREFIXES

from munit_edge.errors import UnreadableImageError
from munit_edge.images.heif import EXTRA as HEIF_EXTRA
from munit_edge.images.heif import PILLOW_FORMAT, can_read_heif, heif_fault, is_heif
from munit_edge.images.kinds import READABLE, UnsupportedImage, hdr_transfer, jpeg_fault, kind_of
from munit_edge.images.pixel_formats import PLAIN, Encoding
from munit_edge.images.png_chunks import SIGNATURE, read_chunks
from munit_edge.images.tiff import TiffImage, count_pages

# Only formats without executable content: Pillow passes EPS to Ghostscript, for example.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "TGA")
_ANIMATED = ("GIF", "WEBP", "AVIF")
# Reaches the frame header of most JPEGs; after larger metadata it stays unchecked.
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class OpenedImage:
    """An image whose header has been read."""

    image: Image.Image
    encoding: Encoding = PLAIN
    frames: int = 1
    """Number of frames or pages in the file; the image is the first."""
    profile: bytes | None = None
    """Colour profile that Pillow did not read."""


def open_image(file: IO[bytes], name: str) -> OpenedImage:
    """Read the header of an image file.

    Args:
        file: at its start, seekable, not empty.
        name: its name in messages.

    Raises:
        UnreadableImageError: it is not an image, damaged, or of a kind that is not supported.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    try:
        return _open(file, head)
    except UnsupportedImage as exc:
        raise unsupported(name, str(exc), _format_of(head)) from exc
    except UnidentifiedImageError as exc:
        raise _unidentified(name, head) from exc
    except Exception as exc:  # decoders raise any exception on damaged headers
        raise damaged(name, exc, _format_of(head)) from exc


def pixels_by_header(file: IO[bytes]) -> int:
    """Height times width according to the header; nothing else is read.

    Raises:
        Exception: any; opening the image will report what is wrong.
    """
    head = file.read(24)
    if head.startswith(SIGNATURE):  # Pillow would unpack its text chunks
        return int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big")
    file.seek(0)
    with Image.open(file, formats=_formats(head)) as image:
        return int(image.height * image.width)


def unsupported(name: str, what: str, format: str | None) -> UnreadableImageError:  # noqa: A002
    """The error for a valid file of a kind that is not supported, in the given format."""
    kind = format or "image"
    return UnreadableImageError(
        f"{name} is {_article(kind)} {kind} with {what}, which is not supported: convert it to "
        "8-bit RGB or grey, for example with an image editor"
    )


def damaged(name: str, exc: Exception, format: str | None) -> UnreadableImageError:  # noqa: A002
    """The error for a file whose decoder failed, in the given format."""
    cause = " ".join(str(exc).split()) or type(exc).__name__
    if "nsupported" in cause or "not supported" in cause:
        return unsupported(name, f"a coding that is not supported ({cause})", format)
    return UnreadableImageError(f"{name} is damaged ({cause}): copy or download it again")


def _formats(head: bytes) -> tuple[str, ...]:
    """The formats to try; the HEIC libraries are loaded only for files that may be HEIC."""
    return (*_FORMATS, PILLOW_FORMAT) if is_heif(head) and can_read_heif() else _FORMATS


def _article(noun: str) -> str:
    return "an" if noun.startswith(("A", "E", "I", "O", "U", "i", "MNG", "MP4")) else "a"


def _format_of(head: bytes) -> str | None:
    kind = kind_of(head)
    return kind[0] if kind else None


def _unidentified(name: str, head: bytes) -> UnreadableImageError:
    if is_heif(head) and not can_read_heif():
        if fault := heif_fault():
            return UnreadableImageError(
                f"{name} is a HEIC image, and pillow-heif is installed but cannot be loaded "
                f"({fault}): reinstall it, or convert the image to JPEG"
            )
        return UnreadableImageError(
            f"{name} is a HEIC image: run `pip install '{HEIF_EXTRA}'`, or convert it to JPEG"
        )
    kind = kind_of(head)
    if kind is None:
        return UnreadableImageError(f"{name} is not a supported image: use {READABLE}")
    what, is_read = kind
    if not is_read and not is_heif(head):
        return UnreadableImageError(
            f"{name} is {_article(what)} {what}, which is not supported: use {READABLE}"
        )
    fault = jpeg_fault(head) if what == "JPEG" else None
    if fault:
        return unsupported(name, fault, what)
    return UnreadableImageError(
        f"{name} is damaged (its header cannot be read as {what}): copy or download it again"
    )


def _open(file: IO[bytes], head: bytes) -> OpenedImage:
    if head.startswith(SIGNATURE):
        return _open_png(file)
    if head.startswith(tuple(PREFIXES)):
        if head[8:10] == b"CR":  # Canon's; Pillow would read the preview
            raise UnsupportedImage("camera raw samples")
        return _open_tiff(file)
    opened = OpenedImage(Image.open(file, formats=_formats(head)))
    kind = opened.image.format
    if kind in ("BMP", "TGA"):
        opaque = kind == "TGA" and not head[17] & 0x0F  # number of alpha bits
        return replace(opened, encoding=Encoding(opaque=opaque, blank_is_opaque=True))
    fault = jpeg_fault(head) if kind == "JPEG" else None
    if fault:
        raise UnsupportedImage(fault)
    if kind == "AVIF":
        _refuse_hdr(_avif_transfer(head))
    if kind == PILLOW_FORMAT:
        _refuse_hdr(opened.image.info.get("nclx_profile", {}).get("transfer_characteristics"))
        # No seek as in `_count_frames`: the main image is open, and it may not be the first.
        return replace(opened, frames=int(getattr(opened.image, "n_frames", 1)))
    if kind in _ANIMATED:
        return replace(opened, frames=_count_frames(opened.image))
    return opened


def _open_png(file: IO[bytes]) -> OpenedImage:
    file, facts = read_chunks(file)
    image = Image.open(file, formats=("PNG",))
    transparent = image.info.get("transparency")
    if image.mode == "L" and isinstance(transparent, int):
        # Pillow scales samples of 1, 2 and 4 bits to 0 to 255, but not this value.
        most = 2**facts.depth - 1
        image.info["transparency"] = (transparent & most) * 255 // most
    elif image.mode == "RGB" and facts.depth == 16 and isinstance(transparent, tuple):
        # Pillow keeps the upper bytes of 16-bit colours, but the whole of this value.
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    encoding = Encoding(exponent=facts.exponent)
    return OpenedImage(image, encoding, facts.frames, facts.profile)


def _open_tiff(file: IO[bytes]) -> OpenedImage:
    image = TiffImage(file)
    return OpenedImage(image, image.encoding, count_pages(file))


def _avif_transfer(head: bytes) -> int | None:
    """Transfer function of an AVIF file, as a code of ITU-T H.273; None: not stated."""
    # Then 16 bits each: colour primaries, transfer function, matrix.
    place = head.find(b"colrnclx")
    return None if place < 0 else int.from_bytes(head[place + 10 : place + 12], "big")


def _refuse_hdr(transfer: int | None) -> None:
    name = None if transfer is None else hdr_transfer(transfer)
    if name:
        raise UnsupportedImage(f"HDR colours ({name})")


def _count_frames(image: Image.Image) -> int:
    try:
        # To count a GIF's frames Pillow goes through all of them.
        frames = int(getattr(image, "n_frames", 1))
        image.seek(0)
    except Exception:  # a damaged list of frames does not matter: the first frame is used
        return 1
    return frames
