"""`munit-edge info` from the outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import invoke

from munit_edge.model.config import ModelConfig
from munit_edge.model.cost import model_costs

info = partial(invoke, "info")


def info_json(*arguments: str | Path) -> dict[str, Any]:
    result = info(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    data: dict[str, Any] = json.loads(result.stdout)
    return data


def test_the_papers_counts_are_printed() -> None:
    result = info("--recipe", "paper")
    assert result.exit_code == 0, result.stderr
    rows = [re.split(r"\s{2,}", line) for line in result.stdout.splitlines()]
    assert ["graph", "parameters", "GMAC as trained", "GMAC folded"] in rows
    for domain in ("a", "b"):
        assert [f"content_encoder_{domain}", "5,385,856", "24.2389", "24.2389"] in rows
        assert [f"style_encoder_{domain}", "2,764,936", "6.2537", "6.2537"] in rows
        assert [f"decoder_{domain}", "6,875,395", "46.7886", "29.7442"] in rows
    assert ["translation b2a", "12,261,251", "71.0275", "53.9831"] in rows


def test_every_kind_of_subject_gives_the_same_counts(
    tiny_sn_model: Path,
    tiny_sn_checkpoint: Path,
    tiny_configs: dict[str, ModelConfig],
    tmp_path: Path,
) -> None:
    model = tiny_configs["munit-sn"]
    alone, run = tmp_path / "model.yaml", tmp_path / "run.yaml"
    alone.write_text(yaml.safe_dump(model.model_dump(mode="json")))
    run.write_text(yaml.safe_dump({"model": model.model_dump(mode="json"), "batch_size": 2}))
    found = {
        subject: info_json(subject, "--size", "48x64")
        for subject in (tiny_sn_model, tiny_sn_checkpoint, alone, run)
    }
    costs = model_costs(model, (48, 64))
    for data in found.values():
        assert {name: graph["macs"] for name, graph in data["graphs"].items()} == {
            name: cost.macs for name, cost in costs.items()
        }
        assert data["size_hw"] == [48, 64]
        translated = data["translations"]["a2b"]["parameters"]
        parts = ("content_encoder_a", "decoder_b")
        assert translated == sum(costs[part].parameters for part in parts)
    kinds = [data["kind"] for data in found.values()]
    assert kinds == ["model", "checkpoint", "configuration", "configuration"]
    assert found[tiny_sn_model]["iteration"] == found[tiny_sn_checkpoint]["iteration"] == 7
    assert found[tiny_sn_model]["precision"] == "fp32"
    assert found[tiny_sn_model]["decoders"] == "folded"


def test_a_run_that_has_no_checkpoint_yet_has_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("model: {width: 5}")
    data = info_json(tmp_path)
    assert (data["kind"], data["model"]["width"]) == ("configuration", 5)


def test_padding_is_reported() -> None:
    result = info("--recipe", "paper", "--size", "30x31")
    assert "for one image of 30 x 31, padded to 32 x 32 pixels:" in result.stdout


def test_a_model_directory_needs_no_torch(tiny_sn_model: Path) -> None:
    code = (
        "import sys; from munit_edge.cli.main import make_app\n"
        f"make_app()(['info', {str(tiny_sn_model)!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "decoder_b" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a configuration, checkpoint, run or model, or --recipe NAME"),
        (("--recipe", "edgy"), "there is no recipe 'edgy': did you mean 'edge'?"),
        (("--recipe", "paper", "x.yaml"), "either a configuration file or a recipe"),
        (("missing.yaml",), "configuration file missing.yaml does not exist"),
        ((".",), ". is neither a checkpoint nor a run folder"),
        (
            ("--recipe", "paper", "--size", "0"),
            "--size '0' is not a size: name pixels, such as 256",
        ),
        (("--recipe", "paper", "--size", "9x"), "--size '9x' is not a size"),
    ],
)
def test_what_cannot_be_looked_at(
    arguments: tuple[str, ...], words: str, working_folder: Path
) -> None:
    result = info(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
