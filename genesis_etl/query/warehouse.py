"""A DuckDB connection with the views over a lake, closed to everything but the lake's committed files.

The only importer of `duckdb`. The connection lives in memory: there is no database file to lock.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import duckdb
import pyarrow as pa

from genesis_etl.errors import LakeError, ReportError
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.schema import IMAGES
from genesis_etl.query.views import Engine
from genesis_etl.text import shown

_GAP: Final = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_OPTIONS: Final = r"\((?:\s*(?:analyze|format)\b[a-z_ ]*,?)+\)"
_EXPLAIN = re.compile(rf"{_GAP}explain\b{_GAP}(analyze\b)?{_GAP}({_OPTIONS})?", re.IGNORECASE | re.DOTALL)


class Warehouse(Engine):
    """The tables of the contract over what a lake holds, for as long as its files are there.

    `as_of` leaves out every capture after it; `regions` are those that settings expect.
    """

    def __init__(self, contents: Contents, *, regions: tuple[str, ...] = (), as_of: datetime | None = None) -> None:
        self._files_open: list[str] = []
        self._is_uniform = contents.is_uniform
        self._connection = duckdb.connect(":memory:")
        with contextlib.suppress(duckdb.InvalidInputException):  # Jupyter without widgets, which draws none anyway
            # It would be drawn on stdout, among the data.
            self._connection.execute("set enable_progress_bar = false")
        # A query reads the footers of all its files anew otherwise; a file of a lake never changes.
        self._run(
            "set timezone = 'UTC'; set python_enable_replacements = false; set autoinstall_known_extensions = false; "
            "set parquet_metadata_cache = true"
        )
        self._files_open = self._build(contents, regions, as_of)
        self._lock(self._files_open)

    def close(self) -> None:
        """Give the connection's memory back."""
        self._connection.close()

    def _select(self, sql: str, parameters: Mapping[str, Any] | None) -> pa.Table:
        with duckdb_errors(self._files_open):
            relation = self._connection.sql(sql, params=dict(parameters) if parameters else None)
            return relation.to_arrow_table()

    def parameters(self, sql: str) -> set[str]:
        """Return the named parameters that a statement declares."""
        with duckdb_errors():
            (statement,) = self._connection.extract_statements(sql)
            return set(statement.named_parameters)

    def _sql(self, statement: str) -> pa.Table:
        with duckdb_errors(self._files_open):
            text = self._only_select(statement)
            # A CTE may hold a DELETE, which parses as part of a SELECT.
            self._connection.execute("begin transaction read only")
            try:
                return self._connection.sql(text).to_arrow_table()
            finally:
                self._connection.execute("rollback")

    def _only_select(self, text: str) -> str:
        """Return the text if it is one SELECT; for EXPLAIN one that explains no more than a SELECT."""
        kind = self._kind(text)
        explain = _EXPLAIN.match(text) if kind == "EXPLAIN" else None
        if explain is not None:
            inner = text[explain.end() :]
            kind = self._kind(inner)
            text = " ".join(["explain", *filter(None, explain.groups()), inner])
        if kind != "SELECT":
            raise ReportError(f"{kind} is refused", advice="a lake is only read, with one SELECT or EXPLAIN")
        return text

    def _kind(self, text: str) -> str:
        try:
            kinds = [statement.type.name for statement in self._connection.extract_statements(text)]
        except ValueError:  # a kind that DuckDB's Python does not know
            return "this statement"
        if len(kinds) != 1:
            raise ReportError(f"expected one statement, got {len(kinds)}", advice="separate commands run one each")
        return str(kinds[0])

    def _run(self, sql: str) -> None:
        with duckdb_errors(self._files_open):
            self._connection.execute(sql)

    def _table(self, name: str, rows: pa.Table) -> None:
        with duckdb_errors():
            self._connection.register("incoming", rows)
            self._connection.execute(f"create table {name} as select * from incoming")
            self._connection.unregister("incoming")

    def _captures(self, commits: pa.Table, name: str, sql: str) -> None:
        with duckdb_errors():
            self._connection.register("lake_commits", commits)
            self._connection.execute(f"create table {name} as {sql}")
            self._connection.unregister("lake_commits")

    def _view(self, name: str, sql: str) -> None:
        self._run(f"create or replace view {name} as {sql}")

    def _name_of(self, path: str) -> str:
        return path

    def _files(self, name: str, paths: list[str]) -> None:
        if not paths:
            self._table(name, IMAGES.append(pa.field("path", pa.string())).empty_table())
            return
        with duckdb_errors():
            # To unite their columns, DuckDB reads the footer of every file before the first query.
            files = self._connection.read_parquet(
                paths, filename=True, union_by_name=not self._is_uniform, hive_partitioning=False
            )
            ours = self._connection.from_arrow(IMAGES.empty_table())
            known = set(files.columns)
            # Files of an older schema lack columns, and their order hangs on which file is read first.
            columns = [
                column if column in known else f"cast(null as {type}) as {column}"
                for column, type in zip(ours.columns, ours.types, strict=True)
            ]
            files.project(f"{', '.join(columns)}, filename as path").create_view(name)

    def _lock(self, paths: list[str]) -> None:
        # DuckDB lets every query read its folder for spilled data, .tmp where we stand, and see the proxies it knows.
        emptied = ("temp_directory", "http_proxy", "http_proxy_username", "http_proxy_password")
        self._run("; ".join(f"set {name} = ''" for name in emptied))
        with duckdb_errors():
            self._connection.execute("set allowed_paths = $paths", {"paths": paths})
        self._run("set enable_external_access = false; set lock_configuration = true")


@contextlib.contextmanager
def duckdb_errors(paths: Sequence[str] = ()) -> Iterator[None]:
    try:
        yield
    except duckdb.PermissionException as error:
        # Where a file is gone, DuckDB looks for a folder of its name, which it may not.
        gone = next((path for path in paths if not os.path.exists(path)), None)
        if gone is not None:
            raise LakeError(f"cannot read the lake: {shown(gone, 300)} is gone") from error
        raise ReportError(f"the statement failed: {_line(error)}") from error
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise LakeError(f"cannot read the lake: {_line(error)}") from error
    except duckdb.Error as error:
        raise ReportError(f"the statement failed: {_line(error)}") from error


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shown("; ".join(lines[:2]), 300)
