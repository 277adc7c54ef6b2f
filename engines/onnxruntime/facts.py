"""What the installed ONNX Runtime is, and whether it reaches the GPU; asked in a new process."""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType

import numpy as np

from munit_edge.engines.devices import Device
from munit_edge.engines.onnxruntime.arrays import picking_graph
from munit_edge.engines.onnxruntime.session import CUDA_PROVIDER, open_session
from munit_edge.engines.probe import Facts
from munit_edge.system.child import words


def facts(module: ModuleType) -> Facts:
    """Of the module `onnxruntime`."""
    providers = tuple(module.get_available_providers())
    with contextlib.suppress(ImportError):
        importlib.import_module("onnxruntime.capi.build_and_package_info")
    information = sys.modules.get("onnxruntime.capi.build_and_package_info")
    gpus: tuple[str, ...] = ()
    gpu_fault = None
    if CUDA_PROVIDER in providers:
        try:
            # A provider that is listed may fail to load its libraries: only a session shows it.
            open_session(picking_graph(np.dtype(np.float32)), "take", Device("cuda"))
            gpus = ("cuda:0",)
        except Exception as exc:  # the words are what counts
            gpu_fault = words(exc)
    return Facts(
        version=module.__version__,
        cuda=getattr(information, "cuda_version", None) or None,
        providers=providers,
        gpus=gpus,
        gpu_fault=gpu_fault,
    )
