"""Rows as a Parquet file."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from genesis_etl.errors import ReportError
from genesis_etl.render.values import interval, refuse_namesakes
from genesis_etl.text import shown


def to_parquet(rows: pa.Table, *_: object) -> bytes:
    refuse_namesakes(rows)
    for index, field in enumerate(rows.schema):
        if field.type == pa.month_day_nano_interval():  # Parquet has no such type that readers agree on
            texts = [None if value is None else interval(value) for value in rows[index].to_pylist()]
            rows = rows.set_column(index, field.name, pa.array(texts, pa.string()))
    buffer = io.BytesIO()
    try:
        pq.write_table(rows, buffer, compression="zstd")
    except pa.ArrowException as error:
        raise ReportError(f"Parquet cannot hold these columns: {shown(str(error))}") from None
    return buffer.getvalue()
