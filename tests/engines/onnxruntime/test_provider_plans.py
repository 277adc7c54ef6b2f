"""Plans of ONNX Runtime's TensorRT provider: listed and pruned like our own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from typer.testing import CliRunner

from munit_edge.cli.main import app
from munit_edge.doctor.examine import look_at_cache
from munit_edge.doctor.selftest import FOLDER, graphs_folder
from munit_edge.engines.onnxruntime.provider_plans import (
    SIDECAR_FILE,
    CacheClaim,
    ProviderKey,
    read_key,
)
from munit_edge.engines.onnxruntime.session import TENSORRT_PROVIDER
from munit_edge.engines.tensorrt import listing as plan_list
from munit_edge.engines.tensorrt.listing import list_plans, prune_plans
from munit_edge.model.manifest import read_manifest

KEY = ProviderKey(
    graph="decoder_b",
    onnx_sha256="1" * 64,
    precision="fp16",
    onnxruntime=onnxruntime.__version__,
    tensorrt="10.13.3",
    gpu="NVIDIA L4",
    compute_capability="8.9",
    cuda_major=13,
    tf32=False,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ONNX Runtime whose provider loads TensorRT 10.13.3."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT_PROVIDER])
    monkeypatch.setattr(plan_list, "library_version", lambda _: "10.13.3")


def built(**changes: Any) -> Path:
    """A folder in which the provider has written a plan of 1500 bytes."""
    folder = KEY.model_copy(update=changes).folder()
    (folder / "TRTKernel_graph_1_sm89.engine").write_bytes(bytes(1500))
    return folder


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["engines", *arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_the_sidecar_tells_what_ties_the_plans() -> None:
    assert read_key(KEY.folder()) == KEY
    assert KEY.folder() == KEY.folder()


def test_what_fits_is_kept_and_the_rest_is_told_and_pruned(tmp_path: Path) -> None:
    good = built()
    bad = {
        built(tensorrt="10.9.0"): "built with tensorrt 10.9.0, installed is 10.13.3",
        built(onnxruntime="1.0"): f"built by onnxruntime 1.0, installed is onnxruntime "
        f"{onnxruntime.__version__}",
        KEY.model_copy(update={"gpu": "other"}).folder(): "no plan was written",
    }
    damaged = built(precision="fp32")
    (damaged / SIDECAR_FILE).write_text("{}")
    bad[damaged] = f"its {SIDECAR_FILE} is damaged or of another munit-edge"
    without = built(precision="int8")
    (without / SIDECAR_FILE).unlink()
    bad[without] = f"its {SIDECAR_FILE} cannot be read (No such file or directory)"

    assert {plan.path: plan.unusable for plan in list_plans()} == {good: None, **bad}
    said: list[str] = []
    assert {plan.path for plan in prune_plans(report=said.append)} == set(bad)
    assert [plan.path for plan in list_plans()] == [good]
    assert [plan.path for plan in prune_plans(everything=True, report=said.append)] == [good]
    assert not list_plans()
    assert not said


def test_nothing_is_known_against_plans_where_the_provider_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built(tensorrt="10.9.0")
    monkeypatch.setattr(onnxruntime, "get_available_providers", list)
    assert [plan.unusable for plan in list_plans()] == [None]


def test_what_another_process_runs_is_kept() -> None:
    folder = built(tensorrt="10.9.0")
    claim = CacheClaim(folder)
    said: list[str] = []
    assert prune_plans(report=said.append) == []
    assert said == [f"another process uses the plans in {folder}: they are kept"]
    claim.release()
    assert [plan.path for plan in prune_plans(report=said.append)] == [folder]


def test_only_those_of_a_model() -> None:
    built()
    manifest = read_manifest(FOLDER / graphs_folder("fp32"))
    entry = manifest.graph("decoder", "a")
    mine = built(graph="decoder_a", onnx_sha256=entry.sha256)
    (mine / SIDECAR_FILE).unlink()
    assert [plan.path for plan in list_plans(manifest)] == [mine]


def test_the_command_line_shows_them(cache: Path) -> None:
    folder = built()
    size = sum(path.stat().st_size for path in folder.iterdir())
    headings, row, total = run("list").splitlines()
    assert headings.split()[:3] == ["graph", "MB", "precision"]
    assert re.split(" {2,}", row) == [
        *("decoder_b", "0.00", "fp16"),
        *(f"onnxruntime {onnxruntime.__version__}, tensorrt 10.13.3", "NVIDIA L4 (8.9)"),
        "as they came",
    ]
    assert total == f"1 plans, 0.00 MB, in {cache / 'engines'}"
    facts = json.loads(run("list", "--json"))
    assert (facts["path"], facts["bytes"], facts["unusable"]) == (str(folder), size, None)
    assert facts["sidecar"]["graph"] == "decoder_b"
    assert look_at_cache().num_plans == 1
    assert run("prune") == "removed 0 plans, 0.00 MB\n"
    assert run("prune", "--all").endswith("removed 1 plans, 0.00 MB\n")
    assert not folder.exists()
