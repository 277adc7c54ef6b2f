"""Engine, device and options that the user names: what goes together."""

from __future__ import annotations

from pathlib import Path

import pytest

from munit_edge.doctor.selftest import FOLDER, graphs_folder
from munit_edge.engines import factory
from munit_edge.engines.devices import DEVICE_KINDS
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.table import ENGINE_FACTS, EngineName
from munit_edge.errors import ConfigError, MissingExtraError

MODEL = FOLDER / graphs_folder("fp32")
CHECKPOINT = FOLDER / "checkpoint"


def test_an_unknown_device_is_answered_with_those_of_every_engine() -> None:
    with pytest.raises(ConfigError) as caught:
        open_graphs(MODEL, "auto", "foo")
    assert {kind for row in ENGINE_FACTS.values() for kind in row.devices} == set(DEVICE_KINDS)
    for kind in DEVICE_KINDS:
        assert f" {kind}" in str(caught.value)
    assert str(caught.value) == (
        "device 'foo' is not known: use auto, cpu, cuda, cuda:N, gpu, gpu:N or npu"
    )


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        ("auto", "npu:1", "use auto, cpu, gpu, gpu:N or npu$"),
        ("onnxruntime", "foo", "use auto, cpu, cuda or cuda:N$"),
        ("openvino", "foo", "use auto, cpu, gpu, gpu:N or npu$"),
        ("onnxruntime", "gpu:1", "'gpu:1' is a GPU of Intel's, .* cuda:N, or --engine openvino"),
        ("openvino", "cuda", "'cuda' is a GPU of NVIDIA's, .* --engine onnxruntime or tensorrt"),
        ("tensorrt", "cpu", "'cpu' is a CPU, .* auto, cuda or cuda:N, or --engine onnxruntime or"),
    ],
)
def test_a_device_that_the_engine_does_not_have(engine: str, device: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_graphs(MODEL, engine, device)


def test_a_checkpoint_has_one_engine() -> None:
    with pytest.raises(ConfigError, match=r"engine torch does not .*export the model"):
        open_graphs(CHECKPOINT, "auto", "npu")


def test_an_option_is_answered_with_engines_that_run_the_model() -> None:
    with pytest.raises(ConfigError, match=r"--engine onnxruntime or tensorrt or tensorrt-rtx$"):
        open_graphs(MODEL, "openvino", "cpu", tf32=True)


@pytest.mark.parametrize("device", ["gpu", "npu"])
def test_a_device_whose_engine_is_not_installed(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from munit_edge import extras

    def gone(module: str) -> None:
        raise ModuleNotFoundError(name=module)

    monkeypatch.setattr(extras, "import_silently", gone)
    with pytest.raises(MissingExtraError, match=r"pip install 'munit-edge\[openvino\]'"):
        open_graphs(MODEL, "auto", device)
    monkeypatch.setattr(factory, "is_installed", lambda name: name == "onnxruntime")
    with pytest.raises(ConfigError, match=r"openvino \(run `pip install 'munit-edge\[openvino"):
        open_graphs(MODEL, "onnxruntime", device)


@pytest.mark.parametrize("name", ENGINE_FACTS)
def test_every_engine_is_held_to_the_devices_of_its_row(name: EngineName, tmp_path: Path) -> None:
    for kind in set(DEVICE_KINDS) - set(ENGINE_FACTS[name].devices):
        with pytest.raises(ConfigError, match=f"which engine {name} does not run on"):
            open_graphs(tmp_path, name, kind)
