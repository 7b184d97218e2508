"""The public part of a lake as files: which tables lie there, and which captures they say they hold."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from genesis_etl.errors import LakeError
from genesis_etl.lake.commit import parquet, read_all
from genesis_etl.lake.layout import TABLES, LakeFile, Table, TableFile, TableListing, listed_tables, table_folder
from genesis_etl.lake.schema import SCHEMA_VERSION, TABLE_SCHEMAS, upgraded
from genesis_etl.lake.storage import Storage

_VERSION: Final = b"genesis_etl.schema_version"
_NEWEST: Final = b"genesis_etl.newest_capture"
_CAPTURES: Final = b"genesis_etl.captures"
# In `captures`, which is written last: the sha256 of the others, and of the names of the commits that they are of.
_TABLES: Final = b"genesis_etl.tables"
_COMMITS: Final = b"genesis_etl.commits"
_DEEPEST: Final = 4  # folders that are looked into for strangers, which any reader of `tables/**` meets


@dataclass(frozen=True)
class State:
    """Which captures a table holds: the id of the newest (none: no capture) and their number."""

    newest_capture: str
    captures: int


@dataclass(frozen=True)
class FoundTable:
    """The file of a table as it was found: what its bytes say they hold, each told by one look at them."""

    name: Table
    data: bytes

    @functools.cached_property
    def _file(self) -> pq.ParquetFile:
        return pq.ParquetFile(pa.BufferReader(self.data))

    @functools.cached_property
    def _metadata(self) -> Mapping[bytes, bytes]:
        """What a publisher wrote beside the schema; nothing where the bytes are no Parquet file."""
        try:
            return self._file.schema_arrow.metadata or {}
        except (pa.ArrowException, OSError, ValueError):
            return {}

    @property
    def version(self) -> int | None:
        """The version of the schema; None where they do not tell."""
        try:
            return int(self._metadata[_VERSION])
        except (ValueError, KeyError):
            return None

    @property
    def is_newer(self) -> bool:
        """A later version of genesis-etl wrote it."""
        return (self.version or 0) > SCHEMA_VERSION

    @property
    def is_older(self) -> bool:
        """An earlier version of genesis-etl wrote it: it is whole, and lacks columns."""
        return (self.version or SCHEMA_VERSION) < SCHEMA_VERSION

    @property
    def state(self) -> State | None:
        """The captures that it says it holds; None where it is no table of this version."""
        if self.version != SCHEMA_VERSION:
            return None
        try:
            return State(self._metadata[_NEWEST].decode(), int(self._metadata[_CAPTURES]))
        except (ValueError, KeyError):
            return None

    @property
    def hashes(self) -> dict[str, str]:
        """The sha256 of the other tables that `captures` was written beside; nothing if unknown."""
        try:
            told: Any = json.loads(self._metadata[_TABLES])
        except (ValueError, KeyError):
            return {}
        return told if isinstance(told, dict) else {}

    @property
    def commits(self) -> str | None:
        """The digest of the commits that `captures` was written of; None if unknown."""
        digest = self._metadata.get(_COMMITS)
        return None if digest is None else digest.decode("ascii", "replace")

    @functools.cached_property
    def sha256(self) -> str:
        """The sha256 of the bytes, hexadecimal."""
        return sha256_of(self.data)

    @functools.cached_property
    def rows(self) -> pa.Table:
        """The rows, in the table's schema; ValueError where they are no such rows."""
        try:
            return upgraded(read_all(self._file), TABLE_SCHEMAS[self.name])
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise ValueError(str(error)) from None


def list_tables(storage: Storage) -> TableListing:
    """List the tables of all accounts, and whatever else lies below their folder."""
    return listed_tables(storage.list(table_folder(), lambda path: path.count("/") < _DEEPEST))


def digest_of(commit_files: Iterable[LakeFile]) -> str:
    """Return a digest of which commits an account has; as they never change, of what they say as well."""
    return sha256_of("\n".join(sorted(file.path for file in commit_files)).encode())


def table_bytes(
    name: Table, rows: pa.Table, state: State, made_of: tuple[Mapping[Table, str], str] | None = None
) -> bytes:
    """Return a table as the bytes of its file; `captures` keeps the hashes of the others, and a digest of commits."""
    metadata = {
        _VERSION: str(SCHEMA_VERSION),
        _NEWEST: state.newest_capture,
        _CAPTURES: str(state.captures),
    }
    if made_of is not None:
        hashes, metadata[_COMMITS] = made_of
        metadata[_TABLES] = json.dumps(dict(sorted(hashes.items())))
    return parquet(rows.cast(TABLE_SCHEMAS[name]).replace_schema_metadata(metadata))


def table_accounts(storage: Storage) -> set[str]:
    """Return the accounts that have a table."""
    return {file.account for file in list_tables(storage).files}


def sha256_of(data: bytes) -> str:
    """Return the sha256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def published(storage: Storage, account: str) -> dict[Table, FoundTable]:
    """Return an account's tables, as far as their bytes can be read."""
    found: dict[Table, FoundTable] = {}
    for name in TABLES:
        with contextlib.suppress(FileNotFoundError, LakeError):
            found[name] = FoundTable(name, storage.read(TableFile(name, account).path))
    return found


def listed_captures(there: Mapping[Table, FoundTable]) -> pa.Table:
    """Return the captures that an account's table `captures` lists; none where it cannot be read."""
    with contextlib.suppress(ValueError, KeyError):
        return there["captures"].rows
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
