"""The import rules between the rooms, as CONTRIBUTING.md draws them, read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]

FACE = {  # what is built on the engines
    "munit_edge.benchmark",
    "munit_edge.benchmark_child",
    "munit_edge.benchmark_report",
    "munit_edge.doctor",
    "munit_edge.evaluation.measures",
    "munit_edge.evaluation.network_measures",
    "munit_edge.evaluation.open_networks",
    "munit_edge.evaluation.run",
    "munit_edge.picture_translator",
    "munit_edge.selftest",
    "munit_edge.leftovers",
    "munit_edge.selftest_child",
    "munit_edge.style_making",
    "munit_edge.style_set",
    "munit_edge.tiled_translation",
    "munit_edge.translate_job",
    "munit_edge.translate_plan",
    "munit_edge.translate_sheets",
    "munit_edge.translator",
    "munit_edge.video.frame_translator",
}
HEAVY = {
    *("torch", "torchvision", "accelerate", "safetensors", "tensorboard"),
    *("onnx", "onnxruntime", "onnxscript", "tensorrt", "cuda", "av"),
}
BANNED = {"click", "engines", "export", "trainer"}

# Room -> rooms that its modules may import when they are imported themselves.
EAGER = {
    "core": {"core"},
    "face": {"core", "face", "engines"},
    "cli": {"core", "cli"},
    "engines": {"core", "engines"},
    "trainer": {"core", "trainer"},
    "export": {"core", "engines", "trainer", "export"},
}
# Room -> rooms that its functions (and its annotations) may import besides.
LAZY = {
    "cli": {"face", "engines", "trainer", "export"},
    "trainer": {"face"},
}
# Room -> optional packages that its functions may import.
OPTIONAL = {
    "engines": {"onnxruntime", "tensorrt", "cuda"},
    "trainer": {"torch", "accelerate", "safetensors", "tensorboard"},
    "export": {"torch", "onnx", "onnxruntime", "onnxscript"},
}
# The one door to torch: it has stand-ins for when torch is not there.
TORCH_DOOR = "munit_edge.trainer.torch_api"
# The exceptions, each with its reason; inside functions only.
ALLOWED = {
    ("munit_edge", "munit_edge.translator"),  # the public name, imported when first asked for
    ("munit_edge.engines.torch_runner", "trainer"),  # runs a checkpoint without an export
    ("munit_edge.engines.torch_runner", "torch"),
    ("munit_edge.doctor", "munit_edge.engines.plan_cache"),  # says where plans are kept
    ("munit_edge.selftest_child", "export"),  # tries the exporter, too
    ("munit_edge.selftest_child", "munit_edge.engines.plan_cache"),  # and the builder
    ("munit_edge.selftest_child", "munit_edge.engines.tensorrt_builder"),
    ("munit_edge.evaluation.open_networks", "trainer"),  # feature networks from weight files
    ("munit_edge.video.av_api", "av"),  # the one door to PyAV
    ("munit_edge.cli.export", "torch"),  # names its own extra when torch is missing
}
# The doors of the engines that the face may use.
ENGINE_DOORS = {
    "munit_edge.engines.base",
    "munit_edge.engines.factory",
    "munit_edge.engines.feature_graph",  # a feature network as a graph, beside the model's
    "munit_edge.engines.probe",  # what a backend says of itself; opens nothing
}


class Import(NamedTuple):
    importer: str
    imported: str
    lazy: bool
    """In a function, or only for annotations."""


def _room(module: str) -> str:
    parts = module.split(".")
    if len(parts) > 1 and parts[1] in ("engines", "export", "trainer", "cli"):
        return parts[1]
    if parts[1:] == ["__main__"]:
        return "cli"
    return "face" if module in FACE else "core"


def _files() -> Iterator[tuple[str, Path]]:
    for room in ("munit_edge", "engines", "export", "trainer"):
        for file in sorted((ROOT / room).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if room == "munit_edge" and parts[1] in ("engines", "export", "trainer"):
                continue  # through a link
            full = parts if room == "munit_edge" else ("munit_edge", *parts)
            yield ".".join(full[:-1] if full[-1] == "__init__" else full), file


def _imports(importer: str, node: ast.AST, lazy: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for imported in _named(child):
            yield Import(importer, imported, lazy)
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for statement in child.body:
                yield from _imports(importer, ast.Module([statement], []), lazy=True)
            for statement in child.orelse:
                yield from _imports(importer, ast.Module([statement], []), lazy)
        else:
            is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(importer, child, lazy or is_function)


def _named(node: ast.AST) -> list[str]:
    """The modules that this one node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        assert node.module
        if node.module == "munit_edge":  # may name modules or names of the package
            return [f"munit_edge.{alias.name}" for alias in node.names]
        return [node.module]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in ("require", "import_module", "__import__"):
            return [str(node.args[0].value)]
    return []


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _all_imports() -> list[Import]:
    return [
        found
        for importer, file in _files()
        for found in _imports(importer, ast.parse(file.read_text(encoding="utf-8")))
    ]


def _fault(found: Import) -> str:
    """Why this import breaks the rules; "" where it does not."""
    package = found.imported.partition(".")[0]
    importer_room = _room(found.importer)
    if package in BANNED:
        return f"'{package}' is never imported under that name"
    if package in HEAVY:
        if (found.importer, package) == (TORCH_DOOR, "torch"):
            return ""
        known = package in OPTIONAL.get(importer_room, set())
        if not known and (found.importer, package) not in ALLOWED:
            return f"{importer_room} has no business with {package}"
        return "" if found.lazy else f"{package} is optional: import it inside the function"
    if package != "munit_edge":
        return ""
    room = _room(found.imported)
    if {(found.importer, room), (found.importer, found.imported)} & ALLOWED:
        return "" if found.lazy else "only inside the function"
    if importer_room == "face" and room == "engines" and found.imported not in ENGINE_DOORS:
        return f"the face enters the engines by {sorted(ENGINE_DOORS)} only"
    if room in EAGER[importer_room]:
        return ""
    if room in LAZY.get(importer_room, set()):
        return "" if found.lazy else f"{importer_room} imports {room} only inside functions"
    return f"{importer_room} may not import {room}"


def test_no_import_crosses_a_border() -> None:
    faults = [
        f"{i.importer} imports {i.imported}: {_fault(i)}" for i in _all_imports() if _fault(i)
    ]
    assert not faults, "\n".join(faults)


def test_the_source_is_read() -> None:
    """Guards the test above: imports at the top, in functions and through `require` are seen."""
    found = set(_all_imports())
    assert Import("munit_edge.trainer.networks", "munit_edge.trainer.torch_api", False) in found
    assert Import("munit_edge", "munit_edge.Translator", False) not in found
    assert Import("munit_edge", "munit_edge.translator", True) in found
    assert ("munit_edge.engines.onnxruntime_runner", "onnxruntime", True) in found
    assert Import("munit_edge.trainer.torch_api", "torch", False) in found


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("munit_edge.config", "from munit_edge.translator import Translator"),
        ("munit_edge.config", "def f():\n    import torch"),
        ("munit_edge.files", "from munit_edge import translator"),
        ("munit_edge.manifest", "from munit_edge.extras import require\nrequire('onnx', '')"),
        ("munit_edge.translator", "from munit_edge.engines.torch_runner import open_torch"),
        ("munit_edge.translator", "def f():\n    from munit_edge.trainer import losses"),
        ("munit_edge.cli.train", "from munit_edge.trainer.step import update"),
        ("munit_edge.cli.train", "def f():\n    import torch"),
        ("munit_edge.cli.export", "import torch"),
        ("munit_edge.cli.main", "import click"),
        ("munit_edge.engines.devices", "def f():\n    import torch"),
        ("munit_edge.engines.onnxruntime_runner", "import onnxruntime"),
        ("munit_edge.engines.torch_runner", "from munit_edge.trainer.networks import Generator"),
        ("munit_edge.engines.base", "from munit_edge.export import options"),
        ("munit_edge.trainer.step", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch"),
        ("munit_edge.trainer.step", "from munit_edge.engines.base import Runner"),
        ("munit_edge.trainer.step", "from munit_edge.export.options import ExportOptions"),
        ("munit_edge.export.parity", "def f():\n    from munit_edge.cli.progress import progress"),
    ],
)
def test_forbidden_imports_are_found(importer: str, source: str) -> None:
    assert any(_fault(found) for found in _imports(importer, ast.parse(source)))
