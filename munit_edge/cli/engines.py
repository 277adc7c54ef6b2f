"""`munit-edge engines`: TensorRT's engines and OpenVINO's compiled graphs in your cache."""

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
    from munit_edge.engines.openvino.blobs import BlobHeader
    from munit_edge.engines.openvino.listing import ListedBlob
    from munit_edge.engines.tensorrt.listing import ListedPlan
    from munit_edge.engines.tensorrt.sidecar import Sidecar
    from munit_edge.model.manifest import Manifest

    Engine = ListedPlan | ListedBlob

app = typer.Typer(
    help="List and remove the compiled engines in your cache.",
    no_args_is_help=True,
)

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
    from munit_edge.engines.cache_folder import engines_folder
    from munit_edge.engines.openvino.listing import list_blobs
    from munit_edge.engines.tensorrt.listing import list_plans

    manifest = _manifest(model)
    found: list[Engine] = [*list_plans(manifest), *list_blobs(manifest)]
    _show(found, json_lines)
    if not json_lines:
        size = sum(engine.nbytes for engine in found) / 1e6
        write_line(f"{counted(len(found), 'engine')}, {size:.2f} MB, in {engines_folder()}")


def prune(
    model: Model = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also remove engines that could still be used.")
    ] = False,
    json_lines: Json = False,
) -> None:
    """Remove engines that this machine cannot use.

    These are damaged, or were built with another version of TensorRT or OpenVINO, or by OpenVINO
    for another processor. All others are kept.
    """
    from munit_edge.engines.openvino.listing import prune_blobs
    from munit_edge.engines.tensorrt.listing import prune_plans

    manifest = _manifest(model)
    removed: list[Engine] = [
        *prune_plans(manifest, everything=everything, say=warn),
        *prune_blobs(manifest, everything=everything),
    ]
    _show(removed, json_lines)
    if not json_lines:
        size = sum(engine.nbytes for engine in removed) / 1e6
        write_line(f"removed {counted(len(removed), 'engine')}, {size:.2f} MB")


def _manifest(model: Path | None) -> Manifest | None:
    from munit_edge.model.manifest import read_manifest

    return read_manifest(model) if model else None


def _show(found: Sequence[Engine], json_lines: bool) -> None:
    if json_lines:
        for engine in found:
            _show_json(engine)
        return
    for line in _table([_HEADINGS, *map(_row, found)] if found else []):
        write_line(line)


def _show_json(engine: Engine) -> None:
    facts: dict[str, Any] = {"path": stored_name(engine.path), "bytes": engine.nbytes}
    facts["unusable"] = engine.unusable
    known = _known(engine)
    facts["sidecar"] = known.model_dump(mode="json") if known else None
    write_json(json.dumps(facts))


def _known(engine: Engine) -> Sidecar | BlobHeader | None:
    from munit_edge.engines.tensorrt.listing import ListedPlan

    return engine.sidecar if isinstance(engine, ListedPlan) else engine.header


_HEADINGS = (
    *("graph", "MB", "precision", "built with", "for"),
    *("not used because", "batch x height x width"),
)


def _row(engine: Engine) -> Sequence[str]:
    size, unusable, known = f"{engine.nbytes / 1e6:.2f}", engine.unusable or "", _known(engine)
    if known is None:
        return (engine.path.name, size, "", "", "", unusable, "")
    precision, built_with, made_for, sizes = _facts(known)
    return (known.graph, size, precision, built_with, made_for, unusable, sizes)


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


def _facts(known: Sidecar | BlobHeader) -> tuple[str, str, str, str]:
    """Precision, what an engine was built with, the processor that it is for, and its sizes."""
    from munit_edge.engines.tensorrt.sidecar import Sidecar

    if isinstance(known, Sidecar):
        key = known.key
        gpu = f"{key.gpu} ({key.compute_capability})" if key.gpu else ""
        gpu = gpu or ", ".join(key.options.compute_capabilities)
        profiles = "; ".join(map(str, key.profiles))
        return key.precision, f"{key.options.target} {key.tensorrt}", gpu, profiles
    setting, machine = known.key.setting, known.key.setting.machine
    return (
        f"{setting.precision} in {setting.computes_in}",
        f"openvino {machine.openvino.partition('-')[0]}",
        f"{machine.processor}, {counted(machine.threads, 'thread')}",
        known.key.sizes_text,
    )


app.command("list")(reporting_errors(list_))
app.command("prune")(reporting_errors(prune))
