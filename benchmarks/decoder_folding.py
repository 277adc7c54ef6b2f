"""The folded decoder, with fewer multiplications, against the original, in ONNX Runtime on the CPU.

    python benchmarks/decoder_folding.py [--size 256] [--width 64] [--threads 2] [--runs 10]
                                         [--styles 10] [--style-runs 3]

Both graphs come from our own exporter, with the same random weights, and alternate in one process,
so that other work on the machine slows both. The ratio of the medians is reported, and that of the
fastest runs, which other work disturbs least.

Then the folded decoder runs with several styles at once: with the content passed once, so that
everything independent of the style is computed once, against the content repeated for each style.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from cli_startup import hardware

from munit_edge.export.onnx_graph import export_graph
from munit_edge.export.options import ExportOptions
from munit_edge.model.config import ModelConfig
from munit_edge.trainer.checkpoint import build_generators
from munit_edge.trainer.fast.folding import fold_decoders
from munit_edge.trainer.torch_api import nn, torch

TARGET_RATIO = 1.25
TOLERANCE = 1e-4
HALF_RANGE = 127.5


def main() -> int:
    args = _arguments()
    torch.manual_seed(0)
    config = ModelConfig(width=args.width)
    plain = build_generators(config).eval()
    folded = copy.deepcopy(plain)
    fold_decoders(folded)
    sessions = [_session(generators, config, args.threads) for generators in (plain, folded)]
    feeds = _feeds(config, args.size)

    images = [session.run(None, feeds)[0] for session in sessions]  # the warm-up, too
    difference = float(np.abs(images[1] - images[0]).max())
    times_s = _in_turn([(session, feeds) for session in sessions], args.runs)

    print(f"{hardware()}, ONNX Runtime {importlib.metadata.version('onnxruntime')}")
    print(
        f"decoder, {args.size} x {args.size} pixels, width {args.width}, batch 1, fp32, "
        f"{args.threads} threads, {args.runs} runs of each in turn"
    )
    for name, times in zip(("as trained", "folded"), times_s, strict=True):
        print(f"{name}: median {_ms(statistics.median(times))}, fastest {_ms(min(times))}")
    ratio = statistics.median(times_s[0]) / statistics.median(times_s[1])
    fastest = min(times_s[0]) / min(times_s[1])
    print(f"folded is {ratio:.2f} times as fast (fastest runs {fastest:.2f})")
    print(
        f"largest difference {difference:.2g} in [-1, 1], {difference * HALF_RANGE:.2g} of 255 "
        f"levels (allowed {TOLERANCE:g} and 1)"
    )
    if args.style_runs:
        _report_styles(sessions[1], config, args)
    met = ratio >= TARGET_RATIO and difference <= TOLERANCE
    print(f"target {TARGET_RATIO}: {'met' if met else 'MISSED'}")
    return 0 if met else 1


def _in_turn(
    cases: list[tuple[Any, dict[str, Any]]],
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Time of each run of each session with its feeds, in seconds of `clock`."""
    times_s: list[list[float]] = [[] for _ in cases]
    for _ in range(runs):
        for (session, feeds), times in zip(cases, times_s, strict=True):
            start = clock()
            session.run(None, feeds)
            times.append(clock() - start)
    return times_s


def _report_styles(session: Any, config: ModelConfig, args: argparse.Namespace) -> None:
    """Time of several styles for one content, passed once or repeated."""
    once = _feeds(config, args.size, args.styles)
    repeated = {**once, "content": np.repeat(once["content"], args.styles, axis=0)}
    levels = np.abs(session.run(None, once)[0] - session.run(None, repeated)[0]).max() * HALF_RANGE
    # Processor time: there are few, long runs, and other work would hide the difference.
    repeated_s, once_s = _in_turn(
        [(session, repeated), (session, once)], args.style_runs, clock=time.process_time
    )
    repeated_median, once_median = statistics.median(repeated_s), statistics.median(once_s)
    print(
        f"{args.styles} styles of one content, {args.style_runs} runs of each in turn, processor "
        f"time: content repeated {_ms(repeated_median)}, given once {_ms(once_median)}, which is "
        f"{repeated_median / once_median:.2f} times as fast (fastest runs "
        f"{min(repeated_s) / min(once_s):.2f}); largest difference {levels:.2g} of 255 levels"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The folded decoder against the plain one.")
    parser.add_argument("--size", type=int, default=256, help="image height and width [256]")
    parser.add_argument("--width", type=int, default=64, help="channels of the first layer [64]")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime [2]")
    parser.add_argument("--runs", type=int, default=10, help="of each, after one more [10]")
    parser.add_argument("--styles", type=int, default=10, help="of one content at once [10]")
    parser.add_argument(
        "--style-runs", type=int, default=3, help="of each with several styles; 0: none [3]"
    )
    return parser.parse_args()


def _session(generators: nn.ModuleDict, config: ModelConfig, threads: int) -> Any:
    graph = export_graph(generators, config, "decoder", "b", ExportOptions(io="float32"), {})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _feeds(config: ModelConfig, size: int, styles: int = 1) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    side = size // config.size_multiple
    content = generator.standard_normal((1, config.content_channels, side, side), np.float32)
    return {
        "content": content,
        "style": generator.standard_normal((styles, config.style_dim), np.float32),
    }


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
