"""A lake for reports and SQL, whose engine is kept while no commit comes or goes.

lake = open_lake("data/lake")
lake.report("snapshot-growth", by="week")     # pandas DataFrame
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import LakeError, ReportError
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.lake import Lake, no_capture
from genesis_etl.lake.layout import TABLES
from genesis_etl.query.binding import bind, needed_span, read_end
from genesis_etl.query.forecast import append_forecast
from genesis_etl.query.report import Report, find_report, option_of, report_names, report_sql
from genesis_etl.query.views import Engine
from genesis_etl.query.warehouse import Warehouse
from genesis_etl.text import shown
from genesis_etl.times import format_time

if TYPE_CHECKING:
    import pandas as pd

ENGINES: Final = ("duckdb", "spark")
_RUNS: Final = 5  # of a query whose files go while it runs


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
        self._is_held = False

    def __repr__(self) -> str:
        reports = ", ".join(report_names())
        return f"<lake {self._lake.url!r}: .report(name) of {reports}; .sql(select); .{', .'.join(TABLES)}; .publish()>"

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
                known = ", ".join(map(option_of, report.options))
                raise ReportError(f"{name} has no {option_of(key)}", advice=f"it has {known}")
        latest = None if as_of is None else read_end(as_of, "as-of", is_instant_included=True)

        def run() -> pa.Table:
            values = bind(report, given, latest, self.price)
            contents, warehouse = self._fresh(latest, values.get("account"))
            self._refuse(report, contents, values, latest)
            rows = warehouse.run(report.sql, values)
            if "matrix" in given:
                return _matrix(warehouse.run(report_sql(f"{name}.matrix"), values), rows)
            if "forecast" in given:
                return append_forecast(rows, values["by"], values["forecast"], self.price)
            return rows

        return self._patiently(run)

    def contents(self) -> Contents:
        """Return what the lake holds now, as the lake tells it."""
        return self._fresh()[0]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Answer from what the lake holds now, without looking each time whether a commit has come or gone.

        There will be many questions, so the first one merges the runs of all files. A file that is gone when it is
        needed is still looked for again.
        """
        self._fresh()
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def part(self, accounts: Collection[str]) -> OpenLake:
        """Return the lake of these accounts alone, held as it is now: for many questions about few of many accounts."""
        contents = self._fresh()[0]
        mine = pc.is_in(contents.captures["account"], pa.array(accounts, pa.string()))
        part = OpenLake(self._lake, self._regions, self.price, self._engine)
        part._contents = replace(contents, captures=contents.captures.filter(mine))
        part._is_held = True
        return part

    @property
    def images(self) -> pd.DataFrame:
        """What every account has now: one row per image × region of its newest capture."""
        return self.sql("select * from images order by account, image_id, region")

    @property
    def image_history(self) -> pd.DataFrame:
        """One row per unbroken run of an identical image × region row."""
        return self.sql("select * from image_history order by account, first_seen, image_id, region, last_seen")

    @property
    def captures(self) -> pd.DataFrame:
        """One row per capture."""
        return self.sql("select * from captures order by account, captured_at, capture_id")

    @property
    def region_days(self) -> pd.DataFrame:
        """How many images there were where: one row per account × UTC day × type × region, region null in totals."""
        return self.sql("select * from region_days order by account, day, type, region nulls first")

    def publish(
        self, account: str | None = None, *, duckdb: str | os.PathLike[str] | None = None, delta: str | None = None
    ) -> pd.DataFrame:
        """Write the tables of the lake anew where they lag behind, and into a DuckDB file, or as Delta tables.

        Return a row per account and table. Raises as the command `publish` ends.
        """
        from genesis_etl.publish.publish import publications, publish_everywhere

        return publications(publish_everywhere(self._lake, account, duckdb, delta)).to_pandas()

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
        if self._contents is None or (not self._is_held and self._lake.changed_since(self._contents, self._account)):
            self._contents = self._lake.contents(self._account)
            self._warehouse = None
        if as_of is not None:
            return self._contents, self._open(self._contents, as_of)
        if self._warehouse is None:
            self._warehouse = self._open(self._contents)
        if self._is_held:
            self._warehouse.merge_runs()
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
                contents.refuse_damage(account, *needed_span(report, contents, account, values, latest))
        captures = contents.captures
        if asked is not None:
            captures = captures.filter(pc.equal(captures["account"], asked))
            if not len(captures) and (accounts := self._lake.accounts()) and asked not in accounts:
                raise ReportError(f"no account {shown(asked)!r} in the lake", advice=f"it holds {', '.join(accounts)}")
        first = pc.min(captures["captured_at"]).as_py()
        if first is None or (latest is not None and first > latest):
            of = "" if asked is None else f" of {shown(asked)}"
            at = "" if latest is None else " up to that time"
            raise no_capture(self._lake.url + of + at)


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
