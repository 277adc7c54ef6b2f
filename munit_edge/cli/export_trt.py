"""`munit-edge export trt`: TensorRT plans of a model directory, built into the user's cache."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from munit_edge.cli.build_progress import STEPS_OF_A_BUILD, BuildBar
from munit_edge.cli.progress import progress
from munit_edge.cli.streams import warn, write_json, write_line
from munit_edge.files.names import stored_name

if TYPE_CHECKING:
    from munit_edge.engines.tensorrt.cache import Plan
    from munit_edge.model.manifest import GraphEntry, Manifest


def trt(
    model: Annotated[Path, typer.Argument(help="Model directory, made by `export onnx`.")],
    target: Annotated[
        Literal["tensorrt", "tensorrt-rtx"],
        typer.Option(
            help="tensorrt builds for this machine's GPU; tensorrt-rtx builds for RTX cards, on "
            "any machine."
        ),
    ] = "tensorrt",
    directions: Annotated[
        str, typer.Option(help="Build what these need: a2b, b2a, or both with a comma.")
    ] = "a2b,b2a",
    stats_graphs: Annotated[
        bool,
        typer.Option(
            "--stats-graphs",
            help="Build the *_stats graphs too, which `translate --tile` and `--stabilise` run.",
        ),
    ] = False,
    sizes: Annotated[
        Optional[str],  # noqa: UP045 - Typer reads it on Python 3.10
        typer.Option(
            help="Exact image sizes in pixels, one profile for each: 256,512 or 256x384 (height x "
            "width). Instead of --min, --opt and --max.",
            show_default="one profile with a range",
        ),
    ] = None,
    smallest: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--min",
            help="Smallest image size in pixels, HxW.",
            show_default="smallest that the model takes",
        ),
    ] = None,
    optimum: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--opt", help="Size to be fastest at, in pixels, HxW.", show_default="256x256"
        ),
    ] = None,
    largest: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--max", help="Largest image size in pixels, HxW.", show_default="512x512"),
    ] = None,
    batch: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Images at once: 4 for exactly four, 1,4 for one to four (fastest for one), 1,2,4 "
            "for one to four (fastest for two).",
            show_default="1,4",
        ),
    ] = None,
    optimization_level: Annotated[
        int,
        typer.Option(help="0 to 5: 0 builds fastest, 5 looks longest for a fast plan."),
    ] = 3,
    workspace_mb: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--workspace-mb",
            help="Most scratch memory on the GPU, in MiB.",
            show_default="all of it",
        ),
    ] = None,
    tf32: Annotated[
        bool,
        typer.Option(
            "--tf32",
            help="Round float32 to TF32 in convolutions: faster, less equal to the networks. "
            "`translate --tf32` takes such plans.",
        ),
    ] = False,
    timing_cache: Annotated[
        bool,
        typer.Option(
            "--timing-cache/--no-timing-cache",
            help="Start from timings of earlier builds on this GPU and keep new ones.",
        ),
    ] = True,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible",
            help="The plan also runs on later TensorRT versions, and on the lean runtime.",
        ),
    ] = False,
    hardware_compatibility: Annotated[
        Literal["none", "ampere-plus", "same-compute-capability"],
        typer.Option(
            help="Other GPUs that may run the plan, for some speed: all from compute capability "
            "8.0 on, or (TensorRT 10.9 and newer) those of the same one."
        ),
    ] = "none",
    compute_capability: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="GPUs to build for, with commas: 8.6,8.9 (tensorrt-rtx only).",
            show_default="this machine's GPU",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="GPU to build on: cuda or cuda:N (tensorrt only).")
    ] = "cuda",
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each plan.")
    ] = False,
) -> None:
    """Build TensorRT plans of a model directory into your cache.

    Plans that are there already are not built again.
    """
    from munit_edge.engines.devices import Device
    from munit_edge.engines.tensorrt.builder import BuildOptions
    from munit_edge.engines.tensorrt.cache import BuildRequest, find_or_build
    from munit_edge.engines.tensorrt.profiles import declare_profiles
    from munit_edge.errors import ConfigError
    from munit_edge.model.manifest import read_manifest
    from munit_edge.settings import validate_options

    manifest = read_manifest(model)
    entries = _graphs(manifest, directions, stats_graphs=stats_graphs)
    on = Device.parse(device)
    if on.kind != "cuda":
        raise ConfigError(f"--device {device} builds no plans: use cuda or cuda:N")
    wishes = {
        "target": target,
        "compute_capabilities": _words(compute_capability),
        "optimization_level": optimization_level,
        "workspace_mb": workspace_mb,
        "tf32": tf32,
        "version_compatible": version_compatible,
        "hardware_compatibility": hardware_compatibility,
    }
    request = BuildRequest(
        options=validate_options(
            BuildOptions, wishes, {"compute_capabilities": "--compute-capability"}
        ),
        profiles=declare_profiles(
            manifest,
            sizes=sizes,
            smallest=smallest,
            optimum=optimum,
            largest=largest,
            batch=batch,
        ),
        device=on.index,
        timing_cache=timing_cache,
    )
    started = time.monotonic()
    plans = []
    with progress("building plans", STEPS_OF_A_BUILD * len(entries)) as bar:
        for entry in entries:
            build_bar = BuildBar(bar, entry.name)
            plan = find_or_build(model, manifest, entry, request, progress=build_bar, say=warn)
            build_bar.finish("built" if plan.built else "was there")
            plans.append(plan)
            _tell(plan, json_lines)
    if not json_lines:
        _summary(model, plans, time.monotonic() - started, target)


def _graphs(manifest: Manifest, directions: str, *, stats_graphs: bool) -> list[GraphEntry]:
    """Content encoder of the source, style encoder and decoder of the target; and their twins."""
    from munit_edge.model.config import split_direction

    found: list[GraphEntry] = []
    for word in _words(directions):
        source, target = split_direction(word)
        found += [
            manifest.graph("content_encoder", source),
            manifest.graph("style_encoder", target),
            manifest.graph("decoder", target),
        ]
        if stats_graphs:
            found += [
                manifest.graph("content_encoder_stats", source),
                manifest.graph("decoder_stats", target),
            ]
    return list(dict.fromkeys(found))


def _words(text: str | None) -> tuple[str, ...]:
    """The parts of a list with commas; what was not given has none."""
    return () if text is None else tuple(word.strip() for word in text.split(","))


def _tell(plan: Plan, json_lines: bool) -> None:
    sidecar = plan.sidecar
    if json_lines:
        state = {"path": stored_name(plan.path), "built": plan.built}
        write_json(json.dumps({**state, **sidecar.model_dump(mode="json")}))
        return
    how = f"built in {sidecar.build_seconds:.1f} s" if plan.built else "was there"
    write_line(f"{sidecar.graph:<18} {sidecar.plan_bytes / 1e6:8.2f} MB   {how:<17} {plan.path}")


def _summary(model: Path, plans: list[Plan], seconds: float, target: str) -> None:
    key = plans[0].sidecar.key
    made_for = (
        f"{key.gpu} ({key.compute_capability})"
        if key.gpu
        else "compute capability " + (", ".join(key.options.compute_capabilities))
    )
    for profile in key.profiles:
        write_line(f"profile (batch x height x width): {profile}")
    built = sum(plan.built for plan in plans)
    write_line(
        f"{built} plans built and {len(plans) - built} found in {seconds:.1f} s, for {made_for} "
        f"with {target} {key.tensorrt}"
    )
