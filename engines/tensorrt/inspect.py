"""What TensorRT made of a graph: the layers of a plan, as its inspector tells them.

Needs a GPU: call `cuda_runtime.open_device` first. This project's tests use a stand-in for the
binding; it has not run on a GPU yet.
"""

from __future__ import annotations

import json
from typing import Any

from munit_edge.engines.tensorrt.api import TensorRT, errors_of
from munit_edge.errors import EngineError


def inspect_plan(api: TensorRT, name: str, plan: bytes, *, host_code: bool = False) -> Any:
    """The layers of a plan and the memory that it needs, as data for JSON.

    Args:
        api: the TensorRT that built the plan.
        name: of the graph, for messages.
        plan: its bytes; built with `BuildOptions.detailed`, else only names of layers are told.
        host_code: whether the plan is version-compatible, and so contains code for the CPU.

    Returns:
        {"graph", "device_memory_bytes", "layers"}; `layers` as this TensorRT writes them.

    Raises:
        EngineError: TensorRT does not take the plan.
    """
    trt = api.module
    with api.log.listen() as messages:
        runtime = trt.Runtime(api.logger)
        if host_code:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            told = errors_of(messages) or "it gave no reason"
            raise EngineError(f"{api.title} does not take the plan of {name}: {told}; build again")
        inspector = engine.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        memory = int(engine.device_memory_size_v2)
    return {"graph": name, "device_memory_bytes": memory, "layers": _layers(text)}


def _layers(text: str) -> Any:
    """TensorRT's text as data; as it is where it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
