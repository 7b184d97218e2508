"""The plan of the house: which wings there are, who may import whom, and that nothing goes in a circle."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "genesis_etl"
# A wing is a folder or a module; it may import those above it, never one below.
WINGS = re.findall(
    r"^\| `([\w/]+?)(?:\.py|/)` \|",
    (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Wings")[2].partition("\n## ")[0],
    re.MULTILINE,
)
LONGEST = 300  # lines of a module
# The rooms that own a foreign library: what it does is mapped to our words there.
ONLY = {
    "requests": {"api"},
    "urllib3": {"api"},
    "duckdb": {"query"},
    "pyspark": {"query"},
    "sqlglot": {"query"},
    "jinja2": {"dashboard"},
    "xlsxwriter": {"render"},
    "click": {"cli"},
    "prefect": set[str](),
}


def module_of(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package by name."""
    return {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports(path: Path) -> set[str]:
    """Return what a file imports, wherever in it: inside functions and for types, too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                full if (full := f"{node.module}.{name.name}") in modules() else node.module for name in node.names
            }
    return found


@cache
def graph() -> dict[str, set[str]]:
    """Return module → the modules of the package that it imports; the package's own face is nobody's room."""
    return {
        name: {each for each in imports(path) if each in modules() and each not in (name, "genesis_etl")}
        for name, path in modules().items()
        if name != "genesis_etl"
    }


def wing_of(module: str) -> str:
    """Return the wing that a module stands in."""
    return module.split(".")[1]


def test_every_module_stands_in_a_wing_of_the_plan() -> None:
    """docs/architecture.md lists every wing of the package once, and no other; there are about 22."""
    there = {wing_of(name) for name in graph()} - {"__main__"}
    assert sorted(WINGS) == sorted(there)
    assert len(WINGS) <= 24


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_wings_above_it(wing: str) -> None:
    """No arrow of the plan goes up."""
    above = set(WINGS[: WINGS.index(wing) + 1])
    wrong = {
        (name, used)
        for name, others in graph().items()
        if wing_of(name) == wing
        for used in others
        if wing_of(used) not in above
    }
    assert not wrong


def test_no_imports_go_in_a_circle() -> None:
    """Walking the imports of any module never leads back to it."""
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way[way.index(name) :], name])
        if name not in done:
            for used in sorted(graph()[name]):
                walk(used, (*way, name))
            done.add(name)

    for name in graph():
        walk(name, ())


@pytest.mark.parametrize("library", ONLY)
def test_a_foreign_library_has_one_wing(library: str) -> None:
    """What a library does is mapped to our words in one place."""
    users = {
        wing_of(name)
        for name, path in modules().items()
        if name != "genesis_etl" and any(each.split(".")[0] == library for each in imports(path))
    }
    assert users <= ONLY[library]


def test_the_sandbox_shares_no_code_with_the_client() -> None:
    """It imports nothing of the package but itself, so it cannot share the client's mistakes."""
    used = {each for name, others in graph().items() if wing_of(name) == "sandbox" for each in others}
    assert {wing_of(each) for each in used} == {"sandbox"}


@pytest.mark.parametrize("module", modules())
def test_a_module_fits_into_a_head(module: str) -> None:
    """No module has 300 lines or more."""
    assert len(modules()[module].read_text(encoding="utf-8").splitlines()) < LONGEST


def test_no_test_imports_from_a_test() -> None:
    """What tests share lies in conftest and in modules of helpers."""
    for path in (ROOT / "tests").rglob("*.py"):
        assert not re.search(r"^\s*from tests(\.\w+)*\.test_", path.read_text(encoding="utf-8"), re.MULTILINE), path
