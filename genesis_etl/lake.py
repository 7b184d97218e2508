"""Captures as Parquet files: how they become visible, and which file speaks for which capture.

A capture belongs to the greatest stem whose commit lists it and whose images file is whole; a file's rows speak for
no other. The only room that knows where a file lies.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genesis_etl.commit import (
    Capture,
    Commit,
    file_name,
    is_account,
    is_fold,
    parse_commit,
    parse_rows,
    stem_time,
    time_of_stem,
)
from genesis_etl.errors import LakeError
from genesis_etl.rows import CAPTURES, IMAGES, ROW, NewerSchema, schema_version
from genesis_etl.storage import TEMPORARY, Entry, Storage, open_storage
from genesis_etl.times import format_time

NO_CAPTURE: Final = "no capture yet in {url}; run `genesis-etl export`"
ORPHAN_AGE: Final = timedelta(hours=1)
_LISTINGS: Final = 5
_MOVING: Final = (
    f"{{url}}: in {_LISTINGS} listings, commits went before they could be read; try again when no compaction with a "
    "short --grace runs beside"
)


@dataclass(frozen=True)
class Damage:
    """Captures of an account that no whole file speaks for, and the span of time that may hold them.

    With `is_newer` the file is whole, but a later version of genesis-etl wrote it.
    """

    account: str
    path: str
    reason: str
    since: datetime
    until: datetime
    is_newer: bool = False


@dataclass(frozen=True)
class Contents:
    """What a lake holds at one moment.

    `captures` has one row per capture: the columns of `CAPTURES` and `path`, where its images file can be
    opened on this machine as long as `storage` is there. `damage` is what a query that needs it has to refuse.
    """

    captures: pa.Table
    damage: tuple[Damage, ...] = ()
    commit_paths: frozenset[str] = frozenset()
    storage: Storage | None = None

    def refuse_damage(
        self, account: str | None = None, since: datetime | None = None, end: datetime | None = None
    ) -> None:
        """Raise LakeError if anything damaged lies in the account (any) from `since` on and before `end`."""
        for damage in self.damage:
            if (
                account in (None, damage.account)
                and (since is None or damage.until >= since)
                and (end is None or damage.since < end)
            ):
                if damage.is_newer:
                    raise LakeError(f"{damage.path}: {damage.reason}, or ask for another --account")
                raise LakeError(
                    f"{damage.path}: {damage.reason}; captures of {damage.account} up to "
                    f"{format_time(damage.until)} need it: restore the file, or ask for a later --since "
                    "or another --account"
                )


class Lake:
    """A folder of captures, at a path or URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._storage = open_storage(url)
        # Files never change, so what was read once need not be read again.
        self._whole: dict[tuple[str, str], str] = {}
        self._parsed: dict[str, Commit] = {}

    def land(self, rows: pa.Table, *, account: str, captured_at: datetime, **evidence: Any) -> Capture:
        """Write the rows of one capture (columns of `ROW`), then its commit; return the capture.

        `evidence` are the other fields of `Capture`. On an error nothing new is left.
        """
        self._sweep_temporary(account)
        captured_at = captured_at.astimezone(UTC)
        capture_id = f"{stem_time(captured_at)}-{os.urandom(4).hex()}"
        stamps = pa.repeat(pa.scalar(captured_at, IMAGES.field("first_seen").type), len(rows))
        names = pa.repeat(pa.scalar(account, pa.string()), len(rows))
        columns = [names, stamps, stamps, *(rows[name] for name in ROW.names)]
        return self.commit(
            pa.table(columns, schema=IMAGES),
            lambda file, sha256: pa.Table.from_pylist(
                [
                    {
                        "account": account,
                        "capture_id": capture_id,
                        "captured_at": captured_at,
                        "file": file,
                        "sha256": sha256,
                        "rows": len(rows),
                        **evidence,
                    }
                ],
                schema=CAPTURES,
            ),
            account=account,
            year=captured_at.year,
            name=capture_id,
        )[0]

    def commit(self, images: pa.Table, captures: Any, *, account: str, year: int, name: str) -> list[Capture]:
        """Write an images file, then the commit that `captures(file, sha256)` returns for it."""
        data = _parquet(images)
        sha256 = hashlib.sha256(data).hexdigest()
        file = f"images/{account}/{year:04}/{name}-{sha256[:16]}.parquet"
        table = captures(file, sha256)
        record = _parquet(table)
        path = f"captures/{account}/{year:04}/{name}-{hashlib.sha256(record).hexdigest()[:16]}.parquet"
        is_committing = False
        try:
            self._storage.write(file, data)
            is_committing = True
            self._storage.write(path, record)
        except BaseException:
            # The commit may stand already, or yet come, whatever interrupted it; then its images file stays.
            if not is_committing or self._storage.lacks(path):
                with contextlib.suppress(LakeError):
                    self._storage.delete(file)
            raise
        return [Capture(**row) for row in table.to_pylist()]

    def newest(self, account: str, *, with_snapshots: bool = False) -> Capture | None:
        """Return the account's newest capture, None before the first; LakeError where damage may hide a newer one.

        With `with_snapshots`, the newest that could read /snapshots. Stems sort by time and none holds a capture
        later than itself, so the last ones tell.
        """
        for _ in range(_LISTINGS):
            with contextlib.suppress(FileNotFoundError):  # folded and swept since it was listed
                return self._newest(account, with_snapshots)
        raise LakeError(_MOVING.format(url=self.url))

    def _newest(self, account: str, with_snapshots: bool) -> Capture | None:
        newest: dict[str, Any] | None = None
        for entry in sorted(self._commit_entries(account), key=_stem, reverse=True):
            if newest is not None and time_of_stem(entry.path) < newest["captured_at"]:
                break
            try:
                captures = self._commit(entry.path).captures
            except NewerSchema as error:
                raise LakeError(f"{entry.path}: {error}") from None
            except ValueError as error:
                raise LakeError(
                    f"{entry.path}: {error}; restore the file or remove it, `genesis-etl verify` tells more"
                ) from None
            if with_snapshots:
                captures = captures.filter(pc.is_valid(captures["snapshots"]))
            if not len(captures):
                continue
            order = pc.sort_indices(captures, [("captured_at", "descending"), ("capture_id", "descending")])
            row = captures.slice(order[0].as_py(), 1).to_pylist()[0]
            if newest is None or _order(row) > _order(newest):
                newest = row
        return None if newest is None else Capture(**newest)

    def unfolded(self, account: str, enough: int) -> int:
        """Count the captures that lie in files of their own and in no fold; no further than needed to see `enough`."""
        entries = self._commit_entries(account)
        raw = {name["name"] for entry in entries if (name := file_name(entry.path)) and not name["fold"]}
        for entry in entries:
            if len(raw) < enough:
                break
            if is_fold(entry.path):
                with contextlib.suppress(FileNotFoundError, ValueError):
                    raw -= set(self._commit(entry.path).capture_ids)
        return len(raw)

    def accounts(self) -> list[str]:
        """Return the accounts that have commits."""
        return sorted({entry.path.split("/")[1] for entry in self.files("captures")})

    def files(self, dataset: str) -> list[Entry]:
        """List every file of `images` or `captures`, strangers too (`file_name` tells them), by path."""
        return self._storage.entries(dataset)

    def read(self, path: str) -> bytes:
        """Return a file's bytes; FileNotFoundError where it is gone."""
        return self._storage.read(path)

    def commits(self, account: str | None = None) -> tuple[list[Commit], list[Damage]]:
        """Read every commit, by stem, and tell which cannot be read. Files of other names are not looked at."""
        commits: list[Commit] = []
        damage: list[Damage] = []
        for entry in self._commit_entries(account):
            try:
                commits.append(self._commit(entry.path))
            except FileNotFoundError:
                continue  # folded and swept since it was listed
            except (ValueError, LakeError) as error:
                damage.append(_lost_commit(entry.path, error))
        return sorted(commits, key=lambda commit: commit.stem), damage

    def contents(self, account: str | None = None) -> Contents:
        """Read the commits (of one account), check the images files that they need, and say what can be told.

        Where a file has just gone, a fold has replaced it: the lake is listed again.
        """
        for _ in range(_LISTINGS):
            contents, is_gone = self._contents(account)
            # What is gone while nothing else has changed is missing, and told as damage.
            if not is_gone or not self.changed_since(contents, account):
                return contents
        raise LakeError(_MOVING.format(url=self.url))

    def rows(self, file: str) -> pa.Table:
        """Return an images file as it lies on the storage now, with the columns of `IMAGES`."""
        return parse_rows(self._storage.read(file), IMAGES)

    def remove(self, commit: Commit) -> None:
        """Remove a commit that speaks for no capture, and then its images file."""
        self._storage.delete(commit.path)
        self._storage.delete(commit.file)

    def remove_file(self, path: str) -> None:
        """Remove a file that no commit names."""
        self._storage.delete(path)

    def changed_since(self, contents: Contents, account: str | None = None) -> bool:
        """Tell whether commits (of one account) have come or gone since its contents were read."""
        return contents.commit_paths != {entry.path for entry in self._commit_entries(account)}

    def _contents(self, account: str | None = None) -> tuple[Contents, bool]:
        entries = sorted(self._commit_entries(account), key=_stem, reverse=True)
        paths = {entry.path for entry in entries}
        damage: list[Damage] = []
        claimed: set[tuple[str, str]] = set()
        tables: list[pa.Table] = []
        suspects: list[tuple[Commit, str, bool]] = []
        is_gone = False
        for path in [entry.path for entry in entries]:
            match = file_name(path)
            if match is not None and not match["fold"] and (match["account"], match["name"]) in claimed:
                continue  # its one capture has the name of its file, and a fold speaks for it
            try:
                commit = self._commit(path)
            except FileNotFoundError:
                is_gone = True
                paths.remove(path)
                continue
            except (ValueError, LakeError) as error:
                damage.append(_lost_commit(path, error))
                continue
            ids = commit.capture_ids
            mine = [(commit.account, id) not in claimed for id in ids]
            if not any(mine):
                continue
            try:
                file = self._opened(commit)
            except FileNotFoundError:
                is_gone = True
                suspects.append((commit, f"the images file {commit.file} is missing", False))
                continue
            except (ValueError, LakeError) as error:
                suspects.append((commit, str(error), isinstance(error, NewerSchema)))
                continue
            claimed.update((commit.account, id) for id in ids)
            table = commit.captures if all(mine) else commit.captures.filter(pa.array(mine))
            tables.append(table.append_column("path", pa.repeat(pa.scalar(file, pa.string()), len(table))))
        for commit, reason, is_newer in suspects:
            times = [
                at
                for id, at in zip(commit.capture_ids, commit.captures["captured_at"].to_pylist(), strict=True)
                if (commit.account, id) not in claimed
            ]
            if times:
                damage.append(Damage(commit.account, commit.path, reason, min(times), max(times), is_newer))
        damage = [bad for bad in damage if not _is_claimed(bad, claimed)]
        empty = CAPTURES.append(pa.field("path", pa.string())).empty_table()
        captures = pa.concat_tables([empty, *tables], promote_options="permissive")
        return Contents(captures, tuple(damage), frozenset(paths), self._storage), is_gone

    def _commit(self, path: str) -> Commit:
        """Return a listed commit; raises as `parse_commit`, FileNotFoundError where it is gone."""
        if path not in self._parsed:
            self._parsed[path] = parse_commit(path, self._storage.read(path))
        return self._parsed[path]

    def _opened(self, commit: Commit) -> str:
        """Return a local path of the commit's images file after checking its sha256 (once, for files never change)."""
        key = (commit.file, commit.sha256)
        if key not in self._whole:
            data = self._storage.read(commit.file)
            if hashlib.sha256(data).hexdigest() != commit.sha256:
                raise ValueError(f"the images file {commit.file} is damaged, its sha256 is another")
            schema_version(pq.read_schema(pa.BufferReader(data)))
            self._whole[key] = self._storage.local(commit.file, data)
        return self._whole[key]

    def _commit_entries(self, account: str | None = None) -> list[Entry]:
        if account is not None and not is_account(account):
            return []  # no account has such a name, but a folder elsewhere may
        entries = self._storage.entries("captures" if account is None else f"captures/{account}")
        return [entry for entry in entries if file_name(entry.path) is not None]

    def _sweep_temporary(self, account: str) -> None:
        """Remove what a killed run left half-written more than an hour ago."""
        for dataset in ("images", "captures"):
            for entry in self._storage.entries(f"{dataset}/{account}"):
                if entry.path.endswith(TEMPORARY) and time.time() - entry.written_at > ORPHAN_AGE.total_seconds():
                    self._storage.delete(entry.path)


def _stem(entry: Entry) -> str:
    return entry.path.rsplit("/", 1)[-1]


def _order(row: dict[str, Any]) -> tuple[datetime, str]:
    return row["captured_at"], row["capture_id"]


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _lost_commit(path: str, error: ValueError | LakeError) -> Damage:
    """Say what a commit that cannot be read may have held: one capture, or for a fold its year up to its stem."""
    match = file_name(path)
    assert match is not None
    at = time_of_stem(path)
    since = datetime(int(match["year"]), 1, 1, tzinfo=UTC) if match["fold"] else at
    return Damage(match["account"], path, str(error), since, at, isinstance(error, NewerSchema))


def _is_claimed(damage: Damage, claimed: Iterable[tuple[str, str]]) -> bool:
    match = file_name(damage.path)
    return match is not None and (damage.account, match["name"]) in claimed
