"""Running a video job without a model: frames are inverted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from munit_edge.images.io import Images
from munit_edge.styles.codes import Styles
from munit_edge.video.codecs import CodecName, choose_encoding
from munit_edge.video.file_source import FileSource
from munit_edge.video.job import VideoJob
from munit_edge.video.plan import are_complete, begin
from munit_edge.video.segments import Track
from munit_edge.video.sinks import FileSink
from munit_edge.video.style_track import FixedStyles

STYLE = FixedStyles(np.zeros((1, 1), np.float32))


def invert(pixels: Images, styles: Styles, seconds: float) -> Images:
    """One result for each style."""
    return np.stack([255 - pixels] * len(styles))


def file_job(
    clip: Path,
    out: Path,
    *,
    translate: Callable[[Images, Styles, float], Images] = invert,
    state: Callable[[], bytes | None] = lambda: None,
    codec: CodecName | None = None,
    settings: str = "same",
    resume: bool = False,
) -> tuple[VideoJob, int, FileSink]:
    """A job from file to file, how many frames it may skip, and where it writes."""
    source = FileSource(clip, 3, print)
    info = source.clip
    encoding = choose_encoding(out, codec, None)
    track = Track(encoding, info.time_base, info.rate, info.pixel_aspect)
    sink = FileSink(out, track, settings)
    skip = begin([sink], resume=resume)
    return VideoJob(source, [sink], translate, STYLE, state=state), skip, sink


def finish(job: VideoJob, skip: int = 0) -> None:
    """Run a job to its end, with audio."""
    for _ in job.run(skip, lambda: False):
        pass
    job.settle(audio=True)


def translate_clip(clip: Path, out: Path, *, stop_at: int | None = None, **options: bool) -> int:
    """Run a job to its end, or until `stop_at` frames are written; how many frames it skipped."""
    job, skip, _ = file_job(clip, out, **options)
    for _ in job.run(skip, lambda: stop_at is not None and job.num_frames >= stop_at):
        pass
    job.settle(audio=True)
    return skip


def translate_to(clip: Path, outs: list[Path], *, resume: bool = False) -> int | None:
    """Translate to one result for each of `outs`; returns how many frames were there already.

    None: the results were complete.
    """
    source = FileSource(clip, 3, print)
    info = source.clip
    track = Track(
        choose_encoding(outs[0], None, None), info.time_base, info.rate, info.pixel_aspect
    )
    sinks = [FileSink(out, track, "same") for out in outs]
    if resume and are_complete(sinks):
        for sink in sinks:
            sink.clear()
        return None
    skip = begin(sinks, resume=resume)
    styles = FixedStyles(np.zeros((len(outs), 1), np.float32))
    job = VideoJob(source, sinks, invert, styles)
    for _ in job.run(skip, lambda: False):
        pass
    job.settle(audio=True)
    return skip


def main(clip: str, out: str) -> None:
    """For a process that will be killed: print each count of frames, then wait for a line."""
    job, skip, _ = file_job(Path(clip), Path(out))
    for count in job.run(skip, lambda: False):
        print(count, flush=True)  # noqa: T201
        input()
