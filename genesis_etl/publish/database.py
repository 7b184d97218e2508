"""The tables of a lake in one DuckDB file.

Beside the Parquet files it is what cannot change under its readers: whoever has it open keeps the old one, whole.
"""

from __future__ import annotations

import os

import pyarrow as pa

from genesis_etl.lake.contents import Contents
from genesis_etl.outfile import replace_file
from genesis_etl.publish.made import Tables
from genesis_etl.query.database import database_bytes
from genesis_etl.query.sources import read_sql
from genesis_etl.query.warehouse import Warehouse


def write_database(contents: Contents, tables: Tables, path: str | os.PathLike[str]) -> None:
    """Write the tables of the contents, and `image_regions` as a view, in place of a DuckDB file.

    SettingsError where the file cannot be written; then it is as it was.
    """
    named: dict[str, pa.Table] = dict(tables.items())
    # The instants of a run cannot tell captures of one instant apart, and the view goes by instants.
    warehouse = Warehouse(contents)
    try:
        named["image_regions_shared"] = warehouse.select(read_sql("publish", "shared_instants"))
    finally:
        warehouse.close()
    views = {"image_regions": read_sql("publish", "image_regions")}
    replace_file(os.fspath(path), database_bytes(named, views))
