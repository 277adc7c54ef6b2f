"""The builder on the vendor's own parser and builder: TensorRT-RTX builds without a GPU.

That every graph builds in every precision is in tests/export/test_tensorrt_takes_graphs.py.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from hang_guard import wait_for
from needs_rtx import needs_rtx
from onnx import TensorProto, helper
from pydantic import ValidationError

from munit_edge.engines.table import ENGINE_FACTS
from munit_edge.engines.tensorrt import api as tensorrt_api
from munit_edge.engines.tensorrt import builder as tensorrt_builder
from munit_edge.engines.tensorrt.builder import BuildOptions, BuiltPlan, build_plan
from munit_edge.engines.tensorrt.profiles import (
    GraphProfile,
    ShapeRange,
    declare_profiles,
    graph_profiles,
)
from munit_edge.errors import EngineError
from munit_edge.model.manifest import GraphEntry, read_manifest
from munit_edge.model.opening import read_graph

RTX = BuildOptions(target="tensorrt-rtx", compute_capabilities=("8.6",), optimization_level=0)


class Recorder:
    """A progress display that remembers."""

    def __init__(self) -> None:
        self.phases: dict[str, int] = {}
        self.parents: dict[str, str | None] = {}
        self.open: list[str] = []
        self.steps: list[tuple[str, int]] = []

    def phase_start(self, phase: str, parent: str | None, num_steps: int) -> None:
        assert parent is None or parent in self.open
        self.phases[phase], self.parents[phase] = num_steps, parent
        self.open.append(phase)

    def step(self, phase: str, index: int) -> None:
        assert phase in self.open
        self.steps.append((phase, index))

    def phase_finish(self, phase: str) -> None:
        self.open.remove(phase)


def _profiles(model: Path, entry: GraphEntry, **words: Any) -> tuple[GraphProfile, ...]:
    manifest = read_manifest(model)
    return graph_profiles(manifest, entry, declare_profiles(manifest, **words))


def _build(model: Path, kind: Any, domain: Any, **words: Any) -> BuiltPlan:
    entry = read_manifest(model).graph(kind, domain)
    profiles = _profiles(model, entry, **words)
    return _plan(f"{kind}_{domain}", model, entry, profiles)


def _plan(
    name: str,
    model: Path,
    entry: GraphEntry,
    profiles: tuple[GraphProfile, ...],
    options: BuildOptions = RTX,
    **words: Any,
) -> BuiltPlan:
    data, file = read_graph(model, entry), model / entry.file
    return build_plan(name, data, profiles, options, file=file, **words)


@needs_rtx
@pytest.mark.parametrize("words", [{"sizes": "64", "batch": "2"}, {}], ids=["fixed", "default"])
def test_one_profile_alone(words: dict[str, str], tiny_model: Path) -> None:
    built = _build(tiny_model, "decoder", "b", **words)
    assert built.plan[:4] == b"vtrt"
    assert built.timing_cache is None


@needs_rtx
def test_progress_streams(tiny_model: Path) -> None:
    entry = read_manifest(tiny_model).graph("style_encoder", "a")
    recorder = Recorder()
    profiles = _profiles(tiny_model, entry, sizes="32")
    _plan("s", tiny_model, entry, profiles, progress=recorder)
    roots = [phase for phase, parent in recorder.parents.items() if parent is None]
    assert len(roots) == 1
    assert len(recorder.steps) > len(recorder.phases) > 1
    assert not recorder.open
    assert all(index < recorder.phases[phase] for phase, index in recorder.steps)


@needs_rtx
def test_ctrl_c_cancels_the_build(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real signal to the process while the builder's C++ runs; the next build works."""
    entry = read_manifest(tiny_model).graph("decoder", "b")
    cancelled = threading.Event()
    waits: list[threading.Event] = []
    wait = tensorrt_builder._wait

    def waiting(finished: threading.Event) -> None:
        waits.append(finished)
        if len(waits) == 2:  # for the end of the build that it has cancelled
            cancelled.set()
        wait(finished)

    class Interrupting(Recorder):
        def step(self, phase: str, index: int) -> None:
            super().step(phase, index)
            if len(self.steps) == 3:
                os.kill(os.getpid(), signal.SIGINT)
                wait_for(cancelled)

    monkeypatch.setattr(tensorrt_builder, "_wait", waiting)
    recorder = Interrupting()
    profiles = _profiles(tiny_model, entry, sizes="32")
    with pytest.raises(KeyboardInterrupt):
        _plan("d", tiny_model, entry, profiles, progress=recorder)
    stopped_at = len(recorder.steps)
    complete = Recorder()
    _plan("d", tiny_model, entry, profiles, progress=complete)
    assert stopped_at < len(complete.steps) / 2


@needs_rtx
def test_a_progress_display_that_fails_is_named(tiny_model: Path) -> None:
    entry = read_manifest(tiny_model).graph("style_encoder", "a")

    class Broken(Recorder):
        def step(self, phase: str, index: int) -> None:
            raise OSError("no terminal")

    with pytest.raises(EngineError, match=r"the progress display failed \(OSError: no terminal\)"):
        profiles = _profiles(tiny_model, entry, sizes="32")
        _plan("s", tiny_model, entry, profiles, progress=Broken())


def _graph(node: onnx.NodeProto, *types: int) -> bytes:
    inputs = [
        helper.make_tensor_value_info(name, kind, [2, 2])
        for name, kind in zip(node.input, types, strict=True)
    ]
    outputs = [helper.make_tensor_value_info(node.output[0], types[0], [2, 2])]
    graph = helper.make_graph([node], "g", inputs, outputs)
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("ours", 1)]
    return helper.make_model(graph, opset_imports=opset).SerializeToString()


@needs_rtx
def test_a_parse_error_names_node_and_operator() -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="middle", domain="ours")
    with pytest.raises(EngineError) as caught:
        build_plan("decoder_b", _graph(node, TensorProto.FLOAT), (), RTX)
    message = str(caught.value)
    assert "cannot read graph decoder_b: node 'middle' (operator Frobnicate)" in message
    assert "munit-edge export onnx" in message
    assert "\n" not in message


@needs_rtx
def test_mixed_types_are_refused_since_every_build_is_strongly_typed() -> None:
    node = helper.make_node("Add", ["x", "y"], ["z"], name="sum")
    model = _graph(node, TensorProto.FLOAT, TensorProto.FLOAT16)
    with pytest.raises(EngineError, match="sum"):
        build_plan("decoder_b", model, (), RTX)


@needs_rtx
def test_a_truncated_graph_is_an_error(tiny_model: Path) -> None:
    data = (tiny_model / "decoder_b.onnx").read_bytes()[:5000]
    with pytest.raises(EngineError, match=r"cannot read graph decoder_b: .*parse"):
        build_plan("decoder_b", data, (), RTX)


@needs_rtx
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 64, 64, 3), (1, 32, 32, 3), (1, 96, 96, 3)), "rejects a profile of graph s"),
        (((1, 64, 64), (1, 64, 64), (1, 64, 64)), "graph s"),
    ],
    ids=["min > opt", "rank"],
)
def test_a_bad_profile_is_refused(
    shapes: tuple[tuple[int, ...], ...], message: str, tiny_model: Path
) -> None:
    entry = read_manifest(tiny_model).graph("style_encoder", "a")
    low, best, high = shapes
    profile = {"image": ShapeRange(min=low, opt=best, max=high)}
    with pytest.raises(EngineError, match=message):
        _plan("s", tiny_model, entry, (profile,))


@needs_rtx
def test_weights_are_read_beside_the_graph(tiny_model: Path, tmp_path: Path) -> None:
    """Also in a folder whose name is not UTF-8; without the path they are not found."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfcn"))
    try:
        model = Path(shutil.copytree(tiny_model, folder))
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    entry = read_manifest(model).graph("style_encoder", "a")
    profiles = _profiles(model, entry, sizes="32")
    assert _plan("s", model, entry, profiles).plan == _plan("s", tiny_model, entry, profiles).plan
    with pytest.raises(EngineError, match="cannot read graph s"):
        build_plan("s", read_graph(model, entry), profiles, RTX)


@needs_rtx
def test_a_free_size_needs_a_profile(tiny_model: Path) -> None:
    entry = read_manifest(tiny_model).graph("style_encoder", "a")
    with pytest.raises(EngineError, match=r"could not build graph s: .*profile.*--sizes"):
        _plan("s", tiny_model, entry, ())


@needs_rtx
def test_a_profile_of_another_graph_is_refused(tiny_model: Path) -> None:
    manifest = read_manifest(tiny_model)
    profiles = _profiles(tiny_model, manifest.graph("decoder", "b"), sizes="32")
    with pytest.raises(EngineError, match="has the inputs image and the profile names content"):
        _plan("s", tiny_model, manifest.graph("style_encoder", "a"), profiles)


@needs_rtx
@pytest.mark.parametrize(
    ("capabilities", "message"),
    [
        ((), "--compute-capability 7.5,8.0"),
        (("8.6", "1.2"), "cannot build for compute capability 1.2"),
    ],
)
def test_compute_capabilities_are_checked(
    capabilities: tuple[str, ...], message: str, tiny_model: Path
) -> None:
    entry = read_manifest(tiny_model).graph("style_encoder", "a")
    options = RTX.model_copy(update={"compute_capabilities": capabilities})
    with pytest.raises(EngineError, match=message):
        _plan("s", tiny_model, entry, (), options)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"compute_capabilities": ("8.6",)}, "--compute-capability is for --target tensorrt-rtx"),
        ({"target": "tensorrt-rtx", "compute_capabilities": ("sm86",)}, "write it as 8.6"),
        (
            {"target": "tensorrt-rtx", "version_compatible": True},
            "not support --version-compatible",
        ),
        (
            {"target": "tensorrt-rtx", "hardware_compatibility": "ampere-plus"},
            "not support --hardware-compatibility",
        ),
    ],
)
def test_options_that_a_target_lacks_are_errors(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BuildOptions(**fields)


@needs_rtx
def test_the_log_is_passed_on_only_while_someone_listens() -> None:
    api = tensorrt_api.load("tensorrt-rtx")
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="ours")
    with api.log.listen() as messages:
        with pytest.raises(EngineError):
            build_plan("g", _graph(node, TensorProto.FLOAT), (), RTX)
        assert tensorrt_api.errors_of(messages)
    heard = len(messages)
    with pytest.raises(EngineError):
        build_plan("g", _graph(node, TensorProto.FLOAT), (), RTX)
    assert len(messages) == heard


def _find_in(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Look for TensorRT under another name."""
    changed = replace(ENGINE_FACTS["tensorrt"], modules=(module,))
    monkeypatch.setitem(ENGINE_FACTS, "tensorrt", changed)


def test_a_missing_tensorrt_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_api, "_loaded", {})
    _find_in(monkeypatch, "no_tensorrt_at_all")
    with pytest.raises(EngineError, match=r"TensorRT is not installed: .*python3-libnvinfer.*pip"):
        tensorrt_api.load("tensorrt")


def test_a_tensorrt_that_does_not_load_gives_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "half_installed.py").write_text(
        "raise ImportError('libnvinfer.so.10: cannot open')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tensorrt_api, "_loaded", {})
    _find_in(monkeypatch, "half_installed")
    with pytest.raises(EngineError, match=r"cannot be loaded \(half_installed: libnvinfer\.so\.10"):
        tensorrt_api.load("tensorrt")


@pytest.mark.parametrize(
    ("full", "is_lean"),
    [
        (None, True),
        ("__version__ = '10.3.0'\nclass ILogger: ...", False),
        ("import ctypes; ctypes.CDLL('libgone.so.7')", None),
    ],
    ids=["lean alone", "both", "a broken one and lean"],
)
def test_lean_runtime_where_there_is_no_other(
    full: str | None, is_lean: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lean = "__version__ = '11.4.0.106'\nclass ILogger: ..."
    (tmp_path / "tensorrt_lean_bindings.py").write_text(lean)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tensorrt_api, "_loaded", {})
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    if full:
        (tmp_path / "tensorrt.py").write_text(full)
    elif importlib.util.find_spec("tensorrt") or importlib.util.find_spec("tensorrt_bindings"):
        pytest.skip("TensorRT is installed")
    try:
        if is_lean is None:
            with pytest.raises(EngineError, match=r"cannot be loaded .*libgone\.so\.7"):
                tensorrt_api.load("tensorrt")
            return
        api = tensorrt_api.load("tensorrt")
        assert api.is_lean == is_lean
        assert (api.title, api.wheels) == (
            ("TensorRT 11.4.0.106 (lean runtime)", "tensorrt-lean")
            if is_lean
            else ("TensorRT 10.3.0", "tensorrt")
        )
    finally:
        for name in ("tensorrt", "tensorrt_lean_bindings"):
            sys.modules.pop(name, None)
