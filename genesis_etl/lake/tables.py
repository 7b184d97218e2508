"""The public part of a lake as files: which tables lie there, and which captures they say they hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from genesis_etl.errors import LakeError
from genesis_etl.lake.commit import parquet, parse_rows
from genesis_etl.lake.layout import TABLES, Table, TableFile, TableListing, listed_tables, table_folder
from genesis_etl.lake.schema import SCHEMA_VERSION, TABLE_SCHEMAS
from genesis_etl.lake.storage import Storage

_VERSION: Final = b"genesis_etl.schema_version"
_NEWEST: Final = b"genesis_etl.newest_capture"
_CAPTURES: Final = b"genesis_etl.captures"
_TABLES: Final = b"genesis_etl.tables"  # in `captures`, which is written last: the sha256 of the others
_DEEPEST: Final = 4  # folders that are looked into for strangers, which any reader of `tables/**` meets


@dataclass(frozen=True)
class State:
    """Which captures a table holds: the id of the newest (none: no capture) and their number."""

    newest_capture: str
    captures: int


def list_tables(storage: Storage) -> TableListing:
    """List the tables of all accounts, and whatever else lies below their folder."""
    return listed_tables(storage.list(table_folder(), lambda path: path.count("/") < _DEEPEST))


def table_bytes(name: Table, rows: pa.Table, state: State, hashes: Mapping[Table, str] | None = None) -> bytes:
    """Return a table as the bytes of its file; `hashes` are those of the other files, which `captures` keeps."""
    metadata = {
        _VERSION: str(SCHEMA_VERSION),
        _NEWEST: state.newest_capture,
        _CAPTURES: str(state.captures),
    }
    if hashes is not None:
        metadata[_TABLES] = json.dumps(dict(sorted(hashes.items())))
    return parquet(rows.cast(TABLE_SCHEMAS[name]).replace_schema_metadata(metadata))


def state_of(data: bytes) -> State | None:
    """Return what the bytes of a table say they hold; None where they are no table of this version."""
    try:
        metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
        if int(metadata[_VERSION]) != SCHEMA_VERSION:
            return None
        return State(metadata[_NEWEST].decode(), int(metadata[_CAPTURES]))
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return None


def is_newer(data: bytes) -> bool:
    """Tell whether a later version of genesis-etl wrote a table."""
    return (_version(data) or 0) > SCHEMA_VERSION


def is_older(data: bytes) -> bool:
    """Tell whether an earlier version of genesis-etl wrote a table: it is whole, and lacks columns."""
    return (_version(data) or SCHEMA_VERSION) < SCHEMA_VERSION


def _version(data: bytes) -> int | None:
    """Return the version of the schema that the bytes of a table say they have; None where they do not tell."""
    try:
        return int((pq.read_schema(pa.BufferReader(data)).metadata or {})[_VERSION])
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return None


def table_accounts(storage: Storage) -> set[str]:
    """Return the accounts that have a table."""
    return {file.account for file in list_tables(storage).files}


def table_rows(name: Table, data: bytes) -> pa.Table:
    """Return the rows of a table's bytes; ValueError where they are no such table."""
    try:
        return parse_rows(data, TABLE_SCHEMAS[name])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ValueError(str(error)) from None


def hashes_of(captures: bytes) -> dict[str, str]:
    """Return the sha256 of the other tables that the bytes of `captures` were written beside; nothing if unknown."""
    try:
        metadata = pq.read_schema(pa.BufferReader(captures)).metadata or {}
        told: Any = json.loads(metadata[_TABLES])
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return {}
    return told if isinstance(told, dict) else {}


def sha256_of(data: bytes) -> str:
    """Return the sha256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def published(storage: Storage, account: str) -> dict[Table, bytes]:
    """Return the bytes of an account's tables, as far as they can be read."""
    found: dict[Table, bytes] = {}
    for name in TABLES:
        with contextlib.suppress(FileNotFoundError, LakeError):
            found[name] = storage.read(TableFile(name, account).path)
    return found


def captures_of(data: bytes | None) -> pa.Table:
    """Return the captures that the bytes of the table `captures` list; none where it cannot be read."""
    with contextlib.suppress(ValueError):
        if data is not None:
            return table_rows("captures", data)
    return TABLE_SCHEMAS["captures"].empty_table()


def remove_tables(storage: Storage, account: str) -> None:
    """Remove an account's tables and what publishers left of them half-written; LakeError where that is refused."""
    listing = list_tables(storage)
    for file in listing.files:
        if file.account == account:
            storage.delete(file.path)
    for entry, whose in listing.temporary:
        if whose == account:
            storage.delete(entry.path)
