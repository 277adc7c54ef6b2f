"""ONNX Runtime's TensorRT provider: whether it can be used here, and how it is set.

The provider builds a plan at a graph's first run, and again when a size or batch is outside of all
that it has met; minutes each time. Its own names for plans do not tell models of one architecture
apart, so each graph has a folder of its own (`munit_edge.engines.onnxruntime.provider_plans`).

No option of it makes arithmetic less precise: without them it builds strongly typed, and types are
the graph's. Nothing of this has run on a GPU yet.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munit_edge.engines.cuda import DeviceFacts, open_device
from munit_edge.engines.devices import Device
from munit_edge.engines.gpu_types import check_types, dotted
from munit_edge.engines.onnxruntime.provider_plans import CacheClaim, ProviderKey, has_plans
from munit_edge.engines.onnxruntime.session import (
    TENSORRT_PROVIDER,
    load_cuda_libraries,
    provider_library,
)
from munit_edge.engines.tensorrt import api as tensorrt_api
from munit_edge.errors import ConfigError, EngineError
from munit_edge.extras import require
from munit_edge.model.manifest import GraphEntry

TF32_ENVIRONMENT = "NVIDIA_TF32_OVERRIDE"
"""0: no library of NVIDIA rounds float32 to TF32."""

_OTHER_ENGINE = "use --engine tensorrt, which takes every version from 10.3 on"


@dataclass(frozen=True)
class TensorRTProvider:
    """What ties plans of the provider to this machine."""

    onnxruntime: str
    """Its version."""
    tensorrt: str
    """Version of the library that the provider loads, such as "10.13.3"."""
    gpu: DeviceFacts
    """Where it runs."""
    device: Device
    """The same, by number, and whether it may multiply with TF32."""

    def cache_folder(self, entry: GraphEntry) -> Path:
        """The folder of one graph's plans, made private.

        Raises:
            OutputError: it cannot be made.
            EngineError: the cache belongs to somebody else.
        """
        key = ProviderKey(
            graph=entry.name,
            onnx_sha256=entry.sha256,
            precision=entry.precision,
            onnxruntime=self.onnxruntime,
            tensorrt=self.tensorrt,
            gpu=self.gpu.name,
            compute_capability=dotted(self.gpu.compute_capability),
            cuda_major=self.gpu.cuda_major,
            tf32=self.device.tf32,
        )
        return key.folder()

    def options(self, entry: GraphEntry, *, cached: bool = True) -> dict[str, str]:
        """Options of the provider for one graph.

        Args:
            entry: the graph.
            cached: read plans from the graph's folder, and write them there.
        """
        options = {
            "device_id": str(self.device.index),
            # Written down, since environment variables could switch them on.
            "trt_fp16_enable": "0",
            "trt_int8_enable": "0",
        }
        if cached:
            folder = str(self.cache_folder(entry))
            for cache in ("engine", "timing"):
                options |= {f"trt_{cache}_cache_enable": "1", f"trt_{cache}_cache_path": folder}
        return options


def claim(provider: TensorRTProvider, entry: GraphEntry) -> CacheClaim:
    """Claim a graph's folder and say what is going to take time.

    Raises:
        UnsupportedGraphError: the GPU has not the graph's type.
        OutputError, EngineError: see `TensorRTProvider.cache_folder`.
    """
    check_types(entry, [provider.gpu.compute_capability])
    folder = provider.cache_folder(entry)
    claimed = CacheClaim(folder)
    name = entry.name
    log = logging.getLogger(__name__)
    if not claimed.granted:
        log.warning("another process uses the plans of %s: one is built for this process", name)
    elif not has_plans(folder):
        log.warning(
            "ONNX Runtime's TensorRT provider builds the plan of %s for %s at its first picture, "
            "and again for sizes and batches beyond those before; this may take minutes",
            name,
            provider.gpu.name,
        )
    return claimed


def open_provider(device: Device) -> TensorRTProvider:
    """Make sure that the provider can be used.

    Raises:
        ConfigError: TF32 is asked for, and was switched off in this process.
        EngineError: there is no usable GPU, this ONNX Runtime has no such provider, or a library
            that it needs does not load.
    """
    onnxruntime = require("onnxruntime", "running ONNX graphs")
    if TENSORRT_PROVIDER not in onnxruntime.get_available_providers():
        raise EngineError(
            "the installed onnxruntime has no TensorRT provider: run `pip uninstall -y "
            f"onnxruntime` and then `pip install 'munit-edge[gpu]'`, or {_OTHER_ENGINE}"
        )
    gpu = open_device(device.index)  # first: without a GPU TensorRT would crash the process
    _settle_tf32(allowed=device.tf32)
    version = library_version(onnxruntime)
    return TensorRTProvider(str(onnxruntime.__version__), version, gpu.facts, device)


def _settle_tf32(*, allowed: bool) -> None:
    """Let TensorRT round to TF32, or not: the provider has no option for it.

    NVIDIA's libraries read this variable of the environment once, so it holds for the process.
    """
    if not allowed:
        os.environ[TF32_ENVIRONMENT] = "0"
    elif os.environ.get(TF32_ENVIRONMENT) == "0":
        raise ConfigError(
            f"TF32 is switched off in this process (${TF32_ENVIRONMENT} is 0: set outside, or by a "
            "model that was opened without TF32 before): unset it, or open this model in another "
            "process"
        )


def library_version(onnxruntime: Any) -> str:
    """Version of the TensorRT library that the provider needs; no GPU is touched.

    Raises:
        EngineError: it cannot be loaded; the message has the loader's reason.
    """
    name = _needed_library(onnxruntime)
    load_cuda_libraries()
    # Wheels of TensorRT are not on the loader's path. Importing them loads their libraries, which
    # the loader then finds by name.
    tensorrt_api.is_installed("tensorrt")
    try:
        number = int(ctypes.CDLL(name).getInferLibVersion())
    except (OSError, AttributeError) as exc:
        major = int(name.rpartition(".")[2])
        raise EngineError(
            f"the TensorRT provider of onnxruntime {onnxruntime.__version__} cannot be used "
            f"({exc}): it needs TensorRT {major}, so install that in the system or run "
            f"`pip install 'tensorrt>={major},<{major + 1}'`, or {_OTHER_ENGINE}"
        ) from exc
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _needed_library(onnxruntime: Any) -> str:
    """Name of the library that the provider was linked with, such as "libnvinfer.so.10"."""
    library = provider_library(onnxruntime, "tensorrt")
    try:
        found = re.search(rb"\0(libnvinfer\.so\.\d+)\0", library.read_bytes())
    except OSError as exc:
        raise EngineError(
            f"the TensorRT provider of onnxruntime {onnxruntime.__version__} is not there "
            f"({library}: {exc.strerror}): run `pip install --force-reinstall 'munit-edge[gpu]'`"
        ) from exc
    if not found:
        raise EngineError(f"{library} does not tell which TensorRT it needs: {_OTHER_ENGINE}")
    return found[1].decode()
