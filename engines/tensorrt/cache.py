"""The user's cache of TensorRT engines: found there, or built from the ONNX graph and kept.

    <cache>/engines/                          see `munit_edge.engines.cache_folder`
        decoder_b-<ONNX hash>-<key>.plan      as TensorRT wrote it: every TensorRT tool reads it
        decoder_b-<ONNX hash>-<key>.json      its sidecar: what it was built from and for; its hash
        timing-<TensorRT, GPU, CUDA>.cache    what TensorRT measured, for the next build
        locks/                                one file for each graph: two processes build once

A plan (a serialised engine) is used only if its sidecar fits this machine and its bytes have the
sidecar's hash; otherwise the reason is reported and it is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from munit_edge.engines import cuda as cuda_runtime
from munit_edge.engines.cache_folder import (
    KEY_DIGITS,
    Say,
    file_stem,
    locked,
    make_engines_folder,
)
from munit_edge.engines.cuda import DeviceFacts
from munit_edge.engines.gpu_types import check_types, dotted
from munit_edge.engines.tensorrt.api import TensorRT, load
from munit_edge.engines.tensorrt.builder import (
    BuildOptions,
    BuildProgress,
    build_plan,
    check_capabilities,
)
from munit_edge.engines.tensorrt.profiles import Profile, declare_profiles, graph_profiles
from munit_edge.engines.tensorrt.sidecar import (
    PlanKey,
    Sidecar,
    SidecarError,
    fault_of,
    lean_misfit,
    misfit,
    read_sidecar,
)
from munit_edge.errors import EngineError
from munit_edge.files.atomic import atomic_file
from munit_edge.files.unfinished import sweep
from munit_edge.model.manifest import GraphEntry, Manifest
from munit_edge.model.opening import read_graph
from munit_edge.settings import StrictModel
from munit_edge.version import __version__


class BuildRequest(StrictModel):
    """A request for a plan."""

    options: BuildOptions = BuildOptions()
    """How to build it."""
    profiles: tuple[Profile, ...] | None = None
    """Exactly these profiles. None: the newest plan of the graph that runs here, whatever its
    profiles; where `options` are the defaults except for TF32, whatever its options, too. If there
    is no such plan, one is built with the default profile."""
    device: int = 0
    """Which GPU to build for and on."""
    timing_cache: bool = True
    """Start from the timings of earlier builds, and keep those of this one."""


@dataclass(frozen=True)
class Plan:
    """A plan in the cache, compared with its sidecar when it was found."""

    path: Path
    """The plan file."""
    sidecar: Sidecar
    """What is known about it."""
    built: bool
    """Whether this call built it."""

    def read(self) -> bytes:
        """The plan's bytes, compared with the sidecar's hash.

        Raises:
            EngineError: the file changed or vanished since it was found.
        """
        try:
            data = self.path.read_bytes()
        except OSError as exc:
            raise EngineError(f"{self.path} cannot be read ({exc.strerror}): run again") from exc
        if hashlib.sha256(data).hexdigest() != self.sidecar.plan_sha256:
            raise EngineError(f"{self.path} was changed while it was opened: run again")
        return data


@dataclass(frozen=True)
class BuildHost:
    """The facts of this machine that a plan depends on."""

    api: TensorRT
    facts: DeviceFacts | None
    options: BuildOptions


def find_or_build(
    directory: Path,
    manifest: Manifest,
    entry: GraphEntry,
    request: BuildRequest,
    *,
    progress: BuildProgress | None = None,
    say: Say | None = None,
) -> Plan:
    """The plan of one graph of a model directory.

    Args:
        directory: the model directory.
        manifest: its manifest.
        entry: the graph.
        request: which plan.
        progress: receives a build's phases.
        say: called with the reason why a cached plan is not used, and before waiting for another
            process; default: a log warning.

    Raises:
        ConfigError: a profile does not fit the graph, or a compute capability is unknown.
        ModelError: the ONNX file is damaged.
        EngineError: no GPU, no TensorRT, only its lean runtime and no plan for it, or the build
            failed.
        UnsupportedGraphError: the GPU does not support the graph's data type.
        OutputError: the cache cannot be written.
        KeyboardInterrupt: the build was cancelled; nothing is left of it.
    """
    say = say or logging.getLogger(__name__).warning
    here = _look_around(request)
    check_types(entry, _capabilities(here))
    folder, stem = make_engines_folder(), _stem(entry)
    sweep(folder)
    # Finding is under the lock, too: a second process then finds what the first one built.
    with locked(folder, stem, say):
        if request.profiles is None:
            plan, wanted = _newest_that_fits(folder, entry, here, say)
        else:
            plan, wanted = None, None
        if plan:
            return plan
        if wanted is None:
            profiles = request.profiles or declare_profiles(manifest)
            wanted = _key(entry, here, profiles)
            if not (here.api.is_lean and lean_misfit(wanted)):
                plan = _exactly(folder, entry, wanted, say)
        return plan or _build(folder, directory, manifest, entry, wanted, here, request, progress)


def _look_around(request: BuildRequest) -> BuildHost:
    """What a plan for this request depends on. Checks for the GPU before TensorRT is touched."""
    options = request.options
    if options.target == "tensorrt":
        facts = cuda_runtime.device_facts(request.device)
        return BuildHost(load("tensorrt"), facts, options)
    api = load("tensorrt-rtx")
    if not options.compute_capabilities:
        # Without a GPU the next check asks for --compute-capability.
        with contextlib.suppress(EngineError):
            major, minor = cuda_runtime.device_facts(request.device).compute_capability
            options = options.model_copy(update={"compute_capabilities": (f"{major}.{minor}",)})
    check_capabilities(options)
    return BuildHost(api, None, options)


def _capabilities(here: BuildHost) -> list[tuple[int, int]]:
    """Compute capabilities that a plan is for."""
    if here.facts:
        return [here.facts.compute_capability]
    pairs = (word.split(".") for word in here.options.compute_capabilities)
    return [(int(major), int(minor)) for major, minor in pairs]


def _key(entry: GraphEntry, here: BuildHost, profiles: tuple[Profile, ...]) -> PlanKey:
    """The key of a plan that is built here and now."""
    facts = here.facts
    return PlanKey(
        # The driver is not in the key: a newer one runs the same plan.
        onnx_sha256=entry.content_sha256,
        precision=entry.precision,
        tensorrt=here.api.version,
        gpu=facts.name if facts else None,
        compute_capability=dotted(facts.compute_capability) if facts else None,
        cuda_major=facts.cuda_major if facts else None,
        platform=f"{sys.platform}-{platform.machine()}",
        profiles=profiles,
        options=here.options,
    )


def _newest_that_fits(
    folder: Path, entry: GraphEntry, here: BuildHost, say: Say
) -> tuple[Plan | None, PlanKey | None]:
    """The newest whole plan that runs here, or else the key of a damaged one to build again."""
    asked = here.options
    # Nothing but defaults was asked for: plans built with other options, such as a higher
    # optimization level, will do. Except for TF32, which changes the numbers.
    any_options = asked == BuildOptions(
        target=asked.target, compute_capabilities=asked.compute_capabilities, tf32=asked.tf32
    )
    reasons, again = [], None
    for path, sidecar in _newest_first(folder, entry, say):
        key = sidecar.key
        if key.onnx_sha256 != entry.content_sha256 or not (any_options or key.options == asked):
            continue
        # The key that this machine would give it: the differences are the reasons not to use it.
        here_and_now = _key(entry, here, key.profiles)
        if reason := misfit(key, here_and_now) or (here.api.is_lean and lean_misfit(key)):
            reasons.append(reason)
        elif fault := fault_of(path, sidecar):
            then = "" if here.api.is_lean else "; it is built again"
            say(f"the cached engine of {sidecar.graph} is not used: {fault}{then}")
            # Only a plan that this machine made is rebuilt under its own key.
            if here_and_now.model_copy(update={"options": key.options}) == key:
                again = again or key
        else:
            return Plan(path.with_suffix(".plan"), sidecar, built=False), None
    if reasons and not again:
        then = "" if here.api.is_lean else "; a new one is built"
        say(f"no cached engine of {entry.name} fits: {reasons[0]}{then}")
    return None, again


def _exactly(folder: Path, entry: GraphEntry, wanted: PlanKey, say: Say) -> Plan | None:
    """The plan with this key, if it is there and whole."""
    path = _sidecar_path(folder, entry, wanted)
    if not path.exists():
        return None
    try:
        sidecar = read_sidecar(path)
        fault = fault_of(path, sidecar, wanted)
    except SidecarError as exc:
        fault = str(exc)
    else:
        if fault is None:
            return Plan(path.with_suffix(".plan"), sidecar, built=False)
    say(f"the cached engine of {entry.name} is not used: {fault}; it is built again")
    return None


def _build(
    folder: Path,
    directory: Path,
    manifest: Manifest,
    entry: GraphEntry,
    key: PlanKey,
    here: BuildHost,
    request: BuildRequest,
    progress: BuildProgress | None,
) -> Plan:
    if here.api.is_lean:
        raise EngineError(
            f"there is no engine of {entry.name} for {here.api.title}, which builds none: run "
            f"`munit-edge export trt {directory} --version-compatible` on this machine in an "
            "environment with all of TensorRT, of this version or an older one, and try again here"
        )
    shapes = graph_profiles(manifest, entry, key.profiles)
    timings = _timing_path(folder, here) if request.timing_cache else None
    built = build_plan(
        entry.name,
        read_graph(directory, entry),
        shapes,
        key.options,
        file=directory / entry.file,
        progress=progress,
        timing_cache=_read_timings(timings) if timings else None,
        on_thread_start=_device_chooser(request, here),
    )
    sidecar = Sidecar(
        graph=entry.name,
        key=key,
        model_sha256=manifest.checkpoint_sha256,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        driver_version=here.facts.driver_version if here.facts else None,
        built_at=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        build_seconds=round(built.seconds, 3),
        munit_edge=__version__,
    )
    path = _sidecar_path(folder, entry, key)
    # The plan first: without a sidecar that has its hash, no plan is ever used.
    _write(path.with_suffix(".plan"), built.plan)
    _write(path, (sidecar.model_dump_json(indent=2) + "\n").encode())
    if timings and built.timing_cache:
        _write(timings, built.timing_cache)
    return Plan(path.with_suffix(".plan"), sidecar, built=True)


def _device_chooser(request: BuildRequest, here: BuildHost) -> Callable[[], None] | None:
    if here.facts is None:
        return None
    return lambda: cuda_runtime.open_device(request.device).activate()


def _write(path: Path, data: bytes) -> None:
    with atomic_file(path) as partial:
        partial.write_bytes(data)


def _timing_path(folder: Path, here: BuildHost) -> Path | None:
    """Timings belong to one TensorRT, GPU and CUDA; TensorRT-RTX keeps none."""
    if here.facts is None:
        return None
    # TensorRT refuses timings of another version or GPU, and kernels change with CUDA.
    words = f"{here.api.version}-{here.facts.name}-cuda{here.facts.cuda_version}"
    return folder / f"timing-{re.sub(r'[^A-Za-z0-9.]+', '-', words)}.cache"


def _read_timings(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _newest_first(folder: Path, entry: GraphEntry, say: Say) -> list[tuple[Path, Sidecar]]:
    known = []
    for path in folder.glob(f"{_stem(entry)}-*.json"):
        try:
            known.append((path, read_sidecar(path)))
        except SidecarError as exc:
            say(f"a cached engine of {entry.name} is not used: {exc}")
    # ISO 8601 in UTC with a fixed number of digits: text order is the order in time.
    return sorted(known, key=lambda pair: pair[1].built_at, reverse=True)


def _stem(entry: GraphEntry) -> str:
    return file_stem(entry.name, entry.content_sha256)


def _sidecar_path(folder: Path, entry: GraphEntry, key: PlanKey) -> Path:
    return folder / f"{_stem(entry)}-{key.digest()[:KEY_DIGITS]}.json"
