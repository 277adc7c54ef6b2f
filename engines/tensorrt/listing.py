"""What lies in the cache of plans, and the removal of what is of no use any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from munit_edge.engines.onnxruntime.provider_plans import (
    FOLDER,
    ProviderKey,
    has_plans,
    read_key,
    remove_plans,
)
from munit_edge.engines.onnxruntime.session import TENSORRT_PROVIDER
from munit_edge.engines.onnxruntime.tensorrt_provider import library_version
from munit_edge.engines.tensorrt.api import FLAVOURS, Flavour, load
from munit_edge.engines.tensorrt.cache import Report, cache_folder, locked, plans_folder
from munit_edge.engines.tensorrt.sidecar import Sidecar, fault_of, read_sidecar, version_fits
from munit_edge.errors import EngineError
from munit_edge.extras import require
from munit_edge.files.system_errors import output_errors
from munit_edge.model.manifest import Manifest


@dataclass(frozen=True)
class ListedPlan:
    """One plan of the cache, or a graph's folder of plans of ONNX Runtime, as it lies there."""

    path: Path
    """The plan file, or the folder."""
    nbytes: int
    """Its size; 0 where only the sidecar is left."""
    sidecar: Sidecar | ProviderKey | None
    """What is known of it; None where the sidecar is missing or damaged."""
    unusable: str | None
    """Why it is never used on this machine; None where it may be."""


def list_plans(manifest: Manifest | None = None) -> list[ListedPlan]:
    """All plans of the cache, or those of one model's graphs; each kind sorted by name.

    Reads every plan, to compare its hash.
    """
    folder = cache_folder() / "engines"
    wanted = None if manifest is None else {entry.sha256 for entry in manifest.graphs}
    installed = _installed_versions()
    found = [_look_at(path, installed) for path in _plan_paths(folder)]
    if folders := sorted(path for path in (folder / FOLDER).glob("*") if path.is_dir()):
        versions = _installed_provider()
        found += [_look_into(path, versions) for path in folders]
    return [plan for plan in found if wanted is None or _belongs(plan, wanted)]


def prune_plans(
    manifest: Manifest | None = None, *, everything: bool = False, report: Report
) -> list[ListedPlan]:
    """Remove plans of no use on this machine.

    Args:
        manifest: only plans of this model's graphs; None: of all.
        everything: those that could still be used too.
        report: told when a build of another process has to be waited for, and of plans of ONNX
            Runtime that stay because another process runs them.

    Returns:
        The removed plans.

    Raises:
        OutputError: a file cannot be removed.
        EngineError: the cache belongs to somebody else.
    """
    if not (cache_folder() / "engines").is_dir():
        return []
    folder, removed = plans_folder(), []
    for plan in list_plans(manifest):
        if plan.unusable is None and not everything:
            continue
        if plan.path.is_dir():
            if not remove_plans(plan.path):
                report(f"another process uses the plans in {plan.path}: they are kept")
                continue
        else:
            with locked(folder, plan.path.stem.rpartition("-")[0], report):
                _remove(plan.path)
        removed.append(plan)
    return removed


def _remove(path: Path) -> None:
    with output_errors(path):
        # The sidecar first: a plan without one is never used.
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
    sidecar = read_sidecar(path.with_suffix(".json"))
    if isinstance(sidecar, str):
        return ListedPlan(path, nbytes, None, sidecar)
    fault = fault_of(path.with_suffix(".json"), sidecar)
    key = sidecar.key
    version = installed.get(key.options.target)
    if fault is None and version and not version_fits(key, version):
        fault = f"built with {key.options.target} {key.tensorrt}, installed is {version}"
    return ListedPlan(path, nbytes, sidecar, fault)


def _look_into(folder: Path, installed: _ProviderVersions) -> ListedPlan:
    nbytes = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    key = read_key(folder)
    if isinstance(key, str):
        return ListedPlan(folder, nbytes, None, key)
    fault = None
    if not has_plans(folder):
        fault = "no plan was written"
    elif installed.onnxruntime not in (None, key.onnxruntime):
        fault = (
            f"built by onnxruntime {key.onnxruntime}, installed is onnxruntime "
            f"{installed.onnxruntime}"
        )
    elif installed.tensorrt not in (None, key.tensorrt):
        fault = f"built with tensorrt {key.tensorrt}, installed is {installed.tensorrt}"
    return ListedPlan(folder, nbytes, key, fault)


def _belongs(plan: ListedPlan, wanted: set[str]) -> bool:
    if isinstance(plan.sidecar, Sidecar):
        return plan.sidecar.key.onnx_sha256 in wanted
    if plan.sidecar:
        return plan.sidecar.onnx_sha256 in wanted
    return any(f"-{digest[:16]}-" in plan.path.name for digest in wanted)


def _installed_versions() -> dict[Flavour, str]:
    found: dict[Flavour, str] = {}
    for flavour in FLAVOURS:
        try:
            found[flavour] = load(flavour).version
        except EngineError:
            continue  # then nothing is known against its plans
    return found


class _ProviderVersions(NamedTuple):
    """ONNX Runtime and the TensorRT of its provider; None: nothing is known against plans."""

    onnxruntime: str | None
    tensorrt: str | None


def _installed_provider() -> _ProviderVersions:
    try:
        onnxruntime = require("onnxruntime", "asking for its version")
    except EngineError:
        return _ProviderVersions(None, None)
    version = str(onnxruntime.__version__)
    if TENSORRT_PROVIDER not in onnxruntime.get_available_providers():
        return _ProviderVersions(version, None)
    try:
        return _ProviderVersions(version, library_version(onnxruntime))
    except EngineError:
        return _ProviderVersions(version, None)
