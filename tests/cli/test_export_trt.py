from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import invoke
from needs_rtx import needs_rtx

from munit_edge.cli.build_progress import STEPS_OF_A_BUILD, BuildBar
from munit_edge.cli.export_trt import _graphs
from munit_edge.engines.tensorrt import cache as plan_cache
from munit_edge.errors import EngineError
from munit_edge.model.manifest import read_manifest

RTX = ("--target", "tensorrt-rtx", "--compute-capability", "8.6", "--optimization-level", "0")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_stats_graphs_are_built_when_asked_for(tiny_model: Path) -> None:
    manifest = read_manifest(tiny_model)
    plain = _graphs(manifest, "a2b", stats_graphs=False)
    assert [entry.name for entry in plain] == ["content_encoder_a", "style_encoder_b", "decoder_b"]
    twins = [
        entry.model_copy(update={"kind": f"{entry.kind}_stats"})
        for entry in manifest.graphs
        if entry.kind != "style_encoder"
    ]
    whole = manifest.model_copy(update={"graphs": (*manifest.graphs, *twins)})
    added = [e.name for e in _graphs(whole, "a2b", stats_graphs=True) if e not in plain]
    assert added == ["content_encoder_a_stats", "decoder_b_stats"]
    result = invoke("export", "trt", tiny_model, *RTX, "--stats-graphs")
    assert result.exit_code == 2
    assert "lists no content_encoder_a_stats: export the model again" in result.stderr


@needs_rtx
def test_plans_are_built_listed_and_pruned(tiny_model: Path, cache: Path) -> None:
    build = ("export", "trt", tiny_model, *RTX, "--sizes", "32,64", "--directions", "a2b")
    first = invoke(*build)
    assert first.exit_code == 0, first.output
    for graph in ("content_encoder_a", "style_encoder_b", "decoder_b"):
        assert f"\n{graph} " in f"\n{first.stdout}"
        assert len(list((cache / "engines").glob(f"{graph}-*.plan"))) == 1
    assert "1 x 32 x 32 to 4 x 32 x 32" in first.stdout
    assert "1 x 64 x 64 to 4 x 64 x 64" in first.stdout
    assert "3 engines built and 0 found" in first.stdout
    assert "compute capability 8.6 with tensorrt-rtx 1." in first.stdout

    again = invoke(*build, "--json")
    lines = [json.loads(line) for line in again.stdout.splitlines()]
    assert [line["built"] for line in lines] == [False] * 3
    assert all(Path(line["path"]).is_file() for line in lines)

    listed = invoke("engines", "list", tiny_model)
    assert listed.exit_code == 0
    headings, *rows, total = listed.stdout.splitlines()
    assert len(rows) == 3
    assert "3 engines" in total
    names = ("precision", "built with", "for", "batch x height x width")
    assert headings.split() == ["graph", "MB", *" ".join(names).split()], "nothing is unusable"
    for name in names:
        at = headings.index(f"  {name}")
        assert all(row[at : at + 2] == "  " and row[at + 2] != " " for row in rows), name
    Path(lines[0]["path"]).write_bytes(b"short")
    (damaged,) = [
        plan
        for plan in map(json.loads, invoke("engines", "list", "--json").stdout.splitlines())
        if plan["unusable"]
    ]
    assert damaged["path"] == lines[0]["path"]
    pruned = invoke("engines", "prune", tiny_model)
    assert "it has 5 bytes instead of" in pruned.stdout
    assert "removed 1 engine" in pruned.stdout
    assert "removed 2 engines" in invoke("engines", "prune", tiny_model, "--all").stdout
    assert invoke("engines", "list", "--json").stdout == ""


def test_no_gpu_is_one_line(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gpu(index: int) -> Any:
        raise EngineError("there is no NVIDIA GPU here")

    monkeypatch.setattr(plan_cache.cuda_runtime, "device_facts", no_gpu)
    result = invoke("export", "trt", tiny_model)
    assert result.exit_code == 2
    assert result.stderr == "error: there is no NVIDIA GPU here\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sizes", "67"), "multiples of 4 pixels, at least 16; the nearest is 68x68"),
        (("--sizes", "8"), "at least 16"),
        (("--min", "128", "--opt", "64"), "--min 128x128 is larger than --opt 64x64"),
        (("--sizes", "64", "--max", "128"), "--sizes sets exact sizes"),
        (("--batch", "4,1"), "smallest, best and largest 1,2,4"),
        (("--directions", "a2c"), "direction 'a2c' is not known: use 'a2b' or 'b2a'"),
        (("--optimization-level", "6"), "--optimization-level 6: it should be"),
        (("--workspace-mb", "0"), "--workspace-mb 0: it should be"),
        (("--compute-capability", "8.6"), "--compute-capability is for --target tensorrt-rtx"),
        ((*RTX, "--version-compatible"), "TensorRT-RTX does not support --version-compatible"),
        ((*RTX[:3], "8.6, sm86"), "'sm86' is not a compute capability: write it as 8.6"),
        ((*RTX[:3], ""), "'' is not a compute capability"),
        (("--device", "cpu"), "use cuda or cuda:N"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], message: str, tiny_model: Path) -> None:
    result = invoke("export", "trt", tiny_model, *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@needs_rtx
@pytest.mark.parametrize("capability", ["1.0", "9.9,8.6"])
def test_unknown_compute_capability(capability: str, tiny_model: Path) -> None:
    words = ("--target", "tensorrt-rtx", "--compute-capability", capability)
    result = invoke("export", "trt", tiny_model, *words)
    assert result.exit_code == 2
    assert f"{capability[:3]} is unknown; this TensorRT-RTX builds for 7.5,8.0" in result.stderr


@pytest.mark.parametrize("command", [("export", "trt"), ("engines", "list"), ("engines", "prune")])
def test_what_is_no_model_directory(command: tuple[str, ...], tmp_path: Path) -> None:
    result = invoke(*command, tmp_path)
    assert result.exit_code == 2
    assert "is no model directory" in result.stderr


class Steps:
    """A bar that counts."""

    def __init__(self) -> None:
        self.done = 0
        self.notes: list[str] = []

    def advance(self, steps: int = 1, note: str = "") -> None:
        assert steps >= 0
        self.done += steps
        self.notes.append(note)


def test_phases_move_the_bar_forward_only() -> None:
    steps = Steps()
    bar = BuildBar(steps, "decoder_b")
    bar.phase_start("build", None, 2)
    bar.phase_start("clone", "build", 10)
    bar.step("clone", 4)
    assert steps.done == STEPS_OF_A_BUILD // 4
    bar.phase_finish("clone")
    bar.step("build", 0)
    bar.phase_start("tune", "build", 4)
    assert steps.done == STEPS_OF_A_BUILD // 2
    bar.step("clone", 9)  # late, from another thread
    bar.step("tune", 3)
    assert STEPS_OF_A_BUILD // 2 < steps.done < STEPS_OF_A_BUILD
    bar.finish("built")
    assert steps.done == STEPS_OF_A_BUILD
    assert steps.notes[-1] == "decoder_b: built"
    assert "decoder_b: tune" in steps.notes
