"""The files that the pages name exist, and the table of rooms is that of the import rules."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from import_graph import GROUND

CHECKOUT = Path(__file__).resolve().parents[2]
CONTRIBUTING = CHECKOUT / "CONTRIBUTING.md"
PAGES = [CONTRIBUTING, *sorted((CHECKOUT / "docs").rglob("*.md"))]
TOP = (
    "benchmarks",
    "docker",
    "docs",
    "engines",
    "export",
    "munit_edge",
    "tests",
    "tools",
    "trainer",
)
BORDERS = CHECKOUT / "tests" / "packaging" / "test_room_borders.py"


def named_files(text: str) -> Iterator[str]:
    """Paths of the checkout in code: `engines/base.py`, `tests/golden`, `.ci/run`."""
    for code in re.findall(r"`([^`\n]+)`", text):
        for word in code.split():
            top = word.partition("/")[0]
            if (top in (*TOP, ".ci") and "/" in word) or word == "pyproject.toml":
                yield word


def named_modules(text: str) -> Iterator[str]:
    """Dotted names below the package, in code and in Python blocks."""
    yield from re.findall(r"\bmunit_edge(?:\.[A-Za-z_]\w*)+", text)


def is_placeholder(path: str) -> bool:
    return re.search(r"[A-Z]{4,}|[*<]", path.rpartition("/")[0]) is not None


def module_exists(name: str) -> bool:
    """Whether a prefix names a module whose text has the next part; packages have no attributes."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        path = CHECKOUT.joinpath(*parts[:depth])
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        if file.exists():
            rest = parts[depth:]
            return not rest or re.search(rf"\b{rest[0]}\b", file.read_text("utf-8")) is not None
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    files = [path for path in named_files(text) if not is_placeholder(path)]
    missing = [path for path in files if not (CHECKOUT / path).exists()]
    missing += [name for name in named_modules(text) if not module_exists(name)]
    assert missing == []


def test_files_and_modules_are_found_in_text() -> None:
    text = "See `python tools/demo.sh`, `engines/NAME/runner.py`, `a/b` and `munit_edge/cli/`."
    assert list(named_files(text)) == ["tools/demo.sh", "engines/NAME/runner.py", "munit_edge/cli/"]
    assert [is_placeholder(path) for path in named_files(text)] == [False, True, False]
    names = list(named_modules("`munit_edge.extras.require`, from munit_edge.nowhere import x"))
    assert [module_exists(name) for name in names] == [True, False]
    assert not module_exists("munit_edge.extras.no_such_function")
    assert len(list(named_files(CONTRIBUTING.read_text(encoding="utf-8")))) > 30


def rooms_of_the_page() -> dict[str, tuple[set[str], set[str]]]:
    """Room -> rooms that it imports, and those that its functions import."""
    table = CONTRIBUTING.read_text(encoding="utf-8").partition("| room |")[2].partition("\n\n")[0]
    rooms = {}
    for row in table.splitlines()[2:]:
        path, _, eager, lazy = (cell.strip(" `") for cell in row.strip("|").split("|"))
        name = Path(path).stem
        rooms[name] = tuple(set(cell.split(", ")) - {""} for cell in (eager, lazy))
    return rooms


def test_the_table_of_rooms_is_that_of_the_import_rules() -> None:
    rules = runpy.run_path(str(BORDERS))
    eager, lazy = rules["EAGER"], rules["LAZY"]
    rooms = rooms_of_the_page()
    without_rows = {"munit_edge", *rules["GROUND"]}
    assert set(rooms) == set(eager) - without_rows
    everything = {"every room"}
    for room, (imports, in_functions) in rooms.items():
        assert imports == eager[room], room
        expected = everything if lazy.get(room) == set(eager) else lazy.get(room, set())
        assert in_functions == expected, room


def test_the_page_names_the_ground() -> None:
    text = CONTRIBUTING.read_text(encoding="utf-8").partition("## The rooms")[2].partition("\n|")[0]
    assert {f"`{name}`" for name in GROUND} <= set(re.findall(r"`\w+`", text))
