"""The import rules between the rooms, as CONTRIBUTING.md draws them, read off the folders."""

from __future__ import annotations

import ast

import pytest
from import_graph import Import, all_imports, circles, imports, module_graph, room

from munit_edge.engines.table import ENGINE_FACTS, MODEL_ENGINES

HEAVY = {
    *("torch", "torchvision", "accelerate", "safetensors", "tensorboard"),
    *("onnx", "onnxscript", "cuda", "av", "pillow_heif"),
    *(module for facts in ENGINE_FACTS.values() for module in facts.modules),
}
BANNED = {"click", "engines", "export", "trainer"}

GROUND = {"ground", "files"}
"""What every room may import; among themselves they may import each other."""
# Room -> rooms that its modules may import in addition to the ground.
EAGER: dict[str, set[str]] = {
    "munit_edge": set(),
    "ground": set(),
    "files": set(),
    "system": set(),
    "model": set(),
    "images": {"model"},
    "styles": {"model", "images"},
    "translator": {"engines", "model", "images", "styles"},
    "translate": {"translator", "styles", "images", "model", "system", "engines"},
    "video": {"translator", "styles", "images", "model", "system", "engines"},
    "evaluation": {"translator", "styles", "images", "model", "system", "engines"},
    "doctor": {"translator", "model", "system", "engines"},
    "benchmark": {"translator", "styles", "images", "model", "system", "engines", "doctor"},
    "cli": set(),
    "engines": {"model", "system"},
    "trainer": {"model", "images", "styles", "system", "evaluation"},
    "export": {"trainer", "engines", "model", "images", "styles", "system"},
}
# Room -> rooms that its functions (and its annotations) may import, too.
LAZY: dict[str, set[str]] = {
    "munit_edge": {"translator"},  # the public name, imported when first asked for
    "cli": set(EAGER),
    "trainer": {"translator"},
    "doctor": {"export"},  # the self-test tries the exporter, too
    "evaluation": {"trainer"},  # feature networks from weight files
}
# The modules of the engines that other rooms may use; the exporter and the commands may use all.
ENGINE_DOORS = {
    "munit_edge.engines.base",
    "munit_edge.engines.batches",
    "munit_edge.engines.devices",
    "munit_edge.engines.factory",
    "munit_edge.engines.probe",  # what a backend reports of itself; opens nothing
}
# Tables of names, which import nothing: the command line reads its choices from them.
TABLES = {"munit_edge.engines.table", "munit_edge.model.precision"}
# Optional packages, each with the rooms that may import it inside functions.
OPTIONAL = {
    "engines": {"cuda", *(m for name in MODEL_ENGINES for m in ENGINE_FACTS[name].modules)},
    "trainer": {"torch", "accelerate", "safetensors", "tensorboard"},
    "export": {"torch", "onnx", "onnxruntime", "onnxscript"},
}
# The one door to torch: it has stand-ins for when torch is not there.
TORCH_DOOR = "munit_edge.trainer.torch_api"
# The exceptions, each with its reason; inside functions only.
ALLOWED = {
    ("munit_edge.engines.torch.runner", "trainer"),  # runs a checkpoint without an export
    ("munit_edge.engines.torch.runner", "torch"),
    ("munit_edge.doctor.engine_cache", "munit_edge.engines.cache_folder"),  # says where plans are
    ("munit_edge.doctor.selftest_child", "munit_edge.engines.tensorrt.cache"),  # tries to build
    ("munit_edge.doctor.selftest_child", "munit_edge.engines.tensorrt.builder"),
    ("munit_edge.evaluation.onnx_network", "munit_edge.engines.onnxruntime.session"),
    ("munit_edge.video.av_api", "av"),  # the one door to PyAV
    ("munit_edge.images.heif", "pillow_heif"),
    ("munit_edge.cli.export", "torch"),  # names its own extra when torch is missing
}
EAGERLY_ALLOWED = {("munit_edge.evaluation.onnx_network", "munit_edge.engines.onnxruntime.session")}


def _top(module: str) -> str:
    """The room without its parts: "engines/tensorrt" belongs to "engines"."""
    return room(module).partition("/")[0]


def _fault(found: Import) -> str:
    """Why this import breaks the rules; "" where it does not."""
    package = found.imported.partition(".")[0]
    own = _top(found.importer)
    if package in BANNED:
        return f"'{package}' is never imported under that name"
    if package in HEAVY:
        if (found.importer, package) == (TORCH_DOOR, "torch"):
            return ""
        known = package in OPTIONAL.get(own, set())
        if not known and (found.importer, package) not in ALLOWED:
            return f"{own} has no business with {package}"
        return "" if found.lazy else f"{package} is optional: import it inside the function"
    if package != "munit_edge":
        return ""
    target, module = _top(found.imported), found.imported
    if module.rpartition(".")[0] in TABLES or module in TABLES:
        return ""
    if target == own or target in GROUND or target == "munit_edge":
        return ""
    allowed = {
        (importer, name)
        for importer, name in ALLOWED
        if importer == found.importer and (name == target or f"{module}.".startswith(f"{name}."))
    }
    if allowed:
        return "" if found.lazy or allowed & EAGERLY_ALLOWED else "only inside the function"
    is_door = any(f"{module}.".startswith(f"{door}.") for door in ENGINE_DOORS)
    if target == "engines" and own not in ("export", "cli") and not is_door:
        return f"{own} enters the engines by {sorted(ENGINE_DOORS)} only"
    if target in EAGER[own]:
        return ""
    if target in LAZY.get(own, set()):
        return "" if found.lazy else f"{own} imports {target} only inside functions"
    return f"{own} may not import {target}"


def test_no_import_crosses_a_border() -> None:
    faults = [f"{i.importer} imports {i.imported}: {_fault(i)}" for i in all_imports() if _fault(i)]
    assert not faults, "\n".join(faults)


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Lazy imports count."""
    assert circles(module_graph()) == []


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(graph) == [["b", "c"]]


def test_the_source_is_read() -> None:
    """Guards the tests above: imports at the top, in functions and through `require` are seen."""
    found = set(all_imports())
    door = "munit_edge.trainer.torch_api"
    assert Import("munit_edge.trainer.networks", f"{door}.nn", False) in found
    assert Import("munit_edge", "munit_edge.translator.Translator", True) in found
    assert Import("munit_edge.engines.onnxruntime.session", "onnxruntime", True) in found
    assert Import(door, "torch", False) in found


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("munit_edge.model.config", "from munit_edge.translator import Translator"),
        ("munit_edge.model.config", "def f():\n    import torch"),
        ("munit_edge.files.atomic", "from munit_edge import translator"),
        ("munit_edge.model.manifest", "from munit_edge.extras import require\nrequire('onnx', '')"),
        ("munit_edge.translator", "from munit_edge.engines.torch.runner import open_torch"),
        ("munit_edge.translator", "def f():\n    from munit_edge.trainer import losses"),
        ("munit_edge.cli.train", "from munit_edge.trainer.step import update"),
        ("munit_edge.cli.train", "def f():\n    import torch"),
        ("munit_edge.cli.export", "import torch"),
        ("munit_edge.cli.main", "import click"),
        ("munit_edge.engines.devices", "def f():\n    import torch"),
        ("munit_edge.engines.onnxruntime.runner", "import onnxruntime"),
        ("munit_edge.engines.torch.runner", "from munit_edge.trainer.networks import Generator"),
        ("munit_edge.engines.base", "from munit_edge.export import options"),
        ("munit_edge.trainer.step", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch"),
        ("munit_edge.trainer.step", "from munit_edge.engines.base import Runner"),
        ("munit_edge.trainer.step", "from munit_edge.export.options import ExportOptions"),
        ("munit_edge.export.parity", "def f():\n    from munit_edge.cli.progress import progress"),
    ],
)
def test_forbidden_imports_are_found(importer: str, source: str) -> None:
    assert any(_fault(found) for found in imports(importer, ast.parse(source)))
