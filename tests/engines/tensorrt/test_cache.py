"""The cache of plans: locking, refusals and rebuilding, with real files and real processes.

`tensorrt-rtx` is built for real where it is installed. The choice of plans for `tensorrt`, which
needs a GPU, runs with a stand-in for the GPU's facts and for the builder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hang_guard import HANG_S
from needs_rtx import needs_rtx

from munit_edge.engines.cache_folder import engines_folder
from munit_edge.engines.cuda import DeviceFacts
from munit_edge.engines.tensorrt import cache as plan_cache
from munit_edge.engines.tensorrt import listing as plan_list
from munit_edge.engines.tensorrt.builder import BuildOptions, BuiltPlan
from munit_edge.engines.tensorrt.cache import BuildRequest, Plan, find_or_build
from munit_edge.engines.tensorrt.listing import list_plans, prune_plans
from munit_edge.engines.tensorrt.profiles import declare_profiles
from munit_edge.errors import EngineError, ModelError, OutputError
from munit_edge.files.atomic import sha256
from munit_edge.model.manifest import GraphEntry, read_manifest
from munit_edge.model.precision import Precision

ORIN = DeviceFacts("Orin", (8, 7), cuda_version=12060, driver_version=12060, integrated=True)


class Machine:
    """A machine with a GPU and TensorRT, whose builder writes down what it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.facts = ORIN
        self.version = "10.3.0"
        self.built: list[tuple[str, Any]] = []
        self.timing_caches: list[bytes | None] = []
        monkeypatch.setattr(plan_cache.cuda_runtime, "device_facts", lambda index: self.facts)
        for module in (plan_cache, plan_list):
            monkeypatch.setattr(module, "load", self._load)
        monkeypatch.setattr(plan_cache, "build_plan", self._build)

    def _load(self, flavour: str = "tensorrt") -> Any:
        if flavour != "tensorrt":
            raise EngineError("not installed")
        return SimpleNamespace(version=self.version, flavour="tensorrt", is_lean=False)

    def _build(
        self, name: str, onnx: bytes, profiles: Any, options: BuildOptions, **others: Any
    ) -> BuiltPlan:
        self.built.append((name, profiles))
        self.timing_caches.append(others["timing_cache"])
        plan = f"plan {len(self.built)} of {name}".encode()
        return BuiltPlan(plan, None if others["timing_cache"] is None else b"timings", 1.5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a cache of its own."""
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


class Asker:
    """Asks for the decoder's plan and keeps what is reported."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self.manifest = read_manifest(model)
        self.entry: GraphEntry = self.manifest.graph("decoder", "b")
        self.said: list[str] = []

    def __call__(self, sizes: str | None = None, **options: Any) -> Plan:
        self.said.clear()
        profiles = declare_profiles(self.manifest, sizes=sizes) if sizes else None
        request = BuildRequest(options=BuildOptions(**options), profiles=profiles)
        return find_or_build(self.model, self.manifest, self.entry, request, say=self.said.append)


@pytest.fixture
def ask(tiny_model: Path) -> Asker:
    return Asker(tiny_model)


def test_a_plan_is_built_once_and_then_found(ask: Asker, machine: Machine, cache: Path) -> None:
    first, second = ask("64"), ask("64")
    assert (first.built, second.built) == (True, False)
    assert second.path == first.path
    assert second.read() == b"plan 1 of decoder_b"
    assert second.sidecar == first.sidecar
    assert not ask.said
    assert stat.S_IMODE((cache / "engines").stat().st_mode) == 0o700
    key = first.sidecar.key
    assert (key.gpu, key.compute_capability, key.cuda_major) == ("Orin", "8.7", 12)
    assert key.onnx_sha256 == ask.entry.content_sha256
    assert first.sidecar.driver_version == 12060


def test_an_open_cache_folder_is_closed(ask: Asker, machine: Machine, cache: Path) -> None:
    (cache / "engines").mkdir(parents=True, mode=0o755)
    ask("64")
    assert stat.S_IMODE((cache / "engines").stat().st_mode) == 0o700


def test_the_cache_of_another_user_is_refused(
    ask: Asker, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(EngineError, match=r"belongs to another user, .*MUNIT_EDGE_CACHE"):
        ask("64")


def test_plans_with_tf32_are_taken_only_when_asked_for(ask: Asker, machine: Machine) -> None:
    exact = ask()
    rounded = ask(tf32=True)
    assert ask.said == [
        "no cached engine of decoder_b fits: one was built without --tf32; a new one is built"
    ]
    assert (rounded.built, rounded.sidecar.key.options.tf32) == (True, True)
    assert ask(tf32=True).path == rounded.path
    assert ask().path == exact.path, "the newer one has other profiles"
    assert not ask.said


def test_a_cache_that_cannot_be_written_is_named(ask: Asker, machine: Machine, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write .*cache"):
        ask("64")


def _truncate(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:-3])


def _flip(plan: Path) -> None:
    data = bytearray(plan.read_bytes())
    data[3] ^= 1
    plan.write_bytes(data)


def _remove(plan: Path) -> None:
    plan.unlink()


def _garble_sidecar(plan: Path) -> None:
    plan.with_suffix(".json").write_text("{")


def _newer_sidecar(plan: Path) -> None:
    path = plan.with_suffix(".json")
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))


def _edit_sidecar(plan: Path) -> None:
    path = plan.with_suffix(".json")
    path.write_text(path.read_text().replace('"optimization_level": 3', '"optimization_level": 4'))


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "any"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_truncate, "it has 16 bytes instead of 19"),
        (_flip, "its bytes were changed"),
        (_remove, "the engine's file is missing"),
        (_garble_sidecar, "its sidecar is damaged"),
        (_newer_sidecar, "its sidecar is damaged or was written by another version of munit-edge"),
        (_edit_sidecar, "its sidecar belongs to another engine"),
    ],
)
def test_a_damaged_plan_is_never_handed_out(
    damage: Any, reason: str, exact: bool, ask: Asker, machine: Machine
) -> None:
    damage(ask("64").path)
    plan = ask("64" if exact else None)
    assert plan.built
    assert plan.read() == b"plan 2 of decoder_b"
    assert len(ask.said) == 1
    assert reason in ask.said[0]
    assert not ask("64" if exact else None).built


def test_a_damaged_plan_is_built_again_with_its_own_profiles(ask: Asker, machine: Machine) -> None:
    first = ask("64,128")
    _flip(first.path)
    assert ask().sidecar.key == first.sidecar.key


def test_a_plan_that_changes_after_it_was_found(ask: Asker, machine: Machine) -> None:
    plan = ask("64")
    _flip(plan.path)
    with pytest.raises(EngineError, match="was changed while it was opened"):
        plan.read()


def test_other_profiles_and_options_lie_beside_each_other(ask: Asker, machine: Machine) -> None:
    paths = {
        ask(sizes, **options).path
        for sizes in ("64", "64,128")
        for options in ({}, {"tf32": True}, {"workspace_mb": 64}, {"optimization_level": 5})
    }
    assert len(paths) == len(machine.built) == 8


def test_without_profiles_the_newest_plan_is_taken(ask: Asker, machine: Machine) -> None:
    ask("64")
    newest = ask("128", optimization_level=5)
    assert ask().path == newest.path
    assert len(machine.built) == 2
    # Unless the request has options.
    assert ask(optimization_level=4).sidecar.key.options.optimization_level == 4


def test_without_any_plan_the_default_profile_is_built(ask: Asker, machine: Machine) -> None:
    plan = ask()
    assert plan.sidecar.key.profiles == declare_profiles(ask.manifest)
    assert not ask.said


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": "10.3.1"}, r"built with TensorRT 10\.3\.0, this is 10\.3\.1"),
        ({"facts": DeviceFacts("Thor", (11, 0), 12060, 13000, True)}, r"Orin \(8\.7\), this is Th"),
        ({"facts": DeviceFacts("RTX", (8, 7), 12060, 12060, False)}, r"Orin \(8\.7\), this is RT"),
        ({"facts": DeviceFacts("Orin", (8, 7), 13000, 13000, True)}, "with CUDA 12, this is 13"),
    ],
    ids=["TensorRT", "GPU", "GPU of the same SM", "CUDA"],
)
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "any"])
def test_a_foreign_plan_is_not_used(
    change: dict[str, Any], reason: str, exact: bool, ask: Asker, machine: Machine
) -> None:
    ask("64")
    for name, value in change.items():
        setattr(machine, name, value)
    assert ask("64" if exact else None).built
    if not exact:
        (line,) = ask.said
        assert re.search(reason, line)


def test_a_newer_driver_does_not_matter(ask: Asker, machine: Machine) -> None:
    ask("64")
    machine.facts = DeviceFacts("Orin", (8, 7), 12060, driver_version=13020, integrated=True)
    assert not ask("64").built


@pytest.mark.parametrize(
    ("options", "facts", "version", "fits"),
    [
        ({"version_compatible": True}, ORIN, "10.13.3.9", True),
        ({"version_compatible": True}, ORIN, "11.4.0.106", True),
        ({"version_compatible": True}, ORIN, "10.2.0", False),
        ({"hardware_compatibility": "ampere-plus"}, (8, 9), "10.3.0", True),
        ({"hardware_compatibility": "ampere-plus"}, (7, 5), "10.3.0", False),
        ({"hardware_compatibility": "same-compute-capability"}, (8, 7), "10.3.0", True),
        ({"hardware_compatibility": "same-compute-capability"}, (8, 9), "10.3.0", False),
    ],
)
def test_compatible_plans_serve_what_they_were_built_for(
    options: dict[str, Any], facts: Any, version: str, fits: bool, ask: Asker, machine: Machine
) -> None:
    ask("64", **options)
    machine.version = version
    if isinstance(facts, tuple):
        machine.facts = DeviceFacts("Another", facts, 12060, 12060, False)
    assert ask().built is not fits


def test_another_export_has_other_plans(ask: Asker, machine: Machine) -> None:
    ask("64")
    ask.entry = ask.manifest.graph("decoder", "a")
    assert ask("64").built


def test_timings_are_kept_unless_not_wanted(ask: Asker, machine: Machine) -> None:
    ask("64")
    ask("128")
    assert machine.timing_caches == [b"", b"timings"]
    request = BuildRequest(timing_cache=False, profiles=declare_profiles(ask.manifest))
    find_or_build(ask.model, ask.manifest, ask.entry, request)
    assert machine.timing_caches[-1] is None


def test_other_weights_are_another_engine(ask: Asker, machine: Machine, tmp_path: Path) -> None:
    """The same graph file, with a weights file of which only the numbers differ."""
    first = ask("64")
    ask.model = Path(shutil.copytree(ask.model, tmp_path / "model"))
    assert ask.entry.weights
    file = ask.model / ask.entry.weights.file
    _flip(file)
    weights = ask.entry.weights.model_copy(update={"sha256": sha256(file)})
    ask.entry = ask.entry.model_copy(update={"weights": weights})
    second = ask("64")
    assert second.built
    assert second.path != first.path
    others = tuple(e for e in ask.manifest.graphs if e.name != ask.entry.name)
    changed = ask.manifest.model_copy(update={"graphs": (ask.entry, *others)})
    assert [plan.path for plan in list_plans(changed)] == [second.path]
    assert [plan.path for plan in list_plans(ask.manifest)] == [first.path]


@pytest.mark.parametrize("suffix", ["onnx", "weights"])
def test_a_damaged_graph_is_not_built(
    suffix: str, ask: Asker, machine: Machine, tiny_model: Path, tmp_path: Path
) -> None:
    ask.model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    _flip(ask.model / f"decoder_b.{suffix}")
    with pytest.raises(ModelError, match="is not the file that was exported"):
        ask("64")
    assert not machine.built
    assert not list_plans()


def test_a_cancelled_build_leaves_nothing(
    ask: Asker, machine: Machine, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def cancelled(*args: Any, **kwargs: Any) -> BuiltPlan:
        raise KeyboardInterrupt

    monkeypatch.setattr(plan_cache, "build_plan", cancelled)
    with pytest.raises(KeyboardInterrupt):
        ask("64")
    assert [path.name for path in (cache / "engines").iterdir()] == ["locks"]


def test_a_missing_gpu_is_reported_before_tensorrt_is_touched(
    ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gpu(index: int) -> DeviceFacts:
        raise EngineError("there is no GPU")

    def never(flavour: str) -> Any:
        raise AssertionError("TensorRT was loaded")

    monkeypatch.setattr(plan_cache.cuda_runtime, "device_facts", no_gpu)
    monkeypatch.setattr(plan_cache, "load", never)
    with pytest.raises(EngineError, match="there is no GPU"):
        ask("64")


def test_plans_are_listed_and_pruned(ask: Asker, machine: Machine, tiny_sn_model: Path) -> None:
    good, bad = ask("64"), ask("128")
    _flip(bad.path)
    other = Asker(tiny_sn_model)("64")
    states = {plan.path: plan.unusable for plan in list_plans(ask.manifest)}
    assert states == {good.path: None, bad.path: "its bytes were changed"}
    assert len(list_plans()) == 3
    removed = prune_plans(ask.manifest, say=ask.said.append)
    assert [plan.path for plan in removed] == [bad.path]
    assert good.path.exists()
    machine.version = "10.13.3"
    assert [p.unusable for p in list_plans(ask.manifest)] == [
        "built with tensorrt 10.3.0, installed is 10.13.3"
    ]
    assert len(prune_plans(ask.manifest, say=ask.said.append)) == 1
    assert [plan.path for plan in list_plans()] == [other.path]
    assert len(prune_plans(everything=True, say=ask.said.append)) == 1
    assert list_plans() == []


def test_leftovers_are_pruned(ask: Asker, machine: Machine) -> None:
    plan = ask("64")
    plan.path.with_suffix(".json").unlink()
    (listed,) = list_plans(ask.manifest)
    assert listed.sidecar is None
    assert "its sidecar cannot be read" in (listed.unusable or "")
    assert len(prune_plans(ask.manifest, say=ask.said.append)) == 1
    assert not plan.path.exists()


def test_pruning_nothing_makes_no_folder(cache: Path, tiny_model: Path) -> None:
    assert prune_plans(read_manifest(tiny_model), say=print) == []
    assert not cache.exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MUNIT_EDGE_CACHE": "/x"}, "/x"),
        ({"MUNIT_EDGE_CACHE": "", "XDG_CACHE_HOME": "/y"}, "/y/munit-edge"),
        ({"MUNIT_EDGE_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/z"}, "/z/.cache/munit-edge"),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has a folder of its own")
def test_the_cache_folder(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert engines_folder() == Path(expected) / "engines"


RTX = {"target": "tensorrt-rtx", "compute_capabilities": ("8.6",), "optimization_level": 0}

# Builds the style encoder's plan in the cache, as the first of several processes or after it.
BUILD = """
import sys
from pathlib import Path
from munit_edge.engines.tensorrt.cache import BuildRequest, find_or_build
from munit_edge.engines.tensorrt.profiles import declare_profiles
from munit_edge.engines.tensorrt.builder import BuildOptions
from munit_edge.model.manifest import read_manifest

manifest = read_manifest(Path(sys.argv[1]))
options = BuildOptions(target="tensorrt-rtx", compute_capabilities=("8.6",), optimization_level=0)
request = BuildRequest(options=options, profiles=declare_profiles(manifest, sizes="64"))
entry = manifest.graph("style_encoder", "a")
print("ready", flush=True)
sys.stdin.readline()
plan = find_or_build(Path(sys.argv[1]), manifest, entry, request)
print(plan.built, plan.sidecar.plan_sha256)
"""


@needs_rtx
def test_two_processes_at_once_build_once(tiny_model: Path, cache: Path) -> None:
    command = [sys.executable, "-I", "-c", BUILD, str(tiny_model)]
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        for _ in range(2)
    ]
    for process in processes:  # both have imported everything before either begins
        assert process.stdout
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    outputs = []
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        output, errors = process.communicate(timeout=HANG_S)
        assert process.returncode == 0, errors
        outputs.append(output.split())
    assert sorted(built for built, _ in outputs) == ["False", "True"]
    assert outputs[0][1] == outputs[1][1]
    assert len(list((cache / "engines").glob("*.plan"))) == 1


@needs_rtx
def test_a_real_plan_is_found_again(tiny_model: Path, cache: Path) -> None:
    ask = Asker(tiny_model)
    ask.entry = ask.manifest.graph("style_encoder", "a")
    first = ask("64", **RTX)
    assert first.read()[:4] == b"vtrt"
    assert not ask(**RTX).built
    text = first.path.with_suffix(".json").read_text()
    assert json.loads(text)["key"]["gpu"] is None


@pytest.mark.parametrize(
    ("precision", "capability", "oldest"),
    [
        ("fp8", (8, 7), "8.9"),
        ("fp8", (8, 9), None),
        ("bf16", (7, 5), "8.0"),
        ("bf16", (8, 7), None),
    ],
)
def test_a_gpu_without_the_type(
    precision: Precision,
    capability: tuple[int, int],
    oldest: str | None,
    ask: Asker,
    machine: Machine,
) -> None:
    machine.facts = DeviceFacts("GPU", capability, 12060, 12060, integrated=False)
    ask.entry = ask.entry.model_copy(update={"precision": precision})
    if oldest is None:
        assert ask("64").built
        return
    with pytest.raises(EngineError) as caught:
        ask("64")
    message = str(caught.value)
    assert f"decoder_b is in {precision}, which needs compute capability {oldest}" in message
    assert "--precision fp16 or int8" in message
    assert not machine.built


@needs_rtx
def test_a_gpu_without_the_type_among_those_to_build_for(ask: Asker) -> None:
    ask.entry = ask.entry.model_copy(update={"precision": "fp8"})
    with pytest.raises(EngineError, match=r"is in fp8, .* and this engine is for 8\.6: export"):
        ask("64", target="tensorrt-rtx", compute_capabilities=("8.9", "8.6"))
