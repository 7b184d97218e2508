"""A DuckDB file, which DuckDB 1.x opens as well as 2.x."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from genesis_etl.errors import LakeError
from genesis_etl.query.warehouse import duckdb_errors

# The oldest storage that DuckDB 2 writes, and that every 1.x reads.
_STORAGE: Final = "v1.0.0"


def database_bytes(tables: Mapping[str, pa.Table], views: Mapping[str, str]) -> bytes:
    """Return a DuckDB file with these tables, each column with its description, and these views (name → SELECT)."""
    try:
        with tempfile.TemporaryDirectory(prefix="genesis-etl-") as folder:
            file = Path(folder) / "lake.duckdb"
            with duckdb_errors(), duckdb.connect(":memory:") as connection:
                connection.execute(
                    f"attach '{str(file).replace(chr(39), chr(39) * 2)}' as lake (storage_version '{_STORAGE}')"
                )
                connection.execute("use lake")
                for name, rows in tables.items():
                    connection.register("incoming", rows)
                    connection.execute(f"create table {name} as select * from incoming")
                    connection.unregister("incoming")
                    for field in rows.schema:
                        about = (field.metadata or {}).get(b"description", b"").decode().replace("'", "''")
                        connection.execute(f"comment on column {name}.{field.name} is '{about}'")
                for name, sql in views.items():
                    connection.execute(f"create view {name} as {sql}")
                connection.execute("use memory")
                connection.execute("detach lake")
            return file.read_bytes()
    except OSError as error:
        raise LakeError(
            f"cannot make a DuckDB file: {error.strerror or error}", advice="see to the temporary folder (TMPDIR)"
        ) from None
