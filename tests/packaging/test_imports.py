"""What importing costs and needs."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("munit_edge", "engines", "export", "trainer")

# Hides the packages named in the first argument.
HIDE = """
import importlib, sys

hidden = set(sys.argv[1].split(","))


class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, Hide())
"""
# Imports each module named on stdin in a fork of its own and answers with a line of JSON: the text
# that the fork wrote if it failed, else "". The base packages, which take most of the time, are
# imported once, before the forks.
IMPORT_IN_FORKS = (
    HIDE
    + """
import json, os, traceback
import numpy, PIL.Image, pydantic.main, typer, yaml

for line in sys.stdin:
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(sending, 1)
        os.dup2(sending, 2)
        os.close(sending)
        failed = 1
        try:
            importlib.import_module(line.strip())
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(failed)
    os.close(sending)
    with open(receiving, encoding="utf-8", errors="replace") as pipe:
        written = pipe.read()
    _, status = os.waitpid(child, 0)
    print(json.dumps(written or f"wait status {status}" if status else ""), flush=True)
"""
)

LOADED_MODULES = """
import sys

sys.argv = ["munit-edge", *sys.argv[1:]]
from munit_edge.cli.main import main

try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
finally:
    print(",".join(sys.modules), file=sys.stderr)
"""


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Isolated: the working directory, with its folders of the same names, is not on the path.
    command = [sys.executable, "-I", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _modules() -> list[str]:
    """Every module of the package, found as files."""
    names = []
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if room == "munit_edge" and len(parts) > 2 and parts[1] in ROOMS:
                continue  # through a link
            full = parts if room == "munit_edge" else ("munit_edge", *parts)
            names.append(".".join(full[:-1] if full[-1] == "__init__" else full))
    return names


def _base_distributions() -> set[str]:
    """The distributions that `pip install munit-edge` brings, dependencies of dependencies too."""
    found: set[str] = set()
    todo = ["munit-edge"]
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return found


@functools.cache
def _optional() -> str:
    """Top-level import names of everything that is installed in addition, with commas between."""
    base = _base_distributions()
    return ",".join(
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & base
    )


def test_optional_packages_are_known() -> None:
    """Guards the tests below: hiding nothing, or missing modules, would make them worthless."""
    optional = set(_optional().split(","))
    assert {"torch", "onnx", "onnxruntime", "onnxscript", "safetensors", "accelerate"} <= optional
    assert not {"munit_edge", "numpy", "PIL", "pydantic", "yaml", "typer", "rich"} & optional
    assert {"munit_edge.cli.main", "munit_edge.trainer.networks"} <= set(_modules())


@pytest.fixture(scope="module")
def import_alone() -> Iterator[Callable[[str], str]]:
    """Imports a module in a process with the base alone; returns the traceback, or nothing."""
    command = [sys.executable, "-I", "-c", IMPORT_IN_FORKS, _optional()]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to_process, from_process = process.stdin, process.stdout

        def outcome(module: str) -> str:
            to_process.write(f"{module}\n")
            to_process.flush()
            return str(json.loads(from_process.readline()))

        yield outcome


def test_hidden_packages_are_hidden(import_alone: Callable[[str], str]) -> None:
    assert "ModuleNotFoundError: No module named 'torch'" in import_alone("torch")


@pytest.mark.parametrize("module", _modules())
def test_every_module_imports_with_the_base_alone(
    module: str, import_alone: Callable[[str], str]
) -> None:
    """Each in a fork of its own: none needs another to have been imported before it, either."""
    assert not import_alone(module)


def test_importing_the_package_is_cheap() -> None:
    done = _run("import sys, munit_edge; print(','.join(sys.modules))")
    loaded = set(done.stdout.strip().split(","))
    assert "munit_edge" in loaded
    assert not {"torch", "onnxruntime", "numpy", "PIL", "pydantic", "typer"} & loaded


def test_lazy_names_of_the_package() -> None:
    done = _run(
        "import munit_edge\n"
        "assert all(getattr(munit_edge, name) for name in munit_edge.__all__)\n"
        "munit_edge.nothing"
    )
    assert "AttributeError: module 'munit_edge' has no attribute 'nothing'" in done.stderr


# Typer itself loads pydantic where an option has a type, and so for the help of most commands.
@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (("--help",), {"pydantic"}),
        (("--version",), {"pydantic"}),
        (("translate", "--help"), set()),
        (("train", "--help"), set()),
        (("export", "onnx", "--help"), set()),
    ],
    ids=lambda value: " ".join(value),
)
def test_help_loads_no_engine_and_no_arrays(arguments: tuple[str, ...], unwanted: set[str]) -> None:
    done = _run(LOADED_MODULES, *arguments)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.strip().splitlines()[-1].split(","))
    assert "munit_edge.cli.main" in loaded
    assert not {"torch", "onnxruntime", "onnx", "numpy", "PIL", "yaml", *unwanted} & loaded


@pytest.mark.parametrize("room", ["engines", "export", "trainer"])
def test_bare_folder_names_are_refused(room: str) -> None:
    command = [sys.executable, "-c", f"import {room}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert f"ImportError: import munit_edge.{room}, not {room}" in done.stderr
