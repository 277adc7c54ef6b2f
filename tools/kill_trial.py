"""Kills munit-edge at random moments and checks what is left.

Every command runs in its own work folder with its own temporary files and is ended by SIGTERM or
SIGKILL at a random time. No final name may then hold a half-written file, and once the same command
has run to its end nothing unfinished may be left anywhere.

    python tools/kill_trial.py                      100 SIGTERMs and 100 SIGKILLs
    python tools/kill_trial.py --kills 5 --only translate,styles

Prints a table; exit code 1 after a fault. Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
HELPERS = ROOT / "tests" / "helpers"
PROGRAM = [sys.executable, "-m", "munit_edge"]
SIGNALS = (signal.SIGTERM, signal.SIGKILL)
UNFINISHED = (".munit-edge-", "munit-edge-scratch-")
FOREIGN = (".ses",)
"""Files that libraries keep in the folder for temporary files: ONNX Runtime's session."""
TIMEOUT_S = 600.0
GRACE_S = 60.0
"""Time for a command to clean up after SIGTERM."""

RUN_SETTINGS = (
    "data.workers=1",
    "loss.cycle_weight=0",
    "average_decay=null",
    "iterations=12",
    "image_interval=5",
    "checkpoint_interval=2",
    "keep_checkpoints=2",
)
"""What the training run changes of the tests' tiny run."""
IMAGE_SIZE = (192, 192)
NUM_IMAGES = 40


@dataclass(frozen=True)
class Command:
    """One command and the check of its results."""

    name: str
    words: tuple[str, ...]
    check: Callable[[Path], Iterator[str]]
    """Yields the faults in the work folder; holds at any moment."""
    kept: tuple[str, ...] = ()
    """Parts of names that a kill may leave, because the same command continues with them."""


@dataclass
class Tally:
    """The outcome for one command and signal."""

    kills: int = 0
    ended_before: int = 0
    left: int = 0
    """Kills that left something unfinished."""
    faults: list[str] = field(default_factory=list)


def main() -> int:
    """Run the trial; returns 1 after a fault."""
    options = _options()
    commands = [c for c in _commands() if not options.only or c.name in options.only.split(",")]
    if not commands:
        sys.exit(f"--only {options.only}: known are {', '.join(c.name for c in _commands())}")
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="kill-trial-") as scratch:
        made = Path(scratch) / "made"
        _make_inputs(made, {command.name for command in commands})
        tallies = {(c.name, s): Tally() for c in commands for s in SIGNALS}
        for command in commands:
            work = Path(scratch) / command.name
            shutil.copytree(made, work)
            seconds = _finish(command, work)
            faults = [*command.check(work), *_unfinished(work)]
            tallies[command.name, SIGNALS[0]].faults += [f"not killed: {f}" for f in faults]
            for number in SIGNALS:
                share = _share(options.kills, commands, command)
                for _ in range(share):
                    after = chance.uniform(0, seconds)
                    _trial(command, work, number, after, tallies[command.name, number])
    return _report(tallies)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="of each signal, over all commands")
    parser.add_argument("--only", default="", help="names of commands, with commas between")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    return parser.parse_args()


def _share(kills: int, commands: Sequence[Command], command: Command) -> int:
    """The number of kills for a command."""
    index = commands.index(command)
    return kills // len(commands) + (index < kills % len(commands))


def _trial(command: Command, work: Path, number: signal.Signals, after: float, to: Tally) -> None:
    """Kill a command once, check, let it run to its end, and check again."""
    when = f"{number.name} after {after:.2f} s"
    process = _start(command, work)
    time.sleep(after)
    process.send_signal(number)
    try:
        _, output = process.communicate(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        _, output = process.communicate()
        to.faults.append(f"{when}: not ended within {GRACE_S:g} s")
    to.kills += 1
    to.ended_before += process.returncode == 0
    to.faults += [f"{when}: {fault}" for fault in _badly_ended(process.returncode, number, output)]
    left = [path for path in _unfinished(work) if not any(part in path for part in command.kept)]
    to.left += bool(left)
    if number == signal.SIGTERM:
        to.faults += [f"{when}: left {path}" for path in left]
    to.faults += [f"{when}: {fault}" for fault in command.check(work)]
    _finish(command, work)
    to.faults += [f"{when}, run again: {fault}" for fault in command.check(work)]
    to.faults += [f"{when}, run again: left {path}" for path in _unfinished(work)]
    print(f"{command.name}: {when}, faults so far: {to.faults}", file=sys.stderr, flush=True)


def _badly_ended(code: int, number: signal.Signals, output: str) -> Iterator[str]:
    """Ending by the signal itself is fine: before the program's first line, or by SIGKILL."""
    if code not in (0, -number, 128 + number):
        yield f"exit code {code}: {output.strip()[-300:]}"
    if "Traceback" in output:
        yield f"a traceback: {output.strip()[-300:]}"


def _start(command: Command, work: Path) -> subprocess.Popen[str]:
    temporary = work / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [*PROGRAM, *command.words],
        cwd=work,
        env={
            **os.environ,
            "TMPDIR": str(temporary),
            "MUNIT_EDGE_CACHE": str(work / "cache"),
            # torch makes this folder when an optimiser is built, and keeps it.
            "TORCHINDUCTOR_CACHE_DIR": str(work / "cache" / "torch"),
            "OMP_WAIT_POLICY": "passive",
            "OMP_NUM_THREADS": "1",
            # Half-written bytecode of an import is not the program's fault.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(command: Command, work: Path) -> float:
    """Run a command to its end; returns its duration in seconds."""
    started = time.monotonic()
    process = _start(command, work)
    _, output = process.communicate(timeout=TIMEOUT_S)
    if process.returncode:
        sys.exit(f"{command.name} fails with {process.returncode}: {output}")
    return time.monotonic() - started


def _unfinished(work: Path) -> list[str]:
    """Relative paths of everything below the work folder that is not a result."""
    found = [path for path in work.rglob("*") if path.name.startswith(UNFINISHED)]
    temporary = (work / "tmp").rglob("*")
    found += [path for path in temporary if path not in found and path.name not in FOREIGN]
    found += work.rglob("*.parts")
    return sorted(str(path.relative_to(work)) for path in found)


def _report(tallies: dict[tuple[str, signal.Signals], Tally]) -> int:
    faults = [(name, fault) for (name, _), tally in tallies.items() for fault in tally.faults]
    print("command      signal   kills done before  left faults")
    for (name, number), tally in tallies.items():
        print(
            f"{name:<12} {number.name:<8} {tally.kills:>5} {tally.ended_before:>11} "
            f"{tally.left:>5} {len(tally.faults):>6}"
        )
    for name, fault in faults:
        print(f"{name}: {fault}")
    return 1 if faults else 0


# ----------------------------------------------------------------------------------------------
# The commands and their checks


def _commands() -> list[Command]:
    run = ("train", "train.yaml", "--data", "data", "-o", "out/run", "--device", "cpu")
    convert = ("convert", "foreign/gen_00000010.pt", "--config", "foreign/config.yaml")
    from_a = ("--direction", "a2b", "--styles", "2")
    return [
        Command("train", (*run, "--overwrite"), _check_run),
        Command("export", ("export", "onnx", "checkpoint", "-o", "out/model", "--no-stats-graphs",
                           "--overwrite"), _check_model),
        Command("convert", (*convert, "-o", "out/converted", "--overwrite"), _check_converted),
        Command("translate", ("translate", "model", "photos", "-o", "out/results", *from_a,
                              "--overwrite"), _check_images),
        Command("video", ("translate", "model", "clip.mp4", "-o", "out/clip.mp4", "--resume",
                          "--direction", "a2b", "--size", "32"), _check_video, kept=(".parts",)),
        Command("styles", ("styles", "save", "model", "blue", "--domain", "b", "--from",
                           "photos", "--overwrite"), _check_styles),
    ]  # fmt: skip


def _check_run(work: Path) -> Iterator[str]:
    run = work / "out" / "run"
    yield from _faulty_images((run / "images").glob("*.png"))
    yield from _faulty_json(run / "run.json")
    if (run / "train.yaml").exists():
        yield from _faulty(run / "train.yaml", lambda path: yaml.safe_load(path.read_text()))
    checkpoints = run / "checkpoints"
    for path in checkpoints.iterdir() if checkpoints.exists() else ():
        if not path.name.startswith(UNFINISHED):
            yield from _faulty_checkpoint(path)


def _check_converted(work: Path) -> Iterator[str]:
    if (work / "out" / "converted").exists():
        yield from _faulty_checkpoint(work / "out" / "converted")


def _check_model(work: Path) -> Iterator[str]:
    model = work / "out" / "model"
    if model.exists():
        yield from _faulty(model, _check_hashes)


def _check_hashes(model: Path) -> None:
    manifest = json.loads((model / "munit_edge.json").read_text())
    graphs = manifest["graphs"]
    for file in [*graphs, *(graph["weights"] for graph in graphs if graph["weights"])]:
        data = (model / file["file"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            raise ValueError(f"{file['file']} is not what the manifest says")


def _check_images(work: Path) -> Iterator[str]:
    yield from _faulty_images((work / "out" / "results").glob("*.png"), IMAGE_SIZE)


def _check_video(work: Path) -> Iterator[str]:
    if (work / "out" / "clip.mp4").exists():
        yield from _faulty(work / "out" / "clip.mp4", _check_frames)


def _check_frames(path: Path) -> None:
    import av

    with av.open(str(path)) as result, av.open(str(path.parents[1] / "clip.mp4")) as source:
        counts = [sum(1 for _ in file.decode(video=0)) for file in (result, source)]
    if counts[0] != counts[1]:
        raise ValueError(f"{counts[0]} frames instead of {counts[1]}")


def _check_styles(work: Path) -> Iterator[str]:
    yield from _faulty_json(work / "model" / "styles" / "blue.json")


def _faulty_images(paths: Iterator[Path], size: tuple[int, int] | None = None) -> Iterator[str]:
    def check(path: Path) -> None:
        with Image.open(path) as image:
            image.load()
            if size and image.size != size:
                raise ValueError(f"size {image.size}")

    for path in paths:
        if not path.name.startswith(UNFINISHED):
            yield from _faulty(path, check)


def _faulty_json(path: Path) -> Iterator[str]:
    if path.exists():
        yield from _faulty(path, lambda path: json.loads(path.read_text()))


def _faulty_checkpoint(path: Path) -> Iterator[str]:
    from munit_edge.trainer.checkpoint import open_checkpoint

    yield from _faulty(path, lambda path: open_checkpoint(path).generators())


def _faulty(path: Path, check: Callable[[Path], object]) -> Iterator[str]:
    try:
        check(path)
    except Exception as exc:  # libraries raise anything on half a file
        yield f"{path.name} is not whole: {type(exc).__name__}: {exc}"


# ----------------------------------------------------------------------------------------------
# Inputs: tiny, created once


def _make_inputs(work: Path, names: set[str]) -> None:
    """Create a work folder with the inputs of the named commands."""
    sys.path.insert(0, str(HELPERS))
    runs = importlib.import_module("training_runs")
    runs.write_data(work / "data", 6)
    (work / "train.yaml").write_text(yaml.safe_dump(runs.tiny_settings(*RUN_SETTINGS)))
    if "convert" in names:
        # Larger than in the tests: a file that takes a moment to write.
        case = (
            importlib.import_module("foreign_models")
            .write_munit_case(work / "case", shape=(1, 32, 32))
            .parent
        )
        case.rename(work / "foreign")
    if names & {"export", "translate", "video", "styles"}:
        _make_model(work)
    if names & {"translate", "styles"}:
        runs.write_images(work / "photos", NUM_IMAGES, IMAGE_SIZE)
    if "video" in names:
        importlib.import_module("clips").make_clip(work / "clip.mp4", 240)


def _make_model(work: Path) -> None:
    import torch

    from munit_edge.export.model_directory import export_model
    from munit_edge.export.options import ExportOptions
    from munit_edge.model.config import ModelConfig
    from munit_edge.trainer.checkpoint import CheckpointInfo, build_generators, save_checkpoint

    torch.manual_seed(0)
    config = ModelConfig(width=8, num_res_blocks=1, mlp_dim=16)
    generators = build_generators(config)
    save_checkpoint(work / "checkpoint", config, CheckpointInfo(iteration=7), generators=generators)
    export_model(work / "checkpoint", work / "model", ExportOptions(stats_graphs=False))


if __name__ == "__main__":
    sys.exit(main())
