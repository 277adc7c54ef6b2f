"""`munit-edge export trt`: TensorRT engines of a model directory, built into the user's cache."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from munit_edge.cli.build_progress import STEPS_OF_A_BUILD, BuildBar
from munit_edge.cli.options import ModelDirectory
from munit_edge.cli.parameters import checked, takes
from munit_edge.cli.progress import progress
from munit_edge.cli.streams import warn, write_json, write_line
from munit_edge.files.names import stored_name
from munit_edge.text import counted

if TYPE_CHECKING:
    from munit_edge.engines.tensorrt.cache import BuildRequest, Plan
    from munit_edge.model.manifest import GraphEntry, Manifest


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The options of `munit-edge export trt`; those of a build are named as in `BuildOptions`."""

    model: ModelDirectory
    target: Annotated[
        Literal["tensorrt", "tensorrt-rtx"],
        typer.Option(
            help="tensorrt builds for this machine's GPU; tensorrt-rtx builds for RTX cards, on "
            "any machine."
        ),
    ] = "tensorrt"
    directions: Annotated[
        str, typer.Option(help="Build what these need: a2b, b2a, or both with a comma.")
    ] = "a2b,b2a"
    stats_graphs: Annotated[
        bool,
        typer.Option(
            "--stats-graphs",
            help="Also build the *_stats graphs, which `translate --tile` and `--stabilise` run.",
        ),
    ] = False
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Exact image sizes in pixels, one profile for each: 256,512 or 256x384 (height x "
            "width). Instead of --min, --opt and --max.",
            show_default="one profile with a range",
        ),
    ] = None
    smallest: Annotated[
        str | None,
        typer.Option(
            "--min",
            help="Smallest image size in pixels, HxW.",
            show_default="smallest that the model takes",
        ),
    ] = None
    optimum: Annotated[
        str | None,
        typer.Option(
            "--opt", help="Image size to optimise for in pixels, HxW.", show_default="256x256"
        ),
    ] = None
    largest: Annotated[
        str | None,
        typer.Option("--max", help="Largest image size in pixels, HxW.", show_default="512x512"),
    ] = None
    batch: Annotated[
        str | None,
        typer.Option(
            help="Batch size: 4 for exactly four, 1,4 for one to four (fastest for one), 1,2,4 "
            "for one to four (fastest for two).",
            show_default="1,4",
        ),
    ] = None
    optimization_level: Annotated[
        int,
        typer.Option(help="0 to 5: 0 builds fastest, 5 searches longest for a fast engine."),
    ] = 3
    workspace_mb: Annotated[
        int | None,
        typer.Option(help="Limit of scratch memory on the GPU, in MiB.", show_default="all of it"),
    ] = None
    tf32: Annotated[
        bool,
        typer.Option(
            "--tf32",
            help="Round float32 to TF32 in convolutions: faster, but results differ more from the "
            "networks. `translate --tf32` takes such engines.",
        ),
    ] = False
    timing_cache: Annotated[
        bool,
        typer.Option(
            "--timing-cache/--no-timing-cache",
            help="Start from timings of earlier builds on this GPU and keep new ones.",
        ),
    ] = True
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible",
            help="The engine also runs on later TensorRT versions, and on the lean runtime.",
        ),
    ] = False
    hardware_compatibility: Annotated[
        Literal["none", "ampere-plus", "same-compute-capability"],
        typer.Option(
            help="Other GPUs that may run the engine, at some cost in speed: all from compute "
            "capability 8.0 on, or (TensorRT 10.9 and newer) those of the same one."
        ),
    ] = "none"
    compute_capabilities: Annotated[
        str | None,
        typer.Option(
            "--compute-capability",
            help="GPUs to build for, with commas: 8.6,8.9 (tensorrt-rtx only).",
            show_default="this machine's GPU",
        ),
    ] = None
    device: Annotated[
        str, typer.Option(help="GPU to build on: cuda or cuda:N (tensorrt only).")
    ] = "cuda"
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each engine.")
    ] = False


@takes(Parameters)
def trt(given: Parameters) -> None:
    """Build TensorRT engines of a model directory into your cache.

    Engines that exist already are not built again.
    """
    from munit_edge.engines.tensorrt.cache import find_or_build
    from munit_edge.model.manifest import read_manifest

    model, json_lines = given.model, given.json_lines
    manifest = read_manifest(model)
    entries = _graphs(manifest, given.directions, stats_graphs=given.stats_graphs)
    request = _request(given, manifest)
    started = time.monotonic()
    plans = []
    with progress("building engines", STEPS_OF_A_BUILD * len(entries)) as bar:
        for entry in entries:
            build_bar = BuildBar(bar, entry.name)
            plan = find_or_build(model, manifest, entry, request, progress=build_bar, say=warn)
            build_bar.finish("built" if plan.built else "found")
            plans.append(plan)
            _report(plan, json_lines)
    if not json_lines:
        _summary(plans, time.monotonic() - started, given.target)


def _request(given: Parameters, manifest: Manifest) -> BuildRequest:
    from munit_edge.engines.devices import Device
    from munit_edge.engines.tensorrt.builder import BuildOptions
    from munit_edge.engines.tensorrt.cache import BuildRequest
    from munit_edge.engines.tensorrt.profiles import declare_profiles
    from munit_edge.errors import ConfigError

    device = Device.parse(given.device)
    if device.kind != "cuda":
        raise ConfigError(f"--device {given.device} builds no engines: use cuda or cuda:N")
    capabilities = _words(given.compute_capabilities)
    return BuildRequest(
        options=checked(BuildOptions, given, compute_capabilities=capabilities),
        profiles=declare_profiles(
            manifest,
            sizes=given.sizes,
            smallest=given.smallest,
            optimum=given.optimum,
            largest=given.largest,
            batch=given.batch,
        ),
        device=device.index,
        timing_cache=given.timing_cache,
    )


def _graphs(manifest: Manifest, directions: str, *, stats_graphs: bool) -> list[GraphEntry]:
    """Source content encoder, target style encoder and decoder, and `*_stats` graphs."""
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
    # A direction may be named twice.
    return list(dict.fromkeys(found))


def _words(text: str | None) -> tuple[str, ...]:
    """The parts of a comma-separated list; none without one."""
    return () if text is None else tuple(word.strip() for word in text.split(","))


def _report(plan: Plan, json_lines: bool) -> None:
    sidecar = plan.sidecar
    if json_lines:
        state = {"path": stored_name(plan.path), "built": plan.built}
        write_json(json.dumps({**state, **sidecar.model_dump(mode="json")}))
        return
    how = f"built in {sidecar.build_seconds:.1f} s" if plan.built else "found"
    write_line(f"{sidecar.graph:<18} {sidecar.plan_bytes / 1e6:8.2f} MB   {how:<17} {plan.path}")


def _summary(plans: list[Plan], seconds: float, target: str) -> None:
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
        f"{counted(built, 'engine')} built and {len(plans) - built} found in {seconds:.1f} s, "
        f"for {made_for} with {target} {key.tensorrt}"
    )
