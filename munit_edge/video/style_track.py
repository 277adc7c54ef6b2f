"""The styles of a video: fixed, or one that moves between key frames ("0:calm,4.5:storm")."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from munit_edge.errors import ConfigError
from munit_edge.styles.codes import Styles, style_between
from munit_edge.styles.files import NamedStyle


@dataclass(frozen=True)
class StyleKey:
    """A key frame of a moving style."""

    seconds: float
    """Time after the first frame, in seconds."""
    style: str
    """A saved style's name or file, or a seed."""


def parse_keys(text: str) -> tuple[StyleKey, ...]:
    """Parse SECONDS:STYLE,SECONDS:STYLE,...

    Raises:
        ConfigError: it has another form, there are fewer than two keys, or the times do not rise.
    """
    keys = []
    for part in text.split(","):
        seconds, _, style = part.strip().partition(":")
        try:
            keys.append(StyleKey(float(seconds), style.strip()))
        except ValueError:
            style = ""
        if not style.strip():
            raise ConfigError(
                f"--style-keys has '{part.strip()}': give SECONDS:STYLE,SECONDS:STYLE,... such as "
                "0:calm,4.5:storm, each style a saved one or a seed"
            )
    times = [key.seconds for key in keys]
    # `not a < b` also refuses NaN, which compares as false with everything.
    if len(keys) < 2 or any(not a < b for a, b in itertools.pairwise(times)):
        raise ConfigError(
            f"--style-keys is '{text}': give two keys or more whose seconds rise; for one style "
            "throughout the video use --style"
        )
    return tuple(keys)


class StyleTrack(Protocol):
    """The styles over the time of a video."""

    codes: Styles
    """float32 [codes, style_dim]: all codes that `at` uses or mixes."""
    num_styles: int
    """S: number of results."""

    def at(self, seconds: float) -> Styles:
        """The styles at a time (seconds after the first frame), float32 [S, style_dim]."""


class FixedStyles:
    """The same styles throughout."""

    def __init__(self, codes: Styles) -> None:
        self.codes = codes
        self.num_styles = len(codes)

    def at(self, seconds: float) -> Styles:
        """The styles, float32 [S, style_dim]."""
        return self.codes


class MovingStyle:
    """Interpolates between key frames: spherically between samples of the prior, else linearly.

    Before the first key the style is that of the first key, after the last key that of the last.
    """

    num_styles = 1

    def __init__(self, keys: Sequence[StyleKey], find: Callable[[str], NamedStyle]) -> None:
        self._times = np.array([key.seconds for key in keys])
        styles = [find(key.style) for key in keys]
        # Codes of images lie off the sphere of the prior: between them the way is straight.
        self._sampled = [style.sampled for style in styles]
        self.codes: Styles = np.array([style.code for style in styles], np.float32)

    def at(self, seconds: float) -> Styles:
        """The code at a time, float32 [1, style_dim]."""
        after = int(np.searchsorted(self._times, seconds, side="right"))
        if after in (0, len(self._times)):
            return np.asarray(self.codes[min(after, len(self.codes) - 1)][None])
        before = after - 1
        span = self._times[after] - self._times[before]
        code = style_between(
            self.codes[before],
            self.codes[after],
            float((seconds - self._times[before]) / span),
            spherical=self._sampled[before] and self._sampled[after],
        )
        return np.asarray(code[None])
