"""The inspector with a stand-in for the binding: without a GPU, no plan can be opened."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from munit_edge.engines.tensorrt.api import Log, Message, TensorRT
from munit_edge.engines.tensorrt.inspect import inspect_plan
from munit_edge.errors import EngineError


class Runtime:
    engine_host_code_allowed = False
    text = '{"Layers": [{"Name": "conv"}]}'

    def __init__(self, logger: Log) -> None:
        self._log = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        if plan == b"host code" and not self.engine_host_code_allowed:
            self._log.add(Message("ERROR", "host code is not allowed"))
            return None
        inspector = SimpleNamespace(get_engine_information=lambda form: f"{self.text}{form}")
        return SimpleNamespace(
            create_engine_inspector=lambda: inspector, device_memory_size_v2=4096
        )


def _api(text: str = Runtime.text) -> TensorRT:
    log = Log()
    runtime = type("Runtime", (Runtime,), {"text": text})
    module = SimpleNamespace(Runtime=runtime, LayerInformationFormat=SimpleNamespace(JSON=""))
    return TensorRT("tensorrt", module, "10.3.0", log, log)


def test_layers_become_data() -> None:
    assert inspect_plan(_api(), "decoder_b", b"plan") == {
        "graph": "decoder_b",
        "device_memory_bytes": 4096,
        "layers": {"Layers": [{"Name": "conv"}]},
    }


def test_text_that_is_no_json_is_kept() -> None:
    assert inspect_plan(_api("conv, relu"), "decoder_b", b"plan")["layers"] == "conv, relu"


def test_a_version_compatible_plan_may_run_its_code() -> None:
    assert inspect_plan(_api(), "decoder_b", b"host code", host_code=True)["graph"] == "decoder_b"


def test_a_refused_plan_says_why() -> None:
    with pytest.raises(EngineError, match="plan of decoder_b: host code is not allowed"):
        inspect_plan(_api(), "decoder_b", b"host code")
