"""Files of evidence, as a check of a GPU would write them. Their numbers are invented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evidence import Backend, Card, Code, Evidence, Host, NotRun, Row, Subject

from munit_edge.model.config import ModelConfig
from munit_edge.system.latency import Latency

HASHES = {name: 64 * digit for name, digit in (("shared", "0"), ("tensorrt", "1"), ("torch", "2"))}
CARD = Card(
    name="NVIDIA L4", compute_capability="8.9", memory_mib=23034, driver="580.65.06", cuda="13.0",
    max_clock_mhz=2040,
)  # fmt: skip
HOST = Host(
    system="Linux", instruction_set="x86_64", processor="", num_cores=4, board="", l4t="",
    jetpack="", python="3.12.3", power_modes=("GPU 0 72.00 W of 72.00 W",), load_average=(0.1, 0.9),
)  # fmt: skip


def a_row(**changes: Any) -> Row:
    """One graph."""
    latency = Latency(p50_ms=1.25, p90_ms=1.5, p95_ms=2, p99_ms=2.5, n=100)
    row = Row(
        engine="tensorrt", precision="fp16", graph="decoder_b", reference="onnxruntime fp16",
        worst=0.5, tolerance=1, latency=latency, clock_mhz=1980,
    )  # fmt: skip
    return row.model_copy(update=changes)


def an_evidence(**changes: Any) -> Evidence:
    """A file's contents."""
    config = ModelConfig()
    fields: dict[str, Any] = {
        "created": "2026-12-24T18:00:00+00:00",
        "seconds": 250.0,
        "device": "cuda:0",
        "size": 256,
        "batch": 1,
        "card": CARD,
        "host": HOST,
        "backends": {"tensorrt": Backend(version="10.13.0.35", cuda=None, gpu_fault=None)},
        "packages": {"tensorrt": "10.13.0.35"},
        "code": Code(version="0.1.0", commit=40 * "a", modified=False, engines=HASHES),
        "subject": Subject(
            config=config, sha256=64 * "3", seeded=True, graphs={"fp16": {"decoder_b": 64 * "4"}}
        ),
        "rows": (a_row(), a_row(engine="torch", precision="fp32")),
        "selftest": (),
        "failures": (),
        "not_run": (NotRun(engine="torch", precision="tf32", why="out of memory"),),
    }
    return Evidence(**{**fields, **changes})


def write_evidence(folder: Path, evidence: Evidence, name: str = "") -> Path:
    """The file; by default under the name that it should have."""
    path = folder / (name or evidence.file_name)
    path.write_text(evidence.model_dump_json(indent=2))
    return path
