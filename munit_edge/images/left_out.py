"""What a search of folders skips, counted by kind for messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from munit_edge.files.paths import special_kind
from munit_edge.files.system_errors import fault
from munit_edge.images.heif import HEIF_SUFFIXES

LINKED_FOLDER = "linked folder"

VIDEO_SUFFIXES = frozenset(
    [
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts"),
        *(".wmv", ".flv", ".3gp", ".ogv", ".mxf", ".vob", ".y4m"),
    ]
)
"""Suffixes of video files (case-insensitive)."""

_RAW = (
    *("3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "iiq", "kdc", "mef", "mos"),
    *("mrw", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f"),
)
# Files that users expect to be images, and that are not supported as such.
_KINDS = {
    **dict.fromkeys(HEIF_SUFFIXES, "HEIC"),
    **dict.fromkeys((f".{suffix}" for suffix in _RAW), "camera RAW"),
    **dict.fromkeys((".psd", ".psb"), "Photoshop"),
    **dict.fromkeys((".svg", ".svgz"), "SVG"),
    **dict.fromkeys((".pdf",), "PDF"),
    **dict.fromkeys((".eps", ".ps", ".ai"), "PostScript"),
    **dict.fromkeys((".exr", ".hdr", ".rgbe"), "HDR image"),
    **dict.fromkeys((".jxr", ".wdp", ".hdp"), "JPEG XR"),
    ".jxl": "JPEG XL",
    ".xcf": "GIMP",
    ".dds": "DDS",
    ".ico": "icon",
    ".icns": "icon",
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
}
_FIXES = {
    "HEIC": "install munit-edge[heif]",
    "video": "translate it by itself",
    LINKED_FOLDER: "name the folders themselves",
}
_UNCHANGED = ("HEIC", "camera RAW", "Photoshop", "SVG", "PDF", "PostScript", "JPEG XL", "JPEG XR")
"""Kinds without a plural in -s."""


@dataclass
class LeftOut:
    """What one or several searches skipped; hidden files do not count."""

    kinds: dict[Path, str] = field(default_factory=dict)
    """Kinds of files that are not supported images, see `kind_of`."""
    faults: dict[Path, str] = field(default_factory=dict)
    """For files that cannot be read: a whole sentence with the path and the reason."""

    def refused(self, path: Path, exc: OSError) -> None:
        """Note a file or folder that the system does not let us read."""
        self.faults[path] = f"{path} cannot be read: {fault(exc)}"

    def special(self, path: Path, mode: int) -> None:
        """Note an entry that is named like an image and is not a regular file."""
        kind = special_kind(mode) or "not a file"
        self.faults[path] = f"{path} is {kind}, not an image: remove it, or name it by itself"

    def broken_link(self, path: Path) -> None:
        """Note a broken link."""
        self.faults[path] = f"{path} is a link to nothing: correct or remove it"

    def add(self, other: LeftOut) -> None:
        """Add what another search skipped."""
        self.kinds |= other.kinds
        self.faults |= other.faults

    def without(self, other: LeftOut) -> LeftOut:
        """The entries that `other` does not have."""
        return LeftOut(
            {path: kind for path, kind in self.kinds.items() if path not in other.kinds},
            {path: text for path, text in self.faults.items() if path not in other.faults},
        )

    def __str__(self) -> str:
        """The kinds, such as "2 HEIC (install munit-edge[heif]), 1 video"; "" if there are none."""
        counts = Counter(self.kinds.values())
        return ", ".join(_counted(kind, counts[kind]) for kind in sorted(counts, key=_order))


def kind_of(suffix: str) -> str | None:
    """Kind of a file by its lower-case suffix, if users may expect it to be an image."""
    return _KINDS.get(suffix)


def _counted(kind: str, number: int) -> str:
    plural = "" if number == 1 or kind in _UNCHANGED else "s"
    fix = f" ({_FIXES[kind]})" if kind in _FIXES else ""
    return f"{number} {kind}{plural}{fix}"


def _order(kind: str) -> int:
    return list(dict.fromkeys([*_KINDS.values(), LINKED_FOLDER])).index(kind)
