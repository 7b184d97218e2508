"""The same tables and reports on PySpark, for lakes or questions that one machine is too small for.

The views and reports are the same SQL files, translated by sqlglot. The only importer of `pyspark` and `sqlglot`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import ReportError
from genesis_etl.lake import Contents
from genesis_etl.query.warehouse import VIEWS, view_sql
from genesis_etl.rows import IMAGES
from genesis_etl.text import shown
from genesis_etl.times import CALENDAR

try:
    import sqlglot
    from pyspark.errors import PySparkException
    from pyspark.sql import DataFrame, SparkSession
    from sqlglot import exp
except ImportError as error:
    raise ReportError(
        f"the engine spark needs {error.name}", advice="install genesis-etl with its extra [spark]"
    ) from None


@cache
def translated(sql: str) -> str:
    """Return a statement of the project's SQL files as Spark understands it."""
    (statement,) = sqlglot.transpile(sql, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
    return str(statement)


class SparkWarehouse:
    """What `warehouse.Warehouse` is for DuckDB: the tables of the contract over what a lake holds.

    Uses the session that is running (that of a cluster's driver), or starts a local one.
    """

    def __init__(self, contents: Contents, *, regions: tuple[str, ...] = (), as_of: datetime | None = None) -> None:
        commits = contents.captures
        if as_of is not None:
            commits = commits.filter(
                pc.less_equal(commits["captured_at"], pa.scalar(as_of, commits["captured_at"].type))
            )
        with _mapped():
            self._session = _session()
            paths = sorted(set(commits["path"].to_pylist()))
            names = pa.array([_name(path) for path in commits["path"].to_pylist()], pa.string())
            self._view("lake_commits", commits.drop_columns(["path"]).append_column("path", names))
            self._view("lake_expected_regions", pa.table({"region": pa.array(regions, pa.string())}))
            first, end = CALENDAR
            self._session.sql(
                "select explode(sequence(:first, :last, interval 1 day)) as day",
                args={"first": first, "last": end},
            ).createOrReplaceTempView("lake_calendar")
            captures = self._session.sql(translated(view_sql(VIEWS[0]))).cache()
            captures.createOrReplaceTempView(VIEWS[0])
            counts = captures.groupBy("path").count().collect()
            single = {each["path"] for each in counts if each["count"] == 1}
            newest = {each["path"] for each in captures.where("is_newest").select("path").collect()}
            self._rows("lake_single_rows", [path for path in paths if _name(path) in single])
            self._rows("lake_many_rows", [path for path in paths if _name(path) not in single])
            self._rows("lake_newest_rows", [path for path in paths if _name(path) in newest])
            for name in VIEWS[1:]:
                self._session.sql(translated(view_sql(name))).createOrReplaceTempView(name)

    def close(self) -> None:
        """Forget what was cached; the session stays, it may be the cluster's."""
        self._session.catalog.clearCache()

    def select(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run one SELECT of ours and return its rows."""
        with _mapped():
            rows: pa.Table = self._session.sql(translated(sql), args=dict(parameters or {})).toArrow()
            return rows

    def parameters(self, sql: str) -> set[str]:
        """Return the named parameters that a statement declares."""
        tree = sqlglot.parse_one(sql, read="duckdb")
        return {str(found.this) for found in tree.find_all(exp.Parameter, exp.Placeholder)}

    def sql(self, statement: str) -> pa.Table:
        """Run one SELECT of the user's, in DuckDB's dialect; ReportError for anything else."""
        try:
            trees = sqlglot.parse(statement, read="duckdb")
        except sqlglot.errors.SqlglotError as error:
            raise ReportError(f"the statement failed: {shown(str(error), 300)}") from None
        if len(trees) != 1 or not isinstance(trees[0], exp.Query):
            raise ReportError("a lake is only read, with one SELECT")
        with _mapped():
            rows: pa.Table = self._session.sql(trees[0].sql(dialect="spark")).toArrow()
            return rows

    def _view(self, name: str, rows: pa.Table) -> None:
        self._session.createDataFrame(rows).createOrReplaceTempView(name)

    def _rows(self, name: str, paths: list[str]) -> None:
        if not paths:
            self._view(name, IMAGES.append(pa.field("path", pa.string())).empty_table())
            return
        # Files of an older schema lack columns; with the schema of one file those of another would be lost.
        schema = self._session.createDataFrame(IMAGES.empty_table()).schema
        frame: DataFrame = self._session.read.schema(schema).parquet(*paths)
        frame.selectExpr("*", "_metadata.file_name as path").createOrReplaceTempView(name)


def _name(path: str) -> str:
    """Return what Spark and we call a file: it tells an encoded URI, of which the last part needs no encoding."""
    return PurePosixPath(path).name


def _session() -> SparkSession:
    """Return a session of our own, so that the names of our views meet nobody else's."""
    running = SparkSession.getActiveSession()
    if running is None:
        # The driver's own files go where nothing of a lake lies.
        running = (
            SparkSession.builder.appName("genesis-etl")
            .master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.shuffle.partitions", "4")
            .config("spark.log.level", "ERROR")
            .getOrCreate()
        )
    session = running.newSession()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    session.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    return session


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except PySparkException as error:
        line = shown(" ".join(str(error).split()), 300)
        raise ReportError(f"the statement failed on Spark: {line}") from error
