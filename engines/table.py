"""The engines: one table with everything that the rest of the project knows about each.

A new engine is a folder of its own, a name in `ModelEngine` and a row here. Functions are given by
dotted names, since a backend is imported only when it is used.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from munit_edge.engines.devices import DeviceKind
from munit_edge.model.precision import Precision
from munit_edge.system.cpu_features import cpu_features

ModelEngine = Literal["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
"""Engines that run the graphs of a model directory."""
EngineName = Literal[ModelEngine, "torch"]
"""All engines; torch runs checkpoints."""
Engine = Literal["auto", EngineName]
"""What the user can ask for."""

OPTIONS: Mapping[str, str] = {
    "tf32": "TF32",
    "cuda_graph": "a CUDA graph",
    "warm_up": "a warm-up",
    "cpu_precision": "another precision on the CPU",
}
"""What only some engines have: keyword arguments of their openers, and words for messages."""


ABOUT_AS_FAST = 1.1
"""Speeds within this factor count as equal."""

_AMX = frozenset({"amx_tile", "amx_bf16", "amx_int8"})


class OldVersions(NamedTuple):
    """Versions that are not documented for every opset."""

    before: tuple[int, int]
    """First version that is not old."""
    opset: int
    """Newest opset of those before it."""


@dataclass(frozen=True)
class EngineFacts:
    """What distinguishes one engine."""

    title: str
    """Its name in sentences."""
    opener: str
    """`module:function` that opens a model: (path, device, **options) -> GraphSet."""
    facts: str
    """`module:function` that asks its module for `munit_edge.engines.probe.Facts`."""
    modules: tuple[str, ...]
    """Names of its module; the first one found is imported."""
    devices: tuple[DeviceKind, ...]
    """Kinds of devices that it can run on."""
    install: str
    """How to install it."""
    purpose: str = ""
    """Who needs it, where that is not everybody."""
    install_for_gpu: str | None = None
    """How to install it on an x86-64 machine with an NVIDIA GPU, if otherwise."""
    install_on_jetson: str | None = None
    """How to install it on a Jetson, if otherwise."""
    gpu_fix: str | None = None
    """What to do where it cannot use the GPU, if that is special."""
    options: frozenset[str] = frozenset()
    """Which of `OPTIONS` it has."""
    checkpoints: bool = False
    """Whether it runs checkpoints instead of model directories."""
    builds_plans: bool = False
    """Whether it builds plans first, which takes minutes, and needs a GPU to run them."""
    builds_without_gpu: bool = False
    """Whether it builds them on a machine without a GPU."""
    capabilities: tuple[str, ...] | None = None
    """Compute capabilities of the only GPUs that it builds for; None: all."""
    old_versions: OldVersions | None = None
    """Versions that do not read every export."""
    built_for_gpu: str | None = None
    """`module:function` that tells, importing nothing, whether its build is for NVIDIA's GPUs."""
    lacks_here: str | None = None
    """`module:function` that tells which others it does not compute on this CPU."""
    cpu_speed: Mapping[Precision, float] = field(default_factory=dict)
    """Speed on a CPU, with ONNX Runtime in fp32 as 1, of a folder's translation, or of single
    graphs where only those were measured (docs/precision.md): "auto" takes the fastest engine. It
    does not compute the precisions missing here."""
    amx_speed: Mapping[Precision, float] = field(default_factory=dict)
    """The same of CPUs with AMX, where it differs."""

    def speed_here(self, precision: Precision) -> float | None:
        """Its speed on this CPU; None: it does not compute the precision."""
        speed = self.cpu_speed.get(precision)
        if speed is not None and precision in self.amx_speed and cpu_features() >= _AMX:
            return self.amx_speed[precision]
        return speed


ENGINE_FACTS: dict[EngineName, EngineFacts] = {
    "onnxruntime": EngineFacts(
        title="ONNX Runtime",
        opener="munit_edge.engines.onnxruntime.runner:open_onnxruntime",
        facts="munit_edge.engines.onnxruntime.facts:facts",
        modules=("onnxruntime",),
        devices=("cpu", "cuda"),
        install="run `pip install 'munit-edge[cpu]'`",
        install_for_gpu="run `pip install 'munit-edge[gpu]'`",
        install_on_jetson=(
            "not needed with TensorRT; for the CPU run `pip install 'munit-edge[cpu]'`"
        ),
        gpu_fix=(
            "do what the message says: `pip install 'munit-edge[gpu]'` installs the libraries of "
            "CUDA and cuDNN for this build; `--device cpu` works without them"
        ),
        options=frozenset({"tf32"}),
        built_for_gpu="munit_edge.engines.onnxruntime.build:has_cuda",
        cpu_speed={"fp32": 1.0, "fp16": 1.0, "int8": 2.2, "fp8": 0.7},
    ),
    "openvino": EngineFacts(
        title="OpenVINO",
        opener="munit_edge.engines.openvino.runner:open_openvino",
        facts="munit_edge.engines.openvino.facts:facts",
        modules=("openvino",),
        devices=("cpu", "gpu", "npu"),
        install="run `pip install 'munit-edge[openvino]'`",
        purpose="it is for CPUs, and for Intel's GPUs and NPUs",
        options=frozenset({"cpu_precision"}),
        lacks_here="munit_edge.engines.openvino.arithmetic:lacks_here",
        cpu_speed={"fp32": 1.0, "fp16": 1.0, "bf16": 1.8, "int8": 2.3},
        amx_speed={"bf16": 3.3, "int8": 3.7},
    ),
    "tensorrt": EngineFacts(
        title="TensorRT",
        opener="munit_edge.engines.tensorrt.runner:open_tensorrt",
        facts="munit_edge.engines.tensorrt.facts:facts",
        # JetPack and the large wheels have the first, the wheels of the bindings alone the second.
        modules=("tensorrt", "tensorrt_bindings"),
        devices=("cuda",),
        install="run `pip install 'munit-edge[trt]'`",
        install_on_jetson=(
            "run `sudo apt install python3-libnvinfer` and create the virtual environment with "
            "`python3 -m venv --system-site-packages`"
        ),
        options=frozenset({"tf32", "cuda_graph", "warm_up"}),
        builds_plans=True,
        old_versions=OldVersions(before=(10, 9), opset=20),
    ),
    "tensorrt-rtx": EngineFacts(
        title="TensorRT-RTX",
        opener="munit_edge.engines.tensorrt.runner:open_tensorrt_rtx",
        facts="munit_edge.engines.tensorrt.facts:facts",
        modules=("tensorrt_rtx", "tensorrt_rtx_bindings"),
        devices=("cuda",),
        install=(
            "run `pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings` (Linux, x86-64 or "
            "aarch64)"
        ),
        purpose="only RTX cards use it",
        options=frozenset({"tf32", "cuda_graph", "warm_up"}),
        builds_plans=True,
        builds_without_gpu=True,
        capabilities=("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"),
    ),
    "torch": EngineFacts(
        title="PyTorch",
        opener="munit_edge.engines.torch.runner:open_torch",
        facts="munit_edge.engines.torch.facts:facts",
        modules=("torch",),
        devices=("cpu", "cuda"),
        install="run `pip install 'munit-edge[train,export]'`",
        purpose="only training and export need it",
        options=frozenset({"tf32"}),
        checkpoints=True,
    ),
}
"""In the order in which they are shown."""

MODEL_ENGINES: tuple[EngineName, ...] = get_args(ModelEngine)
"""Names of the engines that run the graphs of a model directory."""


def is_installed(name: EngineName) -> bool:
    """Whether an engine's module can be found; nothing is imported."""
    return any(_found(module) for module in ENGINE_FACTS[name].modules)


def _found(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # the parent is missing, or a stand-in is there instead
        return False
    return spec is not None and spec.origin is not None  # else a folder that only has the name


def fastest_on_cpu(precision: Precision) -> list[EngineName]:
    """The engines that compute a precision on this CPU, installed or not; the fastest first.

    Of engines that are about as fast the one that comes first in the table: it starts sooner and
    takes less memory.
    """
    speeds = {
        name: speed
        for name, facts in ENGINE_FACTS.items()
        if (speed := facts.speed_here(precision)) is not None
        and not (facts.lacks_here and precision in function(facts.lacks_here)())
    }
    close = [name for name in speeds if speeds[name] * ABOUT_AS_FAST >= max(speeds.values())]
    others = sorted(set(speeds) - set(close), key=lambda name: -speeds[name])
    return [*close, *others]


def builds_plans(engine: str) -> bool:
    """Whether an engine builds plans before it runs."""
    return any(facts.builds_plans for name, facts in ENGINE_FACTS.items() if name == engine)


def engines_with(option: str) -> list[EngineName]:
    """The engines that have one of `OPTIONS`."""
    return [name for name, facts in ENGINE_FACTS.items() if option in facts.options]


def function(dotted: str) -> Any:
    """The function of a row, given as `module:function`; its backend is imported now."""
    return pkgutil.resolve_name(dotted)
