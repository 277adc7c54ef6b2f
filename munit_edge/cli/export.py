"""`munit-edge export`: from a checkpoint to what a device runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from munit_edge.cli.errors import reporting_errors
from munit_edge.cli.export_trt import trt
from munit_edge.cli.parameters import checked, negated, takes
from munit_edge.cli.progress import progress
from munit_edge.cli.streams import warn, write_line
from munit_edge.model.precision import PRECISION_FACTS, Precision

if TYPE_CHECKING:
    from munit_edge.model.manifest import GateEntry, Manifest

app = typer.Typer(help="Turn a checkpoint into what a device runs.", no_args_is_help=True)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The options of `munit-edge export onnx`, named as in `ExportOptions`."""

    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint, or run folder (its newest checkpoint is taken).")
    ]
    output: Annotated[Path, typer.Option("-o", "--output", help="Model directory to make.")]
    opset: Annotated[
        int | None,
        typer.Option(help="ONNX opset, 18 to 22.", show_default="18; fp8 19, bf16 22"),
    ] = None
    io: Annotated[
        Literal["uint8", "float32"],
        typer.Option(
            help="Image inputs and outputs of the graphs: uint8 NHWC with the normalisation "
            "inside, or float32 NCHW in [-1, 1]."
        ),
    ] = "uint8"
    weights: Annotated[
        Literal["average", "live"] | None,
        typer.Option(
            help="Which weights of the checkpoint: their EMA or the live ones.",
            show_default="average where there is one",
        ),
    ] = None
    batch: Annotated[
        int | None, typer.Option(help="Fix the batch, in images.", show_default="any")
    ] = None
    height: Annotated[
        int | None, typer.Option(help="Fix the image height, in pixels.", show_default="any")
    ] = None
    width: Annotated[
        int | None, typer.Option(help="Fix the image width, in pixels.", show_default="any")
    ] = None
    fold: Annotated[
        bool,
        typer.Option(
            "--no-fold",
            callback=negated,
            help="Leave the decoders' convolutions as they were trained: the same result with "
            "more multiplications, for comparison.",
        ),
    ] = False
    precision: Annotated[
        Precision,
        typer.Option(
            help="Type of the convolutions. All but fp32 must pass a quality gate: their "
            "translations of your images are compared with those of fp32."
        ),
    ] = "fp32"
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Images for the quality gate, and for the scales of 8 bits: a data folder with "
            "trainA and trainB (the gate takes testA and testB if they exist); or, given twice, "
            "the folder of A and the folder of B.",
        ),
    ] = None
    calibration_images: Annotated[
        int, typer.Option(help="Images of each domain for the scales, and for the gate, at most.")
    ] = 8
    min_psnr_db: Annotated[
        float | None,
        typer.Option(
            "--min-psnr",
            help="Minimum PSNR of the translations against fp32, in dB.",
            show_default=", ".join(
                f"{name} {facts.min_psnr_db:g}"
                for name, facts in PRECISION_FACTS.items()
                if facts.min_psnr_db is not None
            ),
        ),
    ] = None
    keep_fp32: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Keep a layer in fp32, such as decoder_b.up.0 or 'decoder_*.to_image'. Can be "
            "given several times.",
        ),
    ] = None
    auto_mixed: Annotated[
        bool,
        typer.Option(
            "--auto-mixed",
            help="Keep the layers that lose most in fp32 until the quality gate passes.",
        ),
    ] = False
    stats_graphs: Annotated[
        bool,
        typer.Option(
            "--stats-graphs/--no-stats-graphs",
            help="Also write the *_stats graphs, which `translate --tile` and `--stabilise` need; "
            "they contain the weights of content encoders and decoders again.",
        ),
    ] = True
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing model directory.")
    ] = False


@takes(Parameters)
def onnx(given: Parameters) -> None:
    """Export three ONNX graphs for each domain.

    Each graph is compared with its network in torch; the export fails if they differ.
    """
    from munit_edge.extras import require

    require("torch", "exporting graphs", extra="export")
    from munit_edge.export.model_directory import export_model, num_steps
    from munit_edge.export.options import ExportOptions

    options = checked(ExportOptions, given)
    started = time.monotonic()
    with progress("exporting", num_steps(options)) as bar:
        manifest = export_model(
            given.checkpoint,
            given.output,
            options,
            overwrite=given.overwrite,
            on_step=lambda done: bar.advance(note=done),
            on_position=bar.reach,
            on_trial=lambda layer: bar.advance(0, note=f"quality gate: {layer} alone"),
            warn=warn,
        )
    _report(given.output, manifest, time.monotonic() - started)


def _report(output: Path, manifest: Manifest, seconds: float) -> None:
    for entry in manifest.graphs:
        size = (output / entry.file).stat().st_size
        name = entry.name
        worst = max((p for p in manifest.parity if p.check == name), key=lambda p: p.worst)
        write_line(
            f"{entry.file:<26} {size / 1e6:8.2f} MB   largest difference from torch: "
            f"{worst.worst:.2g} {_unit(worst.unit)}"
        )
    for weights in dict.fromkeys(entry.weights for entry in manifest.graphs if entry.weights):
        users = [entry.file for entry in manifest.graphs if entry.weights == weights]
        write_line(f"{weights.file:<26} {weights.bytes / 1e6:8.2f} MB   of {' and '.join(users)}")
    for direction in ("a2b", "b2a"):
        levels = max(p.worst for p in manifest.parity if p.check == direction)
        write_line(f"{direction}: largest difference from torch: {levels:.2g} of 255 levels")
    for gate in manifest.gate:
        _report_gate(gate)
    _report_styles(output)
    if manifest.licence_note:
        write_line(f"licence: {manifest.licence_note}")
    write_line(
        f"wrote {output} ({manifest.weights} weights, iteration {manifest.checkpoint_iteration}, "
        f"{len(manifest.parity)} comparisons passed) in {seconds:.1f} s"
    )
    write_line(f"next: munit-edge translate {output} PHOTO.jpg -o results --direction a2b")


def _report_styles(output: Path) -> None:
    """Report what happened to the styles of the model directory that was replaced."""
    from munit_edge.styles.saved import SavedStyles

    kept = SavedStyles.of(output).files()
    unusable = sum(entry.unusable is not None for entry in kept)
    if kept:
        write_line(f"kept the earlier model's saved styles ({len(kept)})")
    if unusable:
        warn(
            f"{unusable} of them cannot be used with this model: `munit-edge styles list {output}` "
            "shows why, `munit-edge styles delete` deletes them"
        )


def _report_gate(gate: GateEntry) -> None:
    where = {
        "rounded-float32": "rounded arithmetic",
        "onnxruntime": "ONNX Runtime",
    }[gate.arithmetic]
    for result in gate.results:
        write_line(
            f"{gate.precision} against fp32, {where}, {result.direction}: "
            f"PSNR {result.psnr_db:.1f} dB (worst {result.worst_psnr_db:.1f}, "
            f"minimum {gate.min_psnr_db:g}), SSIM {result.ssim:.4f} "
            f"(worst {result.worst_ssim:.4f}), {result.translations} translations"
        )
    if gate.ranges:
        nearest = gate.ranges[0]
        write_line(f"largest value: {nearest.largest:.4g} of {nearest.limit:g} in {nearest.tensor}")
    if gate.kept_fp32:
        write_line(f"kept in fp32: {', '.join(gate.kept_fp32)}")


def _unit(unit: str) -> str:
    return "of 255 levels" if unit == "levels" else "in the code"


app.command("onnx")(reporting_errors(onnx))
app.command("trt")(reporting_errors(trt))
