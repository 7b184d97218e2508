"""Rows in every form: exact for programs, harmless for spreadsheets, pages and terminals."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis_etl.cli.group import cli
from genesis_etl.cli.output import BINARY, FORMS
from genesis_etl.errors import ReportError
from genesis_etl.opened import ENGINES
from genesis_etl.query.binding import PERIODS
from genesis_etl.render import FORMATS, escaped, render

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
AT = datetime(2026, 11, 23, 16, 30, 0, 954_000, tzinfo=UTC)
# Every kind of value that a table of ours, or a SELECT over it, can hold.
KINDS: dict[str, tuple[pa.DataType, Any]] = {
    "text": (pa.string(), "Ubuntu 22.04"),
    "number": (pa.int64(), -(2**63)),
    "unsigned": (pa.uint64(), 2**64 - 1),
    "size": (pa.float64(), -0.1),
    "huge": (pa.decimal128(38, 0), Decimal(2**126)),
    "price": (pa.decimal128(10, 3), Decimal("-1.250")),
    "flag": (pa.bool_(), True),
    "at": (pa.timestamp("us", "UTC"), AT),
    "local": (pa.timestamp("us"), datetime(2026, 11, 23)),
    "day": (pa.date32(), date(2026, 11, 23)),
    "list": (pa.list_(pa.string()), ["a", None]),
    "struct": (pa.struct([("a", pa.int64())]), {"a": 1}),
    "bytes": (pa.binary(), b"\x00\xff"),
    "nothing": (pa.null(), None),
}
ALL = pa.table({name: pa.array([value, None], kind) for name, (kind, value) in KINDS.items()})
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NASTY = st.one_of(TEXTS, st.text("=+-@\t\r\n ,;\"'|\\`<>&*_[]()~#!\x1b\u202ea0", max_size=12))


def texts(*values: str | None, name: str = "name") -> pa.Table:
    return pa.table({name: pa.array(values, pa.string())})


def csv_rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))


def cells(text: str) -> int:
    """Count the columns that a text takes on a terminal; for texts without joining characters."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


# every form


def test_the_command_line_knows_every_form() -> None:
    """What --format names, without importing what makes them, is what there is; and so with --engine and --by."""
    assert tuple(FORMATS) == FORMS
    options = {option.name: option for option in cli.commands["report"].params}
    assert options["engine"].metavar == "|".join(ENGINES)
    assert options["engine"].default == ENGINES[0]
    assert options["by"].metavar == "|".join(PERIODS)


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_holds_every_kind_of_value(form: str) -> None:
    """Each type that DuckDB hands out, and null in each, is written; texts are UTF-8 with a line break at the end."""
    data = render(ALL, form)
    if form not in BINARY:
        assert data.decode("utf-8").endswith("\n")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("table", "name  images\n────  ──────\n"),
        ("csv", "name,images\n"),
        ("json", "[]\n"),
        ("markdown", "| name | images |\n| --- | ---: |\n"),
    ],
)
def test_no_rows_still_are_an_answer(form: str, expected: str) -> None:
    """An empty result keeps its columns where the form has any."""
    rows = pa.table({"name": pa.array([], pa.string()), "images": pa.array([], pa.int64())})
    assert render(rows, form).decode() == expected
    assert pq.read_table(io.BytesIO(render(rows, "parquet"))).schema == rows.schema


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown", "xlsx"])
@pytest.mark.parametrize("kind", [pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.date32()])
def test_a_time_beyond_the_calendar_is_refused_in_one_line(form: str, kind: pa.DataType) -> None:
    """Infinity or the year 290000, which SQL knows and Python does not, names its column and the way out."""
    many = 2**31 - 1 if kind == pa.date32() else 2**63 - 1
    rows = pa.table({"end": pa.array([many], pa.int32() if kind == pa.date32() else pa.int64()).cast(kind)})
    with pytest.raises(ReportError, match=r"the column end holds what cannot be written .*cast it to varchar"):
        render(rows, form)


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_two_columns_of_one_name_are_refused_where_one_would_be_lost(form: str) -> None:
    """JSON objects and Parquet readers know a name once, so the second column would vanish unseen."""
    rows = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(ReportError, match="2 columns are called a; name each apart"):
        render(rows, form)
    assert render(rows, "csv") == b"a,a\n1,2\n"


# CSV


@given(st.lists(st.tuples(NASTY, NASTY), max_size=6), NASTY.filter(bool))
def test_csv_is_safe_and_exact(rows: list[tuple[str, str]], header: str) -> None:
    """A text cell that a spreadsheet would run has a leading ', every other is exact, and no row comes or goes."""
    table = pa.Table.from_arrays(
        [pa.array(column, pa.string()) for column in zip(*rows, strict=True)] or [[], []], ["x", header]
    )
    read = csv_rows(render(table, "csv"))
    for row, source in zip(read, [("x", header), *rows], strict=True):
        assert row == [f"'{text}" if text.startswith(DANGEROUS) else text for text in source]
        assert not any(cell.startswith(DANGEROUS) for cell in row)


@given(st.lists(st.one_of(st.none(), st.text("=+-@\t\r\n ,;\"'aé", max_size=8)), max_size=6))
def test_csv_keeps_its_row_count(values: list[str | None]) -> None:
    """The csv module and pandas read as many rows as there were, also of one column that is empty or null."""
    data = render(texts(*values), "csv")
    assert len(csv_rows(data)) == 1 + len(values)
    assert len(pd.read_csv(io.BytesIO(data), keep_default_na=False)) == len(values)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1), st.data())
def test_csv_never_touches_numbers(integers: list[int | None], data: st.DataObject) -> None:
    """Integers, doubles and decimals, negative ones too, are read back as the numbers that they were."""
    size = {"min_size": len(integers), "max_size": len(integers)}
    doubles = data.draw(st.lists(st.floats(allow_nan=False), **size))
    decimals = data.draw(st.lists(st.decimals(-(10**6), 10**6, places=3), **size))
    table = pa.table({"i": integers, "d": doubles, "p": pa.array(decimals, pa.decimal128(12, 3))}).set_column(
        0, "i", pa.array(integers, pa.int64())
    )
    for integer, double, decimal, row in zip(
        integers, doubles, decimals, csv_rows(render(table, "csv"))[1:], strict=True
    ):
        assert row[0] == ("" if integer is None else str(integer))
        assert float(row[1]) == double
        assert Decimal(row[2]) == decimal


def test_csv_writes_one_form_for_each_kind() -> None:
    """Times are ISO 8601 in UTC with Z, flags true and false, lists separated by commas, null nothing."""
    named = dict(zip(*csv_rows(render(ALL, "csv"))[:2], strict=True))
    assert named["at"] == "2026-11-23T16:30:00.954000Z"
    assert named["local"] == "2026-11-23T00:00:00Z"
    assert (named["day"], named["flag"], named["list"], named["bytes"]) == ("2026-11-23", "true", "a, ", "00ff")
    assert (named["size"], named["price"], named["huge"]) == ("-0.1", "-1.250", str(2**126))
    assert csv_rows(render(ALL, "csv"))[2] == [""] * len(KINDS)


# JSON


def test_json_has_real_values() -> None:
    """Numbers stay numbers with every digit, flags, nulls and lists are JSON's own, times end in Z."""
    first, second = json.loads(render(ALL, "json"), parse_float=Decimal)
    assert first == {
        "text": "Ubuntu 22.04",
        "number": -(2**63),
        "unsigned": 2**64 - 1,
        "size": Decimal("-0.1"),
        "huge": 2**126,
        "price": Decimal("-1.250"),
        "flag": True,
        "at": "2026-11-23T16:30:00.954000Z",
        "local": "2026-11-23T00:00:00Z",
        "day": "2026-11-23",
        "list": ["a", None],
        "struct": {"a": 1},
        "bytes": "00ff",
        "nothing": None,
    }
    assert second == dict.fromkeys(KINDS)


@given(st.lists(st.tuples(NASTY, st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))))
def test_json_is_exact_and_harmless(rows: list[tuple[str, float, int]]) -> None:
    """Every text, double and bigint reads back as it was, and nothing that a terminal obeys stands bare."""
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table(
        {
            "s": pa.array(columns[0], pa.string()),
            "d": pa.array(columns[1], pa.float64()),
            "i": pa.array(columns[2], pa.int64()),
        }
    )
    data = render(table, "json").decode("utf-8")
    assert [tuple(row.values()) for row in json.loads(data)] == rows
    assert all(line.isprintable() for line in data.split("\n"))


def test_json_has_no_word_for_infinity() -> None:
    """NaN and infinity, which JSON cannot say, are null."""
    rows = pa.table({"x": [float("nan"), float("inf"), float("-inf"), 1.0]})
    assert json.loads(render(rows, "json")) == [{"x": None}, {"x": None}, {"x": None}, {"x": 1.0}]


# Markdown


@given(st.lists(st.tuples(NASTY, NASTY), min_size=1, max_size=4), NASTY)
def test_markdown_cannot_be_broken_out_of(rows: list[tuple[str, str]], header: str) -> None:
    """Whatever the names and the column are called, there are as many lines and cells as rows and columns."""
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    lines = render(pa.Table.from_arrays(columns, ["x", header]), "markdown").decode().split("\n")
    assert len(lines) == 2 + len(rows) + 1
    for line in lines[:-1]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
        assert line.isprintable()
        assert not re.search(r"[<>`*\[\]~]|\\(?!\|)", line)


@pytest.mark.parametrize(
    "name",
    ["a|b", "<script>alert(1)</script>", '"><img src=x onerror=1>', "`code`", "*b* _i_", "\\|", "[x](javascript:1)"],
)
def test_markdown_shows_names_as_they_are(name: str) -> None:
    """Escaped names read, once the page is shown, as the text that they are."""
    line = render(texts(name), "markdown").decode().split("\n")[2]
    found: list[str] = []
    parser = HTMLParser(convert_charrefs=True)
    parser.handle_starttag = lambda tag, attributes: found.append(tag)  # type: ignore[method-assign]
    parser.feed(line)
    assert found == []
    assert html.unescape(line[2:-2].replace("\\|", "|")) == name


def test_markdown_leaves_plain_names_alone() -> None:
    """Words with an underscore inside, as columns have, need no escape; numbers stand to the right."""
    rows = pa.table({"created_at": [AT], "images": [2]})
    assert render(rows, "markdown").decode() == (
        "| created_at | images |\n| --- | ---: |\n| 2026-11-23T16:30:00.954000Z | 2 |\n"
    )


# Parquet


def test_parquet_keeps_types_and_values() -> None:
    """What is read back has the same types, null-only columns included, and the same values."""
    read = pq.read_table(io.BytesIO(render(ALL, "parquet")))
    assert read.schema.equals(ALL.schema)
    assert read.to_pylist() == ALL.to_pylist()


def test_a_type_that_parquet_lacks_is_refused_in_one_line() -> None:
    """A union is told, not a traceback."""
    kinds, places = pa.array([0], pa.int8()), pa.array([0], pa.int32())
    rows = pa.table({"i": pa.UnionArray.from_dense(kinds, places, [pa.array([1])])})
    with pytest.raises(ReportError, match="Parquet cannot hold these columns"):
        render(rows, "parquet")


# the table


@given(st.lists(st.text("aé中ｱ한 😀=\n\x1b\u202e", max_size=70), min_size=1))
def test_a_table_is_aligned(names: list[str]) -> None:
    """The second column starts at one place in every row, however wide the characters of the first are."""
    rows = texts(*names).append_column("end", pa.array(["|"] * len(names)))
    lines = render(rows, "table").decode().rstrip("\n").split("\n")
    assert len({cells(line[: line.index("|")]) for line in lines[2:]}) == 1
    assert all(line.isprintable() for line in lines)


@given(st.integers(1, 100), st.lists(st.tuples(*[st.text("ab中😀", max_size=40)] * 4), max_size=4))
def test_a_table_keeps_to_the_width_of_the_terminal(width: int, rows: list[tuple[str, ...]]) -> None:
    """No line is wider than the terminal (names of hidden columns apart), and hidden columns are named."""
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)] or [pa.array([], pa.string())] * 4
    text = render(pa.Table.from_arrays(columns, ["a", "b", "c", "d"]), "table", max(width, 2)).decode()
    assert all(cells(line) <= max(width, 2) for line in text.split("\n"))
    header = text.split("\n")[0].split()
    if len(header) < 4 and width > 45:
        assert f"(not shown for want of width: {', '.join('abcd'[len(header) :])})" in text


def test_what_tells_least_makes_room_first() -> None:
    """Columns without a value go first, then what all rows share, then ids; long texts are cut before names go."""
    columns = {
        "account": ["default"] * 2,
        "image_id": ["6e26bc12-10a6-4f2d-a381-ba7047b06347"] * 2,
        "name": ["n" * 50, "m"],
        "type": ["snapshot", "base-os"],
        "cost_per_month": pa.nulls(2, pa.float64()),
        "region": ["NORD-NO-KRS-1"] * 2,
    }
    rows = pa.table(columns)
    heads = {width: render(rows, "table", width).decode().split("\n")[0].split() for width in (138, 125, 115, 100, 60)}
    assert heads[138] == list(columns)
    assert heads[125] == ["account", "image_id", "name", "type", "region"]
    assert heads[115] == ["image_id", "name", "type", "region"]
    assert heads[100] == heads[60] == ["name", "type", "region"]
    assert "n" * 34 + "…  snapshot" in render(rows, "table", 60).decode()
    note = "(not shown for want of width: account, image_id, cost_per_month)"
    assert render(rows, "table", 100).decode().rstrip().endswith(note)


def test_without_a_terminal_a_table_is_whole() -> None:
    """A pipe or a file gets every column."""
    rows = pa.table({f"column {index}": ["x" * 60] for index in range(9)})
    assert len(render(rows, "table").decode().split("\n")[0]) > 8 * 60


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0.0, "0"), (1.0, "1"), (1234567.891, "1,234,567.89"), (-0.5, "-0.50"), (0.001, "0.001")),
        *((1e300, "1e+300"), (float("nan"), "nan"), (12, "12"), (AT, "2026-11-23T16:30:00Z"), (None, "")),
        *((True, "true"), ("x" * 70, "x" * 59 + "…"), (["a", "b"], "a, b"), ("a\x1b[31mb", "a\\x1b[31mb")),
    ],
)
def test_a_table_is_for_eyes(value: Any, shown: str) -> None:
    """Numbers are rounded and grouped but never to nothing, times end at the second, long texts are cut."""
    line = render(pa.table({"x": [value]}), "table").decode().split("\n")[2]
    assert line.strip() == shown


def test_numbers_stand_to_the_right() -> None:
    """Digits of one weight stand below each other, texts start below their name."""
    rows = pa.table({"name": ["a", "bcdefg"], "images": [5, 1000]})
    assert render(rows, "table").decode().split("\n")[2:4] == ["a            5", "bcdefg    1000"]


def test_a_plan_is_drawn_over_many_lines() -> None:
    """EXPLAIN as a table is DuckDB's drawing, not one cut line of it."""
    rows = pa.table({"explain_key": ["physical_plan"], "explain_value": ["╭──╮\n│\x1b │\n╰──╯\n"]})
    assert render(rows, "table").decode() == "╭──╮\n│\\x1b │\n╰──╯\n"


@given(NASTY)
def test_what_a_terminal_gets_is_harmless(text: str) -> None:
    """Nothing that does not print is left but the line breaks, and what prints is unchanged."""
    safe = escaped(text.encode("utf-8")).decode("utf-8")
    assert all(line.isprintable() for line in safe.split("\n"))
    assert safe.count("\n") == text.count("\n")
    assert safe == text or not all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (pa.MonthDayNano([0, 1, 0]), "1d"),
        (pa.MonthDayNano([1, -2, 1_500_000_000]), "1mo -2d 1.5s"),
        (pa.MonthDayNano([0, 0, -5_400_000_000_000]), "-1h -30m"),
        (pa.MonthDayNano([0, 0, 0]), "0s"),
    ],
)
def test_an_interval_is_written_as_durations_are(interval: pa.MonthDayNano, text: str) -> None:
    """The difference of two times reads `1d 2h` in every form, Parquet included."""
    rows = pa.table({"gap": pa.array([interval, None], pa.month_day_nano_interval())})
    assert render(rows, "table").decode().splitlines()[2] == text
    assert json.loads(render(rows, "json")) == [{"gap": text}, {"gap": None}]
    assert pq.read_table(pa.BufferReader(render(rows, "parquet")))["gap"].to_pylist() == [text, None]


def test_a_map_is_written_by_its_entries() -> None:
    """Keys and values of a map are data like any other."""
    rows = pa.table(
        {"m": pa.array([[("a", datetime(2026, 11, 20, tzinfo=UTC))]], pa.map_(pa.string(), pa.timestamp("us", "UTC")))}
    )
    assert render(rows, "csv").decode() == "m\na: 2026-11-20T00:00:00Z\n"
