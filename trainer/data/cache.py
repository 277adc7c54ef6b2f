"""Training images at their working size, kept in memory. Needs no torch."""

from __future__ import annotations

from munit_edge.images.io import Images
from munit_edge.system.limits import available_memory

CACHED_SHARE = 0.5
"""Of the memory that is free when training starts: the rest is for the run and other programs."""


class ImageCache:
    """The first images that fit into `num_bytes`.

    Nothing is evicted: each image is needed once per epoch, so that no other choice would have more
    hits. Images that do not fit are read again each time.
    """

    def __init__(self, num_bytes: int) -> None:
        self._free = num_bytes
        self._images: dict[tuple[str, int], Images] = {}

    def get(self, domain: str, index: int) -> Images | None:
        """Image `index` of `domain`, read-only uint8 [H, W, C], or None."""
        return self._images.get((domain, index))

    def offer(self, domain: str, index: int, image: Images) -> None:
        """Keep an image if there is room for it."""
        if image.nbytes <= self._free:
            self._free -= image.nbytes
            # A copy: the image may be a view of a larger array.
            kept = self._images[domain, index] = image.copy()
            kept.flags.writeable = False


def cache_size(num_holders: int) -> int:
    """Bytes for each of `num_holders` processes; 0 if the system does not report free memory."""
    return int((available_memory() or 0) * CACHED_SHARE) // max(1, num_holders)
