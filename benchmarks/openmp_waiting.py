"""Duration of a short training for each way in which OpenMP's threads can wait, idle and loaded.

    python benchmarks/openmp_waiting.py [--load 3] [--runs 3] [--iterations 60]

Between two parallel regions of torch's kernels the threads of GNU's OpenMP spin for about 3 ms
before they sleep (`GOMP_SPINCOUNT=300000` is its default). If other work keeps the cores busy, a
spinning thread delays the thread that it waits for. `munit-edge train` runs as users run it, with
the settings alternating, so that other work on the machine slows all of them. `--load` adds
processes that compute without end, at the same priority.

The final weights of all runs must be equal, bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from processes import MUNIT_EDGE, run_process

from munit_edge.files.atomic import sha256
from munit_edge.system.openmp import WAITING

SETTINGS: dict[str, dict[str, str]] = {
    "munit-edge's choice": {},
    "OpenMP's default": {"GOMP_SPINCOUNT": "300000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
}


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder, _busy(args.load):
        data = Path(folder) / "data"
        run_process([*MUNIT_EDGE, "sample-data", data, "--count", 100])
        seconds: dict[str, list[float]] = {name: [] for name in SETTINGS}
        weights = set()
        for number in range(args.runs):
            for index, (name, environment) in enumerate(SETTINGS.items()):
                run = Path(folder) / f"run-{number}-{index}"
                with _environment(environment):
                    seconds[name].append(_train(data, run, args.iterations))
                weights.add(_last_weights(run))
                print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    best = min(statistics.median(times) for times in seconds.values())
    print(f"munit-edge train, {args.iterations} iterations, {args.load} busy processes beside it:")
    for name, times in seconds.items():
        median = statistics.median(times)
        listed = " ".join(f"{each:.1f}" for each in times)
        print(f"  {name:24} {median:6.1f} s  {median / best:5.2f} x the best  ({listed})")
    if len(weights) > 1:
        sys.exit(f"the runs ended with {len(weights)} different weights")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--load", type=int, default=0, help="processes that compute at the same time"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each setting")
    parser.add_argument("--iterations", type=int, default=60)
    return parser.parse_args()


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Within the block only these variables control how OpenMP's threads wait."""
    before = os.environ.copy()
    for name in WAITING:
        os.environ.pop(name, None)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _train(data: Path, run: Path, iterations: int) -> float:
    options = ["--recipe", "demo", "--data", data, "-o", run, "--set", f"iterations={iterations}"]
    return run_process([*MUNIT_EDGE, "train", *options, "--set", "trackers=[]"]).seconds


def _last_weights(run: Path) -> str:
    *_, newest = sorted((run / "checkpoints").iterdir())
    return sha256(newest / "generators.safetensors")


if __name__ == "__main__":
    main()
