"""Lists the cached plans, and removes those that are no longer usable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from munit_edge.engines.cache_folder import (
    GRAPH_DIGITS,
    Say,
    engines_folder,
    locked,
    make_engines_folder,
)
from munit_edge.engines.tensorrt.api import FLAVOURS, Flavour, load
from munit_edge.engines.tensorrt.sidecar import (
    Sidecar,
    SidecarError,
    fault_of,
    read_sidecar,
    version_fits,
)
from munit_edge.errors import EngineError
from munit_edge.files.system_errors import output_errors
from munit_edge.model.manifest import Manifest


@dataclass(frozen=True)
class ListedPlan:
    """One cached plan, whole or not."""

    path: Path
    """The plan file."""
    nbytes: int
    """Its size; 0 if only the sidecar is left."""
    sidecar: Sidecar | None
    """What is known about it; None if the sidecar is missing or damaged."""
    unusable: str | None
    """Why this machine cannot use it; None if it can."""


def list_plans(manifest: Manifest | None = None) -> list[ListedPlan]:
    """All plans of the cache, or those of one model's graphs, sorted by name.

    Reads every plan, to compare its hash.
    """
    folder = engines_folder()
    wanted = None if manifest is None else {entry.content_sha256 for entry in manifest.graphs}
    installed = _installed_versions()
    found = [_look_at(path, installed) for path in _plan_paths(folder)]
    return [plan for plan in found if wanted is None or _belongs(plan, wanted)]


def prune_plans(
    manifest: Manifest | None = None, *, everything: bool = False, say: Say
) -> list[ListedPlan]:
    """Remove plans that this machine cannot use.

    Args:
        manifest: only plans of this model's graphs; None: of all models.
        everything: also those that could still be used.
        say: called before waiting for a build of another process.

    Returns:
        The removed plans.

    Raises:
        OutputError: a file cannot be removed.
        EngineError: the cache belongs to another user.
    """
    if not engines_folder().is_dir():
        return []
    folder, removed = make_engines_folder(), []
    for plan in list_plans(manifest):
        if plan.unusable is None and not everything:
            continue
        # The stem without the key, as `cache` locks it.
        with locked(folder, plan.path.stem.rpartition("-")[0], say):
            _remove(plan.path)
        removed.append(plan)
    return removed


def _remove(path: Path) -> None:
    with output_errors(path):
        # The sidecar first: without one a plan is never used.
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _plan_paths(folder: Path) -> Iterator[Path]:
    files = [*folder.glob("*.plan"), *folder.glob("*.json")]
    names = {path.with_suffix(".plan") for path in files if not path.name.startswith(".")}
    yield from sorted(names)


def _look_at(path: Path, installed: dict[Flavour, str]) -> ListedPlan:
    try:
        nbytes = path.stat().st_size
    except OSError:
        nbytes = 0
    try:
        sidecar = read_sidecar(path.with_suffix(".json"))
    except SidecarError as exc:
        return ListedPlan(path, nbytes, None, str(exc))
    fault = fault_of(path.with_suffix(".json"), sidecar)
    key = sidecar.key
    version = installed.get(key.options.target)
    if fault is None and version and not version_fits(key, version):
        fault = f"built with {key.options.target} {key.tensorrt}, installed is {version}"
    return ListedPlan(path, nbytes, sidecar, fault)


def _belongs(plan: ListedPlan, wanted: set[str]) -> bool:
    if plan.sidecar:
        return plan.sidecar.key.onnx_sha256 in wanted
    return any(f"-{digest[:GRAPH_DIGITS]}-" in plan.path.name for digest in wanted)


def _installed_versions() -> dict[Flavour, str]:
    found: dict[Flavour, str] = {}
    for flavour in FLAVOURS:
        try:
            found[flavour] = load(flavour).version
        except EngineError:
            continue  # its plans cannot be ruled out
    return found
