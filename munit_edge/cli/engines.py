"""`munit-edge engines`: the TensorRT engines in your cache."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from munit_edge.cli.errors import reporting_errors
from munit_edge.cli.streams import warn, write_json, write_line
from munit_edge.files.names import stored_name
from munit_edge.text import counted

if TYPE_CHECKING:
    from munit_edge.engines.tensorrt.listing import ListedPlan
    from munit_edge.engines.tensorrt.sidecar import Sidecar
    from munit_edge.model.manifest import Manifest

app = typer.Typer(help="List and remove the TensorRT engines in your cache.", no_args_is_help=True)

Model = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL", help="Only engines of this model directory.", show_default="all engines"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for each engine.")]


def list_(model: Model = None, json_lines: Json = False) -> None:
    """List the engines in your cache.

    Shows graph, size, precision, what each was built with and for, and why one is not used.
    """
    from munit_edge.engines.tensorrt.cache import cache_folder
    from munit_edge.engines.tensorrt.listing import list_plans

    plans = list_plans(_manifest(model))
    _show(plans, json_lines)
    if not json_lines:
        size = sum(plan.nbytes for plan in plans) / 1e6
        write_line(
            f"{counted(len(plans), 'engine')}, {size:.2f} MB, in {cache_folder() / 'engines'}"
        )


def prune(
    model: Model = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also remove engines that could still be used.")
    ] = False,
    json_lines: Json = False,
) -> None:
    """Remove engines that this machine cannot use.

    These are damaged or were built with another TensorRT version. All others are kept.
    """
    from munit_edge.engines.tensorrt.listing import prune_plans

    removed = prune_plans(_manifest(model), everything=everything, say=warn)
    _show(removed, json_lines)
    if not json_lines:
        size = sum(plan.nbytes for plan in removed) / 1e6
        write_line(f"removed {counted(len(removed), 'engine')}, {size:.2f} MB")


def _manifest(model: Path | None) -> Manifest | None:
    from munit_edge.model.manifest import read_manifest

    return read_manifest(model) if model else None


def _show(plans: Sequence[ListedPlan], json_lines: bool) -> None:
    if json_lines:
        for plan in plans:
            _show_json(plan)
        return
    for line in _table([_HEADINGS, *map(_row, plans)] if plans else []):
        write_line(line)


def _show_json(plan: ListedPlan) -> None:
    facts: dict[str, Any] = {"path": stored_name(plan.path), "bytes": plan.nbytes}
    facts["unusable"] = plan.unusable
    facts["sidecar"] = plan.sidecar.model_dump(mode="json") if plan.sidecar else None
    write_json(json.dumps(facts))


_HEADINGS = (
    *("graph", "MB", "precision", "built with", "for"),
    *("not used because", "batch x height x width"),
)


def _row(plan: ListedPlan) -> Sequence[str]:
    size = f"{plan.nbytes / 1e6:.2f}"
    if plan.sidecar is None:
        return (plan.path.name, size, "", "", "", plan.unusable or "", "")
    precision, built_with, gpu, sizes = _facts(plan.sidecar)
    return (plan.sidecar.graph, size, precision, built_with, gpu, plan.unusable or "", sizes)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows below their headings in aligned columns, without the empty ones."""
    widths = [max(map(len, column)) if any(column[1:]) else 0 for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:>{width}}" if heading == "MB" else f"{cell:<{width}}"
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
            if width
        ]
        yield "  ".join(cells).rstrip()


def _facts(sidecar: Sidecar) -> tuple[str, str, str, str]:
    """Precision, what an engine was built with, the GPU that it is for, and its sizes."""
    key = sidecar.key
    gpu = f"{key.gpu} ({key.compute_capability})" if key.gpu else ""
    gpu = gpu or ", ".join(key.options.compute_capabilities)
    profiles = "; ".join(map(str, key.profiles))
    return key.precision, f"{key.options.target} {key.tensorrt}", gpu, profiles


app.command("list")(reporting_errors(list_))
app.command("prune")(reporting_errors(prune))
