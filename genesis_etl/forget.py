"""Forgets an account's captures, all of them or those before a time, and leaves a whole lake at every step.

A capture before the time goes; one at it or later stays. A file goes if its commit lists a capture before the
time; what such a file alone tells of later captures is written anew first. Then they go, each commit before its file.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.commit import file_name, stem_time, time_of_stem
from genesis_etl.errors import LakeError, SettingsError
from genesis_etl.lake import NO_CAPTURE, ORPHAN_AGE, Contents, Damage, Lake
from genesis_etl.rows import CAPTURES, IMAGES
from genesis_etl.storage import TEMPORARY, Entry
from genesis_etl.text import shown

_ROUNDS: Final = 5  # a fold under way beside may bring back, once, what it had read before
_COLUMNS: Final = pa.schema(
    [("account", pa.string()), ("year", pa.int64()), ("captures", pa.int64())]
    + [(name, pa.timestamp("us", "UTC")) for name in ("first_captured_at", "last_captured_at")]
    + [(name, pa.int64()) for name in ("rewritten", "files", "bytes")]
)


@dataclass(frozen=True)
class Forgotten:
    """What goes of one account and year: captures, the span they cover, files and bytes.

    `rewritten` are the later captures that lay in the same files and were written anew.
    """

    account: str
    year: int
    captures: int
    first_captured_at: datetime | None
    last_captured_at: datetime | None
    rewritten: int
    files: int
    bytes: int


def forgotten(done: list[Forgotten]) -> pa.Table:
    """Return what went as a table, one row per account and year."""
    return pa.Table.from_pylist([asdict(each) for each in done], schema=_COLUMNS)


def forgettable(lake: Lake, account: str, before: datetime | None = None) -> list[Forgotten]:
    """Return what `forget` would do, and do nothing.

    LakeError for a lake that holds nothing or whose damage is in the way, SettingsError for an unknown account.
    """
    # Of an account whose commits are gone, a file may be left by a run that was killed.
    own = [entry.path for dataset in ("captures", "images") for entry in lake.files(dataset) if file_name(entry.path)]
    accounts = sorted({path.split("/")[1] for path in own})
    if not accounts:
        raise LakeError(NO_CAPTURE.format(url=lake.url))
    if account not in accounts:
        raise SettingsError(f"no account {shown(account)!r} in the lake; it holds {', '.join(accounts)}")
    return _Plan(lake, account, before).told()


def forget(lake: Lake, account: str, before: datetime | None = None, *, now: datetime | None = None) -> list[Forgotten]:
    """Remove the account's captures, those before `before` if it is given; return what went, a row per year.

    Killed at any step the lake is whole, with all, some or none of them gone, and another run ends the work.
    """
    done = forgettable(lake, account, before)
    for _ in range(_ROUNDS):
        plan = _Plan(lake, account, before)
        if not plan.paths:
            break
        plan.rewrite(now or datetime.now(UTC))
        plan.remove()
    return done


class _Plan:
    """The commits of an account that list captures before a time, and what else goes with them."""

    def __init__(self, lake: Lake, account: str, before: datetime | None) -> None:
        self._lake = lake
        self._account = account
        self._before = before
        contents = lake.contents(account)
        commits, unreadable = lake.commits(account)
        self._doomed = [commit for commit in commits if any(map(self._is_before, _times(commit.captures)))]
        self._refuse_damage(contents, unreadable)
        lost = [damage.path for damage in unreadable if self._is_before(damage.until)]
        self._entries = {
            entry.path: entry for dataset in ("captures", "images") for entry in lake.files(f"{dataset}/{account}")
        }
        # A commit before its file: what no commit names, nobody reads. The oldest first, so that an end in the
        # middle leaves the later ones.
        self.paths = [path for commit in self._doomed for path in (commit.path, commit.file) if path in self._entries]
        self.paths += [path for path in lost if path in self._entries]
        named = {commit.file for commit in commits}
        names = {match["name"] for path in lost if (match := file_name(path))}
        self.paths += [
            path
            for path, entry in self._entries.items()
            if path not in named and self._is_left_over(entry, names, is_certain=len(lost) == len(unreadable))
        ]
        self._kept = self._kept_of(contents)

    def told(self) -> list[Forgotten]:
        """Return what goes, a row per year of the lake's folders."""
        years = sorted({_year(path) for path in self.paths})
        captures: dict[int, dict[str, datetime]] = {year: {} for year in years}
        for commit in self._doomed:
            for id, at in zip(commit.capture_ids, _times(commit.captures), strict=True):
                if self._is_before(at):
                    captures[_year(commit.path)][id] = at
        files = Counter(_year(path) for path in self.paths)
        sizes: Counter[int] = Counter()
        for path in self.paths:
            sizes[_year(path)] += self._entries[path].size
        kept: Counter[int] = Counter()
        for file, rows in self._kept.items():
            kept[_year(file)] += len(rows)
        return [
            Forgotten(
                self._account,
                year,
                len(captures[year]),
                min(captures[year].values(), default=None),
                max(captures[year].values(), default=None),
                kept[year],
                files[year],
                sizes[year],
            )
            for year in years
        ]

    def rewrite(self, now: datetime) -> None:
        """Write what the doomed files alone tell of later captures into files of their own, and read it back."""
        for file, captures in self._kept.items():
            self._rewrite(file, captures, now)
        if self._kept and (lost := self._kept_of(self._lake.contents(self._account))):
            raise LakeError(
                f"{next(iter(lost))}: what is to stay of it cannot be read back; see to the disk, nothing was removed"
            )

    def remove(self) -> None:
        """Remove each commit, then the file that nothing names any more."""
        for path in self.paths:
            self._lake.remove_file(path)

    def _is_before(self, at: datetime) -> bool:
        return self._before is None or at < self._before

    def _is_left_over(self, entry: Entry, names: set[str], *, is_certain: bool) -> bool:
        """Tell whether a file that no commit names belongs to what goes; not while a landing may be under way."""
        is_old = time.time() - entry.written_at > ORPHAN_AGE.total_seconds()
        if entry.path.endswith(TEMPORARY):
            return self._before is None and is_old and entry.path.split("/")[2].isdecimal()
        match = file_name(entry.path)
        if match is None or match["dataset"] != "images":
            return False
        is_orphan = is_certain and is_old and self._is_before(time_of_stem(entry.path))
        return match["name"] in names or is_orphan

    def _kept_of(self, contents: Contents) -> dict[str, pa.Table]:
        """Return the captures that stay but lie in files that go, by file."""
        kept: dict[str, pa.Table] = {}
        if self._before is None:
            return kept
        later = contents.captures.filter(
            pc.greater_equal(
                contents.captures["captured_at"], pa.scalar(self._before, CAPTURES.field("captured_at").type)
            )
        )
        for file in sorted({commit.file for commit in self._doomed}):
            mine = later.filter(pc.equal(later["file"], file))
            if len(mine):
                kept[file] = mine.select(CAPTURES.names).sort_by(
                    [("captured_at", "ascending"), ("capture_id", "ascending")]
                )
        return kept

    def _rewrite(self, file: str, captures: pa.Table, now: datetime) -> None:
        try:
            rows = self._lake.rows(file)
        except FileNotFoundError:
            raise LakeError(f"{file}: it went meanwhile, folded perhaps; nothing was removed, run it again") from None
        runs, counts = _clipped(rows, captures)
        if counts != captures["rows"].to_pylist():
            raise LakeError(f"{file}: its runs do not add up to its captures; nothing was removed")
        stems = [entry.path for entry in self._lake.files(f"captures/{self._account}") if file_name(entry.path)]
        latest = max(map(time_of_stem, stems))
        fields = {name: captures[name] for name in CAPTURES.names}
        self._lake.commit(
            runs,
            lambda path, sha256: pa.table(
                {**fields, "file": [path] * len(captures), "sha256": [sha256] * len(captures)}, schema=CAPTURES
            ),
            account=self._account,
            year=_year(file),
            name=f"{stem_time(max(now, latest + timedelta(microseconds=1)))}-fold-{os.urandom(4).hex()}",
        )

    def _refuse_damage(self, contents: Contents, unreadable: list[Damage]) -> None:
        """Raise LakeError where something damaged may hold captures that stay, and would go; or of a later version."""
        for damage in unreadable:
            if damage.is_newer:
                raise LakeError(f"{damage.path}: {damage.reason}, nothing was removed")
        doomed = {commit.path for commit in self._doomed}
        for damage in contents.damage:
            may_go = damage.path in doomed or (damage in unreadable and self._is_before(damage.since))
            if may_go and not self._is_before(damage.until):
                raise LakeError(
                    f"{damage.path}: {damage.reason}; it may hold captures up to {_date(damage.until)} that are to "
                    "stay: restore it, or give a later --before"
                )


def _clipped(rows: pa.Table, captures: pa.Table) -> tuple[pa.Table, list[int]]:
    """Shorten every run to the captures (in order) that it stood in; return runs and the rows of each capture."""
    times = _micros(captures["captured_at"])
    first = np.searchsorted(times, _micros(rows["first_seen"]), "left")
    last = np.searchsorted(times, _micros(rows["last_seen"]), "right") - 1
    stands = first <= last
    first, last = first[stands], last[stands]
    standing = rows.filter(pa.array(stands))
    clipped: dict[str, Any] = dict(zip(IMAGES.names, standing.columns, strict=True))
    stamp = IMAGES.field("first_seen").type
    clipped["first_seen"] = pa.array(times[first], pa.int64()).cast(stamp)
    clipped["last_seen"] = pa.array(times[last], pa.int64()).cast(stamp)
    size = len(times) + 1
    counts = np.cumsum(np.bincount(first, minlength=size) - np.bincount(last + 1, minlength=size))[:-1]
    return pa.table(clipped, schema=IMAGES), counts.tolist()


def _micros(column: pa.ChunkedArray) -> Any:
    return column.cast(pa.int64()).to_numpy()


def _times(captures: pa.Table) -> list[datetime]:
    times: list[datetime] = captures["captured_at"].to_pylist()
    return times


def _year(path: str) -> int:
    return int(path.split("/")[2])


def _date(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"
