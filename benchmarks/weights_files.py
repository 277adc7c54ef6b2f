"""What weights files save: a model directory against a copy whose graphs hold all their weights.

    python benchmarks/weights_files.py MODEL [MODEL ...] [--engine onnxruntime] [--runs 9]

For each model, in turns and in new processes: size on disk; time to open each graph of a, which
includes comparing its files with the manifest, and by how much the process's memory grows at its
peak and in the end; `munit-edge translate` of one photo in one style, with its peak memory. Medians
are printed. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cli_startup import hardware
from PIL import Image
from processes import MEBI, MUNIT_EDGE, run_process

from munit_edge.export.weights_files import load_graph, write_graph
from munit_edge.model.manifest import MANIFEST_FILE, Manifest, manifest_json, read_manifest

_OPEN = """
import sys, time
from pathlib import Path
from munit_edge.doctor.selftest import FOLDER
from munit_edge.engines.factory import open_graphs

def held(name):
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) / 1024

model, engine, *graph = sys.argv[1:]
# The engine's libraries are loaded, and its first work is done.
with open_graphs(FOLDER / "model", engine, "cpu") as graphs:
    graphs.runner("style_encoder", "a")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before, start = held("VmRSS"), time.perf_counter()
graphs = open_graphs(Path(model), engine, "cpu")
runner = graphs.runner(*graph)
seconds = time.perf_counter() - start
print([1000 * seconds, held("VmHWM") - before, held("VmRSS") - before])
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="What weights files save.")
    parser.add_argument("models", type=Path, nargs="+", help="model directories")
    parser.add_argument("--engine", default="onnxruntime", help="engine on the CPU [onnxruntime]")
    parser.add_argument("--size", type=int, default=256, help="side of the photo in pixels [256]")
    parser.add_argument("--runs", type=int, default=9, help="runs of each kind [9]")
    options = parser.parse_args()
    print(f"{hardware()}; load average {os.getloadavg()[0]:.1f}; {options.engine}")
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            _compare(model, Path(folder), options)
    return 0


def _compare(model: Path, scratch: Path, options: argparse.Namespace) -> None:
    manifest = read_manifest(model)
    whole = _without_weights_files(model, manifest, scratch / model.name)
    sizes = [sum(f.stat().st_size for f in path.glob("*.*")) / 1e6 for path in (whole, model)]
    print(f"\n{model.name}: {sizes[0]:.1f} MB on disk in graph files alone, {sizes[1]:.1f} MB")
    print("| | graph files alone | with weights files |\n|---|---|---|")
    for entry in manifest.graphs:
        if entry.domain != "a":
            continue
        words = [options.engine, entry.kind, entry.domain]
        found = _in_turns(
            lambda path, words=words: json.loads(  # type: ignore[misc]
                run_process([sys.executable, "-c", _OPEN, path, *words], both_streams=True).output
            ),
            (whole, model),
            options.runs,
        )
        cells = ["{:.0f} ms, peak {:.0f} MiB, then {:.0f}".format(*each) for each in found]
        print(f"| open {entry.name} | {' | '.join(cells)} |")
    photo = scratch / "photo.png"
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((options.size, options.size)).save(photo)
    command = [photo, "--direction", "a2b", "--styles", 1, "--engine", options.engine]
    command += ["--device", "cpu", "-o", scratch / "out", "--overwrite"]

    def translate(path: Path) -> list[float]:
        done = run_process([*MUNIT_EDGE, "translate", path, *command])
        return [done.seconds, done.peak_bytes / MEBI]

    found = _in_turns(translate, (whole, model), options.runs)
    cells = ["{:.3f} s, peak {:.0f} MiB".format(*each) for each in found]
    print(f"| one photo | {' | '.join(cells)} |", flush=True)


def _in_turns(
    measure: Callable[[Path], list[float]], paths: tuple[Path, Path], runs: int
) -> list[list[float]]:
    """Medians of what `measure` finds of each path; a first run of each is not counted."""
    found: dict[Path, list[list[float]]] = {path: [] for path in paths}
    for number in range(runs + 1):
        for path in paths:
            values = measure(path)
            if number:
                found[path].append(values)
    return [[statistics.median(v) for v in zip(*each, strict=True)] for each in found.values()]


def _without_weights_files(model: Path, manifest: Manifest, target: Path) -> Path:
    """A copy whose graphs hold all their weights."""
    target.mkdir()
    graphs = tuple(
        write_graph(load_graph(model, e), target, e.model_copy(update={"weights": None}))
        for e in manifest.graphs
    )
    text = manifest_json(manifest.model_copy(update={"graphs": graphs}))
    (target / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return target


if __name__ == "__main__":
    sys.exit(main())
