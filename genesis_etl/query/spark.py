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

from genesis_etl.errors import ReportError
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.schema import IMAGES
from genesis_etl.query.views import Engine
from genesis_etl.text import shown

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


class SparkWarehouse(Engine):
    """What `warehouse.Warehouse` is for DuckDB: the tables of the contract over what a lake holds.

    Uses the session that is running (that of a cluster's driver), or starts a local one.
    """

    def __init__(self, contents: Contents, *, regions: tuple[str, ...] = (), as_of: datetime | None = None) -> None:
        with spark_errors():
            self._session = _session()
            self._build(contents, regions, as_of)

    def close(self) -> None:
        """Forget what was cached; the session stays, it may be the cluster's."""
        self._session.catalog.clearCache()

    def _select(self, sql: str, parameters: Mapping[str, Any] | None) -> pa.Table:
        with spark_errors():
            rows: pa.Table = self._session.sql(translated(sql), args=dict(parameters or {})).toArrow()
            return rows

    def parameters(self, sql: str) -> set[str]:
        """Return the named parameters that a statement declares."""
        tree = sqlglot.parse_one(sql, read="duckdb")
        return {str(found.this) for found in tree.find_all(exp.Parameter, exp.Placeholder)}

    def _sql(self, statement: str) -> pa.Table:
        try:
            trees = sqlglot.parse(statement, read="duckdb")
        except sqlglot.errors.SqlglotError as error:
            raise ReportError(f"the statement failed: {shown(str(error), 300)}") from None
        if len(trees) != 1 or not isinstance(trees[0], exp.Query):
            raise ReportError("a lake is only read, with one SELECT")
        with spark_errors():
            rows: pa.Table = self._session.sql(trees[0].sql(dialect="spark")).toArrow()
            return rows

    def _table(self, name: str, rows: pa.Table) -> None:
        self._session.createDataFrame(rows).createOrReplaceTempView(name)

    def _captures(self, commits: pa.Table, name: str, sql: str) -> None:
        self._table("lake_commits", commits)
        self._session.sql(translated(sql)).cache().createOrReplaceTempView(name)

    def _view(self, name: str, sql: str) -> None:
        with spark_errors():
            self._session.sql(translated(sql)).createOrReplaceTempView(name)

    def _name_of(self, path: str) -> str:
        # Spark tells an encoded URI, of which the last part needs no encoding.
        return PurePosixPath(path).name

    def _files(self, name: str, paths: list[str]) -> None:
        if not paths:
            self._table(name, IMAGES.append(pa.field("path", pa.string())).empty_table())
            return
        # Files of an older schema lack columns; with the schema of one file those of another would be lost.
        schema = self._session.createDataFrame(IMAGES.empty_table()).schema
        frame: DataFrame = self._session.read.schema(schema).parquet(*paths)
        frame.selectExpr("*", "_metadata.file_name as path").createOrReplaceTempView(name)


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
def spark_errors() -> Iterator[None]:
    try:
        yield
    except PySparkException as error:
        line = shown(" ".join(str(error).split()), 300)
        raise ReportError(f"the statement failed on Spark: {line}") from error
