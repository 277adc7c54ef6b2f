"""Options that name a file to write: it is never replaced unasked, and never if it is an input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import invoke

from munit_edge.model.manifest import MANIFEST_FILE


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.png").write_bytes(b"photo")
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


WORDS = {
    "evaluate --json": ["evaluate", "model", "--data", "data", "--json"],
    "evaluate --plot": ["evaluate", "model", "--data", "data", "--plot"],
    "benchmark --plot": ["benchmark", "model", "--image", "data/x.png", "--plot"],
    "doctor --report": ["doctor", "--selftest", "--report"],
    "styles list --sheet": ["styles", "list", "model", "--sheet"],
    "styles save -o": ["styles", "save", "model", "s", "--domain", "b", "--seed", "1", "-o"],
}


def refused(*words: str) -> str:
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    result = invoke(*words)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert result.stderr.count("\n") == 1
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before
    return result.stderr


@pytest.mark.parametrize("case", WORDS)
def test_a_file_that_is_there_is_kept(case: str, model: Path) -> None:
    name = "mine.png" if case.endswith(("--plot", "--sheet")) else "mine.json"
    Path(name).write_text("mine")
    text = refused(*WORDS[case], name)
    assert f"{name} exists already: name another file or pass --overwrite" in text
    Path("folder.json").mkdir()
    Path("folder.png").mkdir()
    assert "is a folder: name a file" in refused(*WORDS[case], f"folder.{name[5:]}", "--overwrite")
    Path(f"link.{name[5:]}").symlink_to(name)
    assert "is a link: name a file" in refused(*WORDS[case], f"link.{name[5:]}", "--overwrite")


@pytest.mark.parametrize("case", WORDS)
def test_an_input_is_never_replaced(case: str, model: Path) -> None:
    if case.startswith("doctor"):
        pytest.skip("it has no input")
    name = f"model/{MANIFEST_FILE}"
    if case in ("evaluate --plot", "benchmark --plot"):
        name = "data/x.png"
    if case == "styles list --sheet":
        shutil.copy("data/x.png", "model/x.png")
        name = "model/../model/x.png"
    text = refused(*WORDS[case], name, "--overwrite")
    assert (
        "is not a style file" if case.startswith("styles save") else "would be replaced"
    ) in text


@pytest.mark.parametrize("command", ["evaluate", "benchmark", "doctor"])
def test_overwrite_without_a_file_is_refused(command: str, model: Path) -> None:
    case = next(case for case in WORDS if case.startswith(command))
    words = [word for word in WORDS[case][:-1] if word != "--selftest"]
    assert "--overwrite is for --" in refused(*words, "--overwrite")


def test_two_options_cannot_name_one_file(model: Path) -> None:
    text = refused(*WORDS["evaluate --json"], "x.png", "--plot", "./x.png")
    assert "--json and --plot name one file" in text


def test_styles_are_replaced_by_styles_only(model: Path) -> None:
    words = [*WORDS["styles save -o"], "mine.json", "--overwrite"]
    Path("mine.json").write_text(json.dumps({"precious": True}))
    assert "mine.json is not a style file" in refused(*words)
    Path("mine.json").unlink()
    for _ in range(2):
        assert invoke(*words).exit_code == 0
    between = ["styles", "save", "model", "t", "--domain", "b", "--interpolate"]
    text = refused(*between, "./mine.json", "7", "-o", "mine.json", "--overwrite")
    assert "mine.json is an input and would be replaced" in text
