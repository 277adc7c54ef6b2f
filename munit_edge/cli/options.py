"""The options that several commands have, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from munit_edge.engines import table

ModelDirectory = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Model directory of `munit-edge export`.")
]
ModelOrRun = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Model directory of `munit-edge export`; with --engine torch a checkpoint or run.",
    ),
]
Direction = Annotated[Literal["a2b", "b2a"], typer.Option(help="From which domain to which.")]
Spread = Annotated[
    int | None, typer.Option(metavar="N", help="N random styles that lie well apart.")
]
Interpolate = Annotated[
    tuple[str, str] | None,
    typer.Option(
        metavar="FROM TO",
        help="Styles between two others, each a saved style's NAME or FILE, or a seed.",
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(
        help="Number of styles that --interpolate gives, both ends included.", show_default="8"
    ),
]
ShorterSide = Annotated[
    int | None,
    typer.Option(
        help="Resize the shorter side of images to this many pixels.",
        show_default="images keep their size",
    ),
]
MaxMegapixels = Annotated[
    float, typer.Option(help="Refuse larger images before decoding them (million pixels).")
]
Engine = Annotated[
    table.Engine,
    typer.Option(
        help="What runs the model. auto: the fastest installed engine that computes the export's "
        "precision, torch for a checkpoint. TensorRT, only by name, builds missing engines, which "
        "takes minutes (`munit-edge export trt`)."
    ),
]
ExportedEngine = Annotated[
    Literal["auto", table.ModelEngine],
    typer.Option(help="What runs the model, as in `munit-edge translate`."),
]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda or cuda:N; in OpenVINO also gpu or gpu:N (Intel's) or npu. Only auto "
        "falls back to another."
    ),
]
Tf32 = Annotated[
    bool,
    typer.Option(
        "--tf32",
        help="Let an NVIDIA GPU round the inputs of float32 convolutions to TF32's 10 bits: "
        "faster, but results differ from other engines. TensorRT then takes engines of "
        "`munit-edge export trt --tf32`.",
    ),
]
CpuPrecision = Annotated[
    Literal["fp32", "bf16"] | None,
    typer.Option(
        metavar="TYPE",
        help="OpenVINO on a CPU: compute an fp32 export in bf16, if the CPU has it: about twice as "
        "fast, and the translations change by a few levels.",
        show_default="as the export promises",
    ),
]
