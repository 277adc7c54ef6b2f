"""The options of `munit-edge translate`.

Each has the name of its field in `TranslateOptions`, `StyleOptions` or `VideoOptions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from munit_edge.cli.options import (
    CpuPrecision,
    Device,
    Direction,
    Engine,
    Frames,
    Interpolate,
    MaxMegapixels,
    ModelOrRun,
    Spread,
    Tf32,
)
from munit_edge.cli.parameters import negated

if TYPE_CHECKING:
    from munit_edge.engines.base import GraphSet
    from munit_edge.system.threads import Ahead


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What the command line gives."""

    model: ModelOrRun
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images, folders of images, or - for one image on standard input; or one "
            "video: a file, a camera (/dev/video0), an address (rtsp://...), or - with --raw-size.",
        ),
    ]
    direction: Direction
    output: Annotated[
        str | None,  # a Path would lose the slash at its end
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Folder of the results: OUT/NAME_00.png, NAME_01.png, ... for NAME.jpg, in the "
            "inputs' subfolders. Two inputs of one name become NAME_jpg and NAME_png. Or "
            "the file of one result: OUT.png, .jpg, .webp; of video .mp4, .m4v, .mov, .mkv, .webm.",
            show_default="standard output for the input -",
        ),
    ] = None
    styles: Annotated[
        int | None,
        typer.Option(
            help="Number of random styles, so of results for each image; all images get the same.",
            show_default="4; 1 for the input -, for a file and for video",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the random styles: the same seed gives the same results, byte for byte, "
            "on the same engine and device with the same tiles.",
            show_default="0",
        ),
    ] = None
    style_images: Annotated[
        list[Path] | None,
        typer.Option(
            "--style-image",
            metavar="REF",
            help="Image of the target domain to take the style from, instead of random styles. "
            "Can be given several times.",
        ),
    ] = None
    saved_styles: Annotated[
        list[str] | None,
        typer.Option(
            "--style",
            metavar="NAME|FILE",
            help="A style of `munit-edge styles save`, instead of or after those of REF. Can be "
            "given several times.",
        ),
    ] = None
    spread: Spread = None
    interpolate: Interpolate = None
    frames: Frames = None
    size: Annotated[
        int | None,
        typer.Option(
            help="Resize the shorter side of inputs and references to this many pixels; results "
            "have that size.",
            show_default="results have the size of their input",
        ),
    ] = None
    grid: Annotated[
        bool,
        typer.Option(
            "--grid",
            help="Also write OUT/contact_sheet.png (24 inputs each): inputs, references, results. "
            "With the input - the contact sheet is the result.",
        ),
    ] = False
    format: Annotated[
        Literal["png", "jpg", "webp"] | None,
        typer.Option(
            help="Format of the results. JPEG has no transparency: it is laid on white.",
            show_default="png; of a file as its suffix says",
        ),
    ] = None
    on_error: Annotated[
        Literal["stop", "skip"] | None,
        typer.Option(
            help="What to do when an image cannot be read. Either way the exit code is 1.",
            show_default="skip if an INPUT is a folder, else stop",
        ),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = (
        False
    )
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Include the subfolders of folders.")
    ] = False
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object per line for each input: input, outputs, size (height, "
            "width), styles, tile, tile_stats, seconds, error, skipped.",
        ),
    ] = False
    max_megapixels: MaxMegapixels = 100.0
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N",
            help="Cut large images into tiles, so that memory does not grow with the image. "
            "auto: images that do not fit in memory whole. N: images larger than N pixels a side, "
            "into tiles of at most that size.",
        ),
    ] = "auto"
    tile_stats: Annotated[
        Literal["thumbnail", "exact"],
        typer.Option(
            help="Statistics that normalise images in tiles: those of a thumbnail, or exactly "
            "those of the image, which takes extra passes over it.",
        ),
    ] = "thumbnail"
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Threads that read images, and as many that write results, while the engine "
            "works. The results do not depend on it.",
            show_default="one for each core, 8 at most",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Keep finished results: OUT/munit-edge-log.jsonl records the file, model, styles "
            "and settings that made each. The rest is made again. Video: continue an "
            "interrupted run with the same settings.",
        ),
    ] = False
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Keep running and translate images added to the folders, until Ctrl-C. A file is "
            "complete when it has not changed for a second. Finished results are kept.",
        ),
    ] = False
    engine: Engine = "auto"
    device: Device = "auto"
    tf32: Tf32 = False
    cpu_precision: CpuPrecision = None
    cuda_graph: Annotated[
        bool,
        typer.Option(
            "--cuda-graph",
            help="Record the GPU's work and start it with one call when images of one size "
            "follow each other (TensorRT only).",
        ),
    ] = False
    style_keys: Annotated[
        str | None,
        typer.Option(
            metavar="S:STYLE,...",
            help="Video: one style that changes over time, such as 0:calm,4.5:storm: seconds, and "
            "a saved style's name or file, or a seed.",
        ),
    ] = None
    stabilise: Annotated[
        bool,
        typer.Option(
            "--stabilise",
            help="Video: average the norms' statistics over half a second, against flicker.",
        ),
    ] = False
    codec: Annotated[
        Literal["h264", "hevc", "vp9", "ffv1"] | None,
        typer.Option(
            help="Video: codec of the results; ffv1 is lossless.",
            show_default="h264; vp9 in .webm",
        ),
    ] = None
    crf: Annotated[
        int | None,
        typer.Option(
            help="Video: quality of the codec: 0 is best, 51 (vp9: 63) worst.",
            show_default="h264 18, hevc 20, vp9 24",
        ),
    ] = None
    audio: Annotated[
        bool, typer.Option("--no-audio", callback=negated, help="Video: leave the audio out.")
    ] = False
    raw_size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="The input - is raw RGB video, 3 bytes a pixel, of this width and height.",
        ),
    ] = None
    raw_fps: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Frame rate of raw RGB video, such as 25 or 30000/1001.",
            show_default="25",
        ),
    ] = None
    keep_all: Annotated[
        bool,
        typer.Option(
            "--queue",
            help="Cameras and addresses: keep every frame and lag if translating is slower, "
            "instead of dropping old frames.",
        ),
    ] = False
    retries: Annotated[
        int | None,
        typer.Option(
            help="Cameras and addresses: attempts in a row to open one that has vanished.",
            show_default="10",
        ),
    ] = None
    source_options: Annotated[
        list[str] | None,
        typer.Option(
            "--source-option",
            metavar="KEY=VALUE",
            help="Cameras and addresses: an input option of FFmpeg, such as video_size=640x480. "
            "Can be given several times.",
        ),
    ] = None
    duration: Annotated[
        float | None,
        typer.Option(
            help="Video: stop after this many seconds of video.",
            show_default="at its end",
        ),
    ] = None

    def destination(self) -> dict[str, Any]:
        """The fields of the option models that `output` stands for."""
        from munit_edge.cli.output_names import names_file

        if self.output is None:
            return {"output": None, "to_file": False}
        return {"output": Path(self.output), "to_file": names_file(self.output)}

    def model_ahead(self) -> Ahead[GraphSet]:
        """Begin to open the model in a thread, with the graph that the first image needs.

        `Translator(ahead.take(), given.model)` is the opened model; see `open_graphs` for the
        errors of `take`.
        """
        # Imported before the thread starts: a thread could see a half-initialised module that
        # another one is importing.
        from munit_edge.engines.base import GraphSet
        from munit_edge.engines.factory import open_graphs
        from munit_edge.model.config import split_direction
        from munit_edge.system.threads import Ahead

        def opened() -> GraphSet:
            graphs = open_graphs(
                self.model,
                self.engine,
                self.device,
                tf32=self.tf32,
                cuda_graph=self.cuda_graph,
                cpu_precision=self.cpu_precision,
            )
            # Else there may be nothing to translate, or with other graphs.
            if not (self.resume or self.watch or self.stabilise):
                graphs.open_ahead("content_encoder", split_direction(self.direction)[0])
            return graphs

        return Ahead(opened, GraphSet.close, name="munit-edge-open")
