"""The SQL of the project: one statement a file, in the folder of what it is for."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

_SUFFIX: Final = ".sql"


@cache
def read_sql(folder: str, name: str) -> str:
    """Return a statement of views, reports, checks or page, with its header."""
    return files("genesis_etl").joinpath("sql", folder, name + _SUFFIX).read_text(encoding="utf-8")


def sql_names(folder: str) -> list[str]:
    """Return the names of a folder's statements, sorted."""
    names = (item.name for item in files("genesis_etl").joinpath("sql", folder).iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))


def one_line(folder: str, name: str) -> str:
    """Return a statement as one types it into a command: without its header, on one line."""
    lines = (line.strip() for line in read_sql(folder, name).splitlines() if not line.startswith("--"))
    return " ".join(filter(None, lines))
