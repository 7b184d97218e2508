"""Captures, the commits that list them, and the names of a lake's files, which tell what they are.

    images/default/2026/20261123T163000123456Z-9f3a1c2e-4b1d….parquet      the rows
    captures/default/2026/20261123T163000123456Z-9f3a1c2e-77c0….parquet    the commit, written last

The last part of a name is the start of the sha256 of the file's own bytes. Pure: no file is opened here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genesis_etl.rows import CAPTURES, NewerSchema, upgraded
from genesis_etl.text import shown

# The columns of the table `captures`; the file knows one more.
CAPTURE_COLUMNS: Final = [name for name in CAPTURES.names if name != "listed_snapshots"]
_ACCOUNT: Final = "[a-z0-9-]{1,63}"
_PATH = re.compile(
    rf"(?P<dataset>images|captures)/(?P<account>{_ACCOUNT})/(?P<year>[0-9]{{4}})/"
    r"(?P<stem>(?P<name>(?P<time>[0-9]{8}T[0-9]{12}Z)-(?P<fold>fold-)?[0-9a-f]{8})-(?P<hash>[0-9a-f]{16}))\.parquet"
)
_TIME: Final = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class Capture:
    """One row of the table `captures`; what each field means stands in `table.CAPTURES`."""

    account: str
    capture_id: str
    captured_at: datetime
    finished_at: datetime
    images: int
    snapshots: int | None
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
class Commit:
    """A commit that was read: the captures it lists (schema `CAPTURES`) and the images file they lie in."""

    path: str
    account: str
    stem: str
    captures: pa.Table
    file: str
    sha256: str

    @property
    def is_fold(self) -> bool:
        """Tell whether compaction wrote it."""
        return is_fold(self.path)

    @property
    def capture_ids(self) -> list[str]:
        """Return the ids of the captures it lists."""
        ids: list[str] = self.captures["capture_id"].to_pylist()
        return ids


def is_account(name: str) -> bool:
    """Tell whether an account can have this name."""
    return re.fullmatch(_ACCOUNT, name) is not None


def stem_time(moment: datetime) -> str:
    """Write an instant as stems begin, so that they sort by time."""
    return moment.astimezone(UTC).strftime(_TIME)


def time_of_stem(path: str) -> datetime:
    """Return the instant that a file of the lake is named after."""
    match = file_name(path)
    assert match is not None
    return datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC)


def is_fold(path: str) -> bool:
    """Tell whether compaction wrote a file of the lake."""
    match = file_name(path)
    return match is not None and match["fold"] is not None


def file_name(path: str) -> re.Match[str] | None:
    """Read the path of a lake's own file (`dataset, account, year, stem, name, time, fold, hash`); None for a stranger.

    The images file and the commit of one landing share their `name`.
    """
    return _PATH.fullmatch(path)


def parse_rows(data: bytes, schema: pa.Schema) -> pa.Table:
    """Read a file's bytes with the columns of `schema`; raises as `upgraded`, or what Arrow says of no Parquet."""
    # `read_table` plans a dataset first, which takes three times as long. And without threads: one that still holds
    # the bytes, or a Python file, when the process ends aborts it.
    return upgraded(pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False), schema)


def parse_commit(path: str, data: bytes) -> Commit:
    """Read a commit; NewerSchema where a later version wrote it, ValueError where it is not what its name says."""
    match = file_name(path)
    assert match is not None
    if not hashlib.sha256(data).hexdigest().startswith(match["hash"]):
        raise ValueError("the commit is damaged, its sha256 is another than its name says")
    try:
        table = parse_rows(data, CAPTURES)
        account, file, sha256 = (_only(table[name]) for name in ("account", "file", "sha256"))
    except NewerSchema:
        raise
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        raise ValueError(f"the commit cannot be read as captures: {shown(str(error))}") from None
    if account != match["account"]:
        raise ValueError(f"the commit holds captures of the account {shown(account)}")
    named = file_name(file)
    if named is None or named["dataset"] != "images":
        raise ValueError(f"the commit names {shown(file)}, which is no images file")
    return Commit(path, account, match["stem"], table, file, sha256)


def _only(column: pa.ChunkedArray) -> str:
    values = pc.unique(column).to_pylist()
    if len(values) != 1:
        raise ValueError(f"{len(values)} values where all rows share one")
    return str(values[0])
