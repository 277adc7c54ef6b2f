"""TensorRT's calls against doubles of its binding and of CUDA's. Nothing here has run on a GPU.

The cache of plans is the real one, with a builder that writes the double's plans.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_double
from cuda_double import NO_DEVICE, CudaDouble, has_gpu
from PIL import Image
from tensorrt_double import TensorRTDouble, expected, make_plan

from munit_edge.engines import cuda as cuda_runtime
from munit_edge.engines.base import DeviceArray
from munit_edge.engines.cuda import DeviceFacts
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.tensorrt import cache as plan_cache
from munit_edge.engines.tensorrt import runner as tensorrt_runner
from munit_edge.engines.tensorrt.builder import BuildOptions, BuiltPlan
from munit_edge.engines.tensorrt.cache import BuildRequest, Plan, find_or_build
from munit_edge.engines.tensorrt.profiles import declare_profiles
from munit_edge.engines.tensorrt.runner import check_cuda_majors
from munit_edge.errors import ConfigError, EngineError, InputError, MunitEdgeError
from munit_edge.model.manifest import Manifest, read_manifest
from munit_edge.translator import Translator

ROOT = Path(__file__).resolve().parents[3]
Array = np.ndarray[Any, Any]


class Machine:
    """A machine with a GPU and TensorRT, all of it doubles but the cache of plans."""

    def __init__(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = model
        self.manifest: Manifest = read_manifest(model)
        self.cuda = CudaDouble()
        self.trt = TensorRTDouble(self.cuda)
        self.built: list[str] = []
        self.dtypes: dict[str, str] = {}
        monkeypatch.setattr(cuda_runtime, "require", lambda *_: self.cuda.as_module())
        for module in (plan_cache, tensorrt_runner):
            monkeypatch.setattr(module, "load", self.trt.api)
        monkeypatch.setattr(plan_cache, "build_plan", self._build)

    @property
    def sizes(self) -> dict[str, int]:
        config = self.manifest.model
        return {
            "multiple": config.size_multiple,
            "content_channels": config.content_channels,
            "style_dim": config.style_dim,
            "channels": config.channels("b"),
        }

    def prepare(self, options: BuildOptions | None = None, **words: str) -> list[Plan]:
        """Plans with these profiles, as `munit-edge export trt` builds them."""
        profiles = declare_profiles(self.manifest, **words)
        request = BuildRequest(options=options or BuildOptions(), profiles=profiles)
        return [
            find_or_build(self.model, self.manifest, entry, request)
            for entry in self.manifest.graphs
        ]

    def open(self, **options: Any) -> Translator:
        return Translator.open(self.model, engine="tensorrt", **options)

    def _build(
        self, name: str, onnx: bytes, profiles: Any, options: Any, **others: Any
    ) -> BuiltPlan:
        self.built.append(name)
        if others["progress"]:
            others["progress"].phase_start("Building", None, 1)
            others["progress"].phase_start("Tactics", "Building", 1)
        kind, _, domain = name.rpartition("_")
        entry = self.manifest.graph(kind, domain)  # type: ignore[arg-type]
        tensors = [
            {
                "name": spec.name,
                "dtype": self.dtypes.get(spec.name, spec.dtype),
                "shape": spec.shape,
                "input": spec in entry.inputs,
            }
            for spec in (*entry.outputs, *entry.inputs)  # in no order to rely on
        ]
        ranges = [
            {tensor: shape.model_dump() for tensor, shape in profile.items()}
            for profile in profiles
        ]
        description = {
            "kind": kind,
            "tensors": tensors,
            "profiles": ranges,
            "sizes": self.sizes,
        }
        return BuiltPlan(make_plan(description), None, 0.1)

    def expect(self, images: Array, styles: Array) -> Array:
        content = expected("content_encoder", {"image": images}, self.sizes)
        pairs = [
            expected(
                "decoder",
                {"content": content, "style": np.repeat(style[None], len(images), 0)},
                self.sizes,
            )
            for style in styles
        ]
        return np.stack(pairs, axis=1)


@pytest.fixture
def machine(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path / "cache"))
    has_gpu(monkeypatch)
    return Machine(tiny_model, monkeypatch)


def _images(count: int, height: int = 32, width: int = 40, seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 128, (count, height, width, 3), dtype=np.uint8)


def test_the_doubles_names_are_in_every_binding() -> None:
    table = json.loads((ROOT / "tests/golden/tensorrt_names.json").read_text(encoding="utf-8"))
    places = {"Runtime": "Runtime", "Engine": "ICudaEngine", "Context": "IExecutionContext"}
    enums = {"TensorIOMode": "TensorIOMode", "DataType": "DataType"}
    own = {"enqueued", "description"}
    for double, real in (places | enums).items():
        members = {name for name in vars(getattr(tensorrt_double, double)) if name[0] != "_"}
        for name in members - own:
            assert set(table["names"][real][name]) == {"x"}, f"{real}.{name}"


@pytest.mark.parametrize("integrated", [0, 1])
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_translation(integrated: int, cuda_graph: bool, machine: Machine) -> None:
    machine.cuda.integrated = integrated
    styles = np.random.default_rng(1).normal(0, 5, (3, 8)).astype(np.float32)
    with machine.open(cuda_graph=cuda_graph) as translator:
        assert (translator.engine, translator.device) == ("tensorrt", "cuda:0")
        for size in (32, 32, 32, 64, 32, 32, 32):  # the same, larger, and back
            images = _images(2, size, 40, seed=size)
            content = translator.encode_content(images, "a")
            assert isinstance(content.codes, DeviceArray)
            results = translator.decode(content, styles, "b")
            np.testing.assert_array_equal(results, machine.expect(images, styles))
        codes = expected("content_encoder", {"image": images}, machine.sizes)
        np.testing.assert_array_equal(np.asarray(content.codes), codes)
        found = translator.encode_style(images, "a")
        np.testing.assert_array_equal(
            found, expected("style_encoder", {"image": images}, machine.sizes)
        )
        assert machine.built == ["content_encoder_a", "decoder_b", "style_encoder_a"]
        del content
    gc.collect()
    assert not machine.cuda.device, "memory of the GPU is left"
    assert not machine.cuda.host
    assert not machine.cuda.streams
    assert not machine.cuda.executables


def test_content_does_not_cross_the_bus(machine: Machine) -> None:
    kinds: list[int] = []
    copy = machine.cuda.cudaMemcpyAsync

    def watched(dst: int, src: int, count: int, kind: Any, stream: int) -> Any:
        kinds.append(int(kind))
        return copy(dst, src, count, kind, stream)

    machine.cuda.cudaMemcpyAsync = watched  # type: ignore[method-assign]
    with machine.open() as translator:
        translator.translate(_images(1), "a2b", styles=translator.sample_styles(2))
    to_gpu, to_host, within = 1, 2, 3
    assert kinds[:2] == [to_gpu, within], "encoder: the image goes in, the content stays"
    # Two styles of one image are two rows of content.
    assert kinds[2:] == [within, within, to_gpu, to_host]


def test_the_lean_runtime_runs_plans_for_later_versions(machine: Machine) -> None:
    machine.prepare(BuildOptions(version_compatible=True))
    built = list(machine.built)
    machine.trt.is_lean, machine.trt.version = True, "11.4.0.106"
    images, styles = _images(2), np.ones((2, 8), np.float32)
    with machine.open() as translator:
        results = translator.translate(images, "a2b", styles=styles)
    np.testing.assert_array_equal(results, machine.expect(images, styles))
    assert machine.built == built


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (None, ""),
        (BuildOptions(), "built without --version-compatible"),
    ],
    ids=["none", "ordinary"],
)
def test_the_lean_runtime_builds_nothing(
    options: BuildOptions | None,
    reason: str,
    machine: Machine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if options:
        machine.prepare(options)
    built = list(machine.built)
    machine.trt.is_lean = True
    message = (
        r"no engine of content_encoder_a for TensorRT 10\.3\.0 \(lean runtime\), which builds "
        r"none: run `munit-edge export trt .* --version-compatible`"
    )
    with machine.open() as translator, pytest.raises(EngineError, match=message):
        translator.encode_content(_images(1), "a")
    assert reason in caplog.text
    assert "is built" not in caplog.text
    assert machine.built == built


def test_host_arrays_are_accepted_too(machine: Machine) -> None:
    """Content that was kept as a NumPy array, or comes from another engine."""
    images, styles = _images(2), np.ones((2, 8), np.float32)
    with machine.open() as translator:
        content = translator.encode_content(images, "a")
        host = type(content)(np.asarray(content.codes), content.size_hw)
        np.testing.assert_array_equal(
            translator.decode(host, styles, "b"), translator.decode(content, styles, "b")
        )


def test_cuda_graph_is_recorded_when_a_shape_comes_again(machine: Machine) -> None:
    with machine.open(cuda_graph=True) as translator:
        for size in (32, 32, 32, 32, 64, 32, 32):
            translator.encode_content(_images(1, size), "a")
        (context,) = machine.trt.contexts
        assert context.enqueued == ["run", "capture", "run", "run", "capture"]
        assert len(machine.cuda.executables) == 1


def test_batches_are_cut_to_the_profile(machine: Machine) -> None:
    machine.prepare(batch="2,3")
    images, styles = _images(7), np.full((1, 8), 2, np.float32)
    with machine.open() as translator:
        results = translator.translate(images, "a2b", styles=styles)
    np.testing.assert_array_equal(results, machine.expect(images, styles))
    with machine.open() as translator:
        results = translator.translate(images[:1], "a2b", styles=styles)
    np.testing.assert_array_equal(results, machine.expect(images[:1], styles))


def test_the_newest_plan_is_taken_and_its_profiles_chosen(machine: Machine) -> None:
    machine.prepare(sizes="32x40,64x40", batch="1")
    machine.built.clear()
    styles = np.ones((1, 8), np.float32)
    with machine.open(warm_up=True) as translator:
        for size in (64, 32, 64):
            images = _images(1, size)
            results = translator.translate(images, "a2b", styles=styles)
            np.testing.assert_array_equal(results, machine.expect(images, styles))
        warmed = machine.trt.contexts[0].enqueued
    assert not machine.built
    assert len(warmed) == 2 + 3


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (100, 40, r"1 x 100 x 40: .* is 1 x 96 x 40 .*export trt \S+ --sizes 100x40 --batch 1,4`"),
        (32, 20, r"1 x 32 x 20: .* is 1 x 32 x 40 .*--sizes 32x20"),
    ],
)
def test_size_outside_of_the_profiles(
    height: int, width: int, message: str, machine: Machine
) -> None:
    machine.prepare(sizes="32x40,96x40", batch="1,4")
    with machine.open() as translator:
        with pytest.raises(InputError, match=rf"content_encoder_a has no engine for {message}"):
            translator.encode_content(_images(1, height, width), "a")
        with pytest.raises(InputError, match=r"style_encoder_a .* --min 32x40 --max 36x40"):
            translator.encode_style(_images(1, 33, 40), "a")
        images = _images(1)
        styles = np.ones((1, 8), np.float32)
        results = translator.translate(images, "a2b", styles=styles)
        np.testing.assert_array_equal(results, machine.expect(images, styles))


def test_decoder_outside_of_the_profiles_speaks_of_pixels(machine: Machine) -> None:
    machine.prepare(sizes="32x40", batch="1,4")
    channels = machine.sizes["content_channels"]
    feeds = {
        "content": np.zeros((1, channels, 16, 10), np.float32),
        "style": np.zeros((1, 8), np.float32),
    }
    with (
        open_graphs(machine.model, "tensorrt") as graphs,
        pytest.raises(
            InputError, match=r"decoder_b has no engine for 1 x 64 x 40: .* 1 x 32 x 40 "
        ),
    ):
        graphs.runner("decoder", "b").run(feeds)


def test_a_build_is_logged(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), machine.open() as translator:
        translator.encode_content(_images(1), "a")
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [
        "building the TensorRT 10.3.0 engine of content_encoder_a for Double 0; this may take "
        "minutes and happens once (`munit-edge export trt` does it in advance)"
    ]


def test_threads_share_a_graph(machine: Machine) -> None:
    styles = np.ones((1, 8), np.float32)
    wrong: list[int] = []
    with machine.open(cuda_graph=True) as translator:

        def work(number: int) -> None:
            for turn in range(10):
                images = _images(1, (32, 64)[turn % 2], seed=number)
                results = translator.translate(images, "a2b", styles=styles)
                if not np.array_equal(results, machine.expect(images, styles)):
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def _no_gpu(machine: Machine) -> None:
    machine.cuda.count_error = NO_DEVICE


def _refused_plan(machine: Machine) -> None:
    machine.trt.refuses_plans = True


def _no_context(machine: Machine) -> None:
    machine.trt.refuses_contexts = True


def _no_run(machine: Machine) -> None:
    machine.trt.refuses_to_run = True


def _no_memory(machine: Machine) -> None:
    machine.cuda.memory = 2000


def _lost_gpu(machine: Machine) -> None:
    machine.cuda.failures = dict.fromkeys(
        ("cudaStreamSynchronize", "cudaFree", "cudaFreeHost", "cudaStreamDestroy"), 719
    )


def _other_plan(machine: Machine) -> None:
    machine.dtypes = {"content": "float16"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_no_gpu, "there is no NVIDIA GPU here"),
        (
            _refused_plan,
            r"TensorRT 10\.3\.0 cannot open the engine .*Platform specific tag .*prune",
        ),
        (_no_context, r"cannot be prepared to run, 1024 of 1024 MiB .*could not be allocated"),
        (_no_run, r"in graph content_encoder_a: the run failed \(out of workspace\); if memory"),
        (_no_memory, r"not have enough free memory: 1 MiB are needed, .*use a smaller image"),
        (_lost_gpu, "failed in cudaStreamSynchronize: cudaErrorLaunchFailure"),
        (_other_plan, "other inputs and outputs than its graph .*engines prune"),
    ],
)
def test_failures_name_the_fix(
    fault: Callable[[Machine], None], message: str, machine: Machine
) -> None:
    fault(machine)
    with pytest.raises(EngineError, match=message), machine.open() as translator:
        translator.encode_content(_images(1), "a")
    assert machine.trt.runtimes == 0 or fault is not _no_gpu


def test_a_failure_does_not_spoil_the_next_run(machine: Machine) -> None:
    images, styles = _images(1), np.ones((1, 8), np.float32)
    with machine.open(cuda_graph=True) as translator:
        for _ in range(2):
            translator.translate(images, "a2b", styles=styles)
        machine.trt.refuses_to_run = True
        with pytest.raises(EngineError, match="the run failed"):
            translator.translate(_images(1, 64), "a2b", styles=styles)
        machine.trt.refuses_to_run = False
        results = translator.translate(images, "a2b", styles=styles)
        np.testing.assert_array_equal(results, machine.expect(images, styles))


def test_changed_plan_is_never_deserialised(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    plan = next(p for p in machine.prepare() if "content_encoder_a" in p.path.name)
    plan.path.write_bytes(plan.path.read_bytes().replace(b"content_encoder", b"Xontent_encoder"))
    machine.built.clear()
    with machine.open() as translator:
        translator.encode_content(_images(1), "a")
    assert machine.built == ["content_encoder_a"]
    assert "its bytes were changed; it is built again" in caplog.text


def test_closed_runner(machine: Machine) -> None:
    graphs = open_graphs(machine.model, "tensorrt")
    runner = graphs.runner("content_encoder", "a")
    graphs.close()
    graphs.close()
    with pytest.raises(EngineError, match="is closed"):
        runner.run({"image": _images(1)})


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(_has_driver(), reason="there is an NVIDIA driver here")
@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_machine_without_a_gpu_for_real(engine: str, tiny_model: Path, tmp_path: Path) -> None:
    """No double here: the process ends with one line and exit code 2, whatever is installed."""
    image = tmp_path / "image.png"
    Image.fromarray(_images(1)[0]).save(image)
    words = [str(tiny_model), str(image), "--direction", "a2b", "-o", str(tmp_path / "out")]
    program = "from munit_edge.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "translate", *words, "--engine", engine],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert re.search(r"^error: .*(cuda-bindings|NVIDIA driver|NVIDIA GPU)", done.stderr)
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_cpu_is_refused(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="'cpu' is a CPU, which engine tensorrt does not run on"):
        machine.open(device="cpu")


@pytest.mark.parametrize("option", ["cuda_graph", "warm_up"])
def test_other_engines_refuse_its_options(option: str, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="engine onnxruntime does not support a"):
        Translator.open(tiny_model, **{option: True})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wheels", "message"),
    [
        (["tensorrt-cu12"], None),
        (["tensorrt-rtx-cu13"], None),
        ([], None),
        (["tensorrt-cu13-bindings"], r"for CUDA 13 .* cuda-bindings is for CUDA 12: .*>=13,<14'"),
        (["tensorrt-cu12-libs", "tensorrt-cu13"], "cu12 and tensorrt-cu13 are both installed"),
    ],
)
def test_two_majors_of_cuda(
    wheels: list[str], message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name in wheels:
            return "10.3.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    facts = DeviceFacts("A10", (8, 6), cuda_version=12080, driver_version=13000, integrated=False)
    if message is None:
        check_cuda_majors("tensorrt", facts)
        return
    with pytest.raises(MunitEdgeError, match=message):
        check_cuda_majors("tensorrt", facts)
