"""Rows as a table for eyes, as wide as a terminal, and series as bars."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

import pyarrow as pa
from rich.cells import cell_len, set_cell_size

from genesis_etl.render.values import is_number, plain, tuples, values_of
from genesis_etl.text import shown

LONGEST: Final = 60
_NARROWEST: Final = 20
_WIDEST: Final = 100  # what eyes can follow
_SHORTENED: Final = 24  # texts that are longer than this make room before a column goes
_SAME: Final = ("account", "type")  # say little where all rows have one
# What people can do without first, where a table is too wide for their terminal.
_LEAST: Final = (
    *("sha256", "file", "endpoint", "etl_version", "finished_at", "capture_id", "previous_captured_at"),
    *("source_instance_id", "source_snapshot_id", "extra", "versions", "updated_at", "image_id", "gib_net"),
)
_ALIKE: Final = frozenset((str, int, date, datetime, bool, type(None)))  # of these, equals of a column look the same
_BARS: Final = "▁▂▃▄▅▆▇█"
_FRACTION: Final = re.compile(r"\.[0-9]+")
# What DuckDB calls the columns of EXPLAIN: the second holds a drawing of many lines.
_EXPLAIN: Final = ["explain_key", "explain_value"]


def to_table(rows: pa.Table, width: int | None, longest: int) -> bytes:
    """Lay the rows out in columns, numbers to the right."""
    if rows.column_names == _EXPLAIN:
        plans = "\n".join(rows["explain_value"].to_pylist())
        return escaped((plans.rstrip() + "\n").encode("utf-8"))
    right = [is_number(field.type) for field in rows.schema]
    names = [shown(name, LONGEST) for name in rows.column_names]
    columns = [[name, *_cells(values, longest)] for name, values in zip(names, values_of(rows), strict=True)]
    widths = [max(map(_width, set(column))) for column in columns]
    kept = list(range(len(names)))
    if width is not None:
        kept, widths = _fitting(rows, widths, max(width, 1))
    shown_columns = [_padded(columns[index], widths[index], is_right=right[index]) for index in kept]
    lines = ["  ".join(texts).rstrip() for texts in zip(*shown_columns, strict=True)]
    lines.insert(1, "  ".join("─" * widths[index] for index in kept))
    if width is not None and len(kept) < len(names):
        left_out = [name for index, name in enumerate(names) if index not in kept]
        lines += textwrap.wrap(f"(not shown for want of width: {', '.join(left_out)})", max(width, 1))
    return ("\n".join(lines) + "\n").encode("utf-8")


def _padded(column: list[str], size: int, *, is_right: bool) -> list[str]:
    """Return the texts of a column, each as wide as the column is."""

    def padded(text: str) -> str:
        fitting = text if _width(text) <= size else set_cell_size(text, size - 1) + "…"
        space = " " * (size - _width(fitting))
        return space + fitting if is_right else fitting + space

    # Most columns say few things in many rows.
    known = {text: padded(text) for text in set(column)}
    return [known[text] for text in column]


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


def wrapped(rows: pa.Table, width: int | None = None) -> pa.Table:
    """Return rows of texts for a table of this width: a long last cell goes on in rows of its own."""
    others = sum(
        max([_width(name), *(_width(text or "") for text in rows[name].to_pylist())]) + 2
        for name in rows.column_names[:-1]
    )
    room = max(_NARROWEST, min(width - others, _WIDEST) if width else LONGEST)
    found: list[list[str | None]] = []
    for *firsts, last in tuples(rows):
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


def _width(text: str) -> int:
    """Return how many columns of a terminal a text without control characters takes; most take one a character."""
    return len(text) if text.isascii() else cell_len(text)


def _cells(values: Sequence[Any], longest: int) -> list[str]:
    """Write the values of a column."""
    known = {value: _cell(value, longest) for value in set(values)} if set(map(type, values)) <= _ALIKE else None
    return [_cell(value, longest) if known is None else known[value] for value in values]


def _cell(value: Any, longest: int) -> str:
    if isinstance(value, float) and (value == 0 or 0.01 <= abs(value) < 1e15):
        return f"{value:,.2f}".removesuffix(".00")
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.3g}"
    if isinstance(value, datetime):
        return _FRACTION.sub("", plain(value))
    return shown(plain(value), longest)
