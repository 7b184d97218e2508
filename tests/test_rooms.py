"""The rooms of the package: who may import whom and what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "genesis_etl"
# A room may import those before it, never one after it.
ORDER = [
    ["redact", "errors", "version", "text", "times", "settings", "signals"],
    ["process", "outfile"],
    ["page", "pacer", "transport", "table", "listeners"],
    ["session"],
    ["commit"],
    ["storage", "s3"],
    ["api", "capture", "lake"],
    ["warehouse", "verify"],
    ["spark", "compact", "forget"],
    ["pipeline"],
    ["forecast", "reports", "render", "sandbox"],
    ["check", "starter", "charts", "figures"],
    ["dashboard", "screen"],
    ["demo"],
    ["cli"],
    ["__main__"],
]
ONLY = {
    "requests": {"api", "session"},
    "duckdb": {"warehouse"},
    "prefect": set(),
    "urllib3": {"api", "session", "transport"},
    "pyspark": {"spark"},
    "sqlglot": {"spark"},
    "jinja2": {"dashboard"},
    "vl_convert": {"charts"},
}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def rooms() -> dict[str, list[Path]]:
    """Return every room of the client with its files."""
    alone = {path.stem: [path] for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    return {**alone, "cli": sorted((PACKAGE / "cli").glob("*.py"))}


def test_every_room_has_its_place() -> None:
    """The order of the rooms in this test names every module of the package, and no other."""
    assert sorted(name for level in ORDER for name in level if name != "sandbox") == sorted(rooms())


@pytest.mark.parametrize("room", rooms())
def test_a_room_imports_only_what_comes_before_it(room: str) -> None:
    """There is no circle, and no room knows of one that is built upon it."""
    level = next(index for index, names in enumerate(ORDER) if room in names)
    allowed = {name for names in ORDER[: level + 1] for name in names} - {room}
    imported = {name for path in rooms()[room] for name in imports(path)}
    used = {name.split(".")[1] for name in imported if name.startswith("genesis_etl.")}
    assert used - {room} <= allowed


@pytest.mark.parametrize("library", ONLY)
def test_a_foreign_library_has_one_room(library: str) -> None:
    """What a library does is mapped to our words in one place."""
    users = {
        path.stem for path in PACKAGE.rglob("*.py") if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= ONLY[library]


@pytest.mark.parametrize("path", sorted((PACKAGE / "sandbox").glob("*.py")), ids=lambda path: path.stem)
def test_the_sandbox_shares_no_code_with_the_client(path: Path) -> None:
    """It imports nothing of the package but itself, so it cannot share the client's mistakes."""
    ours = {name for name in imports(path) if name.startswith("genesis_etl")}
    assert all(name.startswith("genesis_etl.sandbox") for name in ours)
