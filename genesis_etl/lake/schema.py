"""The schemas of the lake's files, and what readers do with files of other versions. Pure."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from genesis_etl.lake.layout import Table
from genesis_etl.rows import INSTANT, ROW, described

# A new version may add nullable columns, anywhere; columns of older ones stay. Readers null what a file lacks.
# 2 brought what /instances tells.
SCHEMA_VERSION: Final = 2

IMAGES: Final = pa.schema(
    [
        described("account", pa.string(), "short name of the account"),
        described("first_seen", INSTANT, "first capture of this file with the row as it stands"),
        described("last_seen", INSTANT, "last capture of this file with it, none of the file between without it"),
        *ROW,
    ],
    metadata={"genesis_etl.schema_version": str(SCHEMA_VERSION)},
)

CAPTURES: Final = pa.schema(
    [
        described("account", pa.string(), "short name of the account"),
        described("capture_id", pa.string(), "unique; sorts by time; survives compaction"),
        described("captured_at", INSTANT, "when the read began"),
        described("finished_at", INSTANT, "when the read was proven"),
        described("images", pa.int64(), "images, snapshots included"),
        described("snapshots", pa.int64(), "entries of /snapshots; null if it was not read", nullable=True),
        described("instances", pa.int64(), "entries of /instances; null if it was not read", nullable=True),
        described("rows", pa.int64(), "rows of image × region"),
        described("requests", pa.int64(), "requests sent"),
        described("retries", pa.int64(), "requests of these that repeated an earlier one"),
        described("passes", pa.int64(), "passes over the collection that needed more"),
        described("endpoint", pa.string(), "the API that was read"),
        described("etl_version", pa.string(), "version of genesis-etl that captured"),
        described("file", pa.string(), "rows file of the lake that holds them"),
        described("sha256", pa.string(), "sha256 of that file, hexadecimal"),
        # Not in the view: tells the next capture whether /snapshots alone knows of snapshots.
        described("listed_snapshots", pa.int64(), "snapshots that /images listed"),
    ],
    metadata={"genesis_etl.schema_version": str(SCHEMA_VERSION)},
)

_ACCOUNT: Final = described("account", pa.string(), "short name of the account")
# The tables of the public part, as anyone reads them.
TABLE_SCHEMAS: Final[dict[Table, pa.Schema]] = {
    "images": pa.schema([*(CAPTURES.field(name) for name in ("account", "capture_id", "captured_at")), *ROW]),
    "image_history": pa.schema(
        [
            _ACCOUNT,
            described("first_seen", INSTANT, "first capture with the row as it stands"),
            described("last_seen", INSTANT, "last capture of that unbroken run"),
            described("gone_at", INSTANT, "first capture after it; null if there is none yet", nullable=True),
            *ROW,
        ]
    ),
    "captures": pa.schema([field for field in CAPTURES if field.name != "listed_snapshots"]),
    "region_days": pa.schema(
        [
            _ACCOUNT,
            described("day", pa.date32(), "UTC day; shows what its last capture holds"),
            described("type", pa.string(), "type of the images"),
            described(
                "region", pa.string(), "region id, (none) for images without one; null for the total", nullable=True
            ),
            described("images", pa.int64(), "images of that type there; in the total each counts once"),
            described("size_gib", pa.float64(), "GiB of those whose size is known; null if none is", nullable=True),
            described("basis", pa.string(), "observed, or gap: a day without a capture, at the level before"),
        ]
    ),
}


# How the footer of a Parquet file spells the entry: key, then value, each behind its length. And what ends a file: the
# footer's length and the four letters.
_KEY: Final = b"genesis_etl.schema_version"
_OURS: Final = _KEY + b"\x18" + bytes([len(str(SCHEMA_VERSION))]) + str(SCHEMA_VERSION).encode()
_END: Final = 8


class NewerSchema(ValueError):
    """A file that a later version of genesis-etl wrote."""


def schema_version(schema: pa.Schema | pq.FileMetaData) -> int:
    """Return the version of our schema that a file was written with; NewerSchema if it is later than ours."""
    version = int((schema.metadata or {}).get(_KEY, b"1"))
    if version > SCHEMA_VERSION:
        raise NewerSchema(f"written with schema version {version}, this genesis-etl reads up to {SCHEMA_VERSION}")
    return version


def version_of_file(data: bytes) -> int:
    """Return the `schema_version` of a Parquet file's bytes; raises as that, and what Arrow says of no Parquet.

    Most files are of this version, and to find it spelt takes a hundredth of the time that Arrow needs for a footer.
    """
    footer = int.from_bytes(data[-_END:][:4], "little") + _END
    if data.find(_OURS, max(0, len(data) - footer)) >= 0:
        return SCHEMA_VERSION
    return schema_version(pq.read_metadata(pa.BufferReader(data)))


def upgraded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a file's rows with the columns of `schema`; one that the version that wrote it did not know is null.

    NewerSchema for a later version's file, ValueError or KeyError for one that holds something else.
    """
    if schema_version(table.schema) < SCHEMA_VERSION:
        for field in schema:
            if field.nullable and field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(len(table), field.type))
    told = table.select(schema.names)
    if told.schema.equals(schema):  # to cast each column to what it is takes as long as to read it
        return told.replace_schema_metadata(schema.metadata)
    return told.cast(schema)
