"""Every TensorRT name in the code against the names of the real bindings.

The names of the bindings are in tests/golden/tensorrt_names.json, written by
tools/tensorrt_names.py. Names that only some versions have must be looked up with
`tensorrt_api.optional`, which is the guard: such names are text here, and are not looked at.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from needs_rtx import needs_rtx

from munit_edge.engines.tensorrt import api as tensorrt_api

ROOT = Path(__file__).resolve().parents[2]
TABLE = json.loads((ROOT / "tests/golden/tensorrt_names.json").read_text(encoding="utf-8"))
NAMES: dict[str, dict[str, str]] = TABLE["names"]
BINDINGS: list[str] = TABLE["bindings"]

FILES = [ROOT / "engines/tensorrt" / name for name in ("api.py", "builder.py", "runner.py")]

# What variables and attributes of these names are, everywhere in those files. With or without a
# leading underscore.
CLASSES = {
    "builder": "Builder",
    "cache": "ITimingCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "error": "ParserError",
    "logger": "Logger",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
}
# Where such a name is something of ours.
OURS = {
    "runner.py": {"config", "profile"},  # the model's, and what a plan was built for
}
# What methods give that is used without a variable.
RESULTS = {
    ("INetworkDefinition", "get_input"): "ITensor",
}
# Beginnings of methods that give objects of TensorRT; others give plain values.
MAKERS = ("create_", "deserialize_", "get_error", "get_input", "get_output")
# Names of other things that are annotated `Any` or come from TensorRT: enum members, plain values.
OTHERS = {
    *("enum", "level", "member", "members", "owner", "thing", "trt", "module", "severity"),
    *("monitor", "serialized", "operator", "node", "limit", "found"),
}
# Functions that only one flavour reaches.
ONLY = {"_set_capabilities": "tensorrt-rtx"}
# Files that the lean runtime reaches, which has no builder and no parser.
LEAN_FILES = {"api.py", "runner.py"}


class Use(NamedTuple):
    owner: str
    """Class, or the name itself for one of the module's."""
    member: str
    """Member of the class, or ""."""
    function: str
    """Where it is used."""
    line: int


class Reader(ast.NodeVisitor):
    """Collects the TensorRT names of one module, and the variables that it cannot place."""

    def __init__(self, file: str) -> None:
        ours = OURS.get(file, set())
        self._classes = {name: found for name, found in CLASSES.items() if name not in ours}
        self.uses: list[Use] = []
        self.unknown: list[str] = []
        self._functions: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._functions.append(node.name)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for argument in arguments:
            if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Any":
                self._must_be_known(argument.arg, node.lineno)
        self.generic_visit(node)
        self._functions.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.value, ast.Call) and self._gives_an_object(node.value):
            for target in node.targets:
                for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                    self._must_be_known(_tail(name), node.lineno)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        function = self._functions[-1] if self._functions else ""
        if _is_module(node.value):
            self.uses.append(Use(node.attr, "", function, node.lineno))
        else:
            owner = self._class_of(node.value)
            if owner:
                self.uses.append(Use(owner, node.attr, function, node.lineno))
        self.generic_visit(node)

    def _class_of(self, node: ast.expr) -> str | None:
        """The TensorRT class of an expression, where it is known."""
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                if _is_module(function.value):
                    return function.attr
                owner = self._class_of(function.value)
                return RESULTS.get((owner or "", function.attr))
            return None
        if isinstance(node, ast.Attribute) and _is_module(node.value):
            return node.attr
        return self._classes.get(_tail(node).lstrip("_"))

    def _gives_an_object(self, node: ast.Call) -> bool:
        function = node.func
        if not isinstance(function, ast.Attribute):
            return False
        if _is_module(function.value):
            return True
        return bool(self._class_of(function.value) and function.attr.startswith(MAKERS))

    def _must_be_known(self, name: str, line: int) -> None:
        if name.lstrip("_") not in CLASSES.keys() | OTHERS:
            self.unknown.append(f"line {line}: what is '{name}'?")


def _tail(node: ast.expr) -> str:
    """The last name of `a`, `self.a` or `self._a`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return ""


def _is_module(node: ast.expr) -> bool:
    return _tail(node) in ("trt", "module") and not isinstance(node, ast.Call)


def _read(source: str, file: str = "") -> Reader:
    reader = Reader(file)
    reader.visit(ast.parse(source))
    return reader


def _read_file(file: Path) -> Reader:
    return _read(file.read_text(encoding="utf-8"), file.name)


def _faults(uses: list[Use], file: str = "builder.py") -> Iterator[str]:
    for use in uses:
        if use.member.startswith("__") or use.owner.startswith("__"):
            continue  # Python's own
        name = f"{use.owner}.{use.member}".rstrip(".")
        where = NAMES.get(use.owner, {}).get(use.member)
        if where is None:
            yield f"line {use.line}: no binding has {name} (or its class is not in the table)"
            continue
        wanted = ONLY.get(use.function)
        lacking = [
            binding
            for binding, there in zip(BINDINGS, where, strict=True)
            if there == "-"
            and (wanted is None or binding.startswith(f"{wanted} "))
            and (file in LEAN_FILES or not binding.startswith("tensorrt-lean "))
        ]
        if lacking:
            yield f"line {use.line}: {', '.join(lacking)} has no {name}: use tensorrt_api.optional"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_name_is_in_every_binding(file: Path) -> None:
    assert not list(_faults(_read_file(file).uses, file.name))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_variable_that_may_be_tensorrts_is_known(file: Path) -> None:
    """Otherwise names used on it would be missed: add it to CLASSES or to OTHERS."""
    assert not _read_file(file).unknown


def test_only_these_files_use_the_module() -> None:
    for file in (ROOT / "engines").rglob("*.py"):
        if file not in FILES:
            assert not re.search(r"\btrt\.|api\.module", file.read_text(encoding="utf-8")), file


def test_the_code_is_read() -> None:
    """Guards the tests above: names on the module, on variables, on results and when set."""
    uses = _read_file(ROOT / "engines/tensorrt/builder.py").uses
    found = {(use.owner, use.member) for use in uses}
    assert found >= {
        ("Builder", ""),
        ("BuilderFlag", "TF32"),
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("IBuilderConfig", "progress_monitor"),
        ("IBuilderConfig", "set_compute_capability"),
        ("IOptimizationProfile", "set_shape"),
        ("ITensor", "name"),
        ("ITimingCache", "serialize"),
        ("ParserError", "node_operator"),
    }


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("trt.BuilderFlag.FP16", "tensorrt 11.4.0.106, tensorrt-rtx 1.7.1.116 has no"),
        ("trt.ComputeCapability.SM86", "tensorrt 10.3.0, tensorrt 10.13.3.9, tensorrt 11.4.0.106"),
        ("api.module.IStreamReader", "has no IStreamReader"),
        ("config.int8_calibrator = c", "has no IBuilderConfig.int8_calibrator"),
        ("config.num_compute_capabilities = 1", "has no IBuilderConfig.num_compute"),
        ("self._engine.device_memory_size", "has no ICudaEngine.device_memory_size"),
        ("network.get_input(0).dynamic_range", "has no ITensor.dynamic_range"),
        ("trt.Builder(logger).platform_has_fast_fp16", "has no Builder.platform_has_fast_fp16"),
        ("trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY", "tensorrt 10.3.0 has no"),
        ("builder.biuld()", "no binding has Builder.biuld"),
        ("trt.NoSuchClass()", "no binding has NoSuchClass"),
    ],
)
def test_names_that_a_binding_lacks_are_found(source: str, fault: str) -> None:
    faults = list(_faults(_read(source).uses))
    assert any(fault in found for found in faults), faults


@pytest.mark.parametrize(
    "source",
    [
        "def f(thingy: Any): ...",
        "x = trt.Runtime(logger)",
        "ctx = engine.create_execution_context()",
    ],
)
def test_unknown_variables_are_found(source: str) -> None:
    assert _read(source).unknown


def test_names_that_the_lean_runtime_lacks_are_found() -> None:
    uses = _read("trt.Builder(logger)").uses
    assert not list(_faults(uses))
    (fault,) = _faults(uses, "runner.py")
    assert "tensorrt-lean 11.4.0.106 has no Builder" in fault


def test_a_guarded_name_passes() -> None:
    source = "level = optional(trt.HardwareCompatibilityLevel, 'SAME_COMPUTE_CAPABILITY')"
    assert not list(_faults(_read(source).uses))


@needs_rtx
def test_the_table_is_true_of_the_binding_that_is_here() -> None:
    api = tensorrt_api.load("tensorrt-rtx")
    label = f"tensorrt-rtx {api.version}"
    if label not in BINDINGS:
        pytest.skip(f"the table has no {label}")
    column = BINDINGS.index(label)
    for owner, members in NAMES.items():
        for member, where in members.items():
            there = getattr(api.module, owner, None)
            if member:
                there = getattr(there, member, None)
            assert (there is not None) == (where[column] == "x"), f"{owner}.{member}"
