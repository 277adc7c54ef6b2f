"""`--engine auto`: what it takes with which engines installed, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from munit_edge.engines import automatic, table
from munit_edge.engines.automatic import Choice, choose_engine
from munit_edge.engines.table import ENGINE_FACTS, EngineName, fastest_on_cpu
from munit_edge.errors import EngineError
from munit_edge.model.manifest import read_manifest
from munit_edge.model.precision import PRECISIONS, Precision

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Only these engines are installed, none of them for GPUs, on a CPU with every feature."""

    def names_only(*names: EngineName) -> None:
        monkeypatch.setattr(automatic, "is_installed", lambda name: name in names)

    for name, facts in ENGINE_FACTS.items():
        changed = replace(facts, lacks_here=None, built_for_gpu=None)
        monkeypatch.setitem(ENGINE_FACTS, name, changed)
    return names_only


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Precision], Path]:
    """A model directory of a precision, of which only that is looked at."""

    def of(precision: Precision) -> Path:
        monkeypatch.setattr(automatic, "read_manifest", lambda directory: None)
        monkeypatch.setattr(automatic, "reduced_precision", lambda manifest: precision)
        return Path("model")

    return of


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_fastest_of_those_installed(
    precision: Precision, install: Install, model: Callable[[Precision], Path]
) -> None:
    install(*ENGINE_FACTS)
    speeds = {
        name: speed
        for name, facts in ENGINE_FACTS.items()
        if (speed := facts.speed_here(precision)) is not None
    }
    choice = choose_engine(model(precision), "cpu")
    assert speeds[choice.name] * table.ABOUT_AS_FAST >= max(speeds.values())
    assert (choice.reason == f"fastest installed for {precision} on this CPU") == (len(speeds) > 1)


def _with_speeds(monkeypatch: pytest.MonkeyPatch, **speeds: float) -> None:
    """Other speeds in int8."""
    for name, speed in speeds.items():
        row = ENGINE_FACTS[name]  # type: ignore[index]
        changed = replace(row, cpu_speed={**row.cpu_speed, "int8": speed}, amx_speed={})
        monkeypatch.setitem(ENGINE_FACTS, name, changed)


def test_a_small_difference_decides_nothing(
    monkeypatch: pytest.MonkeyPatch, install: Install
) -> None:
    install("onnxruntime", "openvino")
    _with_speeds(monkeypatch, onnxruntime=2.0, openvino=2.1)
    assert fastest_on_cpu("int8") == ["onnxruntime", "openvino"]
    _with_speeds(monkeypatch, onnxruntime=2.0, openvino=2.5)
    assert fastest_on_cpu("int8") == ["openvino", "onnxruntime"]


def test_cpus_with_amx_have_an_order_of_their_own(
    monkeypatch: pytest.MonkeyPatch, install: Install
) -> None:
    install("onnxruntime", "openvino")
    vnni = {"avx512_vnni", "avx512_bf16"}
    for features, first in (
        (vnni, "onnxruntime"),
        (vnni | {"amx_tile", "amx_bf16"}, "onnxruntime"),
        (vnni | {"amx_tile", "amx_bf16", "amx_int8"}, "openvino"),
    ):
        monkeypatch.setattr(table, "cpu_features", lambda found=features: frozenset(found))
        assert fastest_on_cpu("int8")[0] == first
        assert fastest_on_cpu("fp32")[0] == "onnxruntime"
        assert fastest_on_cpu("bf16") == ["openvino"]


def test_an_engine_that_lacks_the_precision_on_this_cpu_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, install: Install, model: Callable[[Precision], Path]
) -> None:
    install("onnxruntime", "openvino")
    _with_speeds(monkeypatch, onnxruntime=1.0, openvino=3.0)
    assert choose_engine(model("int8"), "auto").name == "openvino"
    lacking = replace(ENGINE_FACTS["openvino"], lacks_here="a:function")
    monkeypatch.setitem(ENGINE_FACTS, "openvino", lacking)
    monkeypatch.setattr(table, "function", lambda dotted: lambda: frozenset({"int8"}))
    assert fastest_on_cpu("int8") == ["onnxruntime"]
    assert choose_engine(model("int8"), "auto").name == "onnxruntime"


def test_a_precision_that_nothing_installed_computes(
    install: Install, model: Callable[[Precision], Path]
) -> None:
    install("onnxruntime", "torch")
    with pytest.raises(EngineError, match=r"bf16, which no installed.*munit-edge\[openvino\]"):
        choose_engine(model("bf16"), "cpu")


def test_without_any_engine_the_first_one_says_how_to_install_it(
    install: Install, model: Callable[[Precision], Path]
) -> None:
    install()
    assert choose_engine(model("fp32"), "cpu") == Choice("onnxruntime")


@pytest.mark.parametrize(
    ("device", "name"), [("cuda:1", "onnxruntime"), ("gpu", "openvino"), ("npu", "openvino")]
)
def test_a_device_that_is_named_decides(
    device: str, name: str, install: Install, model: Callable[[Precision], Path]
) -> None:
    install(*ENGINE_FACTS)
    assert choose_engine(model("fp32"), device).name == name


def test_a_build_for_gpus_is_taken_for_any_device(
    monkeypatch: pytest.MonkeyPatch, install: Install, model: Callable[[Precision], Path]
) -> None:
    install("onnxruntime", "openvino")
    _with_speeds(monkeypatch, onnxruntime=1.0, openvino=3.0)
    for_gpus = replace(ENGINE_FACTS["onnxruntime"], built_for_gpu="builtins:object")
    monkeypatch.setitem(ENGINE_FACTS, "onnxruntime", for_gpus)
    assert choose_engine(model("int8"), "auto").name == "onnxruntime"
    assert choose_engine(model("int8"), "cpu").name == "openvino"


def test_a_build_for_gpus_is_passed_over_where_it_is_of_no_use(
    monkeypatch: pytest.MonkeyPatch, install: Install, model: Callable[[Precision], Path]
) -> None:
    install("onnxruntime", "openvino")
    for_gpus = replace(ENGINE_FACTS["onnxruntime"], built_for_gpu="builtins:object")
    monkeypatch.setitem(ENGINE_FACTS, "onnxruntime", for_gpus)
    monkeypatch.setattr(automatic, "has_device_file", lambda: False)
    assert choose_engine(model("bf16"), "auto").name == "openvino"
    assert choose_engine(model("fp32"), "auto", ["cpu_precision"]).name == "openvino"
    monkeypatch.setattr(automatic, "has_device_file", lambda: True)
    assert choose_engine(model("bf16"), "auto").name == "onnxruntime"


def test_a_cpu_on_which_nothing_computes_the_precision(
    monkeypatch: pytest.MonkeyPatch, install: Install, model: Callable[[Precision], Path]
) -> None:
    install("onnxruntime", "openvino")
    monkeypatch.setattr(automatic, "fastest_on_cpu", lambda precision: [])
    with pytest.raises(EngineError, match=r"on this CPU: export the model with another"):
        choose_engine(model("bf16"), "cpu")


def test_an_option_is_a_reason_for_the_engine_that_has_it(
    install: Install, model: Callable[[Precision], Path]
) -> None:
    install("onnxruntime", "openvino")
    assert choose_engine(model("fp32"), "cpu", ["cpu_precision"]).name == "openvino"


def test_the_precision_is_that_of_the_reduced_graphs(tiny_model: Path) -> None:
    from munit_edge.model.manifest import reduced_precision

    manifest = read_manifest(tiny_model)
    assert reduced_precision(manifest) == "fp32"
    first, *others = manifest.graphs
    mixed = manifest.model_copy(
        update={"graphs": (first, others[0].model_copy(update={"precision": "int8"}))}
    )
    assert reduced_precision(mixed) == "int8"
