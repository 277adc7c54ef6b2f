"""Pictures with several frames or pages: the first alone is taken, and that is said."""

from __future__ import annotations


class FrameTally:
    """Counts such pictures, each once."""

    def __init__(self) -> None:
        self._frames: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, name: str, frames: int) -> bool:
        """Take in a picture; whether it is the first one with several frames."""
        if frames < 2:
            return False
        is_first = not self._frames
        self._frames[name] = frames
        return is_first

    def notice(self, done: str) -> str:
        """In words what was left out; empty where nothing was.

        Args:
            done: what happens to first frames, such as "translated".
        """
        if not self._frames:
            return ""
        name, frames = next(iter(self._frames.items()))
        if len(self._frames) == 1:
            return f"{name} has {frames} frames or pages: only the first is {done}"
        return (
            f"{len(self._frames)} pictures have more than one frame or page, such as {name} with "
            f"{frames}: only the first of each is {done}"
        )
