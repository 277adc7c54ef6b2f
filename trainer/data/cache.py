"""Training pictures at their working size, kept in memory. Needs no torch."""

from __future__ import annotations

from munit_edge.images.io import Images
from munit_edge.system.limits import available_memory

CACHED_SHARE = 0.5
"""Of the memory that is free when training begins: the rest is for the run and other programs."""


class PictureCache:
    """As many pictures as `num_bytes` hold, the first that come.

    None is ever thrown out: every picture is wanted once in a round, so that no other would serve
    better. What does not fit is read anew each time.
    """

    def __init__(self, num_bytes: int) -> None:
        self._free = num_bytes
        self._pictures: dict[tuple[str, int], Images] = {}

    def get(self, domain: str, index: int) -> Images | None:
        """Picture `index` of `domain`, uint8 [H, W, C] and not to be written to, or None."""
        return self._pictures.get((domain, index))

    def offer(self, domain: str, index: int, picture: Images) -> None:
        """Keep a picture, if there is room for it."""
        if picture.nbytes <= self._free:
            self._free -= picture.nbytes
            # A copy: what is given may be a view of something larger.
            kept = self._pictures[domain, index] = picture.copy()
            kept.flags.writeable = False


def cache_size(num_holders: int) -> int:
    """Bytes for each of `num_holders` processes; 0 where the system does not tell what is free."""
    return int((available_memory() or 0) * CACHED_SHARE) // max(1, num_holders)
