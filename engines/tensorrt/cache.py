"""The user's cache of TensorRT plans: found there, or built from the ONNX graph and kept.

    <cache>/engines/                          mode 0700: a plan is a program
        decoder_b-<ONNX hash>-<key>.plan      as TensorRT wrote it: every TensorRT tool reads it
        decoder_b-<ONNX hash>-<key>.json      its sidecar: built from what, for what; its hash
        timing-<TensorRT, GPU, CUDA>.cache    what TensorRT measured, for the next build
        locks/                                one file for each graph: two processes build once

<cache> is $MUNIT_EDGE_CACHE, or the platform's cache folder. A plan is handed out only when its
sidecar fits this machine and its bytes have the sidecar's hash; otherwise the reason is said and it
is built again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from munit_edge.engines import cuda as cuda_runtime
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
    KEY_DIGITS,
    PlanKey,
    Sidecar,
    fault_of,
    lean_misfit,
    misfit,
    read_sidecar,
)
from munit_edge.errors import EngineError, OutputError
from munit_edge.files.atomic import atomic_file
from munit_edge.files.system_errors import output_errors
from munit_edge.files.unfinished import sweep
from munit_edge.model.manifest import GraphEntry, Manifest, read_graph
from munit_edge.settings import StrictModel
from munit_edge.version import __version__

CACHE_ENVIRONMENT = "MUNIT_EDGE_CACHE"

_ONNX_DIGITS = 16  # in file names; the whole hash is in the sidecar

Report = Callable[[str], None]
"""Takes a line that tells the user something."""


class BuildRequest(StrictModel):
    """Which plan is wanted."""

    options: BuildOptions = BuildOptions()
    """How to build it."""
    profiles: tuple[Profile, ...] | None = None
    """Exactly these. None: the newest plan of the graph that runs here, with whatever profiles (and
    options, unless others than TF32 are asked for) it was built; the default profile where there
    is none."""
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
    """What is known of it."""
    built: bool
    """Whether it was built just now."""

    def read(self) -> bytes:
        """The plan's bytes; exactly these were compared with the sidecar's hash.

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
class _Here:
    """This machine, as far as it ties plans."""

    api: TensorRT
    facts: DeviceFacts | None
    options: BuildOptions


def cache_folder() -> Path:
    """Where munit-edge may keep what it can make again.

    Raises:
        OutputError: the user has no home folder and `$MUNIT_EDGE_CACHE` is not set.
    """
    if named := os.environ.get(CACHE_ENVIRONMENT):
        return Path(named).expanduser()
    try:
        home = Path.home()
    except RuntimeError as exc:
        raise OutputError(
            f"there is no home folder to cache plans in: set ${CACHE_ENVIRONMENT} to a folder"
        ) from exc
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "munit-edge"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "munit-edge"


def plans_folder() -> Path:
    """The folder of plans, made private to this user.

    Raises:
        OutputError: it cannot be made.
        EngineError: it belongs to somebody else.
    """
    folder = cache_folder() / "engines"
    with output_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.getuid():
            raise EngineError(
                f"{folder} belongs to another user, and plans are programs: set "
                f"${CACHE_ENVIRONMENT} to a folder of your own"
            )
        if stat.S_IMODE(status.st_mode) != 0o700:
            folder.chmod(0o700)
    return folder


def find_or_build(
    directory: Path,
    manifest: Manifest,
    entry: GraphEntry,
    request: BuildRequest,
    *,
    progress: BuildProgress | None = None,
    report: Report | None = None,
) -> Plan:
    """The plan of one graph of a model directory.

    Args:
        directory: the model directory.
        manifest: its manifest.
        entry: the graph.
        request: which plan.
        progress: told of a build's phases.
        report: told why a plan in the cache is not used, and of waiting; default: a log warning.

    Raises:
        ConfigError: a profile does not fit the graph, or a compute capability is not known.
        ModelError: the ONNX file is damaged.
        EngineError: no GPU, no TensorRT, only its lean runtime and no plan for it, or the build
            failed.
        UnsupportedGraphError: the GPU has not the graph's type.
        OutputError: the cache cannot be written.
        KeyboardInterrupt: the build was cancelled; nothing is left of it.
    """
    told = report or logging.getLogger(__name__).warning
    here = _look_around(request)
    check_types(entry, _capabilities(here))
    folder, stem = plans_folder(), _stem(entry)
    sweep(folder)
    with locked(folder, stem, told):
        if request.profiles is None:
            plan, wanted = _newest_that_fits(folder, entry, here, told)
        else:
            plan, wanted = None, None
        if plan:
            return plan
        if wanted is None:
            profiles = request.profiles or declare_profiles(manifest)
            wanted = _key(entry, here, profiles)
            if not (here.api.is_lean and lean_misfit(wanted)):
                plan = _exactly(folder, entry, wanted, told)
        return plan or _build(folder, directory, manifest, entry, wanted, here, request, progress)


def _look_around(request: BuildRequest) -> _Here:
    """What a plan for this request is tied to. Asks for the GPU before TensorRT is touched."""
    options = request.options
    if options.target == "tensorrt":
        facts = cuda_runtime.device_facts(request.device)
        return _Here(load("tensorrt"), facts, options)
    api = load("tensorrt-rtx")
    if not options.compute_capabilities:
        with contextlib.suppress(EngineError):
            major, minor = cuda_runtime.device_facts(request.device).compute_capability
            options = options.model_copy(update={"compute_capabilities": (f"{major}.{minor}",)})
    check_capabilities(options)
    return _Here(api, None, options)


def _capabilities(here: _Here) -> list[tuple[int, int]]:
    """Compute capabilities that a plan is for."""
    if here.facts:
        return [here.facts.compute_capability]
    pairs = (word.split(".") for word in here.options.compute_capabilities)
    return [(int(major), int(minor)) for major, minor in pairs]


def _key(entry: GraphEntry, here: _Here, profiles: tuple[Profile, ...]) -> PlanKey:
    """The key of a plan that is built here and now."""
    facts = here.facts
    return PlanKey(
        onnx_sha256=entry.sha256,
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
    folder: Path, entry: GraphEntry, here: _Here, report: Report
) -> tuple[Plan | None, PlanKey | None]:
    """The newest whole plan that runs here, or else the key of a damaged one to build again."""
    asked = here.options
    any_options = asked == BuildOptions(
        target=asked.target, compute_capabilities=asked.compute_capabilities, tf32=asked.tf32
    )
    reasons, again = [], None
    for path, sidecar in _newest_first(folder, entry, report):
        key = sidecar.key
        if key.onnx_sha256 != entry.sha256 or not (any_options or key.options == asked):
            continue
        here_and_now = _key(entry, here, key.profiles)
        if reason := misfit(key, here_and_now) or (here.api.is_lean and lean_misfit(key)):
            reasons.append(reason)
        elif fault := fault_of(path, sidecar):
            then = "" if here.api.is_lean else "; it is built again"
            report(f"the cached plan of {sidecar.graph} is not used: {fault}{then}")
            if here_and_now.model_copy(update={"options": key.options}) == key:
                again = again or key
        else:
            return Plan(path.with_suffix(".plan"), sidecar, built=False), None
    if reasons and not again:
        then = "" if here.api.is_lean else "; a new one is built"
        report(f"no cached plan of {_graph(entry)} fits: {reasons[0]}{then}")
    return None, again


def _exactly(folder: Path, entry: GraphEntry, wanted: PlanKey, report: Report) -> Plan | None:
    """The plan of this key, if it is there and whole."""
    path = _sidecar_path(folder, entry, wanted)
    if not path.exists():
        return None
    sidecar = read_sidecar(path)
    if isinstance(sidecar, str):
        fault: str | None = sidecar
    elif sidecar.key != wanted:
        fault = "its sidecar is that of another plan"
    else:
        fault = fault_of(path, sidecar)
        if fault is None:
            return Plan(path.with_suffix(".plan"), sidecar, built=False)
    report(f"the cached plan of {_graph(entry)} is not used: {fault}; it is built again")
    return None


def _build(
    folder: Path,
    directory: Path,
    manifest: Manifest,
    entry: GraphEntry,
    key: PlanKey,
    here: _Here,
    request: BuildRequest,
    progress: BuildProgress | None,
) -> Plan:
    if here.api.is_lean:
        raise EngineError(
            f"there is no plan of {_graph(entry)} for {here.api.title}, which builds none: run "
            f"`munit-edge export trt {directory} --version-compatible` on this machine in an "
            "environment with all of TensorRT, of this version or an older one, and run again here"
        )
    shapes = graph_profiles(manifest, entry, key.profiles)
    timings = _timing_path(folder, here) if request.timing_cache else None
    built = build_plan(
        _graph(entry),
        read_graph(directory, entry),
        shapes,
        key.options,
        progress=progress,
        timing_cache=_read_timings(timings) if timings else None,
        on_thread_start=_device_chooser(request, here),
    )
    sidecar = Sidecar(
        graph=_graph(entry),
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


def _device_chooser(request: BuildRequest, here: _Here) -> Callable[[], None] | None:
    if here.facts is None:
        return None
    return lambda: cuda_runtime.open_device(request.device).activate()


def _write(path: Path, data: bytes) -> None:
    with atomic_file(path) as partial:
        partial.write_bytes(data)


def _timing_path(folder: Path, here: _Here) -> Path | None:
    """Timings belong to one TensorRT, GPU and CUDA; TensorRT-RTX keeps none."""
    if here.facts is None:
        return None
    words = f"{here.api.version}-{here.facts.name}-cuda{here.facts.cuda_version}"
    return folder / f"timing-{re.sub(r'[^A-Za-z0-9.]+', '-', words)}.cache"


def _read_timings(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _newest_first(folder: Path, entry: GraphEntry, report: Report) -> list[tuple[Path, Sidecar]]:
    known = []
    for path in folder.glob(f"{_stem(entry)}-*.json"):
        sidecar = read_sidecar(path)
        if isinstance(sidecar, Sidecar):
            known.append((path, sidecar))
        else:
            report(f"a cached plan of {_graph(entry)} is not used: {sidecar}")
    return sorted(known, key=lambda pair: pair[1].built_at, reverse=True)


@contextlib.contextmanager
def locked(folder: Path, stem: str, report: Report) -> Iterator[None]:
    """Only one process at a time finds, builds or removes the plans of a graph.

    Args:
        folder: the folder of plans.
        stem: beginning of the graph's file names, up to the key.
        report: told when another process has the lock.
    """
    locks = folder / "locks"
    with output_errors(locks):
        locks.mkdir(mode=0o700, exist_ok=True)
        file = (locks / f"{stem}.lock").open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"another process is at the plans of {stem.partition('-')[0]}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, and so does the end of the process


def _stem(entry: GraphEntry) -> str:
    return f"{_graph(entry)}-{entry.sha256[:_ONNX_DIGITS]}"


def _sidecar_path(folder: Path, entry: GraphEntry, key: PlanKey) -> Path:
    return folder / f"{_stem(entry)}-{key.digest()[:KEY_DIGITS]}.json"


def _graph(entry: GraphEntry) -> str:
    return entry.name
