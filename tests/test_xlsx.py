"""Rows as a sheet of Excel: types that another program reads back, and nothing in it that runs."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.cell.cell import Cell
from openpyxl.utils.escape import unescape
from openpyxl.worksheet.worksheet import Worksheet

from genesis_etl.errors import ReportError, SettingsError
from genesis_etl.lake.lake import Lake
from genesis_etl.query.report import find_report, report_names
from genesis_etl.render import render
from tests.commands import Ended, Run, refused
from tests.conftest import fewer, full_disk
from tests.histories import land_all, row

UTC_TIME = 'yyyy-mm-dd hh:mm:ss "UTC"'
HOSTILE = (
    "=cmd()",
    '=HYPERLINK("https://evil.example";"x")',
    "+1",
    "-2+3",
    "@x",
    "\t=1",
    "\r=1",
    "{=1}",
    "'quoted",
    "https://evil.example/",
    "mailto:a@b.example",
    "internal:Sheet1!A1",
    "<r><t>bold</t></r>",
    "<r>&</r>",
    "</t></is></c>",
    "_x0041_",
    "a\x00\x07\x1b[31m\x1f\x7fb",
    "\ufffe\uffff",
    " blanks ",
    "two\r\nlines",
    "12",
    "2026-11-23",
    "TRUE",
    "#REF!",
    "🐧\u202e",
    "",
)


def sheet_of(data: bytes) -> Worksheet:
    """Return the only sheet of a file, read by a program that did not write it."""
    book = openpyxl.load_workbook(io.BytesIO(data))
    (sheet,) = book.worksheets
    return sheet


def cells_of(data: bytes) -> list[tuple[Cell, ...]]:
    """Return the cells of every row, the header's too."""
    return list(sheet_of(data).iter_rows())


def cell_of(value: Any, kind: pa.DataType) -> Cell:
    """Return the cell that one value becomes."""
    return sheet_of(render(pa.table({"x": pa.array([value], kind)}), "xlsx"))["A2"]


@pytest.mark.parametrize(
    ("kind", "value", "expected", "read_as", "form"),
    [
        (pa.string(), "Ubuntu 22.04", "Ubuntu 22.04", "s", "General"),
        (pa.int64(), -(2**53), -(2**53), "n", "General"),
        (pa.int64(), 2**53 + 1, "9007199254740993", "s", "General"),
        (pa.int64(), -(2**63), "-9223372036854775808", "s", "General"),
        (pa.uint64(), 2**64 - 1, "18446744073709551615", "s", "General"),
        (pa.float64(), -0.1, -0.1, "n", "General"),
        (pa.float64(), float("inf"), "inf", "s", "General"),
        (pa.float64(), float("nan"), "nan", "s", "General"),
        (pa.decimal128(10, 3), Decimal("-1.250"), -1.25, "n", "General"),
        (pa.decimal128(38, 0), Decimal(2**53), 2**53, "n", "General"),
        (pa.decimal128(38, 0), Decimal(10**30 + 1), str(10**30 + 1), "s", "General"),
        (pa.decimal128(38, 0), Decimal(2**60), str(2**60), "s", "General"),
        (pa.decimal128(38, 35), Decimal("1." + "0" * 34 + "1"), "1." + "0" * 34 + "1", "s", "General"),
        (pa.bool_(), False, False, "b", "General"),
        (pa.timestamp("us", "UTC"), datetime(2026, 11, 23, 16, 30, 0, 954_000, UTC), None, "d", UTC_TIME),
        (pa.timestamp("us"), datetime(2026, 11, 23, 16, 30), None, "d", UTC_TIME),
        (pa.date32(), date(2026, 11, 23), datetime(2026, 11, 23), "d", "yyyy-mm-dd"),
        (pa.date32(), date(1900, 3, 1), datetime(1900, 3, 1), "d", "yyyy-mm-dd"),
        (pa.date32(), date(1900, 2, 28), "1900-02-28", "s", "General"),
        (pa.timestamp("us", "UTC"), datetime(1899, 12, 31, tzinfo=UTC), "1899-12-31T00:00:00Z", "s", "General"),
        (pa.timestamp("us", "UTC"), datetime(9999, 12, 31, 23, 59, tzinfo=UTC), None, "d", UTC_TIME),
        (pa.list_(pa.string()), ["a", None, "b"], "a, , b", "s", "General"),
        (pa.struct([("a", pa.int64())]), {"a": 1}, '{"a": 1}', "s", "General"),
        (pa.duration("s"), timedelta(hours=1), "1:00:00", "s", "General"),
        (pa.binary(), b"\x00\xff", "00ff", "s", "General"),
        (pa.int64(), None, None, "n", "General"),
    ],
)
def test_another_program_reads_every_kind_of_value_back(
    kind: pa.DataType, value: Any, expected: Any, read_as: str, form: str
) -> None:
    """Numbers, times, flags and texts have their types; what no type of Excel holds exactly is a text, null nothing."""
    cell = cell_of(value, kind)
    if expected is None and value is not None:
        expected = value.replace(tzinfo=None)
    assert (cell.value, cell.data_type, cell.number_format) == (expected, read_as, form)


def test_a_time_of_another_zone_is_in_utc() -> None:
    """A time is the same instant, whatever zone its column has."""
    when = datetime(2026, 11, 23, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert cell_of(when, pa.timestamp("us", "+02:00")).value == datetime(2026, 11, 22, 23, 30)


@given(st.datetimes(datetime(1900, 3, 1), datetime(9999, 12, 31, 23, 59, 59)))
@settings(max_examples=50, deadline=None)
def test_times_are_exact_to_the_millisecond(when: datetime) -> None:
    """No time moves by more than a millisecond, from the first day that programs agree on to the last."""
    assert abs(cell_of(when, pa.timestamp("us")).value - when) <= timedelta(milliseconds=1)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_hostile_name_is_a_text_and_nothing_else(text: str) -> None:
    """Whatever a name holds, in a cell or as a column's, it is read back as it was: no formula, link or markup."""
    data = render(pa.table({text: pa.array([text], pa.string())}), "xlsx")
    sheet = sheet_of(data)
    for (cell,) in sheet.iter_rows():
        assert (unescape(cell.value or ""), cell.hyperlink) == (text, None)
        assert cell.data_type == "s"
    archive = zipfile.ZipFile(io.BytesIO(data))
    xml = archive.read("xl/worksheets/sheet1.xml")
    assert b"<f>" not in xml
    assert b"hyperlink" not in xml
    assert not any("_rels/sheet" in name or "vba" in name for name in archive.namelist())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_any_text_is_read_back_as_it_was(values: list[str]) -> None:
    """No text, of whatever characters, spoils the file or another cell."""
    _, *found = cells_of(render(pa.table({"name": pa.array(values, pa.string())}), "xlsx"))
    assert [unescape(cell.value or "") for (cell,) in found] == values


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "\t=1"])
def test_a_formula_stays_a_text_when_its_cell_is_edited(text: str) -> None:
    """A text that Excel would run if it were typed in is marked as one, as a typed ' does."""
    assert cell_of(text, pa.string()).quotePrefix
    assert not cell_of("Ubuntu", pa.string()).quotePrefix


def test_the_header_is_frozen_and_has_a_filter() -> None:
    """The sheet is called rows; its first line stays when the rest is scrolled, and filters all rows."""
    sheet = sheet_of(render(pa.table({"name": ["a", "b"], "images": [1, 2]}), "xlsx"))
    assert (sheet.title, sheet.freeze_panes, sheet.auto_filter.ref) == ("rows", "A2", "A1:B3")
    assert all(cell.font.bold for cell in sheet[1])


def test_no_column_is_too_narrow_for_its_times() -> None:
    """Excel shows a time as #### where its column is narrower."""
    table = pa.table({"at": pa.array([datetime(2026, 11, 23, 16, 30)]), "day": [date(2026, 11, 23)]})
    widths = sheet_of(render(table, "xlsx")).column_dimensions
    assert widths["A"].width >= len("2026-11-23 16:30:00 UTC")
    assert widths["B"].width >= len("2026-11-23")


def test_no_rows_still_have_their_columns() -> None:
    """An empty answer is a sheet with a header."""
    empty = pa.table({"name": pa.array([], pa.string()), "images": pa.array([], pa.int64())})
    sheet = sheet_of(render(empty, "xlsx"))
    assert [[cell.value for cell in line] for line in sheet.iter_rows()] == [["name", "images"]]
    assert sheet.auto_filter.ref == "A1:B1"


def test_the_same_rows_are_the_same_bytes() -> None:
    """No clock and no name of a temporary file is in it."""
    table = pa.table({"name": ["a", None], "at": [datetime(2026, 11, 23), None]})
    assert render(table, "xlsx") == render(table, "xlsx")
    assert b"1980-01-01" in zipfile.ZipFile(io.BytesIO(render(table, "xlsx"))).read("docProps/core.xml")


def test_what_no_cell_holds_is_refused(run: Run) -> None:
    """A text beyond 32,767 characters, of UTF-16 as Excel counts, names its column; the longest is written whole."""
    assert len(cell_of("x" * 32_767, pa.string()).value) == 32_767
    with pytest.raises(ReportError, match="the column x holds a text of 32,768 characters"):
        cell_of("🐧" * 16_384, pa.string())
    ended = run("sql", "select repeat('x', 40000) as note", "--format", "xlsx", "--output", "out.xlsx")
    refused(ended, 2, "the column note holds a text of 40,000 characters", "shorten it, or take another --format")
    assert not Path("out.xlsx").exists()


def test_what_no_sheet_holds_is_refused(run: Run) -> None:
    """More rows or columns than Excel has are refused before anything is made."""
    refused(
        run("sql", "select range as n from range(1048576)", "--format", "xlsx", "--output", "out.xlsx"),
        2,
        "a sheet of Excel holds 1,048,575 rows, not 1,048,576; take another --format",
    )
    assert not Path("out.xlsx").exists()
    with pytest.raises(ReportError, match="holds 16,384 columns, not 16,385"):
        render(pa.table({f"c{number}": [1] for number in range(16_385)}), "xlsx")


@pytest.mark.parametrize("arguments", [["select 1 as n"], ["select repeat('x', 40000) as n"]], ids=["done", "refused"])
def test_nothing_is_left_in_the_temporary_folder(
    run: Run, arguments: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a sheet grows in goes with it, however that ends."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    run("sql", *arguments, "--format", "xlsx", "--output", "out.xlsx")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_full_disk_leaves_the_output_of_before(run: Run) -> None:
    """Where there is no room for a sheet to grow, one line says so, and yesterday's file is there whole."""
    Path("out").write_bytes(b"yesterday's")
    arguments = ["sql", "select range as n from range(1000)", "--format", "xlsx", "--output", "out"]
    with full_disk(300):
        refused(run(*arguments), 2, "cannot make the sheet", "File too large; let TMPDIR name a folder with room")
    assert Path("out").read_bytes() == b"yesterday's"
    assert run(*arguments) == Ended(0, b"", "")


def test_a_temporary_folder_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets a traceback for TMPDIR."""
    monkeypatch.setattr(tempfile, "tempdir", "nowhere")
    with pytest.raises(SettingsError, match=r"cannot make the sheet: .*nowhere.*; let TMPDIR name a folder with room"):
        render(pa.table({"n": [1]}), "xlsx")


@pytest.mark.parametrize("name", fewer(report_names(), 4))
def test_every_report_is_a_sheet(name: str, run: Run) -> None:
    """Each has in Excel the columns, rows and types that it has in JSON."""
    land_all(
        Lake("data/lake"),
        {"2026-11-01": [row("a"), row("=b")], "2026-11-02": [row("a", size_gib=3.0), row("os", type="base-os")]},
    )
    since = ["--since", "2026-11-01"] if "since" in find_report(name).options else []
    expected = run("report", name, *since, "--format", "json").rows
    header, *found = cells_of(run("report", name, *since, "--format", "xlsx").out)
    assert [cell.value for cell in header] == list(expected[0])
    assert len(found) == len(expected)
    for cells, source in zip(found, expected, strict=True):
        for cell, value in zip(cells, source.values(), strict=True):
            if cell.is_date:
                assert cell.value.isoformat()[:19].startswith(value[:19].removesuffix("Z"))
            else:
                assert cell.value == (value if not isinstance(value, list) else ", ".join(value))


def test_no_other_form_waits_for_it() -> None:
    """XlsxWriter is imported where a sheet is made, and nowhere else."""
    code = "import sys, genesis_etl.render; sys.exit('xlsxwriter' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
