"""Reports: SQL files over a lake's tables, found, bound and run.

    lake = open_lake("data/lake")
    lake.report("snapshot-growth", by="week")     # pandas DataFrame

A report is one file in `sql/reports/`; its header names its parameters (with defaults) and columns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import LakeError, ReportError
from genesis_etl.lake import NO_CAPTURE, Contents, Lake
from genesis_etl.query import forecast as future
from genesis_etl.query.warehouse import Warehouse
from genesis_etl.text import seen, shown
from genesis_etl.times import CALENDAR, end_of, format_time, parse_duration, parse_time

if TYPE_CHECKING:
    import pandas as pd

ENGINES: Final = ("duckdb", "spark")
PERIODS: Final = ("day", "week", "month")
# How many periods a report without --since shows.
_SHOWN: Final = {"day": 90, "week": 13, "month": 12}
_LATELY: Final = timedelta(hours=24)  # what changes shows without --since
_RUNS: Final = 5  # of a query whose files go while it runs
_MOMENT: Final = timedelta(microseconds=1)
_FIRST, _LAST = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in CALENDAR)
_HEADER = re.compile(r"-- (title|grain|parameter|column)(?: (\w+)(?: = (\w+))?)?: (.+)")
_PARAMETER = re.compile(r"\$(\w+)")
_VARIANT: Final = "."
# What a report takes and gives beside its SQL: options and columns that the package adds.
_ALL_TAKE: Final = {"as_of": "as it was then: captures up to this time only"}
_ALSO_TAKES: Final = {
    "region-coverage": {"matrix": "one row per image and one column per region instead"},
    "snapshot-growth": {"forecast": future.OPTION},
}
_ALSO_GIVES: Final = {"snapshot-growth": future.COLUMNS}
_KINDS: Final[dict[str, type]] = {"account": str, "region": str, "type": str, "per_region": bool, "matrix": bool}
# Comes from the settings, not from an option.
_SETTING: Final = "price"


class Engine(Protocol):
    """What runs the SQL: a `Warehouse` on DuckDB or on Spark."""

    def select(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table: ...
    def parameters(self, sql: str) -> set[str]: ...
    def sql(self, statement: str) -> pa.Table: ...


@dataclass(frozen=True)
class Report:
    """A report's file, with what its header says."""

    name: str
    title: str
    grain: str
    parameters: dict[str, str]
    defaults: dict[str, str]
    columns: dict[str, str]
    sql: str

    @property
    def summary(self) -> str:
        """What the report shows, and what its rows are."""
        return f"{self.title}: {_PARAMETER.sub(lambda match: _option(match[1]), self.grain)}"

    @property
    def options(self) -> dict[str, str]:
        """What a user may give, with its meaning."""
        of_sql = {name: text for name, text in self.parameters.items() if name != _SETTING}
        found = {**of_sql, **_ALSO_TAKES.get(self.name, {})}
        return {**found, **{name: text for name, text in _ALL_TAKE.items() if name not in found}}


def report_names() -> list[str]:
    """Return the names of all reports, sorted."""
    folder = files("genesis_etl").joinpath("sql", "reports")
    stems = (item.name.removesuffix(".sql") for item in folder.iterdir() if item.name.endswith(".sql"))
    return sorted(stem.replace("_", "-") for stem in stems if _VARIANT not in stem)


@cache
def find_report(name: str) -> Report:
    """Return a report by its name; ReportError names those that there are."""
    if name not in report_names():
        raise ReportError(f"no report {shown(name)!r}", advice=f"there are {', '.join(report_names())}")
    return _parsed(name, _sql(name))


def _sql(name: str) -> str:
    path = files("genesis_etl").joinpath("sql", "reports", f"{name.replace('-', '_')}.sql")
    return path.read_text(encoding="utf-8")


def describe(name: str) -> pa.Table:
    """Return what a report takes and gives, one row per option, setting and column."""
    report = find_report(name)
    given = {**report.columns, **_ALSO_GIVES.get(name, {})}
    rows = [("option", _option(key), report.defaults.get(key), text) for key, text in report.options.items()]
    rows += [("setting", key, None, text) for key, text in report.parameters.items() if key == _SETTING]
    rows += [("column", key, None, text) for key, text in given.items()]
    names = ("kind", "name", "default", "meaning")
    return pa.table([pa.array(values, pa.string()) for values in zip(*rows, strict=True)], names=names)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parsed(name: str, sql: str) -> Report:
    facts: dict[str, dict[str, str]] = {"title": {}, "grain": {}, "parameter": {}, "column": {}}
    defaults: dict[str, str] = {}
    for line in sql.splitlines():
        match = _HEADER.fullmatch(line)
        if match is None:
            break
        kind, key, default, text = match.groups()
        facts[kind][key or ""] = text
        if default is not None:
            defaults[key] = default
    return Report(
        name,
        facts["title"][""],
        facts["grain"][""],
        facts["parameter"],
        defaults,
        facts["column"],
        sql,
    )


def open_lake(
    url: str | os.PathLike[str] = "data/lake",
    *,
    regions: Iterable[str] = (),
    price: float | None = None,
    engine: str = ENGINES[0],
) -> OpenLake:
    """Open a lake (a folder or URL) for reports and SQL; it may still be empty.

    `regions` are expected in coverage before they are first seen; `price` is that of a GiB for a month.
    `engine` is duckdb, or spark where the extra `[spark]` is installed.
    """
    if engine not in ENGINES:
        raise ReportError(f"no engine {shown(engine)!r}", advice=f"there are {', '.join(ENGINES)}")
    return OpenLake(Lake(str(url)), tuple(regions), price, engine)


class OpenLake:
    """A lake's reports and tables as DataFrames; every call sees the captures that have landed by then."""

    def __init__(
        self, lake: Lake, regions: tuple[str, ...] = (), price: float | None = None, engine: str = ENGINES[0]
    ) -> None:
        self._lake = lake
        self._engine = engine
        self._regions = regions
        self.price = price
        self._contents: Contents | None = None
        self._account: str | None = None  # the one that is open, None for all
        self._warehouse: Engine | None = None

    def __repr__(self) -> str:
        return f"<lake {self._lake.url!r}: .report(name) of {', '.join(report_names())}; .sql(select)>"

    def report(self, name: str, **options: Any) -> pd.DataFrame:
        """Run a report; options as of the command (`by="week"`, `since="2026-01-01"`, `as_of=…`).

        Days are datetime64, so that `resample` and plots take them.
        ReportError for an unknown report or option, LakeError for an empty or damaged lake.
        """
        return self.report_rows(name, **options).to_pandas(date_as_object=False)

    def sql(self, statement: str) -> pd.DataFrame:
        """Run one SELECT or EXPLAIN over the tables; ReportError for anything else."""
        return self.sql_rows(statement).to_pandas(date_as_object=False)

    def sql_rows(self, statement: str) -> pa.Table:
        """Run one SELECT or EXPLAIN and return an Arrow table, exactly typed."""

        def run() -> pa.Table:
            contents, warehouse = self._fresh()
            contents.refuse_damage()
            return warehouse.sql(statement)

        return self._patiently(run)

    def report_rows(self, name: str, *, as_of: Any = None, **options: Any) -> pa.Table:
        """Run a report and return an Arrow table.

        `matrix` turns region-coverage into a row per image, `forecast` appends periods to snapshot-growth.
        """
        report = find_report(name)
        given = {key: value for key, value in options.items() if value is not None and value is not False}
        for key in given:
            if key not in report.options:
                known = ", ".join(map(_option, report.options))
                raise ReportError(f"{name} has no {_option(key)}", advice=f"it has {known}")
        latest = None if as_of is None else _end(as_of, "as-of", is_instant_included=True)

        def run() -> pa.Table:
            values = self._bound(report, given, latest)
            contents, warehouse = self._fresh(latest, values.get("account"))
            self._refuse(report, contents, values, latest)

            def select(sql: str) -> pa.Table:
                return warehouse.select(sql, {name: values.get(name) for name in warehouse.parameters(sql)})

            rows = select(report.sql)
            if "matrix" in given:
                return _matrix(select(_sql(f"{name}.matrix")), rows)
            if "forecast" in given:
                return future.append_forecast(rows, values["by"], values["forecast"], self.price)
            return rows

        return self._patiently(run)

    def captures(self) -> Contents:
        """Return what the lake holds now, as the lake tells it."""
        return self._fresh()[0]

    def why_empty(self, **asked: str | None) -> str:
        """Tell why the last report had no rows: the `type` or `region` asked for is unknown, or its range is empty."""
        contents, warehouse = self._fresh(account=self._account)
        there = warehouse.select("select distinct type, region from image_history")
        for column, value in asked.items():
            known = sorted(filter(None, set(there[column].to_pylist())))
            if value is not None and value not in known:
                return f"no {column} {shown(value)!r} in the lake; it has {shown(', '.join(known), 300)}"
        times = contents.captures["captured_at"]
        first, last = (format_time(each.as_py()) for each in (pc.min(times), pc.max(times)))
        return f"nothing to tell in that range; the captures go from {first} to {last}"

    def _patiently(self, run: Callable[[], pa.Table]) -> pa.Table:
        """Run a query; if a file has gone meanwhile, list the lake again and run it once more."""
        for _ in range(_RUNS - 1):
            try:
                return run()
            except LakeError:
                if self._contents is None or not self._lake.changed_since(self._contents, self._account):
                    raise
                self._contents = self._warehouse = None
        return run()

    def _fresh(self, as_of: datetime | None = None, account: str | None = None) -> tuple[Contents, Engine]:
        """Return views over what the lake holds now; they are kept while no commit comes or goes.

        Who asks for one account waits for its files alone; who then asks for another gets those of all.
        """
        if self._contents is None:
            self._account = account
        elif self._account not in (None, account):
            self._contents = self._account = None
        if self._contents is None or self._lake.changed_since(self._contents, self._account):
            self._contents = self._lake.contents(self._account)
            self._warehouse = None
        if as_of is not None:
            return self._contents, self._open(self._contents, as_of)
        if self._warehouse is None:
            self._warehouse = self._open(self._contents)
        return self._contents, self._warehouse

    def _open(self, contents: Contents, as_of: datetime | None = None) -> Engine:
        if self._engine == "spark":
            from genesis_etl.query.spark import SparkWarehouse

            return SparkWarehouse(contents, regions=self._regions, as_of=as_of)
        return Warehouse(contents, regions=self._regions, as_of=as_of)

    def _refuse(self, report: Report, contents: Contents, values: dict[str, Any], latest: datetime | None) -> None:
        """Raise for an empty lake, an account that it does not hold, and damage that the report would need."""
        asked = values.get("account")
        for account in sorted({damage.account for damage in contents.damage}):
            if asked in (None, account):
                contents.refuse_damage(account, *_needed(report, contents, account, values, latest))
        captures = contents.captures
        if asked is not None:
            captures = captures.filter(pc.equal(captures["account"], asked))
            if not len(captures) and (accounts := self._lake.accounts()) and asked not in accounts:
                raise ReportError(f"no account {shown(asked)!r} in the lake", advice=f"it holds {', '.join(accounts)}")
        first = pc.min(captures["captured_at"]).as_py()
        if first is None or (latest is not None and first > latest):
            of = "" if asked is None else f" of {shown(asked)}"
            at = "" if latest is None else " up to that time"
            raise LakeError(NO_CAPTURE.format(url=self._lake.url + of + at))

    def _bound(self, report: Report, given: dict[str, Any], latest: datetime | None) -> dict[str, Any]:
        """Return the values of the parameters that a report declares, read and checked."""
        for key, value in given.items():
            kind = _KINDS.get(key, type(value))
            if type(value) is not kind:
                raise ReportError(f"expected {kind.__name__}, got {seen(value)}", where=_option(key))
        values: dict[str, Any] = {**report.defaults, **given, _SETTING: self.price, "as_of": latest}
        if "since" in values:
            values["since"] = _start(values["since"], "since")
        if "until" in values:
            values["until"] = _end(values["until"], "until")
        if "by" in values and values["by"] not in PERIODS:
            raise ReportError(f"expected one of {', '.join(PERIODS)}", where=f"--by {shown(str(values['by']))!r}")
        if values.get("since") and values.get("until") and values["since"] >= values["until"]:
            raise ReportError("--since lies after --until, so nothing would be shown", advice="swap them")
        if "older_than" in values:
            values["older_than"] = _microseconds(values["older_than"], "older-than")
        if "forecast" in values and not (type(ahead := values["forecast"]) is int and 1 <= ahead <= future.MOST):
            raise ReportError(
                f"expected a number of periods from 1 to {future.MOST}", where=f"--forecast {shown(str(ahead))}"
            )
        values["per_region"] = values.get("per_region") is True
        return values


def _needed(
    report: Report, contents: Contents, account: str, values: dict[str, Any], latest: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """Return the span of an account's captures that a report depends on: from here on, and before that end.

    A capture lost before it is like one never made: the next one tells what changed.
    """
    since, until, latest = (_known(each) for each in (values.get("since"), values.get("until"), latest))
    by = values.get("by")
    by = "day" if report.name == "capture-health" else by
    end = None if latest is None else latest + _MOMENT
    captures = contents.captures.filter(pc.equal(contents.captures["account"], account))
    times = captures["captured_at"]
    if end is not None:
        times = times.filter(pc.less(times, pa.scalar(end, times.type)))
    newest = pc.max(times).as_py()
    if newest is None:
        return since, end
    if "since" not in report.parameters:
        return newest, end
    if until is not None:
        whole = until if by is None else _period(until - _MOMENT, by, back=-1)
        end = whole if end is None else min(end, whole)
    last = newest if until is None else min(newest, until - _MOMENT)
    if report.name == "changes":
        return since or last - _LATELY + _MOMENT, end
    if since is None:
        since = _period(last, by or "day", back=_SHOWN[by or "day"] - 1)
    if by is not None:
        return _period(since, by), end
    looked_at = times if until is None else times.filter(pc.less(times, pa.scalar(until, times.type)))
    return min(since, pc.max(looked_at).as_py() or since), end


def _known(moment: datetime | None) -> datetime | None:
    """Return an instant or, where it lies further out than any capture, the end of what can be reckoned with."""
    return None if moment is None else min(max(moment, _FIRST), _LAST)


def _period(moment: datetime, by: str, back: int = 0) -> datetime:
    """Return the beginning of the period an instant lies in, or of the one so many before it."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if by == "month":
        months = day.year * 12 + day.month - 1 - back
        return day.replace(year=months // 12, month=months % 12 + 1, day=1)
    if by == "week":
        return day - timedelta(days=day.weekday(), weeks=back)
    return day - timedelta(days=back)


def _microseconds(value: Any, option: str) -> int:
    try:
        duration = value if isinstance(value, timedelta) else parse_duration(str(value))
    except ValueError as error:
        raise ReportError(str(error), where=f"--{option}") from None
    return duration // _MOMENT


def _start(value: Any, option: str) -> datetime:
    return _instant(value, option, parse_time)


def _end(value: Any, option: str, *, is_instant_included: bool = False) -> datetime:
    """Read an end: of a day where a date is given, else the instant itself, included or not."""
    end = _instant(value, option, end_of)
    is_instant = isinstance(value, datetime) or (isinstance(value, str) and end == parse_time(value))
    if is_instant_included:
        return end if is_instant else end - _MOMENT
    return end


def _instant(value: Any, option: str, read: Callable[[str], datetime]) -> datetime:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    try:
        return read(value.isoformat() if isinstance(value, date) else str(value))
    except ValueError as error:
        raise ReportError(str(error), where=f"--{option}") from None


def _matrix(long: pa.Table, coverage: pa.Table) -> pa.Table:
    """Turn rows of image × region into one row per image, with a column of true and false per region."""
    regions = sorted(set(coverage["region"].to_pylist()))
    images: dict[tuple[str, ...], set[str]] = {}
    for row in long.to_pylist():
        key = (row["account"], row["type"], row["image_id"], row["name"])
        images.setdefault(key, set()).add(row["region"])
    columns = {name: [key[index] for key in images] for index, name in enumerate(long.column_names[:4])}
    arrays = [pa.array(values, pa.string()) for values in columns.values()]
    arrays += [pa.array([region in seen for seen in images.values()], pa.bool_()) for region in regions]
    return pa.Table.from_arrays(arrays, [*columns, *regions])
