"""Rows as people and programs want them: a table, CSV, JSON, Markdown or Parquet."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from rich.cells import cell_len

from genesis_etl.errors import ReportError
from genesis_etl.text import shown
from genesis_etl.times import format_time

# A spreadsheet runs a cell that starts with one of these.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_LONGEST: Final = 60


def render(rows: pa.Table, form: str, width: int | None = None) -> bytes:
    """Return the rows in one of `FORMATS`; text forms end with a line break.

    `width` is the number of characters a table may take; columns that do not fit are left out and named.
    """
    return FORMATS[form](rows, width)


def _csv(rows: pa.Table, _: int | None) -> bytes:
    is_number = [_is_number(field.type) for field in rows.schema]
    lines = [",".join(map(_text_cell, rows.column_names))]
    lines += [
        ",".join(
            _plain(value) if number else _text_cell(_plain(value)) for value, number in zip(row, is_number, strict=True)
        )
        for row in _tuples(rows)
    ]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _text_cell(text: str) -> str:
    if text.startswith(_FORMULA):
        text = f"'{text}"
    # The csv module leaves a lone carriage return bare, and readers take it for a new row.
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _json(rows: pa.Table, _: int | None) -> bytes:
    lines = (
        json.dumps(dict(zip(rows.column_names, map(_jsonable, row), strict=True)), ensure_ascii=False)
        for row in _tuples(rows)
    )
    body = ",\n".join(f"  {line}" for line in lines)
    return f"[\n{body}\n]\n".encode() if body else b"[]\n"


def _markdown(rows: pa.Table, _: int | None) -> bytes:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|") for cell in cells) + " |"

    def cell(value: Any) -> str:
        text = shown(_plain(value), 200)
        for character in "<>&`*_[]":
            text = text.replace(character, f"&#{ord(character)};")
        return text

    rules = ["---:" if _is_number(field.type) else "---" for field in rows.schema]
    lines = [line(rows.column_names), "| " + " | ".join(rules) + " |"]
    lines += [line([cell(value) for value in row]) for row in _tuples(rows)]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _parquet(rows: pa.Table, _: int | None) -> bytes:
    buffer = io.BytesIO()
    try:
        pq.write_table(rows, buffer, compression="zstd")
    except pa.ArrowException as error:
        raise ReportError(f"Parquet cannot hold these columns: {shown(str(error))}") from None
    return buffer.getvalue()


def _table(rows: pa.Table, width: int | None) -> bytes:
    """Lay the rows out in columns, numbers to the right."""
    right = [_is_number(field.type) for field in rows.schema]
    cells = [[_cell(value) for value in row] for row in _tuples(rows)]
    names = [shown(name, _LONGEST) for name in rows.column_names]
    widths = [max([cell_len(name), *(cell_len(row[index]) for row in cells)]) for index, name in enumerate(names)]
    shown_columns = len(names)
    while width and shown_columns > 1 and sum(widths[:shown_columns]) + 2 * (shown_columns - 1) > width:
        shown_columns -= 1

    def line(texts: list[str]) -> str:
        parts = []
        for text, size, is_right in list(zip(texts, widths, right, strict=True))[:shown_columns]:
            space = " " * (size - cell_len(text))
            parts.append(space + text if is_right else text + space)
        return "  ".join(parts).rstrip()

    rule = ["─" * size for size in widths]
    lines = [line(names), line(rule), *map(line, cells)]
    if shown_columns < len(names):
        lines.append(f"(not shown for want of width: {', '.join(names[shown_columns:])})")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


FORMATS: Final[dict[str, Callable[[pa.Table, int | None], bytes]]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
    "markdown": _markdown,
    "parquet": _parquet,
}


def _tuples(rows: pa.Table) -> list[tuple[Any, ...]]:
    columns = [column.to_pylist() for column in rows.columns]
    return list(zip(*columns, strict=True)) if columns else []


def _is_number(type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))


def _plain(value: Any) -> str:
    """Write a value as data: whole, in one form for every column of its kind."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return format_time(value) if value.tzinfo else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return json.dumps(_jsonable(value), ensure_ascii=False)
    return str(value)


def _cell(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:,.2f}".removesuffix(".00")
    if isinstance(value, datetime):
        return _plain(value.replace(microsecond=0))
    return shown(_plain(value), _LONGEST)


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return _plain(value)
