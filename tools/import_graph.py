"""Print which rooms of munit-edge import which; fail when modules import each other in a circle.

    python tools/import_graph.py [FOLDER]

A room is a folder of modules; the files directly below `munit_edge/` are rooms of their own, and
those that everything may use are together one, `ground`. Every import counts: at the top of a
module, in a function, or for annotations only. Nothing is executed. FOLDER is a checkout; without
it this one is read.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TOP = ("engines", "export", "trainer")
"""Folders at the top of the checkout that are packages below `munit_edge`."""
GROUND = ("closing", "errors", "extras", "interrupts", "settings", "text", "version")
CALLS = ("require", "import_module", "__import__")
"""Functions whose first argument is a module to import."""


class Import(NamedTuple):
    """One import statement, or call that imports."""

    importer: str
    imported: str
    lazy: bool
    """In a function, or only for annotations."""


def modules(root: Path = ROOT) -> dict[str, Path]:
    """The file of every module of a checkout, by the module's name."""
    found = {}
    for folder in ("munit_edge", *TOP):
        for file in sorted((root / folder).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            if folder == "munit_edge" and parts[1] in TOP:
                continue  # through a link
            full = parts if folder == "munit_edge" else ("munit_edge", *parts)
            found[".".join(full[:-1] if full[-1] == "__init__" else full)] = file
    return found


def all_imports(root: Path = ROOT) -> list[Import]:
    """Every import of a checkout."""
    return [
        found
        for importer, file in modules(root).items()
        for found in imports(importer, ast.parse(file.read_text(encoding="utf-8")))
    ]


def imports(importer: str, node: ast.AST, lazy: bool = False) -> Iterator[Import]:
    """The imports below `node`, which belongs to the module `importer`."""
    for child in ast.iter_child_nodes(node):
        for imported in _named(child):
            yield Import(importer, imported, lazy)
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for statement in child.body:
                yield from imports(importer, ast.Module([statement], []), lazy=True)
            for statement in child.orelse:
                yield from imports(importer, ast.Module([statement], []), lazy)
        else:
            is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports(importer, child, lazy or is_function)


def module_graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Module -> modules of the package that it imports."""
    known = modules(root)
    graph: dict[str, set[str]] = {module: set() for module in known}
    for importer, imported, _ in all_imports(root):
        # `from munit_edge.files import locks` names a module, `... import Translator` does not.
        target = imported if imported in known else imported.rpartition(".")[0]
        if target in known and target != importer:
            graph[importer].add(target)
    return graph


def room(module: str) -> str:
    """The room that a module belongs to: "images", "engines/tensorrt", "ground", "translator"."""
    _, *parts = module.split(".")
    if not parts:
        return "munit_edge"
    if parts == ["__main__"]:
        return "cli"
    if parts[0] in GROUND:
        return "ground"
    depth = 2 if parts[0] in TOP and len(parts) > 2 else 1
    return "/".join(parts[:depth])


def room_graph(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Room -> rooms that its modules import."""
    rooms: dict[str, set[str]] = {}
    for module, targets in graph.items():
        own = rooms.setdefault(room(module), set())
        own.update(room(target) for target in targets if room(target) != room(module))
    return rooms


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(sorted(members))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def _named(node: ast.AST) -> list[str]:
    """The modules that this one node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here"
        assert node.module
        if node.module.partition(".")[0] == "munit_edge":  # may name modules, or names of one
            return [f"{node.module}.{alias.name}" for alias in node.names]
        return [node.module]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in CALLS:
            return [str(node.args[0].value)]
    return []


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def main() -> None:
    """Print the rooms, their arrows and every circle."""
    graph = module_graph(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    rooms = room_graph(graph)
    for name in sorted(rooms):
        print(f"{name:20} -> {', '.join(sorted(rooms[name])) or '-'}")
    arrows = sum(map(len, rooms.values()))
    print(f"\n{len(graph)} modules in {len(rooms)} rooms, {arrows} arrows between rooms")
    found = circles(graph)
    for circle in found:
        print(f"circle of {len(circle)} modules: {', '.join(circle)}")
    if found:
        sys.exit(1)
    print("no module imports itself, lazy imports counted too")


if __name__ == "__main__":
    main()
