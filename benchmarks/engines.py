"""Graphs on the CPU engines, in every precision that they compute, in turns in one process.

    python benchmarks/engines.py CHECKPOINT FP32_MODEL --work FOLDER [--size 256] [--runs 9]

CHECKPOINT is a seeded one of full width, FP32_MODEL its export (`benchmarks/translate.py` makes
both, and calls this). The exports in other precisions are made once and kept in --work: speed
does not depend on the weights, nor on what the scales of int8 are measured with. One image, medians
in ms, the ratio to ONNX Runtime in fp32 in the same run, and the PSNR of the decoder's image
against it, all of the same content and style.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from cli_startup import hardware
from PIL import Image

from munit_edge.engines.base import GraphSet
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.table import ENGINE_FACTS, MODEL_ENGINES, is_installed
from munit_edge.errors import MunitEdgeError
from munit_edge.images.difference import mean_squared_error, psnr_db
from munit_edge.model.config import Domain
from munit_edge.model.manifest import is_model_directory
from munit_edge.model.precision import PRECISIONS, Precision

REFERENCE = ("onnxruntime", "fp32")


def main() -> int:
    parser = argparse.ArgumentParser(description="Graphs on the CPU engines, in turns.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("model", type=Path, help="its export in fp32")
    parser.add_argument("--work", type=Path, required=True, help="where other exports are kept")
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels [256]")
    parser.add_argument("--runs", type=int, default=9, help="runs of each graph [9]")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    models: dict[Precision, Path] = {
        precision: _export(options, precision) for precision in PRECISIONS
    }
    opened = _open(models)
    feeds = _feeds(opened[REFERENCE], options.size)
    print(f"{hardware()}; load average {before:.1f}")
    print(f"{options.size} x {options.size}, one image, one style, medians of {options.runs} in ms")
    for graph in feeds:
        _compare(graph, opened, feeds[graph], options.runs)
    return 0


def _export(options: argparse.Namespace, precision: Precision) -> Path:
    if precision == "fp32":
        return Path(options.model)
    from munit_edge.export.model_directory import export_model
    from munit_edge.export.options import ExportOptions

    target: Path = options.work / f"{options.model.name}-{precision}"
    if is_model_directory(target):
        return target
    print(f"exporting in {precision}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        for domain in "ab":
            pixels = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize((128, 128), Image.Resampling.BICUBIC)
            (Path(folder) / domain).mkdir()
            image.save(Path(folder) / domain / "image.png")
        given = ExportOptions(
            precision=precision,
            calibration=(Path(folder) / "a", Path(folder) / "b"),
            calibration_images=1,
            min_psnr_db=5.0,
            stats_graphs=False,
        )
        export_model(options.checkpoint, target, given)
    return target


def _open(models: dict[Precision, Path]) -> dict[tuple[str, str], GraphSet]:
    """Every engine and precision that this machine has, by name."""
    opened: dict[tuple[str, str], GraphSet] = {}
    for engine in MODEL_ENGINES:
        if "cpu" not in ENGINE_FACTS[engine].devices or not is_installed(engine):
            continue
        for precision, model in models.items():
            opened[engine, precision] = open_graphs(model, engine, "cpu")
        if "cpu_precision" in ENGINE_FACTS[engine].options:
            graphs = open_graphs(models["fp32"], engine, "cpu", cpu_precision="bf16")
            opened[engine, "fp32 in bf16"] = graphs
    return opened


def _feeds(graphs: GraphSet, size: int) -> dict[tuple[str, Domain], dict[str, Any]]:
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    image = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))[None]
    style = random.standard_normal((1, graphs.config.style_dim)).astype(np.float32)
    content = graphs.runner("content_encoder", "a").run({"image": image})["content"]
    return {
        ("content_encoder", "a"): {"image": image},
        ("decoder", "b"): {"content": content, "style": style},
    }


def _compare(
    graph: tuple[Any, Domain],
    opened: dict[tuple[str, str], GraphSet],
    feeds: dict[str, Any],
    count: int,
) -> None:
    runners = {}
    for name, graphs in opened.items():
        try:
            runners[name] = graphs.runner(*graph)
        except MunitEdgeError as exc:
            print(f"- {name[0]} {name[1]}: {exc}")
    typed = {
        name: {spec.name: feeds[spec.name].astype(spec.dtype) for spec in runner.inputs}
        for name, runner in runners.items()
    }
    outputs = {name: _only(runner.run(typed[name])) for name, runner in runners.items()}
    times: dict[tuple[str, str], list[float]] = {name: [] for name in runners}
    for _ in range(count):
        for name, runner in runners.items():
            begin = time.perf_counter()
            runner.run(typed[name])
            times[name].append(1000 * (time.perf_counter() - begin))
    exact = statistics.median(times[REFERENCE])
    print(f"\n| {graph[0]} | median | fastest | times as fast | PSNR in dB |")
    print("|---|---|---|---|---|")
    for name, found in times.items():
        median = statistics.median(found)
        lost = ""
        if outputs[name].dtype == np.uint8 and name != REFERENCE:
            lost = f"{psnr_db(mean_squared_error(outputs[name], outputs[REFERENCE])):.1f}"
        title = f"{ENGINE_FACTS[name[0]].title} {name[1]}"  # type: ignore[index]
        print(f"| {title} | {median:.0f} | {min(found):.0f} | {exact / median:.2f} | {lost} |")
    for runner in runners.values():
        runner.close()


def _only(outputs: dict[str, Any]) -> Any:
    return next(iter(outputs.values()))


if __name__ == "__main__":
    sys.exit(main())
