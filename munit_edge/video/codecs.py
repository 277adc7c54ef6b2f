"""The codecs that are written, their settings, and the containers that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from munit_edge.errors import ConfigError, OutputError
from munit_edge.settings import closest

CodecName = Literal["h264", "hevc", "vp9", "ffv1"]
CODECS: tuple[CodecName, ...] = get_args(CodecName)


@dataclass(frozen=True)
class Codec:
    """One codec, and how FFmpeg's encoder for it is used."""

    encoder: str
    """FFmpeg's name."""
    pixel_format: str
    """FFmpeg's name. Every player reads yuv420p, which has even sizes only."""
    default_crf: int | None = None
    """Constant quality, lower is better; None: lossless."""
    max_crf: int = 51
    """The worst quality."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further options of the encoder."""
    keeps_aspect: bool = True
    """Whether its bitstream stores the pixel aspect ratio, so that Matroska files have it, too."""


# Constant quality without a bit rate limit, and no delay in the encoder.
_VP9 = {"b": "0", "row-mt": "1", "lag-in-frames": "0"}
# No B-frames: frames leave the encoder in display order, so segments can be concatenated without
# gaps, and a truncated file ends with a whole frame.
ENCODERS: dict[CodecName, Codec] = {
    "h264": Codec("libx264", "yuv420p", 18, options={"preset": "medium"}),
    "hevc": Codec("libx265", "yuv420p", 20, options={"x265-params": "log-level=none:bframes=0"}),
    "vp9": Codec("libvpx-vp9", "yuv420p", 24, 63, _VP9, keeps_aspect=False),
    "ffv1": Codec("ffv1", "bgr0", options={"level": "3", "slicecrc": "1"}, keeps_aspect=False),
}


@dataclass(frozen=True)
class VideoContainer:
    """One kind of video file."""

    format: str
    """FFmpeg's name of the format."""
    codecs: tuple[CodecName, ...]
    """Codecs that it can hold; the first is the default."""
    crash_safe: Mapping[str, str]
    """Muxer options that keep a file playable wherever its writing stopped."""
    final: Mapping[str, str]
    """Muxer options for a complete file."""


_FLUSHED = {"flush_packets": "1"}  # else about 32 KB stay in memory
_FRAGMENTS = {"movflags": "frag_every_frame+empty_moov+default_base_moof", **_FLUSHED}
_CLUSTERS = {"cluster_time_limit": "1", **_FLUSHED}
_INDEX_FIRST = {"movflags": "+faststart"}

CONTAINERS: dict[str, VideoContainer] = {
    ".mp4": VideoContainer("mp4", ("h264", "hevc", "vp9"), _FRAGMENTS, _INDEX_FIRST),
    ".m4v": VideoContainer("mp4", ("h264", "hevc"), _FRAGMENTS, _INDEX_FIRST),
    ".mov": VideoContainer("mov", ("h264", "hevc"), _FRAGMENTS, _INDEX_FIRST),
    ".mkv": VideoContainer("matroska", CODECS, _CLUSTERS, {}),
    ".webm": VideoContainer("webm", ("vp9",), _CLUSTERS, {}),
}
"""By file suffix."""


@dataclass(frozen=True)
class Encoding:
    """How frames are encoded into a file."""

    codec: Codec
    crf: int | None
    container: VideoContainer


def choose_encoding(output: Path, codec: CodecName | None, crf: int | None) -> Encoding:
    """The encoding for a file.

    Args:
        output: its suffix selects the container.
        codec: None: the container's default.
        crf: quality; None: the codec's default.

    Raises:
        OutputError: the suffix is unknown, or its container cannot hold the codec.
        ConfigError: `crf` is out of range.
    """
    container = CONTAINERS.get(output.suffix.lower())
    if container is None:
        hint = closest(output.suffix.lower(), list(CONTAINERS))
        raise OutputError(f"{output}: video cannot be written to '{output.suffix}' files: {hint}")
    name = codec or container.codecs[0]
    if name not in container.codecs:
        raise OutputError(
            f"{output.suffix} files do not hold {name}: name a .mkv file, or one of --codec "
            f"{', '.join(container.codecs)}"
        )
    chosen = ENCODERS[name]
    if crf is not None and chosen.default_crf is None:
        raise ConfigError(f"--crf has no effect on {name}, which is lossless: leave it out")
    if crf is not None and crf > chosen.max_crf:
        raise ConfigError(f"--crf {crf} is out of range: {name} takes 0 (best) to {chosen.max_crf}")
    return Encoding(chosen, chosen.default_crf if crf is None else crf, container)
