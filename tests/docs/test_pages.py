"""What the pages name is there: commands, options, make targets, files of the Dockerfiles."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from munit_edge.cli.main import app

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
DOCKERFILES = sorted((CHECKOUT / "docker").glob("Dockerfile.*"))


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command line, and of each command that is named in the text."""
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^\$ (.+)$", text, re.MULTILINE):
        yield shlex.split(line)
    for code in re.findall(r"`(munit-edge [^`]+)`", text):
        yield shlex.split(code)


def faults(words: list[str]) -> Iterator[str]:
    """What munit-edge has no such command or option for."""
    command: Any = typer.main.get_command(app)
    for word in words[1:]:
        below = getattr(command, "commands", {})
        if below and not word.startswith("-"):
            if word not in below:
                yield f"no command '{word}'"
                return
            command = below[word]
    known = {"--help"} | {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    for word in words:
        if word.startswith("-") and word.partition("=")[0] not in known:
            yield f"no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    found = [words for words in commands(page) if words[0] == "munit-edge"]
    wrong = {" ".join(words): list(faults(words)) for words in found}
    assert {line: said for line, said in wrong.items() if said} == {}


def test_wrong_commands_are_noticed() -> None:
    assert list(faults(["munit-edge", "translat", "model"])) == ["no command 'translat'"]
    assert list(faults(["munit-edge", "export", "onnx", "--opse=18"])) == ["no option --opse=18"]
    assert list(faults(["munit-edge", "doctor", "--selftest"])) == []
    assert ["munit-edge", "doctor"] in list(commands(CHECKOUT / "docs" / "jetson.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    for words in commands(page):
        if words[0] == "make":
            command = ["make", "--dry-run", *words[1:]]
            subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_dockerfiles_take_the_whole_package(dockerfile: Path) -> None:
    """What the wheel is built from is copied, and the page says what the image starts from."""
    text = dockerfile.read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for name in line.split()}
    assert copied == {
        *("pyproject.toml", "README.md", "LICENSE"),
        *("munit_edge", "engines", "export", "trainer"),
    }
    assert all((CHECKOUT / name).exists() for name in copied)
    (base,) = re.findall(r"^FROM (\S+)$", text, re.MULTILINE)
    assert f"`{base}`" in (CHECKOUT / "docs" / "jetson.md").read_text(encoding="utf-8")


def test_there_is_a_dockerfile_for_each_jetpack() -> None:
    assert [file.name for file in DOCKERFILES] == ["Dockerfile.jetpack6", "Dockerfile.jetpack7"]
