"""The tables over a lake, as every engine builds them: the captures in their order, then views that start from them.

Most views are made when a statement names them first: to make all takes longer than most reports.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.lake.contents import Contents
from genesis_etl.query.sources import read_sql
from genesis_etl.times import CALENDAR

# Each in the order in which they are built. The first ones tell which files those of rows read.
_AT_ONCE: Final = ("lake_captures", "lake_files")
_TABLES: Final = ("lake_expected_regions", "lake_calendar")
_ON_DEMAND: Final = (
    *_TABLES,
    "captures",
    "lake_periods",
    "lake_rows",
    "lake_runs",
    "lake_stays",
    "images",
    "image_regions",
    "image_history",
    "region_days",
    "lake_source_names",
)
VIEWS: Final = tuple(name for name in (*_AT_ONCE, *_ON_DEMAND) if name not in _TABLES)
_WORD: Final = re.compile(r"\w+")
_EPOCH: Final = date(1970, 1, 1)


class Engine(ABC):
    """What runs the SQL over a lake's tables, for as long as its files are there."""

    _regions: tuple[str, ...] = ()  # that settings expect
    _has_merged_runs = False
    _waiting: tuple[str, ...] = ()  # the views that no statement has named yet, in the order in which they are built

    def select(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run one SELECT of ours and return its rows, exactly typed."""
        self._need(sql)
        return self._select(sql, parameters)

    def sql(self, statement: str) -> pa.Table:
        """Run one SELECT of the user's; ReportError for anything else."""
        self._need(*self._waiting)  # in whatever way the user's names them
        return self._sql(statement)

    def merge_runs(self) -> None:
        """Put together, once for all statements to come, the runs of all files that go on in the next capture."""
        if self._has_merged_runs:
            return
        self._table("lake_merged_runs", self.select("select * from lake_stays"))
        self._view("lake_runs", "select * from lake_merged_runs")
        self._has_merged_runs = True

    @abstractmethod
    def _select(self, sql: str, parameters: Mapping[str, Any] | None) -> pa.Table:
        """Run one SELECT of ours."""

    @abstractmethod
    def _sql(self, statement: str) -> pa.Table:
        """Run one SELECT of the user's."""

    @abstractmethod
    def parameters(self, sql: str) -> set[str]:
        """Return the named parameters that a statement declares."""

    def run(self, sql: str, values: Mapping[str, Any]) -> pa.Table:
        """Run a statement of ours with those of the values that it declares; what is not given is null."""
        return self.select(sql, {name: values.get(name) for name in self.parameters(sql)})

    @abstractmethod
    def _name_of(self, path: str) -> str:
        """Return what the column `path` tells of a file: what this engine calls it."""

    @abstractmethod
    def _table(self, name: str, rows: pa.Table) -> None:
        """Make a table of rows."""

    @abstractmethod
    def _captures(self, commits: pa.Table, name: str, sql: str) -> None:
        """Compute a statement over `lake_commits` once, and keep what it told as a table."""

    @abstractmethod
    def _view(self, name: str, sql: str) -> None:
        """Make a view of a statement."""

    @abstractmethod
    def _files(self, name: str, paths: list[str]) -> None:
        """Make a view of rows files, with the column `path` that tells which row is whose."""

    def _build(self, contents: Contents, regions: tuple[str, ...], as_of: datetime | None) -> list[str]:
        """Make all tables and views, and return the files that they read.

        `as_of` leaves out every capture after it; `regions` are those that settings expect.
        """
        commits = contents.captures
        if as_of is not None:
            end = pa.scalar(as_of, commits["captured_at"].type)
            commits = commits.filter(pc.less_equal(commits["captured_at"], end))
        paths = commits["path"].to_pylist()
        names = pa.array([self._name_of(path) for path in paths], pa.string())
        commits = commits.set_column(commits.column_names.index("path"), "path", names)
        self._captures(commits, _AT_ONCE[0], read_sql("views", _AT_ONCE[0]))
        for name in _AT_ONCE[1:]:
            self._view(name, read_sql("views", name))
        files = {row["path"]: row for row in self.select("select * from lake_files").to_pylist()}
        known = sorted((path, files[self._name_of(path)]) for path in set(paths))
        self._files("lake_single_rows", [path for path, file in known if file["is_single"]])
        self._files("lake_many_rows", [path for path, file in known if not file["is_single"]])
        self._files("lake_newest_rows", [path for path, file in known if file["is_newest"]])
        self._regions = regions
        self._waiting = _ON_DEMAND
        return [path for path, _ in known]

    def _need(self, *texts: str) -> None:
        """Make the views that wait and that the texts name, and those that these start from."""
        words = set(_WORD.findall(" ".join(texts)))
        made = {}
        for name in reversed(self._waiting):  # each starts from earlier ones
            if name in words:
                made[name] = sql = "" if name in _TABLES else read_sql("views", name)
                words |= set(_WORD.findall(sql))
        self._waiting = tuple(name for name in self._waiting if name not in made)
        for name, sql in reversed(made.items()):
            if name == "lake_expected_regions":
                self._table(name, pa.table({"region": pa.array(self._regions, pa.string())}))
            elif name == "lake_calendar":
                self._table(name, _calendar())
            else:
                self._view(name, sql)


def _calendar() -> pa.Table:
    first, end_day = CALENDAR
    days = range((first - _EPOCH).days, (end_day - _EPOCH).days)
    return pa.table({"day": pa.array(days, pa.int32()).cast(pa.date32())})
