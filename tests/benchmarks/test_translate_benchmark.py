"""The benchmarks of `translate` measure what they report."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import load_benchmark as load
from noise_images import noise
from PIL import Image

from munit_edge.translator import Translator


def test_plain_torch_does_the_same_work_in_every_way(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    plain = load("plain_torch_translate", monkeypatch)
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    with Translator.open(tiny_checkpoint, engine="torch", device="cpu") as translator:
        torch.manual_seed(0)
        styles = torch.randn(3, translator.config.style_dim).numpy()
        expected = translator.translate(pixels[None], "a2b", styles=styles)[0]
    for ways in (["--decode", "batch"], ["--decode", "each"], ["--decode", "each", "--lean"]):
        out = tmp_path / "".join(ways)
        arguments = [str(tiny_checkpoint), str(tmp_path / "photo.png"), str(out), "--styles", "3"]
        monkeypatch.setattr(sys, "argv", ["plain_torch_translate.py", *arguments, *ways])
        assert plain.main() == 0
        images = [np.asarray(Image.open(path)) for path in sorted(out.iterdir())]
        difference = np.abs(np.stack(images).astype(int) - expected.astype(int))
        assert difference.max() <= 1


def test_peak_memory_is_that_of_the_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = load("processes", monkeypatch)
    ours = np.ones(300 << 20, np.uint8)
    small = processes.run_process([sys.executable, "-c", "print('printed')"], both_streams=True)
    large = processes.run_process([sys.executable, "-c", "b'1' * (200 << 20)"])
    assert small.output == "printed"
    assert small.peak_bytes < 100 << 20 < ours.nbytes
    assert 200 << 20 <= large.peak_bytes < ours.nbytes
    assert small.seconds > 0
    with pytest.raises(processes.NotMeasuredError, match=r"ended with code 3: gone"):
        processes.run_process(
            [sys.executable, "-c", "import sys; print('gone', file=sys.stderr); sys.exit(3)"]
        )


@pytest.mark.slow
def test_every_section_runs_through(
    tiny_checkpoint: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = load("translate", monkeypatch)
    shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint-8")
    shutil.copytree(tiny_model, tmp_path / "model-8")
    os.utime(tmp_path / "model-8")  # not older than the exporter
    words = ["--work", tmp_path, "--json", tmp_path / "report.json", "--width", 8, "--size", 64]
    words += ["--pictures", 2, "--runs", 1, "--megapixels", "1,1.2"]
    monkeypatch.setattr(sys, "argv", ["translate.py", *map(str, words)])
    bench.main()  # 0 or 1: such a small model need not meet the targets
    shown = capsys.readouterr()
    assert "not measured" not in shown.out
    assert [line for line in shown.err.splitlines() if line.startswith("section ")] == [
        f"section {name}" for name in bench.SECTIONS
    ]
    for side in bench.SIDES:
        assert shown.out.count(f"translate in {side.name}: time") >= 2 * side.is_there
    results = json.loads((tmp_path / "report.json").read_text())["results"]
    assert len(results) == 4 * sum(side.is_there for side in bench.SIDES) + 7


def test_growth_and_sections_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = load("translate", monkeypatch)
    assert bench._growth("memory", [100 << 20, 104 << 20]).met is True
    grown = bench._growth("memory", [100 << 20, 120 << 20])
    assert (grown.met, grown.measured) == (False, "1.200 (120 MiB / 100 MiB)")
    small, large = bench._most_under_way(64), bench._most_under_way(256)
    assert small == large + 15, "16 of them make one batch"
    assert bench._sections("one,tiles") == ("one", "tiles")
    with pytest.raises(bench.argparse.ArgumentTypeError, match="none of"):
        bench._sections("one,nothing")
