"""Options of `munit-edge translate` for video, checked before any work."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from pydantic import Field, model_validator

from munit_edge.images.left_out import VIDEO_SUFFIXES
from munit_edge.settings import StrictModel, given_options
from munit_edge.video.codecs import CONTAINERS, CodecName
from munit_edge.video.style_track import StyleKey

STANDARD_STREAM = Path("-")
DEFAULT_RAW_FPS = "25"
DEFAULT_RETRIES = 10
_ADDRESS = re.compile(r"[a-z][a-z0-9+.]+:/{1,2}[^/]", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]+)x([0-9]+)")


class VideoOptions(StrictModel):
    """What is read and how the result is written; styles are chosen as for images."""

    input: str
    """A video file, a camera (/dev/video0), an address (rtsp://...), or "-" for raw RGB."""
    output: Path | None = None
    """A video file or a folder; "-" or None for raw RGB on standard output."""
    to_file: bool = False
    """Whether `output` is the file of the only result."""
    codec: CodecName | None = None
    """None: the default of the output's container."""
    crf: int | None = Field(None, ge=0)
    """Constant quality of the codec, lower is better; None: its default."""
    style_keys: tuple[StyleKey, ...] = ()
    """Key frames of a moving style; empty: styles are chosen as for images."""
    stabilise: bool = False
    """Average the norms' statistics over time."""
    audio: bool = True
    """Copy the audio."""
    raw_size: str | None = None
    """WIDTHxHEIGHT of raw input in pixels."""
    raw_fps: str | None = None
    """Frames per second of raw input, such as 25 or 30000/1001; None: 25."""
    keep_all: bool = False
    """Make a live source wait for the translation instead of dropping its old frames."""
    retries: int | None = Field(None, ge=0)
    """Attempts to open a lost live source again; None: 10."""
    source_options: tuple[str, ...] = ()
    """FFmpeg's options for opening a live source, each KEY=VALUE."""
    duration: float | None = Field(None, gt=0)
    """Stop after this many seconds of video."""
    resume: bool = False
    """Continue an interrupted run."""
    overwrite: bool = False
    """Replace existing results, and parts of them."""
    json_lines: bool = False
    """Print the summary as one JSON object on standard output."""

    @property
    def from_pipe(self) -> bool:
        """Whether raw frames come from standard input."""
        return self.input == "-"

    @property
    def is_file(self) -> bool:
        """Whether the input can be read again from the start."""
        return not self.from_pipe and not is_live(self.input)

    @property
    def to_pipe(self) -> bool:
        """Whether raw frames go to standard output."""
        return self.output in (None, STANDARD_STREAM)

    @property
    def ffmpeg_options(self) -> dict[str, str]:
        """FFmpeg's options for opening a live source."""
        pairs = (text.partition("=") for text in self.source_options)
        return {key: value for key, _, value in pairs}

    @property
    def raw_size_hw(self) -> tuple[int, int]:
        """Height and width of raw input in pixels."""
        match = _SIZE.fullmatch(self.raw_size or "")
        assert match is not None, "checked by the validator"
        return int(match[2]), int(match[1])

    @property
    def raw_rate(self) -> Fraction:
        """Frames per second of raw input."""
        return Fraction(self.raw_fps or DEFAULT_RAW_FPS)

    @model_validator(mode="after")
    def _check_raw(self) -> VideoOptions:
        if not self.from_pipe:
            of_raw = {
                "--raw-size": self.raw_size is not None,
                "--raw-fps": self.raw_fps is not None,
            }
            if given := given_options(of_raw):
                raise ValueError(f"{given} is for raw RGB on standard input, '-'")
            return self
        match = _SIZE.fullmatch(self.raw_size or "")
        if match is None or not int(match[1]) or not int(match[2]):
            raise ValueError(
                f"--raw-size is '{self.raw_size or ''}': raw RGB on standard input needs its width "
                "and height in pixels, such as 640x480"
            )
        try:
            positive = self.raw_rate > 0
        except (ValueError, ZeroDivisionError):
            positive = False
        if not positive:
            raise ValueError(
                f"--raw-fps is '{self.raw_fps}': give a number such as 25 or 30000/1001"
            )
        return self

    @model_validator(mode="after")
    def _check_file(self) -> VideoOptions:
        if self.to_file and self.output is not None:
            suffix = self.output.suffix
            if suffix.lower() not in CONTAINERS:
                raise ValueError(
                    f"-o {self.output}: video is written to {', '.join(CONTAINERS)} files, not to "
                    f"'{suffix}': name such a file, or a folder: -o {self.output.with_suffix('')}/"
                )
        return self

    @model_validator(mode="after")
    def _check_live(self) -> VideoOptions:
        of_live = {
            "--queue": self.keep_all,
            "--retries": self.retries is not None,
            "--source-option": bool(self.source_options),
        }
        given = given_options(of_live)
        if given and not is_live(self.input):
            raise ValueError(
                f"{given} is for cameras and addresses, and '{self.input}' is neither: leave it out"
            )
        wrong = [text for text in self.source_options if not text.partition("=")[2]]
        if wrong:
            raise ValueError(f"--source-option is '{wrong[0]}': give KEY=VALUE")
        return self

    @model_validator(mode="after")
    def _check_pipe_out(self) -> VideoOptions:
        if self.to_pipe:
            without_effect = {
                "--codec": self.codec is not None,
                "--crf": self.crf is not None,
                "--json": self.json_lines,
                "--overwrite": self.overwrite,
                "--resume": self.resume,
            }
            if given := given_options(without_effect):
                raise ValueError(
                    f"raw RGB goes to standard output: leave out {given}, or name a video file "
                    "with -o"
                )
        if self.resume and not self.is_file:
            raise ValueError(f"--resume reads the input again, which '{self.input}' does not allow")
        if self.resume and self.overwrite:
            raise ValueError("--resume continues and --overwrite starts over: leave one out")
        return self


def is_video(text: str) -> bool:
    """Whether an input is video by its name: a suffix, a camera or an address."""
    return is_live(text) or Path(text).suffix.lower() in VIDEO_SUFFIXES


def is_live(text: str) -> bool:
    """Whether an input is a camera or an address rather than a file."""
    return text.startswith("/dev/video") or _ADDRESS.match(text) is not None
