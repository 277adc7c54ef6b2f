"""Cameras and network streams: old frames are dropped, and a lost source is opened again."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from munit_edge.errors import InputError
from munit_edge.system.threads import Prefetch
from munit_edge.video.audio import Audio, AudioRecorder
from munit_edge.video.codecs import VideoContainer
from munit_edge.video.decoder import Decoded, Decoder, Notify
from munit_edge.video.frames import Clip, Frame

TIME_BASE = Fraction(1, 90_000)
"""Time base of the results: the clock of MPEG-TS and RTP. Each connection may have its own."""

TIMEOUT_S = 10.0
"""A source that sends nothing for this long is lost."""

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_WAITING = 2
"""Largest number of frames that wait between decoding and translating."""


@dataclass(frozen=True)
class _Live:
    """A frame of one of the connections."""

    decoder: Decoder
    decoded: Decoded
    pts: int
    """Time since the first frame of the first connection, in `TIME_BASE`."""


class LiveSource:
    """The frames of a camera or an address.

    Args:
        address: /dev/videoN or what FFmpeg takes, such as rtsp://...
        channels: of the source domain.
        notify: called with a line when the source is lost and when it is back.
        options: FFmpeg's options for opening it.
        keep_all: make the source wait for the translation instead of dropping old frames.
        retries: attempts in a row to open a lost source again.
        duration: make no more attempts after this many seconds in total; None: no such limit.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(
        self,
        address: str,
        channels: int,
        notify: Notify,
        *,
        options: Mapping[str, str],
        keep_all: bool,
        retries: int,
        duration: float | None = None,
    ) -> None:
        self._address = address
        self._channels = channels
        self._notify = notify
        self._options = dict(options)
        self._retries = retries
        self._duration = duration
        self._stopped = threading.Event()
        self._decoder = self._open()
        # A recording behind an address can wait and has an end: no frame of it is dropped.
        self._has_end = self._decoder.seconds is not None
        self._keeps_all = keep_all or self._has_end
        self._ahead: Prefetch[_Live] | None = None
        self._damaged_before = 0
        self._recorder: AudioRecorder | None = None
        self.broke_off = False
        """Whether the source was lost for good."""
        self.clip = Clip(
            name=address,
            size_hw=self._decoder.upright_hw,
            time_base=TIME_BASE,
            rate=self._decoder.rate,
            pixel_aspect=self._decoder.pixel_aspect,
            num_frames=self._decoder.num_frames if self._has_end else None,
            is_live=True,
        )

    num_missing = 0

    @property
    def num_damaged(self) -> int:
        """Frames skipped so far because they cannot be decoded."""
        return self._damaged_before + self._decoder.num_damaged

    @property
    def num_dropped(self) -> int:
        """Frames dropped so far because newer ones had arrived."""
        return 0 if self._ahead is None else self._ahead.num_dropped

    def check_audio(self, output: Path, container: VideoContainer) -> None:
        """Check that a container can hold the audio; see `munit_edge.video.audio.check_audio`."""
        self._decoder.check_audio(output, container)

    def left_out(self, container: VideoContainer) -> list[str]:
        """Nothing: only video and audio are taken from a live source."""
        return []

    def record_audio(self, path: Path) -> None:
        """Save the audio to this file while the frames are read."""
        if self._decoder.has_audio:
            self._recorder = AudioRecorder(path)

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """The frames from now on, until the source is lost for good or `stop` is called.

        Time stamps start at 0, regardless of frames dropped before the first one.
        """
        assert skip == 0, "a live source cannot be read again"
        self._ahead = Prefetch(self._received(), _WAITING, drop_old=not self._keeps_all)
        first: int | None = None
        for live in self._ahead.until(self._stopped.is_set):
            if first is None:
                first = live.pts
                # The audio before the first frame goes with the frames dropped there.
                self._expect_audio(-first * TIME_BASE)
            # In the time base of the result; each connection may have its own.
            duration = max(1, round(live.decoded.duration * live.decoder.time_base / TIME_BASE))
            yield Frame(
                live.decoder.pixels(live.decoded, self._channels), live.pts - first, duration
            )

    def stop(self) -> None:
        """End `frames`, and complete the recorded audio."""
        self._stopped.set()
        if self._ahead is not None:
            self._ahead.close()
        if self._recorder is not None:
            self._recorder.close()
            if self._recorder.is_empty:
                self.clip = replace(self.clip, audio=None)

    def _expect_audio(self, shift: Fraction) -> None:
        """Take the audio from the recorder's file, whose clock is that of the first connection."""
        if self._recorder is not None:
            audio = Audio(self._recorder.path, shift, since=Fraction(0))
            self.clip = replace(self.clip, audio=audio)

    def _keep(self, packet: Any, container: Any, shift: Fraction) -> None:
        """Pass an audio packet to the recorder, if there is one."""
        if self._recorder is not None:
            self._recorder.add(packet, container, shift)

    def _received(self) -> Iterator[_Live]:
        """Frames of this connection and of later ones."""
        started = time.monotonic()
        newest = -1
        base = Fraction(0)
        while True:
            with self._decoder as decoder:
                shift = base - decoder.first_pts * decoder.time_base
                decoder.on_audio = functools.partial(self._keep, shift=shift)
                for decoded in decoder.frames():
                    seconds = base + (decoded.pts - decoder.first_pts) * decoder.time_base
                    # Rising also where a source repeats or turns back its stamps.
                    newest = max(newest + 1, round(seconds / TIME_BASE))
                    yield _Live(decoder, decoded, newest)
            if (self._has_end and not decoder.broke_off) or not self._open_again(started):
                return
            # The new connection's clock starts anywhere: the time that passed here places it, at
            # least one frame after the last one.
            waited = Fraction(time.monotonic() - started).limit_denominator(90_000)
            base = max(waited, newest * TIME_BASE + 1 / decoder.rate)

    def _open_again(self, started: float) -> bool:
        """Try to open a lost source again; False: it is lost for good."""
        self._notify(f"lost the connection to {self._address}: trying again")
        pause = _FIRST_PAUSE_S
        for _ in range(self._retries):
            # Pauses double: a camera that restarts is found soon, a dead one is left alone.
            if self._stopped.wait(pause):
                return False
            if self._duration is not None and time.monotonic() - started >= self._duration:
                return False
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            try:
                decoder = self._open()
            except InputError:
                continue
            # The new decoder counts from 0, and its frames must keep the size of the results.
            self._damaged_before += self._decoder.num_damaged
            decoder.upright_hw = self._decoder.upright_hw
            self._decoder = decoder
            self._notify(f"connected to {self._address} again")
            return True
        self.broke_off = True
        self._notify(f"could not connect to {self._address} again in {self._retries} attempts")
        return False

    def _open(self) -> Decoder:
        format_, options = None, dict(self._options)
        if self._address.startswith("/dev/video"):
            format_ = "v4l2"
        elif self._address.startswith(("rtsp://", "rtsps://")):
            # Over UDP, the default, lost packets damage frames.
            options.setdefault("rtsp_transport", "tcp")
        return Decoder(
            self._address,
            self._address,
            self._notify,
            format=format_,
            options=options,
            timeout_s=TIMEOUT_S,
            with_audio=True,
        )
