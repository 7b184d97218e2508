"""Rows as people and programs want them: a table, CSV, JSON, Markdown, Parquet or a spreadsheet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pyarrow as pa

from genesis_etl.render.parquet import to_parquet
from genesis_etl.render.table import LONGEST, escaped, sparkline, to_table, wrapped
from genesis_etl.render.texts import to_csv, to_json, to_markdown
from genesis_etl.render.xlsx import to_xlsx

__all__ = ["FORMATS", "escaped", "render", "sparkline", "wrapped"]

FORMATS: Final[dict[str, Callable[[pa.Table, int | None, int], bytes]]] = {
    "table": to_table,
    "csv": to_csv,
    "json": to_json,
    "markdown": to_markdown,
    "parquet": to_parquet,
    "xlsx": to_xlsx,
}


def render(rows: pa.Table, form: str, width: int | None = None, longest: int = LONGEST) -> bytes:
    """Return the rows in one of `FORMATS`; text forms end with a line break.

    `width` is the number of characters a table may take; columns that do not fit are left out and named: first those
    that say nothing, then ids and evidence, then from the right.
    A table shortens texts of more than `longest` characters. ReportError where the form cannot hold the values.
    """
    return FORMATS[form](rows, width, longest)
