"""What a lake holds at one moment: which capture belongs to which file, and what is damaged or lost.

A capture belongs to the greatest stem whose commit lists it and whose rows file is whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import pyarrow as pa

from genesis_etl.errors import LakeError
from genesis_etl.lake.ahead import read_ahead
from genesis_etl.lake.commit import Commit
from genesis_etl.lake.evidence import Held, losses
from genesis_etl.lake.layout import Dataset, LakeFile, Listing, time_of
from genesis_etl.lake.schema import CAPTURES, NewerSchema
from genesis_etl.lake.storage import Storage
from genesis_etl.times import format_time

_PATH: Final = pa.field("path", pa.string())


@dataclass(frozen=True)
class Damage:
    """Captures of an account that no whole file speaks for, and the span of time that may hold them.

    With `is_newer` the file is whole, but a later version of genesis-etl wrote it. With `is_lost` the file is whole,
    and evidence of captures that no commit lists.
    """

    account: str
    path: str
    reason: str
    since: datetime
    until: datetime
    is_newer: bool = False
    is_lost: bool = False

    def error(self) -> LakeError:
        """Return what a command says that needs these captures."""
        if self.is_newer:
            return LakeError(self.reason, where=self.path, advice="upgrade it, or ask for another --account")
        need = f"{self.reason}; captures of {self.account} up to {format_time(self.until)} need it"
        what = "what is lost" if self.is_lost else "the file"
        advice = f"restore {what}, or ask for a later --since or another --account"
        return LakeError(need, where=self.path, advice=advice)


@dataclass(frozen=True)
class Contents:
    """What a lake holds at one moment.

    `captures` has one row per capture: the columns of `CAPTURES` and `path`, where its rows file can be opened on
    this machine as long as `storage` is there. `damage` is what a query that needs it has to refuse. With `is_uniform`
    all these rows files are of this version's schema, so that none lacks a column.
    """

    captures: pa.Table
    damage: tuple[Damage, ...] = ()
    commit_files: frozenset[LakeFile] = frozenset()
    storage: Storage | None = None
    is_uniform: bool = False

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
                raise damage.error()


class Files(Protocol):
    """Whose files are read: a `Lake`."""

    storage: Storage
    older: set[str]

    def list(self, dataset: Dataset, account: str | None = None) -> Listing: ...
    def parse(self, file: LakeFile) -> Commit: ...
    def open(self, commit: Commit) -> str: ...
    def parse_many(self, files: Sequence[LakeFile]) -> None: ...
    def held(self, file: LakeFile) -> Held | None: ...


def read_contents(lake: Files, account: str | None, *, opens_rows: bool) -> tuple[Contents, bool]:
    """Read a lake (of one account) once; with it, whether a file went that had just been listed.

    Without `opens_rows` rows files are looked for, not into, and `path` is where they lie below the lake.
    """
    reading = _Reading(lake, account, opens_rows)
    return reading.contents(), reading.is_gone


def lost_commit(file: LakeFile, error: ValueError | LakeError) -> Damage:
    """Say what a commit that cannot be read may have held: one capture, or for a compaction its year up to its stem."""
    since = datetime(file.year, 1, 1, tzinfo=UTC) if file.is_compacted else file.time
    return Damage(file.account, file.path, str(error), min(since, file.time), file.time, isinstance(error, NewerSchema))


def _ends(year: int | None) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    return (year or 1, 1, 1), (year or 9999, 12, 31)


class _Reading:
    """One look at a lake: commits by falling stem, each with the captures that no greater one has claimed."""

    def __init__(self, lake: Files, account: str | None, opens_rows: bool) -> None:
        self.is_gone = False
        self._lake = lake
        self._account = account
        listing = lake.list("captures", account)
        self._files = set(listing.files)
        self._closed = listing.closed
        self._claimed: set[tuple[str, str]] = set()
        self._replaced: set[tuple[str, str]] = set()
        self._tables: list[pa.Table] = []
        self._commits: dict[str, list[Commit]] = defaultdict(list)
        self._suspects: list[tuple[Commit, str, bool]] = []
        self._unreadable: dict[LakeFile, Damage] = {}
        self._there = None if opens_rows else set(lake.list("rows", account).files)
        read_ahead(lake, self._files, opens_rows=opens_rows)
        for file in sorted(self._files, key=lambda file: file.stem, reverse=True):
            self._read(file)

    def contents(self) -> Contents:
        """Return what was found."""
        empty = CAPTURES.append(_PATH).empty_table()
        captures = pa.concat_tables([empty, *self._tables], promote_options="permissive")
        rows = self._lake.list("rows", self._account)
        damage = (*self._damage(), *self._hidden(rows), *self._lost(rows))
        is_uniform = self._lake.older.isdisjoint(captures["path"].to_pylist())
        return Contents(captures, damage, frozenset(self._files), self._lake.storage, is_uniform)

    def _read(self, file: LakeFile) -> None:
        key = (file.account, file.name)
        if key in self._claimed or key in self._replaced:
            return  # a loose capture has the name of its file; a compaction names those that it replaced
        try:
            commit = self._lake.parse(file)
        except FileNotFoundError:
            self.is_gone = True
            self._files.remove(file)
            return
        except (ValueError, LakeError) as error:
            self._unreadable[file] = lost_commit(file, error)
            return
        self._commits[file.account].append(commit)
        ids = commit.capture_ids
        mine = [(file.account, id) not in self._claimed for id in ids]
        if not any(mine):
            return
        try:
            path = self._place(commit)
        except FileNotFoundError:
            self.is_gone = True
            assert commit.rows_file is not None
            self._suspects.append((commit, f"the rows file {commit.rows_file.path} is missing", False))
            return
        except (ValueError, LakeError) as error:
            self._suspects.append((commit, str(error), isinstance(error, NewerSchema)))
            return
        self._claimed.update((file.account, id) for id in ids)
        self._replaced.update((file.account, name) for name in commit.facts.replaced)
        table = commit.captures if all(mine) else commit.captures.filter(pa.array(mine))
        self._tables.append(table.append_column(_PATH, pa.repeat(pa.scalar(path, pa.string()), len(table))))

    def _place(self, commit: Commit) -> str:
        """Return where the rows of a commit can be read; raises as `Lake.open`."""
        if self._there is None:
            return self._lake.open(commit)
        if commit.rows_file is None or commit.rows_file not in self._there:
            raise FileNotFoundError
        return commit.rows_file.path

    def _damage(self) -> list[Damage]:
        """Return the damage that no other whole file makes good."""
        damage = [bad for file, bad in self._unreadable.items() if (file.account, file.name) not in self._claimed]
        for commit, reason, is_newer in self._suspects:
            account, path = commit.account, commit.file.path
            times = [
                at
                for id, at in zip(commit.capture_ids, commit.captures["captured_at"].to_pylist(), strict=True)
                if (account, id) not in self._claimed
            ]
            if times:
                damage.append(Damage(account, path, reason, min(times), max(times), is_newer))
        return damage

    def _hidden(self, rows: Listing) -> Iterator[Damage]:
        """Yield the folders of known accounts whose commits may not be looked into; any other may be a stranger's."""
        known = {file.account for file in (*self._files, *rows.files)} | {folder.account for folder in rows.closed}
        for folder in self._closed:
            if folder.account in known:
                since, until = (datetime(year, month, day, tzinfo=UTC) for year, month, day in _ends(folder.year))
                yield Damage(folder.account, folder.path, "the folder may not be looked into", since, until)

    def _lost(self, rows: Listing) -> list[Damage]:
        """Return what commits and left-over rows files tell of captures that no commit lists."""
        listed: dict[str, dict[str, datetime]] = defaultdict(dict)
        for file in self._files:
            if file.kind == "capture":
                listed[file.account][file.name] = file.time
        for account, commits in self._commits.items():
            for commit in commits:
                if commit.file.kind != "capture":
                    listed[account].update((id, time_of(id)) for id in commit.capture_ids)
        names = {(file.account, file.name) for file in self._files}
        left_over: dict[str, dict[LakeFile, Held | None]] = defaultdict(dict)
        for file in rows.files:
            if file.is_compacted and (file.account, file.name) not in names:
                left_over[file.account][file] = self._lake.held(file)
        # What these list is not known, and told as damage already; what a rows file holds is.
        silent = {file.account for file in self._unreadable if file.kind != "capture"}
        return [
            Damage(account, loss.path, loss.seen, loss.since, loss.until, is_lost=True)
            for account in sorted({*self._commits, *left_over})
            for loss in losses(self._commits[account], listed[account], left_over[account])
            if account not in silent or loss.path in {file.path for file in left_over[account]}
        ]
