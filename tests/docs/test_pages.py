"""Everything that the pages name exists: commands, options, make targets, files of Dockerfiles."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from munit_edge.cli.main import make_app

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted((CHECKOUT / "docs").rglob("*.md"))
DOCKERFILES = sorted((CHECKOUT / "docker").glob("Dockerfile.*"))


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command line, and of each command named in the text."""
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^\$ (.+)$", text, re.MULTILINE):
        yield shlex.split(line)
    for code in re.findall(r"`(munit-edge [^`]+)`", text):
        yield shlex.split(code)


def faults(words: list[str]) -> Iterator[str]:
    """Commands and options in `words` that munit-edge does not have."""
    command: Any = typer.main.get_command(make_app())
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
    checked = {" ".join(words): list(faults(words)) for words in found}
    assert {line: wrong for line, wrong in checked.items() if wrong} == {}


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


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, CHECKOUT / "README.md"], ids=lambda page: page.name)
def test_anchors_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        target = page.parent / file if file else page
        assert anchor in anchors(target.read_text(encoding="utf-8")), f"{file}#{anchor}"


def test_anchors_are_read_off_the_headings() -> None:
    assert anchors("# A page\n## The paper's `x`, and y\ntext") == {"a-page", "the-papers-x-and-y"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_dockerfiles_take_the_whole_package(dockerfile: Path) -> None:
    """Everything the wheel is built from is copied, and the page names the base image."""
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
