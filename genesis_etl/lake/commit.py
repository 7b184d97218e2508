"""Captures, and the commits that list them: each says what it did, and what it knew of its account. Pure.

A commit is a Parquet file with a row per capture (schema `CAPTURES`). Under `genesis_etl.commit` its metadata hold

    {"did": "capture", "known": {"capture_id": "2026…-9f3a1c2e", "captured_at": "2026-11-23T16:30:00Z", "captures": 7}}

`known` is the newest capture that was there when it was written, and how many there were, or had been until they were
forgotten: so a later commit is evidence of an earlier one that is lost. A compaction names the earlier compactions
that it replaced (`replaced`), a `forget` the time up to which it removed captures and their number (`forgot`).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genesis_etl.lake.layout import LakeFile, parsed
from genesis_etl.lake.schema import CAPTURES, NewerSchema, schema_version, upgraded
from genesis_etl.text import shown
from genesis_etl.times import format_time, parse_time

Did = Literal["capture", "compaction", "forget"]

# The columns of the table `captures`; the file knows one more.
CAPTURE_COLUMNS: Final = [name for name in CAPTURES.names if name != "listed_snapshots"]
_FACTS: Final = b"genesis_etl.commit"
_DID: Final[dict[str, Did]] = {"capture": "capture", "compacted": "compaction", "forget": "forget"}


@dataclass(frozen=True)
class Capture:
    """One row of the table `captures`; what each field means stands in `schema.CAPTURES`."""

    account: str
    capture_id: str
    captured_at: datetime
    finished_at: datetime
    images: int
    snapshots: int | None
    instances: int | None
    rows: int
    requests: int
    retries: int
    passes: int
    endpoint: str
    etl_version: str
    file: str
    sha256: str
    listed_snapshots: int


def capture_rows(captures: Sequence[Capture]) -> pa.Table:
    """Return captures as a table with the columns of `CAPTURES`."""
    return pa.Table.from_pylist([asdict(capture) for capture in captures], schema=CAPTURES)


@dataclass(frozen=True)
class Known:
    """The newest capture of an account that a commit knew when it was written, and how many captures it knew.

    Those that were forgotten before are counted too.
    """

    capture_id: str
    captured_at: datetime
    captures: int


@dataclass(frozen=True)
class Forgot:
    """What a `forget` removed: captures before this time, so many."""

    before: datetime
    captures: int


@dataclass(frozen=True)
class Facts:
    """What a commit says of itself: what it did, what it knew, what it replaced (names of commits) or removed."""

    did: Did
    known: Known | None = None
    replaced: frozenset[str] = frozenset()
    forgot: Forgot | None = None


@dataclass(frozen=True)
class Commit:
    """A commit that was read: its file, its facts, the captures it lists and the rows file they lie in.

    `captures` has the schema `CAPTURES`. `rows_file` and `sha256` are None where it lists none, as a `forget`.
    """

    file: LakeFile
    facts: Facts
    captures: pa.Table
    rows_file: LakeFile | None
    sha256: str | None

    @property
    def account(self) -> str:
        """Return whose captures it lists."""
        return self.file.account

    @property
    def capture_ids(self) -> list[str]:
        """Return the ids of the captures it lists."""
        ids: list[str] = self.captures["capture_id"].to_pylist()
        return ids


def parse_rows(data: bytes, schema: pa.Schema) -> pa.Table:
    """Read a file's bytes with the columns of `schema`; raises as `upgraded`, or what Arrow says of no Parquet."""
    return upgraded(read_all(pq.ParquetFile(pa.BufferReader(data))), schema)


def read_all(file: pq.ParquetFile) -> pa.Table:
    """Read a whole file of one row group.

    `read_table` plans a dataset first, which takes three times as long. And without threads: one that still holds the
    bytes, or a Python file, when the process ends aborts it.
    """
    return file.read(use_threads=False)


def parquet(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file.

    In that of one row neither a compressor nor a dictionary saves a byte, statistics say what the row says anyway, and
    to read it takes half as long without.
    """
    buffer = io.BytesIO()
    is_many = len(table) != 1
    compression = "zstd" if is_many else "none"
    pq.write_table(table, buffer, compression=compression, use_dictionary=is_many, write_statistics=is_many)
    return buffer.getvalue()


def commit_bytes(captures: pa.Table, facts: Facts) -> bytes:
    """Return the bytes of a commit."""
    said: dict[str, Any] = {"did": facts.did}
    if facts.known is not None:
        said["known"] = {**asdict(facts.known), "captured_at": format_time(facts.known.captured_at)}
    if facts.replaced:
        said["replaced"] = sorted(facts.replaced)
    if facts.forgot is not None:
        said["forgot"] = {**asdict(facts.forgot), "before": format_time(facts.forgot.before)}
    return parquet(captures.replace_schema_metadata({**CAPTURES.metadata, _FACTS: json.dumps(said).encode()}))


def reassigned(captures: pa.Table, file: str, sha256: str) -> pa.Table:
    """Return captures (schema `CAPTURES`) as those of another rows file."""
    told = {name: captures[name] for name in CAPTURES.names}
    for name, value in (("file", file), ("sha256", sha256)):
        told[name] = pa.repeat(pa.scalar(value, pa.string()), len(captures))
    return pa.table(told, schema=CAPTURES)


def parse_commit(file: LakeFile, data: bytes) -> Commit:
    """Read a commit; NewerSchema where a later version wrote it, ValueError where it is not what its name says."""
    return parse_commits([(file, data)])[0]


def parse_commits(read: Sequence[tuple[LakeFile, bytes]]) -> list[Commit]:
    """Read many commits, of files with their bytes; raises as `parse_commit` where it would for any of them.

    Those of schema versions that differ in columns cannot be read together: ValueError. Values are taken out of all
    rows at once; out of one row at a time, that takes longer than all the rest.
    """
    for file, data in read:
        if not hashlib.sha256(data).hexdigest().startswith(file.hash):
            raise ValueError("the commit is damaged, its sha256 is another than its name says")
    try:
        tables = [read_all(pq.ParquetFile(pa.BufferReader(data))) for _, data in read]
        for table in tables:
            schema_version(table.schema)
        rows = upgraded(pa.concat_tables(tables), CAPTURES).combine_chunks()
        ends = list(accumulate(map(len, tables), initial=0))
        told = {name: _shared(rows[name], ends) for name in ("account", "file", "sha256")}
        told["capture_id"] = _firsts(rows["capture_id"], ends).to_pylist()
        commits = []
        for n, (file, _) in enumerate(read):
            captures = rows.slice(ends[n], ends[n + 1] - ends[n])
            first = {name: values[n] for name, values in told.items()}
            commits.append(_commit(file, _facts(tables[n].schema.metadata[_FACTS]), captures, first))
    except NewerSchema:
        raise
    except (pa.ArrowException, KeyError, TypeError, OSError, ValueError) as error:
        raise ValueError(f"the commit cannot be read: {shown(str(error))}") from None
    return commits


def _commit(file: LakeFile, facts: Facts, captures: pa.Table, first: dict[str, Any]) -> Commit:
    """Return a commit whose rows are read; ValueError where they are not what its name says."""
    if _DID[file.kind] != facts.did:
        raise ValueError(f"it says it is a {facts.did}")
    if not len(captures):
        if facts.did != "forget":
            raise ValueError("it lists no capture")
        return Commit(file, facts, captures, None, None)
    account, path, sha256 = (str(first[name]) for name in ("account", "file", "sha256"))
    if account != file.account:
        raise ValueError(f"it holds captures of the account {shown(account)}")
    rows_file = parsed(path)
    if rows_file is None or rows_file != replace(file, dataset="rows", hash=sha256[:16]):
        raise ValueError(f"it names {shown(path)}, which is not its rows file")
    if facts.did == "capture" and (len(captures) > 1 or first["capture_id"] != file.name):
        raise ValueError("it is the commit of another capture")
    if facts.did == "compaction" and pc.max(captures["captured_at"]).as_py() >= file.time:
        raise ValueError("it holds captures later than its name")
    return Commit(file, facts, captures, rows_file, sha256)


def _firsts(column: pa.ChunkedArray, ends: Sequence[int]) -> pa.ChunkedArray:
    """Return the first value of each part of a column, null for one without rows."""
    return column.take(pa.array([start if start < end else None for start, end in pairwise(ends)], pa.int64()))


def _shared(column: pa.ChunkedArray, ends: Sequence[int]) -> list[str | None]:
    """Return what all rows of a part share, for each part of a column."""
    firsts = _firsts(column, ends)
    parts = [n for n, (start, end) in enumerate(pairwise(ends)) for _ in range(start, end)]
    if parts and not pc.all(pc.equal(column, firsts.take(pa.array(parts, pa.int64()))), skip_nulls=False).as_py():
        raise ValueError("there are several values where all rows share one")
    values: list[str | None] = firsts.to_pylist()
    return values


def _facts(text: bytes) -> Facts:
    said = json.loads(text)
    known, forgot = said.get("known"), said.get("forgot")
    if said["did"] not in _DID.values():
        raise ValueError(f"it did {shown(str(said['did']))}, which is not known")
    return Facts(
        said["did"],
        known and Known(known["capture_id"], parse_time(known["captured_at"]), int(known["captures"])),
        frozenset(said.get("replaced", ())),
        forgot and Forgot(parse_time(forgot["before"]), int(forgot["captures"])),
    )
