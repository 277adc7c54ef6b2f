"""Every engine that computes fp32 on this CPU against torch and ONNX Runtime: reference cases.

All graphs, with the sizes, batches and styles of the parity check that an export passes in ONNX
Runtime: of two image sizes only the first is the one that an engine may have prepared itself for.
"""

from __future__ import annotations

from pathlib import Path

from reference_cases import Case

from munit_edge.engines.devices import Device
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.table import fastest_on_cpu, is_installed
from munit_edge.engines.torch.runner import TorchGraphs
from munit_edge.export.model_directory import export_model
from munit_edge.export.options import ExportOptions
from munit_edge.export.parity import check_parity, failures, num_cases
from munit_edge.model.config import TensorIO
from munit_edge.trainer.checkpoint import open_checkpoint
from munit_edge.trainer.foreign.convert import convert_checkpoint

ENGINES = [engine for engine in fastest_on_cpu("fp32") if is_installed(engine)]


def test_munit(munit_case: Case, tmp_path: Path) -> None:
    check_engines(munit_case, "uint8", tmp_path)


def test_imaginaire(imaginaire_case: Case, tmp_path: Path) -> None:
    check_engines(imaginaire_case, "uint8", tmp_path)


def test_munit_with_stats_graphs(munit_case: Case, tmp_path: Path) -> None:
    check_engines(munit_case, "float32", tmp_path)


def test_imaginaire_with_stats_graphs(imaginaire_case: Case, tmp_path: Path) -> None:
    check_engines(imaginaire_case, "float32", tmp_path)


def check_engines(case: Case, io: TensorIO, folder: Path) -> None:
    convert_checkpoint(case.checkpoint, case.config, folder / "checkpoint")
    # The graphs for tiles with one kind of image only: they take most of the time.
    options = ExportOptions(io=io, weights="live", stats_graphs=io == "float32")
    export_model(folder / "checkpoint", folder / "model", options)
    checkpoint = open_checkpoint(folder / "checkpoint")
    faults = []
    with (
        TorchGraphs(
            checkpoint.generators("live"),
            checkpoint.config,
            checkpoint.weights_sha256("live"),
            Device("cpu"),
            io=io,
        ) as torch,
        open_graphs(folder / "model", "onnxruntime", "cpu") as onnxruntime,
    ):
        for engine in ENGINES:
            for reference in (torch, onnxruntime):
                if engine == reference.engine:
                    continue
                with open_graphs(folder / "model", engine, "cpu") as graphs:
                    assert graphs.model_id == reference.model_id
                    entries = check_parity(graphs, reference, options)
                cases = {(entry.batch, entry.size_hw) for entry in entries}
                assert len(cases) == num_cases(options)
                faults += [f"{engine}, {reference.engine}: {line}" for line in failures(entries)]
    assert faults == []
