"""Small pieces of text that several commands read or write."""

from __future__ import annotations

import re


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as "1 image" or "3 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def parse_size_hw(text: str) -> tuple[int, int] | None:
    """Height and width in pixels: "480x640", or "256" for a square; None: it is neither."""
    match = re.fullmatch(r"\s*(\d+)\s*(?:[xX]\s*(\d+)\s*)?", text)
    return (int(match[1]), int(match[2] or match[1])) if match else None
