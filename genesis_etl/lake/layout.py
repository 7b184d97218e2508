"""Where the files of a lake lie, and what their names tell; the only room that makes or reads a path.

    store/rows/default/2026/20261123T163000123456Z-9f3a1c2e-4b1d….parquet                the rows of one capture
    store/captures/default/2026/20261123T163000123456Z-9f3a1c2e-77c0….parquet            its commit, written last
    store/rows/default/2026/20261124T000000000000Z-compacted-5c8f1686-b556….parquet      the runs of many captures
    store/captures/default/2026/20261124T000000000000Z-compacted-5c8f1686-bcbb….parquet  the commit that lists them
    store/captures/default/2026/20261124T000000000001Z-forget-0f6d12ab-90aa….parquet     says what was forgotten
    tables/images/default.parquet                                                        the public part, made of these

A name begins with a time (of the capture, else of the writing) and eight random digits; a capture has its name as its
id. The stem ends with the start of the sha256 of the file's own bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from genesis_etl.lake.storage.medium import Entry

Dataset = Literal["rows", "captures"]
Table = Literal["images", "image_history", "captures", "region_days"]
Kind = Literal["capture", "compacted", "forget"]

ROOT: Final = "store"
TABLES_ROOT: Final = "tables"
TABLES: Final[tuple[Table, ...]] = ("images", "image_history", "captures", "region_days")
ORPHAN_AGE: Final = timedelta(hours=1)
# The one form of a temporary name that neither DuckDB's nor pandas' globs match.
TEMPORARY: Final = ".parquet.tmp"
_ACCOUNT: Final = "[a-z0-9-]{1,63}"
_STEM: Final = (
    r"(?P<name>(?P<time>[0-9]{8}T[0-9]{12}Z)-(?:(?P<kind>compacted|forget)-)?[0-9a-f]{8})-(?P<hash>[0-9a-f]{16})"
)
_FOLDER: Final = rf"{ROOT}/(?P<dataset>rows|captures)/(?P<account>{_ACCOUNT})/(?P<year>[0-9]{{4}})"
_PATH = re.compile(rf"{_FOLDER}/{_STEM}\.parquet")
_TEMPORARY = re.compile(rf"{_FOLDER}/\.{_STEM}{re.escape(TEMPORARY)}")
# What a lake's own folders are called; no other one is looked into.
_OWN_FOLDER = re.compile(rf"{ROOT}/(?:rows|captures)(?:/(?P<account>{_ACCOUNT})(?:/(?P<year>[0-9]{{4}}))?)?")
_EARLIER = re.compile(rf"(?:images|captures)/{_ACCOUNT}/[0-9]{{4}}/[0-9]{{8}}T[0-9]{{12}}Z-[^/]*\.parquet")
_TABLE_FOLDER: Final = rf"{TABLES_ROOT}/(?P<table>{'|'.join(TABLES)})"
_TABLE = re.compile(rf"{_TABLE_FOLDER}/(?P<account>{_ACCOUNT})\.parquet")
_TABLE_TEMPORARY = re.compile(rf"{_TABLE_FOLDER}/\.(?P<account>{_ACCOUNT})\.[0-9a-f]{{8}}{re.escape(TEMPORARY)}")
_TIME: Final = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class LakeFile:
    """A file of the lake: what its path tells, and what the medium says of it (`written_at`: seconds since 1970)."""

    dataset: Dataset
    account: str
    year: int
    name: str  # shared by the rows file and the commit of one landing; of a capture, its id
    kind: Kind
    hash: str
    size: int = field(default=0, compare=False)
    written_at: float = field(default=0.0, compare=False)

    @property
    def stem(self) -> str:
        """Return the file's name without its ending; stems sort by time."""
        return f"{self.name}-{self.hash}"

    @property
    def path(self) -> str:
        """Return the path below the lake."""
        return f"{folder_of(self.dataset, self.account)}/{self.year:04}/{self.stem}.parquet"

    @property
    def is_compacted(self) -> bool:
        """Tell whether it holds what compaction made of many captures."""
        return self.kind == "compacted"

    @property
    def time(self) -> datetime:
        """Return the instant that the file is named after."""
        return time_of(self.name)


def new_name(moment: datetime, kind: Kind = "capture") -> str:
    """Return a name that nobody had before."""
    part = "" if kind == "capture" else f"{kind}-"
    return f"{moment.astimezone(UTC).strftime(_TIME)}-{part}{os.urandom(4).hex()}"


def new_file(dataset: Dataset, account: str, year: int, name: str, data: bytes) -> LakeFile:
    """Return the file that these bytes make under a name."""
    hash = hashlib.sha256(data).hexdigest()[:16]
    made = parsed(f"{folder_of(dataset, account)}/{year:04}/{name}-{hash}.parquet")
    assert made is not None
    return made


def parsed(path: str, size: int = 0, written_at: float = 0.0) -> LakeFile | None:
    """Read the path of a lake's own file; None for a stranger's."""
    return _file(_PATH.fullmatch(path), size, written_at)


def parsed_temporary(path: str, size: int = 0, written_at: float = 0.0) -> LakeFile | None:
    """Read the path under which a file of the lake is being written; None for anything else."""
    return _file(_TEMPORARY.fullmatch(path), size, written_at)


def _file(match: re.Match[str] | None, size: int, written_at: float) -> LakeFile | None:
    if match is None:
        return None
    dataset: Dataset = "rows" if match["dataset"] == "rows" else "captures"
    kind: Kind = match["kind"] or "capture"  # type: ignore[assignment]
    return LakeFile(dataset, match["account"], int(match["year"]), match["name"], kind, match["hash"], size, written_at)


def temporary_path(path: str) -> str:
    """Return the name under which a file is written before it appears as `path`."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name.removesuffix('.parquet')}{TEMPORARY}"


def folder_of(dataset: Dataset, account: str | None = None) -> str:
    """Return the folder of a dataset, or of one account in it."""
    return f"{ROOT}/{dataset}" + ("" if account is None else f"/{account}")


def is_own_folder(path: str) -> bool:
    """Tell whether a lake has a folder of this path."""
    return _OWN_FOLDER.fullmatch(path) is not None


def is_account(name: str) -> bool:
    """Tell whether an account can have this name."""
    return re.fullmatch(_ACCOUNT, name) is not None


def time_of(name: str) -> datetime:
    """Return the instant that a name begins with; of a capture's id, when it was captured."""
    seconds, micros = name[:15], name[15:21]
    return datetime.fromisoformat(f"{seconds}.{micros}+00:00")  # ten times as fast as strptime


def is_of_earlier_layout(path: str) -> bool:
    """Tell whether a file is one of the layout before the first release, which this version does not read."""
    return _EARLIER.fullmatch(path) is not None


@dataclass(frozen=True)
class TableFile:
    """A file of the public part: one table of one account; replaced whole, unlike the files of the store."""

    table: Table
    account: str
    size: int = field(default=0, compare=False)

    @property
    def path(self) -> str:
        """Return the path below the lake."""
        return f"{table_folder(self.table)}/{self.account}.parquet"


def table_folder(table: Table | None = None) -> str:
    """Return the folder of a table, or of all."""
    return TABLES_ROOT if table is None else f"{TABLES_ROOT}/{table}"


def temporary_table_path(path: str) -> str:
    """Return a name nobody had before, under which a table is written before it replaces the one at `path`."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name.removesuffix('.parquet')}.{os.urandom(4).hex()}{TEMPORARY}"


@dataclass(frozen=True)
class TableListing:
    """The tables of a lake, what publishers left half-written (path → account), and strangers' files."""

    files: tuple[TableFile, ...] = ()
    temporary: tuple[tuple[Entry, str], ...] = ()
    strangers: tuple[Entry, ...] = ()


def listed_tables(entries: list[Entry]) -> TableListing:
    """Tell a lake's own tables from others' files."""
    files, temporary, strangers = [], [], []
    for entry in entries:
        if match := _TABLE.fullmatch(entry.path):
            files.append(TableFile(match["table"], match["account"], entry.size))  # type: ignore[arg-type]
        elif match := _TABLE_TEMPORARY.fullmatch(entry.path):
            temporary.append((entry, match["account"]))
        else:
            strangers.append(entry)
    return TableListing(tuple(files), tuple(temporary), tuple(strangers))


@dataclass(frozen=True)
class ClosedFolder:
    """A folder named like an account's, or one of its years, that may not be looked into."""

    path: str
    account: str
    year: int | None


@dataclass(frozen=True)
class Listing:
    """The files of a lake, of one account or all: its own by path, half-written ones, and strangers' files."""

    files: tuple[LakeFile, ...] = ()
    temporary: tuple[LakeFile, ...] = ()
    strangers: tuple[Entry, ...] = ()
    closed: tuple[ClosedFolder, ...] = ()


def listed(entries: list[Entry]) -> Listing:
    """Tell a lake's own files from others."""
    files, temporary, strangers, closed = [], [], [], []
    for entry in entries:
        if file := parsed(entry.path, entry.size, entry.written_at):
            files.append(file)
        elif half := parsed_temporary(entry.path, entry.size, entry.written_at):
            temporary.append(half)
        elif entry.is_folder and (own := _OWN_FOLDER.fullmatch(entry.path)):
            closed.append(ClosedFolder(entry.path, own["account"], None if own["year"] is None else int(own["year"])))
        else:
            strangers.append(entry)
    return Listing(tuple(files), tuple(temporary), tuple(strangers), tuple(closed))


def is_old(file: LakeFile | Entry) -> bool:
    """Tell whether a file was written so long ago that nobody is still at it."""
    return time.time() - file.written_at > ORPHAN_AGE.total_seconds()
