"""Weights of a stripped plan, put back from the ONNX graph that it was built from.

Needs a GPU, as everything that opens a plan does. This project's tests use a stand-in for the
binding; it has not run on a GPU yet.
"""

from __future__ import annotations

from typing import Any

from munit_edge.engines.tensorrt.api import TensorRT, errors_of
from munit_edge.errors import EngineError


def refit_engine(api: TensorRT, name: str, engine: Any, onnx: bytes) -> None:
    """Give an engine of a plan without weights those of its graph, before it is used.

    Args:
        api: the TensorRT that opened the plan.
        name: of the graph, for messages.
        engine: the deserialised plan.
        onnx: the bytes of the same graph that the plan was built from.

    Raises:
        EngineError: TensorRT does not take the weights.
    """
    trt = api.module
    with api.log.listen() as messages:
        refitter = trt.Refitter(engine, api.logger)
        parser = trt.OnnxParserRefitter(refitter, api.logger)
        parsed = parser.refit_from_bytes(onnx)
        if parsed and refitter.refit_cuda_engine():
            return
        told = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        reason = "; ".join(" ".join(text.split()) for text in told) or errors_of(messages)
    raise EngineError(
        f"{api.title} cannot put the weights of graph {name} back into its plan "
        f"({reason or 'it gave no reason'}): build it without --strip-weights"
    )
