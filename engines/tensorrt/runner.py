"""TensorRT and TensorRT-RTX: plans from the user's cache, run on a GPU.

Each graph has its own execution context, stream and buffers. Images and styles cross the bus in
pinned memory; content codes stay on the GPU between encoder and decoder.

The tests use doubles that enforce TensorRT's and CUDA's rules. Nothing in this module has run on a
GPU yet.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from munit_edge.engines.base import MEMORY_FIX, AnyArray, Array, GraphSet, Runner, check_feeds
from munit_edge.engines.cuda import (
    CudaArray,
    CudaDevice,
    CudaGraph,
    DeviceBuffer,
    DeviceFacts,
    DevicePool,
    HostBuffer,
    Stream,
    open_device,
)
from munit_edge.engines.devices import Device
from munit_edge.engines.tensorrt.api import Flavour, Message, TensorRT, errors_of, load
from munit_edge.engines.tensorrt.builder import BuildOptions
from munit_edge.engines.tensorrt.cache import BuildRequest, Plan, find_or_build
from munit_edge.engines.tensorrt.profile_choice import (
    PixelAxes,
    PlanProfile,
    Shape,
    Shapes,
    batch_limits,
    choose_profile,
)
from munit_edge.errors import EngineError
from munit_edge.model.config import Domain, GraphKind
from munit_edge.model.manifest import GraphEntry, Manifest, TensorEntry, read_manifest

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}
_MEMORY_FIX = f"{MEMORY_FIX}, or stop other programs on the GPU"
_CUDA_MAJORS = range(11, 20)


@dataclass(frozen=True)
class Place:
    """Where a graph runs, and the name of its model in messages."""

    api: TensorRT
    device: CudaDevice
    pool: DevicePool
    """Memory for outputs that stay on the GPU."""
    model: str
    """Path of the model directory, as the user wrote it."""
    multiple: int
    """Plans are built for multiples of this many pixels."""
    tf32: bool = False
    """Whether its plans round float32 to TF32."""

    @property
    def build_command(self) -> str:
        """The command that builds more plans for this place, without their sizes."""
        words = ["munit-edge export trt", self.model]
        if self.api.flavour != "tensorrt":
            words.append(f"--target {self.api.flavour}")
        if self.tf32:
            words.append("--tf32")
        return " ".join(words)


class TensorRTRunner(Runner):
    """One plan, deserialised.

    Args:
        engine: the deserialised plan.
        entry: the graph's entry in the manifest.
        axes: where the image's size is in its inputs.
        place: where it runs.
        cuda_graph: record the work of a shape when it comes a second time in a row, and queue it
            with one call from then on. Another shape discards the record.

    Raises:
        EngineError: the plan belongs to another graph, or the GPU has too little memory.
    """

    def __init__(
        self,
        engine: Any,
        entry: GraphEntry,
        axes: PixelAxes,
        place: Place,
        *,
        cuda_graph: bool = False,
    ) -> None:
        super().__init__(entry.name, entry.inputs, entry.outputs)
        self._place = place
        self._axes = axes
        self._wants_graph = cuda_graph
        self._engine = engine
        self._lock = threading.Lock()
        self._check_tensors()
        self.profiles = tuple(
            self._read_profile(index) for index in range(engine.num_optimization_profiles)
        )
        self.batch_limits = batch_limits(self.profiles)
        self.several_styles = False  # profiles count images: one content code for each style
        self._context = self._make_context()
        self._stream = Stream(place.device)
        self._ports = {spec.name: _Port(spec, place.device) for spec in self.inputs + self.outputs}
        # The first execution context of an engine starts with profile 0.
        self._profile = 0
        self._prepared: _Prepared | None = None
        self._repeated = False
        self._graph: CudaGraph | None = None

    def run(self, feeds: Mapping[str, AnyArray], *, keep_on_device: bool = False) -> dict[str, Any]:
        """See `Runner.run`; feeds may be on the GPU.

        Raises:
            InputError: no profile of the plan takes the shapes.
            EngineError: see `Runner.run`.
        """
        check_feeds(self, feeds)
        with self._lock:
            self._compute(feeds, keep=keep_on_device)
            outputs = [self._ports[spec.name] for spec in self.outputs]
            if keep_on_device:
                return self._kept(outputs)
            for port in outputs:
                port.queue_download(self._stream)
            self._stream.synchronise()
            return {port.name: port.result() for port in outputs}

    def _kept(self, outputs: Sequence[_Port]) -> dict[str, CudaArray]:
        """The outputs as arrays of their own on the GPU; the lock is held."""
        results = {}
        for port in outputs:
            array = self._place.pool.array(port.shape, port.dtype)
            # A copy within the GPU: the next run overwrites the port's buffer.
            for offset, address, nbytes in array.pieces():
                self._stream.move(address, port.address + offset, nbytes)
            results[port.name] = array
        self._stream.synchronise()
        return results

    def warm_up(self) -> None:
        """Run once at the optimum of each profile, to allocate memory and load kernels."""
        for shapes in (ranges.optimum for ranges in self.profiles):
            self.run({spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in self.inputs})

    def close(self) -> None:
        """Free the GPU's memory."""
        with self._lock:
            if self._context is None:
                return
            # The closing thread may have another current device.
            self._place.device.release("cudaSetDevice", self._place.device.index)
            # The recorded graph holds addresses of the ports: it goes first, the engine last.
            self._forget()
            for port in self._ports.values():
                port.free()
            self._stream.free()
            self._context = None
            self._engine = None

    def _compute(self, feeds: Mapping[str, AnyArray], *, keep: bool) -> None:
        """Queue copies of the feeds and the graph's work; the lock is held.

        Args:
            feeds: the inputs.
            keep: the outputs stay on the GPU.
        """
        if self._context is None:
            raise EngineError(f"graph {self.name} is closed: open the model again")
        self._place.device.activate()
        # An array on another GPU goes through the host.
        reachable = {name: self._reachable(array) for name, array in feeds.items()}
        with self._place.api.log.listen() as messages:
            try:
                self._prepare(reachable, keep, messages)
                for name, array in reachable.items():
                    self._ports[name].queue_upload(array, self._stream)
                self._enqueue(messages)
            except BaseException:
                self._forget()  # a half-prepared context cannot be relied on
                with contextlib.suppress(EngineError):  # the first error is the one to report
                    self._stream.synchronise()
                raise

    def _reachable(self, array: AnyArray) -> Array | CudaArray:
        """`array` on this GPU or on the host."""
        if isinstance(array, CudaArray) and array.device.index == self._place.device.index:
            return array
        return np.asarray(array)

    def _prepare(
        self, feeds: Mapping[str, Array | CudaArray], keep: bool, messages: list[Message]
    ) -> None:
        """Profile, shapes, buffers and addresses."""
        shapes = {name: tuple(array.shape) for name, array in feeds.items()}
        for name, array in feeds.items():
            self._ports[name].reserve(shapes[name], on_device=isinstance(array, CudaArray))
        # A buffer that grew has a new address, and a recorded graph has the old one.
        self._repeated = self._prepared == _Prepared(shapes, keep, self._addresses())
        if self._repeated:
            return
        self._forget()
        # The order counts: a profile decides which shapes are valid, output shapes follow from
        # input shapes, and buffers are allocated for them.
        self._choose_profile(shapes, messages)
        for name, shape in shapes.items():
            self._demand(
                self._context.set_input_shape(name, shape),
                f"'{name}' does not take {shape}",
                messages,
            )
        for name, shape in self._output_shapes(messages).items():
            self._ports[name].reserve(shape, on_device=keep)
        # Output shapes follow from the inputs', so their addresses come last.
        for name, port in self._ports.items():
            self._demand(
                self._context.set_tensor_address(name, port.address),
                f"'{name}' does not take its memory",
                messages,
            )
        self._prepared = _Prepared(shapes, keep, self._addresses())

    def _choose_profile(self, shapes: Shapes, messages: list[Message]) -> None:
        place = self._place
        profile = choose_profile(
            self.name,
            self.profiles,
            shapes,
            self._axes,
            command=place.build_command,
            multiple=place.multiple,
        )
        # The switch may copy on the stream: wait for it, then set all shapes again.
        if profile != self._profile:
            self._demand(
                self._context.set_optimization_profile_async(profile, self._stream.handle),
                f"profile {profile} cannot be chosen",
                messages,
            )
            self._stream.synchronise()
            self._profile = profile

    def _output_shapes(self, messages: list[Message]) -> dict[str, Shape]:
        try:
            # Names of the inputs that still lack a shape.
            missing = self._context.infer_shapes()
        except RuntimeError as exc:
            raise self._error(f"shapes cannot be inferred: {exc}", messages) from exc
        self._demand(not missing, f"shapes of {missing} are missing", messages)
        shapes = {s.name: tuple(self._context.get_tensor_shape(s.name)) for s in self.outputs}
        # A size of -1 depends on the data; no graph of ours has one.
        for name, shape in shapes.items():
            self._demand(min(shape) >= 0, f"'{name}' has the open shape {shape}", messages)
        return shapes

    def _enqueue(self, messages: list[Message]) -> None:
        """Queue the graph's work, with one call if it was recorded."""
        if self._graph is None and self._wants_graph and self._repeated:
            # The run before this one, with the same shapes and addresses, was the warm-up.
            try:
                with self._stream.capture() as recorded:
                    self._execute(messages)
            except EngineError as exc:
                raise EngineError(
                    f"graph {self.name} cannot be recorded as a CUDA graph ({exc}): leave the "
                    "CUDA graph out"
                ) from exc
            self._graph = recorded[0]
        if self._graph is not None:
            self._stream.launch(self._graph)
        else:
            self._execute(messages)

    def _execute(self, messages: list[Message]) -> None:
        self._demand(
            self._context.execute_async_v3(self._stream.handle), "the run failed", messages
        )

    def _forget(self) -> None:
        """Prepare again at the next run."""
        self._prepared = None
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.free()

    def _addresses(self) -> tuple[int, ...]:
        return tuple(port.address for port in self._ports.values())

    def _check_tensors(self) -> None:
        """Compare the plan's inputs and outputs with the manifest's."""
        trt, engine = self._place.api.module, self._engine
        found = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            found[name] = (is_input, _dtype_name(engine.get_tensor_dtype(name)))
        wanted = {spec.name: (True, str(spec.dtype)) for spec in self.inputs}
        wanted |= {spec.name: (False, str(spec.dtype)) for spec in self.outputs}
        if found != wanted:
            raise EngineError(
                f"the engine of {self.name} has other inputs and outputs than its graph ({found} "
                f"instead of {wanted}): remove it with `munit-edge engines prune "
                f"{self._place.model} --all` and run again"
            )

    def _read_profile(self, index: int) -> PlanProfile:
        ranges = {}
        for spec in self.inputs:
            # -1 marks a free axis; a fixed shape is that of every profile.
            fixed = tuple(self._engine.get_tensor_shape(spec.name))
            if -1 in fixed:
                ranges[spec.name] = tuple(
                    map(tuple, self._engine.get_tensor_profile_shape(spec.name, index))
                )
            else:
                ranges[spec.name] = (fixed, fixed, fixed)
        # From (min, opt, max) for each input to each input's shape for min, opt and max.
        return PlanProfile(*({name: r[which] for name, r in ranges.items()} for which in range(3)))

    def _make_context(self) -> Any:
        with self._place.api.log.listen() as messages:
            context = self._engine.create_execution_context()
        if context is None:
            free, total = self._place.device.free_memory()
            raise self._error(
                f"the engine cannot be prepared to run, {free >> 20} of {total >> 20} MiB on the "
                "GPU are free",
                messages,
            )
        return context

    def _demand(self, done: bool, failure: str, messages: list[Message]) -> None:
        """TensorRT returns False on a failure, and logs the reason."""
        if not done:
            raise self._error(failure, messages)

    def _error(self, failure: str, messages: list[Message]) -> EngineError:
        logged = errors_of(messages)
        reason = f" ({logged})" if logged else ""
        title = self._place.api.title
        return EngineError(f"{title} failed in graph {self.name}: {failure}{reason}; {_MEMORY_FIX}")


class TensorRTGraphs(GraphSet):
    """The graphs of a model directory in TensorRT; plans are taken from the cache or built."""

    opens_ahead = False  # building takes minutes: not while another graph is measured or runs

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        api: TensorRT,
        device: CudaDevice,
        *,
        tf32: bool = False,
        cuda_graph: bool = False,
        warm_up: bool = False,
    ) -> None:
        super().__init__(
            manifest.model,
            manifest.io,
            manifest.checkpoint_sha256,
            engine=api.flavour,
            device=f"cuda:{device.index}",
        )
        self._directory = directory
        self._manifest = manifest
        self._cuda_graph = cuda_graph
        self._warm_up = warm_up
        multiple = manifest.sizes.multiple
        pool = DevicePool(device)
        self._place = Place(api, device, pool, str(directory), multiple, tf32)
        self._runtime: Any = None

    def _open(self, kind: GraphKind, domain: Domain) -> Runner:
        place = self._place
        entry = self._manifest.graph(kind, domain)
        options = BuildOptions(target=place.api.flavour, tf32=place.tf32)
        request = BuildRequest(options=options, device=place.device.index)
        progress = _SayOnce(entry.name, place)
        plan = find_or_build(self._directory, self._manifest, entry, request, progress=progress)
        place.device.activate()
        engine = self._deserialise(plan)
        runner = TensorRTRunner(engine, entry, self._axes(kind), place, cuda_graph=self._cuda_graph)
        if self._warm_up:
            runner.warm_up()
        return runner

    def _axes(self, kind: GraphKind) -> PixelAxes:
        if kind in ("decoder", "decoder_stats"):
            return PixelAxes("content", 2, self._place.multiple)
        return PixelAxes("image", 1 if self.io == "uint8" else 2, 1)

    def _deserialise(self, plan: Plan) -> Any:
        api = self._place.api
        data = plan.read()
        with api.log.listen() as messages:
            runtime = self._open_runtime()
            if plan.sidecar.key.options.version_compatible:
                # Such a plan contains its own runtime. It is this user's, from a private folder,
                # and has the hash that was recorded when it was built.
                runtime.engine_host_code_allowed = True
            engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            reason = errors_of(messages) or "it gave no reason"
            raise EngineError(
                f"{api.title} cannot open the engine {plan.path} ({reason}): remove it with "
                f"`munit-edge engines prune {self._directory} --all` and run again to rebuild it; "
                f"{_MEMORY_FIX}"
            )
        return engine

    def _open_runtime(self) -> Any:
        """The Runtime, created with the first plan; the GPU was checked long before."""
        # One for all graphs; engines must not outlive it.
        if self._runtime is None:
            api = self._place.api
            try:
                self._runtime = api.module.Runtime(api.logger)
            except TypeError as exc:  # how the binding reports a null pointer
                raise EngineError(f"{api.title} cannot start its runtime: {exc}") from exc
        return self._runtime

    def close(self) -> None:
        """Close every runner and free the memory that no array on the GPU uses."""
        super().close()
        self._place.device.release("cudaSetDevice", self._place.device.index)
        self._place.pool.free()
        self._runtime = None


def open_tensorrt(
    directory: Path,
    device: str,
    flavour: Flavour = "tensorrt",
    *,
    tf32: bool = False,
    cuda_graph: bool = False,
    warm_up: bool = False,
) -> TensorRTGraphs:
    """Open a model directory in TensorRT.

    The newest plan in the user's cache that runs here is used; if there is none, one is built with
    the default profile when the graph is first used, which takes minutes. Where only the lean
    runtime of TensorRT is installed, it runs plans built with `--version-compatible`.

    Args:
        directory: the model directory.
        device: "cuda", "cuda:N" or "auto" (the first GPU).
        flavour: TensorRT, or TensorRT-RTX for RTX cards.
        tf32: see `munit_edge.engines.devices.Device`; plans with and without it are kept apart.
        cuda_graph: see `TensorRTRunner`.
        warm_up: run each graph once for each of its plan's profiles when it is opened.

    Raises:
        ConfigError: the device is not a GPU.
        InputError, ModelError: see `munit_edge.model.manifest.read_manifest`.
        EngineError: there is no usable GPU, driver or TensorRT.
    """
    manifest = read_manifest(directory)
    chosen = Device.parse("cuda" if device == "auto" else device, kinds=["cuda"])
    gpu = open_device(chosen.index)  # first: without a GPU TensorRT would crash the process
    api = load(flavour)
    check_cuda_majors(api.wheels, gpu.facts)
    return TensorRTGraphs(
        directory, manifest, api, gpu, tf32=tf32, cuda_graph=cuda_graph, warm_up=warm_up
    )


def open_tensorrt_rtx(directory: Path, device: str, **options: bool) -> TensorRTGraphs:
    """As `open_tensorrt`, in TensorRT-RTX."""
    return open_tensorrt(directory, device, "tensorrt-rtx", **options)


def check_cuda_majors(wheels: str, facts: DeviceFacts) -> None:
    """Check that the wheels of TensorRT and cuda-bindings are for the same major version of CUDA.

    TensorRT that did not come from pip, as on a Jetson, cannot be checked.

    Args:
        wheels: beginning of the names of TensorRT's wheels, such as "tensorrt".
        facts: of the GPU and its driver.

    Raises:
        EngineError: they are mixed.
    """
    # Wheels have CUDA's major version in their names: tensorrt-cu12, tensorrt-cu13-libs.
    majors = [major for major in _CUDA_MAJORS if _is_installed(f"{wheels}-cu{major}")]
    if len(majors) > 1:
        found = " and ".join(f"{wheels}-cu{major}" for major in majors)
        raise EngineError(
            f"{found} are both installed and overwrite each other: run `pip list` and "
            f"`pip uninstall` everything that begins with {wheels}-cu, then install one of them"
        )
    if majors and majors[0] != facts.cuda_major:
        raise EngineError(
            f"{wheels}-cu{majors[0]} is for CUDA {majors[0]} and the installed cuda-bindings is "
            f"for CUDA {facts.cuda_major}: run "
            f"`pip install 'cuda-bindings>={majors[0]},<{majors[0] + 1}'`"
        )


def _dtype_name(member: Any) -> str:
    """NumPy's name of a TensorRT type."""
    name = str(member.name)
    return _DTYPES.get(name, name)


def _is_installed(wheel: str) -> bool:
    for part in ("", "-libs", "-bindings"):
        try:
            importlib.metadata.version(wheel + part)
        except importlib.metadata.PackageNotFoundError:
            continue
        return True
    return False


@dataclass(frozen=True)
class _Prepared:
    """What an execution context was set to."""

    shapes: Shapes
    """Of the inputs."""
    keep: bool
    """The outputs stay on the GPU."""
    addresses: tuple[int, ...]
    """Of all inputs and outputs."""


class _Port:
    """Memory of one input or output, on both sides of the bus."""

    def __init__(self, spec: TensorEntry, device: CudaDevice) -> None:
        self.name = spec.name
        self.dtype = np.dtype(spec.dtype)
        self.shape: Shape = ()
        self._host = HostBuffer(device)
        self._device = DeviceBuffer(device)
        self._on_device = False

    @property
    def address(self) -> int:
        """Where the graph reads or writes it."""
        return self._device.address if self._on_device else self._host.device_address

    def reserve(self, shape: Shape, *, on_device: bool) -> None:
        """Make room.

        Args:
            shape: of the array.
            on_device: it comes from or stays in the GPU's memory, so that the host's is not needed.
        """
        self.shape = shape
        # Mapped memory (Jetson) needs no second buffer, except for arrays that stay on the GPU.
        self._on_device = on_device or not self._host.mapped
        if self._on_device:
            self._device.reserve(self._nbytes)
        if not on_device:
            self._host.reserve(self._nbytes)

    def queue_upload(self, array: Array | CudaArray, stream: Stream) -> None:
        """Queue the copy of an input to where the graph reads it."""
        if isinstance(array, CudaArray):
            for offset, address, nbytes in array.pieces():
                stream.move(self.address + offset, address, nbytes)
            return
        # Into pinned memory, from any layout: `upload` needs one contiguous block.
        self._host.array(self.shape, self.dtype)[...] = array
        if self._on_device:
            stream.upload(self.address, self._host.address, self._nbytes)

    def queue_download(self, stream: Stream) -> None:
        """Queue the copy of an output to the host."""
        if self._on_device:
            stream.download(self._host.address, self.address, self._nbytes)

    def result(self) -> Array:
        """A copy of the output; the stream must have been waited for."""
        copied: Array = self._host.array(self.shape, self.dtype).copy()
        return copied

    def free(self) -> None:
        """Free the memory."""
        self._host.free()
        self._device.free()

    @property
    def _nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize


class _SayOnce:
    """Logs once that a build has begun, so that the program does not seem to hang."""

    def __init__(self, graph: str, place: Place) -> None:
        self._line = (
            f"building the {place.api.title} engine of {graph} for {place.device.facts.name}; this "
            "may take minutes and happens once (`munit-edge export trt` does it in advance)"
        )
        self._said = False

    def phase_start(self, phase: str, parent: str | None, num_steps: int) -> None:
        """Log the first phase."""
        if not self._said:
            self._said = True
            logging.getLogger(__name__).warning(self._line)

    def step(self, phase: str, index: int) -> None:
        """Not logged."""

    def phase_finish(self, phase: str) -> None:
        """Not logged."""
