"""`munit-edge translate` measured against a plain torch program, on folders and on large images.

    python benchmarks/translate.py                               everything: half an hour
    python benchmarks/translate.py --sections one,folder         some of it
    python benchmarks/translate.py --width 8 --size 64 --pictures 6 --runs 1 --megapixels 1,2
                                                                 tries the script

one      one photo, 1 and 10 styles, from the start of the process to files on disk, in ONNX Runtime
         and in OpenVINO, in each precision of `SIDES`, alternating with
         benchmarks/plain_torch_translate.py: time and peak memory
engines  benchmarks/engines.py: graphs on every CPU engine, in every precision
folder   a folder of photos, one style each: the engine's share of the time
memory   peak memory of a short and of a long folder, and of a video of 1 and of 4 seconds; the
         short folder has twice the photos that can be in progress at once, so queues and batch fill
tiles    benchmarks/tiling_memory.py: peak memory of 12 and of 48 megapixels in tiles
decoder  benchmarks/decoder_folding.py

Each run is a process of its own, both sides alternate, and medians are over --runs. The machine may
be shared, so its load is printed. Models are random (speed does not depend on weights); they are
made once and kept in --work. Exit code 1: a target was missed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cli_startup import hardware
from processes import MEBI, MUNIT_EDGE, NotMeasuredError, Run, run_process

from munit_edge.engines.openvino.arithmetic import lacks_here
from munit_edge.model.precision import Precision
from munit_edge.system.limits import usable_cores
from munit_edge.translate.run import MAX_DEFAULT_JOBS, QUEUE_PIXELS
from munit_edge.translator import DECODE_PIXELS_CPU

HERE = Path(__file__).resolve().parent
SECTIONS = ("one", "engines", "folder", "memory", "tiles", "decoder")


@dataclass(frozen=True)
class Side:
    """What section one compares with plain torch."""

    engine: str
    computes: Precision = "fp32"
    """bf16 is computed from the export in fp32."""
    targets: tuple[float, float] | None = None
    """Times as fast as plain torch with 1 and with 10 styles; None: only measured."""

    @property
    def name(self) -> str:
        return f"{self.engine} {self.computes}"

    @property
    def is_there(self) -> bool:
        """Whether it is installed, and computes in its type on this CPU."""
        lacks = lacks_here() if self.engine == "openvino" else ()
        return _installed(self.engine) and self.computes not in lacks

    def command(self, setting: Setting) -> list[object]:
        """`translate` with its engine, model and options."""
        model = setting.int8_model if self.computes == "int8" else setting.model
        command = [*MUNIT_EDGE, "translate", model, "--engine", self.engine, "--device", "cpu"]
        return [*command, *(["--cpu-precision", "bf16"] if self.computes == "bf16" else [])]


SIDES = (
    Side("onnxruntime", targets=(1.7, 1.5)),
    Side("onnxruntime", "int8"),
    Side("openvino"),
    Side("openvino", "bf16", targets=(2.6, 3.2)),
    Side("openvino", "int8"),
)


@dataclass
class Result:
    """One line of the table."""

    what: str
    target: str
    measured: str
    met: bool | None
    """None: it has no target, or could not be measured; `measured` has the reason."""
    details: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """Options and folders for all sections."""

    options: argparse.Namespace
    work: Path
    scratch: Path

    @property
    def checkpoint(self) -> Path:
        return self.work / f"checkpoint-{self.options.width}"

    @property
    def model(self) -> Path:
        return self.work / f"model-{self.options.width}"

    @property
    def int8_model(self) -> Path:
        return self.work / f"model-{self.options.width}-int8"  # as engines.py names it

    def fresh(self) -> Path:
        """An unused path for results."""
        return Path(tempfile.mkdtemp(dir=self.scratch)) / "results"


def main() -> int:
    options = _options()
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    before = os.getloadavg()
    started = time.monotonic()
    sections: dict[str, Callable[[Setting], Iterator[Result]]] = {
        "one": one_photo,
        "engines": engines,
        "folder": folder_of_photos,
        "memory": memory_does_not_grow,
        "tiles": tiled,
        "decoder": decoder,
    }
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="munit-edge-bench-", dir=work) as scratch:
        setting = Setting(options, work, Path(scratch))
        os.environ["MUNIT_EDGE_CACHE"] = str(Path(scratch) / "cache")  # empty, and not the user's
        for name in options.sections:
            print(f"section {name}", file=sys.stderr, flush=True)
            try:
                for result in sections[name](setting):
                    results.append(result)
                    print(f"{result.what}: {result.measured}", file=sys.stderr, flush=True)
            except NotMeasuredError as exc:
                results.append(Result(f"section {name}", "", f"not measured: {exc}", None))
    _print(results, options, before, time.monotonic() - started)
    if options.json:
        report = {"hardware": hardware(), "load_before": before, "load_after": os.getloadavg()}
        report["results"] = [asdict(result) for result in results]
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if any(result.met is False for result in results) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="`munit-edge translate` against its targets.")
    parser.add_argument(
        "--sections",
        type=_sections,
        default=SECTIONS,
        help=f"some of {','.join(SECTIONS)} [all]",
    )
    parser.add_argument("--width", type=int, default=64, help="width of the model [64]")
    parser.add_argument("--size", type=int, default=256, help="height and width of photos [256]")
    parser.add_argument("--pictures", type=int, default=50, help="photos of section folder [50]")
    parser.add_argument("--runs", type=int, default=5, help="runs of each side of section one [5]")
    parser.add_argument("--megapixels", default="12,48", help="images of section tiles [12,48]")
    parser.add_argument(
        "--work",
        type=Path,
        default=HERE.parent / "build" / "benchmarks",
        help="folder in which models are kept",
    )
    parser.add_argument("--json", type=Path, help="write the results to this file, too")
    return parser.parse_args()


def _sections(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    unknown = [name for name in chosen if name not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {','.join(SECTIONS)}")
    return chosen


def one_photo(setting: Setting) -> Iterator[Result]:
    """From the start of the process to files on disk, all sides alternating.

    The first run of each of our sides, with an empty cache of compiled graphs, is shown by itself.
    """
    options = setting.options
    _need_model(setting.checkpoint, setting.model, options.width)
    _need_int8_model(setting)
    photo = _photos(setting, 1, options.size)[0]
    for index, styles in enumerate((1, 10)):
        ours: dict[Side, list[Run]] = {side: [] for side in SIDES if side.is_there}
        plain: dict[str, list[Run]] = {"each": [], "batch": []} if styles > 1 else {"each": []}
        lean: list[Run] = []
        first = {side: _translate(side, setting, photo, styles) for side in ours}
        for _ in range(options.runs):
            for side, runs in ours.items():
                runs.append(_translate(side, setting, photo, styles))
            for decode, runs in plain.items():
                program = [sys.executable, HERE / "plain_torch_translate.py", setting.checkpoint]
                program += [photo, setting.fresh(), "--styles", styles, "--decode", decode]
                runs.append(run_process(program))
            lean.append(run_process([*program[:-1], "each", "--lean"]))
        best = min(plain, key=lambda decode: _median_seconds(plain[decode]))
        their_seconds, their_peak = _median_seconds(plain[best]), _largest(plain[best])
        noun = "1 style" if styles == 1 else f"{styles} styles"
        detail = [
            f"plain torch, {'all in a batch' if decode == 'batch' else 'one by one'}: "
            f"{_all_seconds(runs)}, {_largest(runs) / MEBI:.0f} MiB"
            for decode, runs in plain.items()
        ]
        detail.append(
            "plain torch, one by one, loading only the two networks that are needed: "
            f"{_all_seconds(lean)}, {_largest(lean) / MEBI:.0f} MiB"
        )
        for side, runs in ours.items():
            target = side.targets[index] if side.targets else None
            seconds, peak = _median_seconds(runs), _largest(runs)
            speed, memory = their_seconds / seconds, peak / their_peak
            size = f"{options.size} x {options.size}"
            yield Result(
                f"one photo, {size}, {noun}, plain torch / translate in {side.name}: time",
                f">= {target}" if target else "",
                f"{speed:.2f} ({their_seconds:.2f} s / {seconds:.2f} s)",
                speed >= target if target else None,
                [
                    f"{side.name}: {_all_seconds(runs)}, {peak / MEBI:.0f} MiB; "
                    f"the first run {_all_seconds([first[side]])}, "
                    f"{first[side].peak_bytes / MEBI:.0f} MiB",
                    *detail,
                ],
            )
            detail = []
            yield Result(
                f"one photo, {noun}, peak memory, translate in {side.name} / faster plain torch",
                "<= 0.5" if target else "",
                f"{memory:.2f} ({peak / MEBI:.0f} MiB / {their_peak / MEBI:.0f} MiB)",
                memory <= 0.5 if target else None,
            )


def _translate(side: Side, setting: Setting, photo: Path, styles: int) -> Run:
    command = [*side.command(setting), photo, "--direction", "a2b", "--styles", styles]
    return run_process([*command, "-o", setting.fresh()])


def engines(setting: Setting) -> Iterator[Result]:
    """Graphs on every engine of the CPU."""
    options = setting.options
    _need_model(setting.checkpoint, setting.model, options.width)
    command = [sys.executable, HERE / "engines.py", setting.checkpoint, setting.model]
    command += ["--work", setting.work, "--size", options.size]
    done = run_process(command, both_streams=True)
    lines = done.output.splitlines()
    _, _, decoder = done.output.partition("| decoder |")
    for what, target in (("OpenVINO fp32 in bf16", 1.8), ("OpenVINO int8", 2.5)):
        match = re.search(rf"\| {what} \| \d+ \| \d+ \| (\d+\.\d+) \|", decoder)
        if match is None:
            yield Result(f"decoder, {what}", f">= {target}", "not measured: not installed", None)
            continue
        ratio = float(match[1])
        yield Result(
            f"decoder, ONNX Runtime fp32 / {what}: time",
            f">= {target}",
            f"{ratio:.2f}",
            ratio >= target,
            lines,
        )
        lines = []


def folder_of_photos(setting: Setting) -> Iterator[Result]:
    """The engine's share of the time since the model was opened."""
    options = setting.options
    _need_model(setting.checkpoint, setting.model, options.width)
    photos = _photos(setting, options.pictures, options.size)
    done = run_process(_translate_folder(setting, setting.model, photos[0].parent))
    match = re.search(r"engine busy (\d+)%", done.output)
    if match is None:
        raise NotMeasuredError(f"translate did not report how busy the engine was: {done.output}")
    share = int(match[1])
    yield Result(
        f"folder of {len(photos)} photos, {options.size} x {options.size}, one style each: the "
        "engine's part of the time",
        ">= 90 %",
        f"{share} %",
        share >= 90,
        [
            done.output.splitlines()[-1],
            f"process: {done.seconds:.1f} s, {done.peak_bytes / MEBI:.0f} MiB",
        ],
    )


def memory_does_not_grow(setting: Setting) -> Iterator[Result]:
    """Folders with few and with many photos; a short and a longer video."""
    options = setting.options
    _need_model(setting.checkpoint, setting.model, options.width)
    short = 2 * _most_under_way(options.size)
    counts = (short, 4 * short)
    peaks = []
    for count in counts:
        photos = _photos(setting, count, options.size)
        done = run_process(_translate_folder(setting, setting.model, photos[0].parent))
        peaks.append(done.peak_bytes)
    yield _growth(f"peak memory of {counts[1]} photos / {counts[0]} photos", peaks)
    if not _installed("av"):
        yield Result("peak memory of videos", "", "not measured: PyAV is not installed", None)
        return
    lengths_s = (1, 4)
    peaks = []
    for length in lengths_s:
        clip = _clip(setting.scratch / f"clip-{length}.mp4", length, options.size // 2)
        command = [*MUNIT_EDGE, "translate", setting.model, clip, "--direction", "a2b"]
        out = setting.fresh()
        peaks.append(run_process([*command, "--styles", 1, "-o", out]).peak_bytes)
    yield _growth(f"peak memory of a video of {lengths_s[1]} s / {lengths_s[0]} s", peaks)


def _most_under_way(size: int) -> int:
    """Most photos that a folder run on the CPU holds at once (docs/folders.md)."""
    jobs = min(MAX_DEFAULT_JOBS, usable_cores())
    cost = max(size * size, QUEUE_PIXELS // (2 * jobs))
    queue = -(-QUEUE_PIXELS // cost) + 1  # and the one that waits for space
    batch = max(1, DECODE_PIXELS_CPU // (size * size))
    return (
        2 * queue + batch + 1
    )  # read ahead, to be written, in the engine, and one of the next batch


def tiled(setting: Setting) -> Iterator[Result]:
    """Memory in addition to the input and output pixels must not depend on the image's size."""
    sizes = setting.options.megapixels
    command = [sys.executable, HERE / "tiling_memory.py", "--megapixels", sizes]
    done = run_process(command, both_streams=True, codes=(0, 1))
    match = re.search(r"growth from the first to the last: ([+-][\d.]+)%", done.output)
    if match is None:
        raise NotMeasuredError(f"tiling_memory.py gave no growth: {done.output}")
    growth = float(match[1])
    yield Result(
        f"tiled, peak memory above 6 bytes a pixel, megapixels {sizes}",
        "< 5 % more",
        f"{growth:+.1f}%",
        growth < 5,
        [line for line in done.output.splitlines() if "megapixels: " in line],
    )


def decoder(setting: Setting) -> Iterator[Result]:
    """Time saved by the folded upsampling."""
    program = HERE / "decoder_folding.py"
    if not program.is_file():
        raise NotMeasuredError("there is no benchmarks/decoder_folding.py")
    options = setting.options
    command = [sys.executable, program, "--width", options.width, "--size", options.size]
    done = run_process(command, both_streams=True, codes=(0, 1))
    match = re.search(r"folded is (\d+\.\d+) times", done.output)
    if match is None:
        raise NotMeasuredError(f"decoder_folding.py gave no ratio: {done.output}")
    ratio = float(match[1])
    yield Result(
        "decoder, unfolded / folded: time",
        ">= 1.25",
        f"{ratio:.2f}",
        ratio >= 1.25,
        [line for line in done.output.splitlines() if line.strip()],
    )


def _growth(what: str, peaks: list[int]) -> Result:
    """Noise of a few per cent does not count as growth."""
    ratio = peaks[1] / peaks[0]
    sizes = " / ".join(f"{peak / MEBI:.0f} MiB" for peak in reversed(peaks))
    return Result(what, "<= 1.05", f"{ratio:.3f} ({sizes})", ratio <= 1.05)


def _translate_folder(setting: Setting, model: Path, photos: Path) -> list[object]:
    command = [*MUNIT_EDGE, "translate", model, photos, "--direction", "a2b"]
    return [*command, "--styles", 1, "-o", setting.fresh()]


def _need_int8_model(setting: Setting) -> None:
    photos = _photos(setting, 2, 128)[0].parent
    _need_model(
        setting.checkpoint,
        setting.int8_model,
        setting.options.width,
        *("--precision", "int8", "--calibration", photos, "--calibration", photos),
        *("--calibration-images", 1, "--min-psnr", 5),
    )


def _need_model(checkpoint: Path, model: Path, width: int, *options: object) -> None:
    """A random checkpoint and its export, made once, in processes of their own."""
    if not checkpoint.exists():
        program = (
            "import sys, torch; from pathlib import Path\n"
            "from munit_edge.model.config import ModelConfig\n"
            "from munit_edge.trainer.checkpoint import *\n"
            "torch.manual_seed(0); config = ModelConfig(width=int(sys.argv[2]))\n"
            "save_checkpoint(Path(sys.argv[1]), config, CheckpointInfo(), "
            "generators=build_generators(config))"
        )
        run_process([sys.executable, "-c", program, checkpoint, width])
    newest = max(
        path.stat().st_mtime
        for room in ("export", "trainer")
        for path in (HERE.parent / room).rglob("*.py")
    )
    if (
        not model.exists() or model.stat().st_mtime < newest
    ):  # a changed exporter may give another graph
        print(f"exporting {model.name}", file=sys.stderr, flush=True)
        command = [*MUNIT_EDGE, "export", "onnx", checkpoint, "-o", model, "--overwrite"]
        run_process([*command, "--no-stats-graphs", *options])


def _photos(setting: Setting, count: int, size: int) -> list[Path]:
    """Smooth noise with grain, as hard for the PNG encoder as photos."""
    folder = setting.scratch / f"photos-{count}-{size}"
    if not folder.exists():
        folder.mkdir()
        _draw([(folder / f"{index:03d}.png", size, size) for index in range(count)])
    return sorted(folder.iterdir())


def _draw(pictures: list[tuple[Path, int, int]]) -> None:
    program = (
        "import sys, json, numpy as np; from PIL import Image\n"
        "for seed, (path, height, width) in enumerate(json.loads(sys.argv[1])):\n"
        "    random = np.random.default_rng(seed)\n"
        "    coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)\n"
        "    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)\n"
        "    grain = random.integers(0, 8, (height, width, 1), dtype=np.uint8)\n"
        "    Image.fromarray(np.asarray(image) // 2 + 60 + grain).save(path, compress_level=1)\n"
    )
    arguments = json.dumps([(str(path), height, width) for path, height, width in pictures])
    run_process([sys.executable, "-c", program, arguments])


def _clip(path: Path, seconds: int, size: int) -> Path:
    program = (
        "import sys, av, numpy as np\n"
        "path, seconds, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
        "with av.open(path, 'w') as file:\n"
        "    stream = file.add_stream('mpeg4', rate=10)\n"
        "    stream.width, stream.height, stream.pix_fmt = size, size, 'yuv420p'\n"
        "    ramp = np.add.outer(np.arange(size), np.arange(size))\n"
        "    for index in range(10 * seconds):\n"
        "        image = np.stack([ramp + 5 * index] * 3, axis=2).astype(np.uint8)\n"
        "        frame = av.VideoFrame.from_ndarray(image, format='rgb24')\n"
        "        file.mux(stream.encode(frame))\n"
        "    file.mux(stream.encode())\n"
    )
    run_process([sys.executable, "-c", program, path, seconds, size])
    return path


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _median_seconds(runs: list[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def _largest(runs: list[Run]) -> int:
    return max(run.peak_bytes for run in runs)


def _all_seconds(runs: list[Run]) -> str:
    times = sorted(run.seconds for run in runs)
    return f"median {statistics.median(times):.2f} s of " + ", ".join(f"{t:.2f}" for t in times)


def _print(
    results: list[Result],
    options: argparse.Namespace,
    before: tuple[float, float, float],
    seconds: float,
) -> None:
    after = os.getloadavg()
    versions = ", ".join(
        f"{package} {importlib.metadata.version(package)}"
        for package in ("onnxruntime", "openvino", "torch")
        if _installed(package)
    )
    print(f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {hardware()}, {versions}")
    print(
        f"width {options.width}, random weights, CPU; load average {before[0]:.1f} before, "
        f"{after[0]:.1f} at the end; {seconds / 60:.0f} min"
    )
    print("\n| what | target | measured | |")
    print("|---|---|---|---|")
    for result in results:
        verdict = {True: "met", False: "MISSED", None: ""}[result.met]
        print(f"| {result.what} | {result.target} | {result.measured} | {verdict} |")
    print()
    for result in results:
        for line in result.details:
            print(f"- {result.what}: {line}")


if __name__ == "__main__":
    sys.exit(main())
