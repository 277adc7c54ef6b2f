"""From an ONNX graph to a plan, a serialised TensorRT engine: for TensorRT 10.3 to 11.4 and RTX.

Every build is strongly typed: types, casts and quantisation are in the graph. Every value that the
binding returns is checked, since it reports most failures by False or None and a line in the log.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, field_validator, model_validator

from munit_edge.engines.tensorrt.api import (
    Flavour,
    Message,
    TensorRT,
    errors_of,
    flag,
    load,
    optional,
)
from munit_edge.engines.tensorrt.profiles import GraphProfile
from munit_edge.errors import ConfigError, EngineError
from munit_edge.files.paths import utf8_name
from munit_edge.settings import StrictModel

HardwareCompatibility = Literal["none", "ampere-plus", "same-compute-capability"]

_HARDWARE_LEVELS = {
    "ampere-plus": "AMPERE_PLUS",
    "same-compute-capability": "SAME_COMPUTE_CAPABILITY",
}
_POLL_S = 0.1
"""How often a waiting build checks for Ctrl-C."""


class BuildOptions(StrictModel):
    """The options that change a plan, apart from the graph and its profiles."""

    target: Flavour = "tensorrt"
    """`tensorrt` builds for this machine's GPU, `tensorrt-rtx` for RTX cards on any machine."""
    compute_capabilities: tuple[str, ...] = ()
    """GPUs to build for, such as "8.6" (`tensorrt-rtx` only)."""
    optimization_level: int = Field(3, ge=0, le=5)
    """0 builds fastest, 5 searches longest for a fast engine."""
    workspace_mb: int | None = Field(None, ge=1)
    """Most scratch memory on the GPU in MiB; null: all of it."""
    tf32: bool = False
    """Round float32 to TF32 in convolutions: faster, and no longer equal to the graph."""
    version_compatible: bool = False
    """The plan also runs on later TensorRT versions of the same major, or on 11 from 10."""
    hardware_compatibility: HardwareCompatibility = "none"
    """Which other GPUs may run the plan."""

    @field_validator("compute_capabilities")
    @classmethod
    def _check_capabilities(cls, wanted: tuple[str, ...]) -> tuple[str, ...]:
        for text in wanted:
            major, dot, minor = text.partition(".")
            if not (major.isdigit() and dot and minor.isdigit()):
                raise ValueError(f"'{text}' is not a compute capability: write it as 8.6")
        return tuple(dict.fromkeys(wanted))

    @model_validator(mode="after")
    def _check(self) -> BuildOptions:
        if self.target == "tensorrt" and self.compute_capabilities:
            raise ValueError(
                "--compute-capability is for --target tensorrt-rtx: TensorRT builds for this "
                "machine's GPU"
            )
        if self.target == "tensorrt-rtx":
            names = ("version_compatible", "hardware_compatibility")
            lacking = [n for n in names if getattr(self, n) != type(self).model_fields[n].default]
            if lacking:
                words = " and ".join(f"--{name.replace('_', '-')}" for name in lacking)
                raise ValueError(
                    f"TensorRT-RTX does not support {words}: leave it out, or use --target "
                    "tensorrt on a machine with a GPU"
                )
        return self


class BuildProgress(Protocol):
    """Receives the progress of a build, in the build's own thread."""

    def phase_start(self, phase: str, parent: str | None, num_steps: int) -> None:
        """A phase of `num_steps` steps begins, inside `parent` if there is one."""

    def step(self, phase: str, index: int) -> None:
        """Step `index`, counted from 0, of a phase is done."""

    def phase_finish(self, phase: str) -> None:
        """A phase is over."""


@dataclass(frozen=True)
class BuiltPlan:
    """The result of a build."""

    plan: bytes
    """The serialised engine."""
    timing_cache: bytes | None
    """Timings of kernels, for the next build; None where TensorRT keeps none."""
    seconds: float
    """How long the build took."""


def build_plan(
    name: str,
    onnx: bytes,
    profiles: Sequence[GraphProfile],
    options: BuildOptions,
    *,
    file: Path | None = None,
    progress: BuildProgress | None = None,
    timing_cache: bytes | None = None,
    on_thread_start: Callable[[], None] | None = None,
) -> BuiltPlan:
    """Build the plan of one graph. For target `tensorrt`, check that there is a GPU first.

    Ctrl-C ends the build at its next step.

    Args:
        name: of the graph, for messages.
        onnx: the graph's bytes.
        profiles: shapes of the free inputs; () if no input has a free size.
        options: what to build.
        file: the graph's file, beside which its weights file lies; None: `onnx` holds all weights.
        progress: receives every phase and step.
        timing_cache: of an earlier build (b"" for none yet); None: build without one.
        on_thread_start: called in the thread that builds, to choose its CUDA device.

    Raises:
        EngineError: TensorRT is missing, refuses the graph, a profile or an option, or failed.
        KeyboardInterrupt: the build was cancelled by Ctrl-C.
    """
    api = load(options.target)
    cancelled, finished = threading.Event(), threading.Event()
    results: list[BuiltPlan] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            # CUDA's current device belongs to the thread.
            if on_thread_start:
                on_thread_start()
            build = _Build(api, name, options, cancelled, progress)
            results.append(build.run(onnx, file, profiles, timing_cache))
        except BaseException as exc:  # handed to the caller's thread
            failures.append(exc)
        finally:
            finished.set()

    # The main thread must stay in Python, or Ctrl-C would wait for the end of the build.
    threading.Thread(target=work, name=f"build {name}", daemon=True).start()
    try:
        _wait(finished)
    except BaseException:
        cancelled.set()
        # It may hold the GPU and the binding's objects: wait for it to end.
        _wait(finished)
        raise
    if failures:
        raise failures[0]
    return results[0]


def _wait(finished: threading.Event) -> None:
    while not finished.wait(_POLL_S):
        pass


class _Build:
    """One run of the builder."""

    def __init__(
        self,
        api: TensorRT,
        name: str,
        options: BuildOptions,
        cancelled: threading.Event,
        progress: BuildProgress | None,
    ) -> None:
        self._api = api
        self._name = name
        self._options = options
        self._cancelled = cancelled
        self._progress = progress

    def run(
        self,
        onnx: bytes,
        file: Path | None,
        profiles: Sequence[GraphProfile],
        timing_cache: bytes | None,
    ) -> BuiltPlan:
        api, trt = self._api, self._api.module
        started = time.monotonic()
        with api.log.listen() as messages:
            builder = self._make_builder(messages)
            # TensorRT 11 has no other networks, and 10 has them as an option: one path for both.
            network = self._made(
                builder.create_network(flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)),
                "a network",
                messages,
            )
            # The network's weights lie in the parser's memory: it must outlive the build.
            parser = trt.OnnxParser(network, api.logger)
            # The bytes, which were compared with the manifest; the path only shows where the
            # weights file is, which is read here.
            with utf8_name(file) if file else contextlib.nullcontext() as path:
                parsed = parser.parse(onnx, path)
            if not parsed:
                raise EngineError(self._parser_faults(parser, messages))
            config = self._made(builder.create_builder_config(), "a configuration", messages)
            self._configure(config)
            self._add_profiles(builder, network, config, profiles, messages)
            cache = self._use_timing_cache(config, timing_cache)
            monitor = _make_monitor(trt, self._cancelled, self._progress)
            config.progress_monitor = monitor
            # None on every failure, a cancelled build included; the log has the reason.
            serialized = builder.build_serialized_network(network, config)
            if serialized is None:
                if self._cancelled.is_set():
                    raise KeyboardInterrupt
                raise EngineError(self._builder_faults(messages, monitor.failure))
        timings = None if cache is None else bytes(cache.serialize())
        return BuiltPlan(bytes(serialized), timings, time.monotonic() - started)

    def _make_builder(self, messages: Sequence[Message]) -> Any:
        try:
            return self._api.module.Builder(self._api.logger)
        except (TypeError, RuntimeError) as exc:  # how the binding reports a null pointer
            reason = errors_of(messages) or str(exc)
            raise EngineError(
                f"{self._api.title} could not create a builder: {reason}; check the GPU and its "
                "driver with `munit-edge doctor`"
            ) from exc

    def _made(self, thing: Any, what: str, messages: Sequence[Message]) -> Any:
        if thing is None:  # not its truth value: an empty network is false
            reason = errors_of(messages) or "it gave no reason"
            raise EngineError(f"{self._api.title} could not create {what}: {reason}")
        return thing

    def _configure(self, config: Any) -> None:
        trt, options = self._api.module, self._options
        config.builder_optimization_level = options.optimization_level
        if options.workspace_mb is not None:
            # The binding counts bytes; by default the limit is all of the GPU's memory.
            limit = options.workspace_mb << 20
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limit)
        # TensorRT's default is on: not setting it would not be enough.
        if options.tf32:
            config.set_flag(trt.BuilderFlag.TF32)
        else:
            config.clear_flag(trt.BuilderFlag.TF32)
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if options.hardware_compatibility != "none":
            config.hardware_compatibility_level = self._hardware_level()
        if options.target == "tensorrt-rtx":
            self._set_capabilities(config)

    def _hardware_level(self) -> Any:
        wanted = self._options.hardware_compatibility
        level = optional(self._api.module.HardwareCompatibilityLevel, _HARDWARE_LEVELS[wanted])
        if level is None:
            raise EngineError(
                f"{self._api.title} does not support hardware compatibility '{wanted}' (TensorRT "
                "10.9 and newer do): use 'ampere-plus' or 'none'"
            )
        return level

    def _set_capabilities(self, config: Any) -> None:
        members = capability_members(self._api)
        wanted = self._options.compute_capabilities
        if not wanted:
            raise EngineError(
                "no GPU to build for: name its compute capability "
                f"(--compute-capability {','.join(members)}, one or more of them)"
            )
        for text in wanted:
            if text not in members:
                raise EngineError(
                    f"{self._api.title} cannot build for compute capability {text}, only for "
                    f"{', '.join(members)}"
                )
        # Only TensorRT-RTX has these members.
        config.num_compute_capabilities = len(wanted)
        for index, text in enumerate(wanted):
            if not config.set_compute_capability(members[text], index):
                raise EngineError(f"{self._api.title} rejected compute capability {text}")

    def _add_profiles(
        self,
        builder: Any,
        network: Any,
        config: Any,
        profiles: Sequence[GraphProfile],
        messages: Sequence[Message],
    ) -> None:
        inputs = {network.get_input(index).name for index in range(network.num_inputs)}
        for shapes in profiles:
            if set(shapes) != inputs:
                raise EngineError(
                    f"graph {self._name} has the inputs {', '.join(sorted(inputs))} and the "
                    f"profile names {', '.join(sorted(shapes))}: export the model again"
                )
            profile = builder.create_optimization_profile()
            reason = ""
            try:
                for name, shape in shapes.items():
                    profile.set_shape(name, shape.min, shape.opt, shape.max)
            except (ValueError, TypeError) as exc:
                reason = str(exc)
            # `set_shape` does not raise on a bad range: the profile is false afterwards. A profile
            # that the configuration rejects gets the index -1.
            if reason or not profile or config.add_optimization_profile(profile) < 0:
                wanted = "; ".join(
                    f"{name} {shape.min} to {shape.max}, best at {shape.opt}"
                    for name, shape in shapes.items()
                )
                raise EngineError(
                    f"{self._api.title} rejects a profile of graph {self._name} ({wanted}): "
                    f"{reason or errors_of(messages) or 'it gave no reason'}; sizes must not "
                    "decrease from smallest to best to largest"
                )

    def _use_timing_cache(self, config: Any, data: bytes | None) -> Any:
        """The cache in use, or None. One that cannot be read (of another GPU) is replaced."""
        if data is None or self._api.flavour == "tensorrt-rtx":  # there it does nothing
            return None
        # False: do not ignore a mismatch. A cache of another GPU is refused; b"" is an empty one.
        for content in (data, b""):
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, False):
                return cache
        return None

    def _parser_faults(self, parser: Any, messages: Sequence[Message]) -> str:
        faults = []
        for index in range(parser.num_errors):
            error = parser.get_error(index)
            operator, node = error.node_operator(), error.node_name()
            where = f"node '{node}' (operator {operator}): " if node or operator else ""
            faults.append(f"{where}{_one_line(error.desc())}")
        reason = "; ".join(dict.fromkeys(faults)) or errors_of(messages) or "no reason given"
        return (
            f"{self._api.title} cannot read graph {self._name}: {reason}; export the model again "
            "with `munit-edge export onnx` and its default --opset, or install a newer TensorRT"
        )

    def _builder_faults(self, messages: Sequence[Message], failure: str | None) -> str:
        reason = failure or errors_of(messages) or "it gave no reason"
        low = reason.lower()
        if "memory" in low or "workspace" in low:
            fix = "use a smaller --max or --batch, or another --workspace-mb"
        elif "profile" in low or "shape" in low:
            fix = "use other --sizes, or --min, --opt and --max"
        else:
            fix = "try --optimization-level 1, or export the model again"
        return f"{self._api.title} could not build graph {self._name}: {reason}; {fix}"


def capability_members(api: TensorRT) -> dict[str, Any]:
    """The compute capabilities that TensorRT-RTX builds for, "8.6" to the binding's member."""
    enum = optional(api.module, "ComputeCapability")
    members = enum.__members__ if enum else {}
    return {
        # SM86 is 8.6 and SM120 is 12.0: the minor version is the last digit.
        f"{name[2:-1]}.{name[-1]}": member
        for name, member in members.items()
        if name.startswith("SM")
    }


def check_capabilities(options: BuildOptions) -> None:
    """Compare the requested compute capabilities with those of the installed TensorRT-RTX.

    Raises:
        EngineError: TensorRT-RTX is not installed.
        ConfigError: one is unknown, or none was given.
    """
    members = capability_members(load("tensorrt-rtx"))
    unknown = [text for text in options.compute_capabilities if text not in members]
    if unknown or not options.compute_capabilities:
        got = f"{', '.join(unknown)} is unknown" if unknown else "none was given"
        raise ConfigError(
            f"--compute-capability: {got}; this TensorRT-RTX builds for {','.join(members)} "
            "(one or more of them, separated by commas)"
        )


def _make_monitor(trt: Any, cancelled: threading.Event, progress: BuildProgress | None) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.failure: str | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._report(lambda p: p.phase_start(phase_name, parent_phase, num_steps))

        def phase_finish(self, phase_name: str) -> None:
            self._report(lambda p: p.phase_finish(phase_name))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._report(lambda p: p.step(phase_name, step))
            # False cancels the build.
            return not cancelled.is_set() and self.failure is None

        def _report(self, call: Callable[[BuildProgress], None]) -> None:
            # TensorRT would print an exception and continue: keep it, and end the build.
            try:
                if progress and self.failure is None:
                    call(progress)
            except Exception as exc:
                self.failure = f"the progress display failed ({type(exc).__name__}: {exc})"

    return Monitor()


def _one_line(text: str) -> str:
    return " ".join(text.split())
