"""The README's commands run, in order, on images that they draw themselves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from foreign_models import MUNIT_SETTINGS, write_munit_case

from munit_edge.engines.tensorrt.api import is_installed

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")

SMALLER = {
    "sample-data": ["--count", "100"],
    "train": [
        "--set", "iterations=2", "--set", "batch_size=2", "--set", "model.width=4",
        "--set", "model.discriminator.width=4", "--set", "model.num_res_blocks=1",
    ],
    "benchmark": ["--runs", "2", "--seconds", "0.1"],
    "export onnx": ["--no-stats-graphs"],
    "export trt": [  # builds on any machine, for RTX cards
        "--target", "tensorrt-rtx", "--compute-capability", "8.6", "--optimization-level", "0",
        "--directions", "a2b",
    ],
}  # fmt: skip
"""Options that make a command of the README end in seconds."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def smaller(command: str) -> str:
    words = command.split()
    more = SMALLER.get(words[1]) or SMALLER.get(" ".join(words[1:3]), [])
    return " ".join([command, *more])


def lacks_gpu(command: str, returncode: int, stderr: str) -> bool:
    """Whether it ended as TensorRT's commands must on a machine that cannot run engines."""
    one_line = stderr.count("error: ") == 1 and len(stderr.splitlines()) == 1
    builds = "export trt" in command and not is_installed("tensorrt-rtx")
    return (builds or "--engine tensorrt" in command) and returncode == 2 and one_line


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path}


@pytest.mark.slow
def test_commands_and_python_run_in_order(tmp_path: Path, environment: dict[str, str]) -> None:
    weights = write_munit_case(tmp_path / "case", MUNIT_SETTINGS)
    shutil.copy(weights, tmp_path / "gen_01000000.pt")
    shutil.copy(weights.with_name("config.yaml"), tmp_path / "edges2handbags.yaml")
    names = []
    for command in commands():
        result = subprocess.run(
            smaller(command),
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
        )
        stderr = result.stderr.decode()
        if not lacks_gpu(command, result.returncode, stderr):
            assert result.returncode == 0, f"{command}\n{stderr}"
        names.append(command.split()[1])
    assert {"sample-data", "train", "convert", "export", "translate"} <= set(names)
    assert (tmp_path / "results" / "contact_sheet.png").is_file()
    assert (tmp_path / "guided" / "00000_00.png").is_file()
    assert (tmp_path / "translated.png").read_bytes().startswith(b"\x89PNG")
    for code in blocks("python"):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_make_targets_exist() -> None:
    lines = [line for block in blocks("") for line in block.splitlines()]
    targets = [line.split()[1] for line in lines if line.startswith("make ")]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        subprocess.run(
            ["make", "--dry-run", target], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL
        )


@pytest.mark.parametrize(
    "page", sorted(CHECKOUT.glob("*.md")) + sorted(CHECKOUT.glob("docs/**/*.md"))
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
