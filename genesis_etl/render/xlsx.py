"""Rows as one sheet of Excel: typed cells, and nothing in them that runs."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa

from genesis_etl.errors import ReportError, SettingsError
from genesis_etl.render.values import FORMULA, plain, tuples
from genesis_etl.text import shown

if TYPE_CHECKING:
    from xlsxwriter import Workbook

_Cell: TypeAlias = bool | int | float | date | str | None
# What a sheet holds.
_MOST_ROWS: Final = 1_048_575  # below the header
_MOST_COLUMNS: Final = 16_384
_MOST_UNITS: Final = 32_767  # of UTF-16, in a cell
_MOST_EXACT: Final = 2**53  # its numbers are doubles
_EARLIEST: Final = date(1900, 3, 1)  # before, programs differ by a day: Excel knows a 29 February 1900
_OPTIONS: Final = {"constant_memory": True, "use_zip64": True}
_CREATED: Final = datetime(1980, 1, 1)  # as every file of the archive, so that the same rows are the same bytes
_FORMATS: Final = {
    "header": {"bold": True, "quote_prefix": True},
    "time": {"num_format": 'yyyy-mm-dd hh:mm:ss "UTC"'},
    "date": {"num_format": "yyyy-mm-dd"},
    "literal": {"quote_prefix": True},  # stays a text when somebody edits the cell
}
# Characters of a column.
_TIME: Final = 24
_NUMBER: Final = 12
_WIDEST: Final = 60
_BUTTON: Final = 3  # of the filter


def to_xlsx(rows: pa.Table, *_: object) -> bytes:
    """Return rows as an xlsx file: one sheet, `rows`, whose header is frozen and has a filter.

    Times are in UTC, to the millisecond; null is an empty cell. What Excel has no number for is a text: whole numbers
    beyond 2**53, decimals of more than 16 digits, infinity, times before March 1900.
    ReportError where a sheet cannot hold the rows; SettingsError where there is no room to make it.
    """
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import XlsxFileError

    names = [_fitting(name, name) for name in rows.column_names]
    table = tuples(rows)
    _refuse_oversize(names, table)
    cells = [[_cell(value, name) for value, name in zip(row, names, strict=True)] for row in table]
    buffer = io.BytesIO()
    try:
        # The sheet grows in files; a folder of their own takes them along, however this ends.
        with tempfile.TemporaryDirectory(prefix="genesis-etl-") as folder:
            book = Workbook(buffer, {**_OPTIONS, "tmpdir": folder})
            book.set_properties({"created": _CREATED})
            _fill(book, names, cells)
            book.close()
    except (OSError, XlsxFileError) as error:
        reason = f"cannot make the sheet: {shown(str(error))}"
        raise SettingsError(reason, advice="let TMPDIR name a folder with room") from None
    return buffer.getvalue()


def _refuse_oversize(names: Sequence[str], table: Sequence[tuple[Any, ...]]) -> None:
    for kind, count, most in (("rows", len(table), _MOST_ROWS), ("columns", len(names), _MOST_COLUMNS)):
        if count > most:
            raise ReportError(f"a sheet of Excel holds {most:,} {kind}, not {count:,}", advice="take another --format")


def _fill(book: Workbook, names: Sequence[str], cells: Sequence[Sequence[_Cell]]) -> None:
    """Make the one sheet of a book."""
    sheet = book.add_worksheet("rows")
    # XlsxWriter takes a text from <r> to </r> for markup of its own, and would write it as it is.
    sheet._xml_rich_inline_string = lambda text, attributes: sheet._xml_inline_string(text, True, attributes)
    formats = {name: book.add_format(properties) for name, properties in _FORMATS.items()}
    widths = [len(name) + _BUTTON for name in names]
    for column, name in enumerate(names):
        sheet.write_string(0, column, name, formats["header"])
    for place, row in enumerate(cells, start=1):
        for column, cell in enumerate(row):
            match cell:
                case None:
                    continue
                case bool():
                    sheet.write_boolean(place, column, cell)
                case datetime():
                    sheet.write_datetime(place, column, cell, formats["time"])
                case date():
                    sheet.write_datetime(place, column, cell, formats["date"])
                case str():
                    sheet.write_string(place, column, cell, formats["literal"] if cell.startswith(FORMULA) else None)
                case _:
                    sheet.write_number(place, column, cell)
            widths[column] = max(widths[column], _width(cell))
    for column, width in enumerate(widths):
        sheet.set_column(column, column, min(width, _WIDEST))
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, len(cells), len(names) - 1)


def _width(cell: _Cell) -> int:
    """Return the characters that a column needs for a cell; where it is too narrow a time shows as ####."""
    if isinstance(cell, datetime):
        return _TIME
    return _NUMBER if isinstance(cell, float) else len(str(cell))


def _cell(value: Any, name: str) -> _Cell:
    """Return a value of a column as Excel holds it: a time without a zone, in UTC; a text where it has no such kind."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, datetime):
        at = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return at if at.date() >= _EARLIEST else plain(value)
    if isinstance(value, date) and value >= _EARLIEST:
        return value
    if isinstance(value, int) and abs(value) <= _MOST_EXACT:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Decimal) and abs(value) <= _MOST_EXACT and Decimal(f"{float(value):.16G}") == value:
        return float(value)
    return _fitting(plain(value), name)


def _fitting(text: str, name: str) -> str:
    """Return a text that a cell holds; ReportError, naming its column, for a longer one."""
    units = len(text.encode("utf-16-le")) // 2
    if units > _MOST_UNITS:
        seen = f"the column {shown(name)} holds a text of {units:,} characters, a cell of Excel only {_MOST_UNITS:,}"
        raise ReportError(seen, advice="shorten it, or take another --format")
    return text
