"""Text on images, in Pillow's built-in font. It has the characters of Latin-1 only."""

from __future__ import annotations

from functools import cache

from PIL import ImageFont


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The built-in font at a size in pixels."""
    return ImageFont.load_default(size)


def latin(text: str) -> str:
    """`text` with a question mark for each character that the font lacks."""
    return text.encode("latin-1", "replace").decode("latin-1")


def text_width(text: str, size: int) -> int:
    """Width of `text` in pixels, rounded."""
    return round(font(size).getlength(latin(text)))


def fitted(text: str, size: int, width: float) -> str:
    """`text` as `latin`, cut with "..." where it is wider than `width` pixels."""
    text = latin(text)
    while len(text) > 1 and font(size).getlength(text) > width:
        # Without the dots of the last turn, and a character shorter.
        text = text.rstrip(".")[:-1] + "..."
    return text
