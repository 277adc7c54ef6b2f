"""Time of `munit-edge --help` and of a translation of next to nothing, in new processes.

    python benchmarks/cli_startup.py [--runs 20]

The target for --help is under 0.5 s. The translation is that of one small image by the model of the
self-test, whose arithmetic takes a few milliseconds: what is measured is all the rest, the program
itself. The first run of each is reported separately: it may read files from disk and write
bytecode. "python" is the interpreter alone, doing nothing: the lower limit for any Python program.
All kinds of runs alternate.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

HELP = "munit-edge --help"
TARGET_S = 0.5
MODEL = Path(__file__).resolve().parents[1] / "munit_edge" / "doctor" / "selftest_model" / "model"


def main() -> int:
    parser = argparse.ArgumentParser(description="Time that the program itself takes.")
    parser.add_argument("--runs", type=int, default=20, help="runs after the first [20]")
    runs = parser.parse_args().runs

    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder))
        first = {name: _time_s(command) for name, command in commands.items()}
        later: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                later[name].append(_time_s(command))

    print(hardware())
    for name, seconds in later.items():
        print(
            f"{name}: first run {first[name]:.3f} s, next {runs}: "
            f"median {statistics.median(seconds):.3f} s, p95 {_p95(sorted(seconds)):.3f} s"
        )
    met = statistics.median(later[HELP]) < TARGET_S
    print(f"target {TARGET_S} s for {HELP}: {'met' if met else 'MISSED'}")
    return 0 if met else 1


def _commands(folder: Path) -> dict[str, list[str]]:
    """What is timed: name -> command."""
    program = str(Path(sys.executable).with_name("munit-edge"))
    photo = folder / "photo.png"
    Image.effect_noise((64, 64), 64).convert("RGB").save(photo)
    translate = [program, "translate", str(MODEL), str(photo), "--direction", "a2b"]
    translate += ["--styles", "1", "--engine", "onnxruntime", "--device", "cpu"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        HELP: [program, "--help"],
        "munit-edge translate": [*translate, "-o", str(folder / "out"), "--overwrite"],
    }


def _time_s(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def _p95(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def hardware() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())
