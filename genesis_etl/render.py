"""Rows as people and programs want them: a table, CSV, JSON, Markdown or Parquet."""

from __future__ import annotations

import io
import json
import math
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from rich.cells import cell_len, set_cell_size

from genesis_etl.errors import ReportError
from genesis_etl.text import shown
from genesis_etl.times import format_time

# A spreadsheet runs a cell that starts with one of these.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_LONGEST: Final = 60
_NARROWEST: Final = 20
_WIDEST: Final = 100  # what eyes can follow
_SHORTENED: Final = 24  # texts that are longer than this make room before a column goes
_SAME: Final = ("account", "type")  # say little where all rows have one
# What people can do without first, where a table is too wide for their terminal.
_LEAST: Final = (
    *("sha256", "file", "endpoint", "etl_version", "finished_at", "capture_id", "previous_captured_at"),
    *("source_instance_id", "source_snapshot_id", "extra", "versions", "updated_at", "image_id", "gib_net"),
)
_BARS: Final = "▁▂▃▄▅▆▇█"
_MARKDOWN: Final = str.maketrans({c: f"&#{ord(c)};" for c in "\\<>&`*[]~"} | {"|": "\\|"})
# Within a word an underscore is only that.
_EMPHASIS: Final = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_FRACTION: Final = re.compile(r"\.[0-9]+")
# What DuckDB calls the columns of EXPLAIN: the second holds a drawing of many lines.
_EXPLAIN: Final = ["explain_key", "explain_value"]


def render(rows: pa.Table, form: str, width: int | None = None, longest: int = _LONGEST) -> bytes:
    """Return the rows in one of `FORMATS`; text forms end with a line break.

    `width` is the number of characters a table may take; columns that do not fit are left out and named: first those
    that say nothing, then ids and evidence, then from the right.
    A table shortens texts of more than `longest` characters. ReportError where the form cannot hold the values.
    """
    return FORMATS[form](rows, width, longest)


def wrapped(rows: pa.Table, width: int | None = None) -> pa.Table:
    """Return rows of texts for a table of this width: a long last cell goes on in rows of its own."""
    others = sum(
        max([cell_len(name), *(cell_len(text or "") for text in rows[name].to_pylist())]) + 2
        for name in rows.column_names[:-1]
    )
    room = max(_NARROWEST, min(width - others, _WIDEST) if width else _LONGEST)
    found: list[list[str | None]] = []
    for *firsts, last in _tuples(rows):
        lines = textwrap.wrap(last or "", room) or [""]
        found += [[*firsts, lines[0]], *([None] * len(firsts) + [line] for line in lines[1:])]
    columns = zip(*found, strict=True) if found else ([] for _ in rows.column_names)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=rows.column_names)


def sparkline(values: Sequence[float | None], width: int | None = None) -> str:
    """Draw values as bars between the least and the greatest, a blank for null; what is too wide is thinned out."""
    if width is not None and len(values) > width:
        # The last of every part, so that the line ends with the newest value.
        values = [values[(place + 1) * len(values) // width - 1] for place in range(width)]
    known = [value for value in values if value is not None]
    least, span = min(known, default=0), max(known, default=0) - min(known, default=0)
    top = len(_BARS) - 1
    return "".join(" " if v is None else _BARS[round((v - least) / span * top) if span else 0] for v in values)


def escaped(text: bytes) -> bytes:
    """Return a text form with everything escaped that a terminal could obey."""
    lines = text.decode("utf-8").split("\n")
    return "\n".join(shown(line, len(line) * 10) for line in lines).encode("utf-8")


def _csv(rows: pa.Table, *_: object) -> bytes:
    is_number = [_is_number(field.type) for field in rows.schema]
    lines = [",".join(map(_text_cell, rows.column_names))]
    lines += [
        ",".join(
            _plain(value) if number else _text_cell(_plain(value)) for value, number in zip(row, is_number, strict=True)
        )
        for row in _tuples(rows)
    ]
    if len(rows.columns) == 1:
        # A blank line would be no row to most readers.
        lines = [line if line.strip() else f'"{line}"' for line in lines]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _text_cell(text: str) -> str:
    if text.startswith(_FORMULA):
        text = f"'{text}"
    # The csv module leaves a lone carriage return bare, and readers take it for a new row.
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _json(rows: pa.Table, *_: object) -> bytes:
    _refuse_namesakes(rows)
    names = [_json_text(name) for name in rows.column_names]
    lines = (
        "  {" + ", ".join(f"{name}: {_json_text(value)}" for name, value in zip(names, row, strict=True)) + "}"
        for row in _tuples(rows)
    )
    body = ",\n".join(lines)
    return f"[\n{body}\n]\n".encode() if body else b"[]\n"


def _json_text(value: Any) -> str:
    """Write a value as JSON; the json module would turn a decimal into a text or lose digits."""
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float | Decimal):
        return (format(value, "f") if isinstance(value, Decimal) else repr(value)) if math.isfinite(value) else "null"
    if isinstance(value, pa.MonthDayNano):  # which is a tuple too
        return json.dumps(_interval(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_json_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json_text(str(key))}: {_json_text(item)}" for key, item in value.items()) + "}"
    text = _plain(value)
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _markdown(rows: pa.Table, *_: object) -> bytes:
    def cell(value: Any) -> str:
        return _EMPHASIS.sub("&#95;", shown(_plain(value), 200).translate(_MARKDOWN))

    def line(values: Any) -> str:
        return "| " + " | ".join(map(cell, values)) + " |"

    rules = ["---:" if _is_number(field.type) else "---" for field in rows.schema]
    lines = [line(rows.column_names), "| " + " | ".join(rules) + " |", *map(line, _tuples(rows))]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _parquet(rows: pa.Table, *_: object) -> bytes:
    _refuse_namesakes(rows)
    for index, field in enumerate(rows.schema):
        if field.type == pa.month_day_nano_interval():  # Parquet has no such type that readers agree on
            texts = [None if value is None else _interval(value) for value in rows[index].to_pylist()]
            rows = rows.set_column(index, field.name, pa.array(texts, pa.string()))
    buffer = io.BytesIO()
    try:
        pq.write_table(rows, buffer, compression="zstd")
    except pa.ArrowException as error:
        raise ReportError(f"Parquet cannot hold these columns: {shown(str(error))}") from None
    return buffer.getvalue()


def _table(rows: pa.Table, width: int | None, longest: int) -> bytes:
    """Lay the rows out in columns, numbers to the right."""
    if rows.column_names == _EXPLAIN:
        plans = "\n".join(rows["explain_value"].to_pylist())
        return escaped((plans.rstrip() + "\n").encode("utf-8"))
    right = [_is_number(field.type) for field in rows.schema]
    cells = [[_cell(value, longest) for value in row] for row in _tuples(rows)]
    names = [shown(name, _LONGEST) for name in rows.column_names]
    widths = [max([cell_len(name), *(cell_len(row[index]) for row in cells)]) for index, name in enumerate(names)]
    kept = list(range(len(names)))
    if width is not None:
        kept, widths = _fitting(rows, widths, max(width, 1))

    def line(texts: list[str]) -> str:
        parts = []
        for text, size, is_right in ((texts[index], widths[index], right[index]) for index in kept):
            fitting = text if cell_len(text) <= size else set_cell_size(text, size - 1) + "…"
            space = " " * (size - cell_len(fitting))
            parts.append(space + fitting if is_right else fitting + space)
        return "  ".join(parts).rstrip()

    rule = ["─" * size for size in widths]
    lines = [line(names), line(rule), *map(line, cells)]
    if width is not None and len(kept) < len(names):
        left_out = [name for index, name in enumerate(names) if index not in kept]
        lines += textwrap.wrap(f"(not shown for want of width: {', '.join(left_out)})", max(width, 1))
    return ("\n".join(lines) + "\n").encode("utf-8")


def _fitting(rows: pa.Table, widths: list[int], width: int) -> tuple[list[int], list[int]]:
    """Return which columns a table of this width shows, and how wide each of them is."""
    names, columns = rows.column_names, rows.columns
    empty = [index for index, column in enumerate(columns) if column.null_count == len(rows)]
    same = [names.index(name) for name in _SAME if name in names and len(columns[names.index(name)].unique()) == 1]
    least = [names.index(name) for name in _LEAST if name in names]
    kept, widths = list(range(len(names))), list(widths)

    def excess() -> int:
        return sum(widths[index] for index in kept) + 2 * (len(kept) - 1) - width

    def leave_out(indices: list[int]) -> None:
        for index in indices:
            if excess() > 0 and len(kept) > 1 and index in kept:
                kept.remove(index)

    leave_out([*(empty if len(rows) else []), *same, *least])
    texts = [index for index in kept if pa.types.is_string(columns[index].type)]
    for index in sorted(texts, key=lambda index: -widths[index]):
        widths[index] = max(min(_SHORTENED, widths[index]), widths[index] - max(excess(), 0))
    leave_out(list(reversed(kept)))
    widths[kept[0]] = min(widths[kept[0]], width)
    return kept, widths


FORMATS: Final[dict[str, Callable[[pa.Table, int | None, int], bytes]]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
    "markdown": _markdown,
    "parquet": _parquet,
}


def _tuples(rows: pa.Table) -> list[tuple[Any, ...]]:
    columns = []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        try:
            columns.append(column.to_pylist())
        except (ValueError, OverflowError, pa.ArrowException) as error:
            # A time that Python does not know, such as infinity or the year 290000.
            reason = f"{shown(name)} holds what cannot be written ({shown(str(error))})"
            raise ReportError(f"the column {reason}", advice="cast it to varchar") from None
    return list(zip(*columns, strict=True))


def _refuse_namesakes(rows: pa.Table) -> None:
    name, count = max(Counter(rows.column_names).items(), key=lambda item: item[1])
    if count > 1:
        raise ReportError(f"{count} columns are called {shown(name)}", advice="name each apart with `as`")


def _is_number(type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))


def _plain(value: Any) -> str:
    """Write a value as data: whole, in one form for every column of its kind."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return format_time(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, pa.MonthDayNano):
        return _interval(value)
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, tuple):  # an entry of a map
        return ": ".join(map(_plain, value))
    if isinstance(value, dict):
        return _json_text(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _interval(value: pa.MonthDayNano) -> str:
    """Write an interval as durations are written, in its parts: `1mo 2d 3h`; `-1h` where it goes back."""
    minutes, seconds = divmod(abs(value.nanoseconds), 60 * 10**9)
    sign = "-" if value.nanoseconds < 0 else ""
    parts = [(value.months, "mo"), (value.days, "d")]
    written = [f"{number}{unit}" for number, unit in parts if number]
    written += [f"{sign}{number}{unit}" for number, unit in ((minutes // 60, "h"), (minutes % 60, "m")) if number]
    if seconds:
        written.append(f"{sign}{Decimal(seconds).scaleb(-9).normalize():f}s")
    return " ".join(written) or "0s"


def _cell(value: Any, longest: int) -> str:
    if isinstance(value, float) and (value == 0 or 0.01 <= abs(value) < 1e15):
        return f"{value:,.2f}".removesuffix(".00")
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.3g}"
    if isinstance(value, datetime):
        return _FRACTION.sub("", _plain(value))
    return shown(_plain(value), longest)
