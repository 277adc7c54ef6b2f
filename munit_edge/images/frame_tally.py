"""Counts image files with several frames or pages, of which only the first is used."""

from __future__ import annotations


class FrameTally:
    """Counts such files, each path once."""

    def __init__(self) -> None:
        self._frames: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, path: str, frames: int) -> bool:
        """Count a file.

        Args:
            path: identifies the file, and names it in the notice.
            frames: how many frames or pages it has.

        Returns:
            Whether it is the first file with several frames.
        """
        if frames < 2:
            return False
        is_first = not self._frames
        self._frames[path] = frames
        return is_first

    def notice(self, done: str) -> str:
        """One sentence about what was left out; empty if nothing was.

        Args:
            done: what happens to first frames, such as "translated".
        """
        if not self._frames:
            return ""
        path, frames = next(iter(self._frames.items()))
        if len(self._frames) == 1:
            return f"{path} has {frames} frames or pages: only the first is {done}"
        return (
            f"{len(self._frames)} images have more than one frame or page, such as {path} with "
            f"{frames}: only the first of each is {done}"
        )
