"""The values of rows as data: whole, and each kind in one form."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from genesis_etl.errors import ReportError
from genesis_etl.text import shown
from genesis_etl.times import format_time

# A spreadsheet runs a cell that starts with one of these.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def values_of(rows: pa.Table) -> list[list[Any]]:
    """Return the values of each column; ReportError for what Python does not know."""
    columns = []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        try:
            columns.append(column.to_pylist())
        except (ValueError, OverflowError, pa.ArrowException) as error:
            # A time that Python does not know, such as infinity or the year 290000.
            reason = f"{shown(name)} holds what cannot be written ({shown(str(error))})"
            raise ReportError(f"the column {reason}", advice="cast it to varchar") from None
    return columns


def tuples(rows: pa.Table) -> list[tuple[Any, ...]]:
    """Return the values of each row; raises as `values_of`."""
    return list(zip(*values_of(rows), strict=True))


def refuse_namesakes(rows: pa.Table) -> None:
    name, count = max(Counter(rows.column_names).items(), key=lambda item: item[1])
    if count > 1:
        raise ReportError(f"{count} columns are called {shown(name)}", advice="name each apart with `as`")


def is_number(type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))


def plain(value: Any) -> str:
    """Write a value as data: whole, in one form for every column of its kind."""
    if type(value) is str:  # as most are
        return value
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
        return interval(value)
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    if isinstance(value, tuple):  # an entry of a map
        return ": ".join(map(plain, value))
    if isinstance(value, dict):
        return json_text(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def interval(value: pa.MonthDayNano) -> str:
    """Write an interval as durations are written, in its parts: `1mo 2d 3h`; `-1h` where it goes back."""
    minutes, seconds = divmod(abs(value.nanoseconds), 60 * 10**9)
    sign = "-" if value.nanoseconds < 0 else ""
    parts = [(value.months, "mo"), (value.days, "d")]
    written = [f"{number}{unit}" for number, unit in parts if number]
    written += [f"{sign}{number}{unit}" for number, unit in ((minutes // 60, "h"), (minutes % 60, "m")) if number]
    if seconds:
        written.append(f"{sign}{Decimal(seconds).scaleb(-9).normalize():f}s")
    return " ".join(written) or "0s"


def json_text(value: Any) -> str:
    """Write a value as JSON; the json module would turn a decimal into a text or lose digits."""
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float | Decimal):
        return (format(value, "f") if isinstance(value, Decimal) else repr(value)) if math.isfinite(value) else "null"
    if isinstance(value, pa.MonthDayNano):  # which is a tuple too
        return json.dumps(interval(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(json_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json_text(str(key))}: {json_text(item)}" for key, item in value.items()) + "}"
    text = plain(value)
    return json.dumps(text, ensure_ascii=not text.isprintable())
