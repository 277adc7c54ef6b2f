"""Translating single frames: independently, or with the norms' statistics held steady."""

from __future__ import annotations

import io
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from munit_edge.engines.base import take_rows
from munit_edge.images.io import Images
from munit_edge.model.config import Direction, split_direction
from munit_edge.model.norm_statistics import NormStatistics
from munit_edge.styles.codes import Styles
from munit_edge.translator import Content, Translator
from munit_edge.video.exposure import area_means, changes, exposed, exposure_change

TIME_CONSTANT_S = 0.5
"""Time after which a lasting change has reached 63 % of the averaged statistics, in seconds."""

CUT_LEVELS = 20.0
"""A change of half of the areas by more than this is a cut to another scene (8-bit levels)."""


class _Memory(NamedTuple):
    """State passed from a frame to the next one."""

    encoder: NormStatistics
    """Averages of the encoder's norms, [1, K, 2]."""
    decoder: NormStatistics
    """Averages of the decoder's norms, [S, K, 2]."""
    areas: NDArray[np.float32]
    """`area_means` of the frame before any correction."""
    change: NDArray[np.float64]
    """How much its exposure was changed, see `exposed`."""
    seconds: float
    """Its display time."""


class PlainFrames:
    """Translates each frame independently."""

    def __init__(self, translator: Translator, direction: Direction) -> None:
        self._translator = translator
        self._direction = direction
        self._source, self._target = split_direction(direction)

    def warm_up(self, size_hw: tuple[int, int], styles: Styles) -> None:
        """Translate a black frame, so that the graphs are open before the first frame arrives."""
        channels = self._translator.config.channels(self._source)
        self(np.zeros((*size_hw, channels), np.uint8), styles, 0)

    def __call__(self, pixels: Images, styles: Styles, seconds: float) -> Images:
        """Translate a frame, uint8 [H, W, C], with each style: uint8 [S, H, W, C]."""
        results: Images = self._translator.translate(pixels[None], self._direction, styles=styles)[
            0
        ]
        return results

    def state(self) -> bytes | None:
        """None: nothing is passed from frame to frame."""
        return None


class SteadyFrames(PlainFrames):
    """Translates frames with norm statistics averaged over time, to reduce flicker.

    Every norm of MUNIT normalises by statistics of the whole image, so something that blinks or
    passes in one place changes the image everywhere. Here the norms of a frame use the averages A
    over the previous frames, in the encoder and in the decoder, and the averages then move towards
    the statistics m that the norms measured on the frame:

        A <- A + (1 - exp(-dt / 0.5 s)) (m - A)        for each mean and each variance

    where dt is the time since the previous frame. This takes one pass per frame, as without it.

    Norms with statistics of their own frame also remove a change of exposure, which averages would
    let through. So the exposure is held first: the change from frame to frame, the median over
    8 x 8 areas for each channel, is undone, and this correction fades with the same 0.5 s.

    The averages start again at the first frame and after each cut. A cut is a change of half of the
    areas by more than 20 levels.

    Args:
        translator: a model that has `*_stats` graphs.
        direction: from which domain to which.
    """

    def __init__(self, translator: Translator, direction: Direction) -> None:
        super().__init__(translator, direction)
        self._memory: _Memory | None = None

    def warm_up(self, size_hw: tuple[int, int], styles: Styles) -> None:
        """Translate a black frame, and forget its statistics."""
        super().warm_up(size_hw, styles)
        self._memory = None

    def __call__(self, pixels: Images, styles: Styles, seconds: float) -> Images:
        """Translate the next frame, uint8 [H, W, C], with each style: uint8 [S, H, W, C].

        Args:
            pixels: the frame; all frames have one size.
            styles: as many as for the previous frame.
            seconds: its display time.

        Raises:
            ModelError: the model was exported without `*_stats` graphs.
        """
        areas = area_means(pixels)
        memory = self._memory
        # The median: something large that moves changes many areas, but seldom half of them.
        if memory is not None and np.median(changes(memory.areas, areas)) > CUT_LEVELS:
            memory = None
        change = np.zeros(pixels.shape[2])
        encoder = decoder = None
        share = 1.0
        if memory is not None:
            # From the time stamps, not a fixed share for each frame: frame rates vary.
            share = 1 - math.exp(-max(seconds - memory.seconds, 0) / TIME_CONSTANT_S)
            # What is left of the last correction, minus what has changed since, fading over time.
            change = (1 - share) * (memory.change - exposure_change(memory.areas, areas))
            # The averages before this frame: its own statistics are known only after the pass.
            encoder, decoder = memory.encoder, memory.decoder
        translator = self._translator
        held = exposed(pixels, change)
        content, in_encoder = translator.encode_measured(held[None], self._source, encoder)
        # `decode_measured` has one content for each style, since each has its own statistics.
        repeated = Content(take_rows(content.codes, [0] * len(styles)), content.size_hw)
        images, in_decoder = translator.decode_measured(repeated, styles, self._target, decoder)
        self._memory = _Memory(
            _moved(encoder, in_encoder, share),
            _moved(decoder, in_decoder, share),
            areas,
            change,
            seconds,
        )
        return images

    def state(self) -> bytes | None:
        """What the next frame depends on, for `restore`; None before the first frame."""
        if self._memory is None:
            return None
        buffer = io.BytesIO()
        np.savez(buffer, **self._memory._asdict())
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        """Continue from a state that `state` returned."""
        # A pickle could run code, and others may write to the folder of the parts.
        with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in _Memory._fields}
        self._memory = _Memory(**{**kept, "seconds": float(kept["seconds"])})


def _moved(
    average: NormStatistics | None, measured: NormStatistics, share: float
) -> NormStatistics:
    """The average after one more frame."""
    if average is None:
        return measured
    return np.asarray(average + np.float32(share) * (measured - average), np.float32)
