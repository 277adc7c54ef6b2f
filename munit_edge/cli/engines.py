"""`munit-edge engines`: the TensorRT plans in your cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from munit_edge.cli.errors import reporting_errors
from munit_edge.cli.streams import warn, write_json, write_line
from munit_edge.names import stored_name

if TYPE_CHECKING:
    from munit_edge.engines.plan_list import ListedPlan
    from munit_edge.engines.plan_sidecar import Sidecar
    from munit_edge.engines.provider_plans import ProviderKey
    from munit_edge.manifest import Manifest

app = typer.Typer(help="List and remove the TensorRT plans in your cache.", no_args_is_help=True)

Model = Annotated[
    Optional[Path],  # noqa: UP045 - Typer reads it on Python 3.10
    typer.Argument(
        metavar="MODEL", help="Only plans of this model directory.", show_default="all plans"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for each plan.")]


def list_(model: Model = None, json_lines: Json = False) -> None:
    """List plans: graph, size, what they were built for, and why any of them is not used."""
    from munit_edge.engines.plan_cache import cache_folder
    from munit_edge.engines.plan_list import list_plans

    plans = list_plans(_manifest(model))
    for plan in plans:
        _tell(plan, json_lines)
    if not json_lines:
        size = sum(plan.nbytes for plan in plans) / 1e6
        write_line(f"{len(plans)} plans, {size:.2f} MB, in {cache_folder() / 'engines'}")


def prune(
    model: Model = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove plans that could still be used, too.")
    ] = False,
    json_lines: Json = False,
) -> None:
    """Remove plans that are damaged or of another TensorRT version; others are kept."""
    from munit_edge.engines.plan_list import prune_plans

    removed = prune_plans(_manifest(model), everything=everything, report=warn)
    for plan in removed:
        _tell(plan, json_lines)
    if not json_lines:
        size = sum(plan.nbytes for plan in removed) / 1e6
        write_line(f"removed {len(removed)} plans, {size:.2f} MB")


def _manifest(model: Path | None) -> Manifest | None:
    from munit_edge.manifest import read_manifest

    return read_manifest(model) if model else None


def _tell(plan: ListedPlan, json_lines: bool) -> None:
    sidecar = plan.sidecar
    if json_lines:
        facts: dict[str, Any] = {"path": stored_name(plan.path), "bytes": plan.nbytes}
        facts["unusable"] = plan.unusable
        facts["sidecar"] = sidecar.model_dump(mode="json") if sidecar else None
        write_json(json.dumps(facts))
        return
    state = f"   not used: {plan.unusable}" if plan.unusable else ""
    if sidecar is None:
        write_line(f"{plan.path.name}{state}")
        return
    precision, built_for = _facts(sidecar)
    size = f"{plan.nbytes / 1e6:8.2f} MB"
    write_line(f"{sidecar.graph:<18} {size}   {precision}   {built_for}{state}")


def _facts(sidecar: Sidecar | ProviderKey) -> tuple[str, str]:
    """Precision, and what a plan was built with and for."""
    from munit_edge.engines.plan_sidecar import Sidecar

    if not isinstance(sidecar, Sidecar):
        with_ = f"onnxruntime {sidecar.onnxruntime}, tensorrt {sidecar.tensorrt}"
        gpu = f"{sidecar.gpu} ({sidecar.compute_capability})"
        return sidecar.precision, f"{with_}   {gpu}   sizes as they came"
    key = sidecar.key
    gpu = f"{key.gpu} ({key.compute_capability})" if key.gpu else ""
    gpu = gpu or ", ".join(key.options.compute_capabilities)
    profiles = "; ".join(map(str, key.profiles))
    return key.precision, f"{key.options.target} {key.tensorrt}   {gpu}   {profiles}"


app.command("list")(reporting_errors(list_))
app.command("prune")(reporting_errors(prune))
