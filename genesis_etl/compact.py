"""Folds the captures of finished days into one file per account and year, and clears away what folds replaced.

A fold holds each unbroken run of an identical row once. It is written like a capture, images first, then the
commit, under a stem later than every stem it holds; from then on its captures belong to it. Nothing is ever
changed in place, so a fold is safe beside exports, readers and other folds, and a killed one leaves old or new.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.commit import Commit, file_name, is_fold, stem_time, time_of_stem
from genesis_etl.errors import LakeError
from genesis_etl.lake import NO_CAPTURE, ORPHAN_AGE, Contents, Lake
from genesis_etl.rows import CAPTURES, IMAGES
from genesis_etl.storage import TEMPORARY, Entry

GRACE: Final = timedelta(days=7)
# A day is finished so long after its end: a capture that began before midnight has landed by then.
SETTLED: Final = timedelta(minutes=30)
RAW_CAPTURES: Final = 48

_COLUMNS: Final = pa.schema(
    [("account", pa.string()), ("year", pa.int64()), ("captures", pa.int64())]
    + [(name, pa.int64()) for name in ("files_before", "files_after", "bytes_before", "bytes_after", "removed")]
)
_RUNS: Final = f"select {', '.join(IMAGES.names)} from image_history order by image_id, region, first_seen"


@dataclass(frozen=True)
class Folding:
    """What compaction did to one account and year: captures folded anew, files and bytes before and after."""

    account: str
    year: int
    captures: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    removed: int


def foldings(done: list[Folding]) -> pa.Table:
    """Return what was done as a table, one row per account and year."""
    return pa.Table.from_pylist([asdict(each) for each in done], schema=_COLUMNS)


def compact(lake: Lake, *, grace: timedelta = GRACE, now: datetime | None = None) -> list[Folding]:
    """Fold the finished days of every account, then remove what was replaced more than `grace` ago.

    LakeError for an empty lake; where one account is damaged, the others are folded before it is raised.
    """
    now = now or datetime.now(UTC)
    accounts = lake.accounts()
    # What a landing that was cut off has left may be all that there is of an account.
    left_over = {entry.path.split("/")[1] for entry in lake.files("images") if file_name(entry.path)}
    done: list[Folding] = []
    errors: list[LakeError] = []
    for account in sorted({*accounts, *left_over}):
        try:
            done += compact_account(lake, account, grace=grace, now=now)
        except LakeError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    if not accounts:
        raise LakeError(NO_CAPTURE.format(url=lake.url))
    return done


def compact_when_due(lake: Lake, account: str, now: datetime) -> bool:
    """Fold an account of which more than `RAW_CAPTURES` captures lie unfolded; tell whether there was need."""
    if lake.unfolded(account, RAW_CAPTURES + 1) <= RAW_CAPTURES:
        return False
    compact_account(lake, account, now=now)
    return True


def compact_account(
    lake: Lake, account: str, *, grace: timedelta = GRACE, now: datetime | None = None
) -> list[Folding]:
    """Fold the finished days of one account, a year after the other; LakeError where any of them is damaged."""
    now = now or datetime.now(UTC)
    contents = lake.contents(account)
    contents.refuse_damage(account)
    end = datetime.combine((now - SETTLED).astimezone(UTC).date(), datetime.min.time(), UTC)
    before = _entries(lake, account)
    years = sorted({int(name["year"]) for name in map(file_name, before) if name is not None})
    folded = {year: _fold(lake, account, year, contents, end, now) for year in years}
    removed = _sweep(lake, account, grace, now)
    after = _entries(lake, account)
    foldings = []
    for year in years:
        files_before, bytes_before = _sizes(before, year)
        files_after, bytes_after = _sizes(after, year)
        foldings.append(
            Folding(account, year, folded[year], files_before, files_after, bytes_before, bytes_after, removed[year])
        )
    return foldings


def _entries(lake: Lake, account: str) -> dict[str, Entry]:
    return {entry.path: entry for dataset in ("images", "captures") for entry in lake.files(f"{dataset}/{account}")}


def _sizes(entries: dict[str, Entry], year: int) -> tuple[int, int]:
    """Return how many files of a year there are, and their bytes."""
    sizes = [entry.size for path, entry in entries.items() if path.split("/")[2] == f"{year:04}"]
    return len(sizes), sum(sizes)


def _fold(lake: Lake, account: str, year: int, contents: Contents, end: datetime, now: datetime) -> int:
    """Fold the year's captures before `end` into one file; return how many were not in one yet."""
    captures = _foldable(contents.captures, account, year, end)
    files = Counter(captures["file"].to_pylist())
    if len(files) < 2:
        return 0
    from genesis_etl.query.warehouse import Warehouse  # DuckDB, which an export that folds nothing does without

    warehouse = Warehouse(Contents(captures))
    try:
        runs = warehouse.select(_RUNS).cast(IMAGES)
    finally:
        warehouse.close()
    _refuse_other_counts(runs, captures, account, year)
    latest = max(time_of_stem(path) for path in _entries(lake, account) if file_name(path) is not None)
    name = f"{stem_time(max(now, latest + timedelta(microseconds=1)))}-fold-{os.urandom(4).hex()}"
    file = lake.commit(
        runs.replace_schema_metadata(IMAGES.metadata),
        lambda file, sha256: _told_by(captures, file, sha256),
        account=account,
        year=year,
        name=name,
    )[0].file
    if not lake.rows(file).equals(runs):
        for commit in lake.commits(account)[0]:
            if commit.file == file:
                lake.remove(commit)
        raise LakeError(f"{file}: reads back other than it was written; see to the disk, nothing was removed")
    return sum(count for path, count in files.items() if not is_fold(path))


def _foldable(captures: pa.Table, account: str, year: int, end: datetime) -> pa.Table:
    """Return the captures of a finished day of the year, but those that share their instant with another.

    Runs are told by their first and last instant, so captures of the same instant have to stay apart. A fold that
    holds one of them stays as it is: its runs may begin or end there.
    """
    shared = Counter(zip(captures["account"].to_pylist(), captures["captured_at"].to_pylist(), strict=True))
    alone = [
        shared[key] == 1
        for key in zip(captures["account"].to_pylist(), captures["captured_at"].to_pylist(), strict=True)
    ]
    kept = {file for file, is_alone in zip(captures["file"].to_pylist(), alone, strict=True) if not is_alone}
    chosen = captures.filter(pc.invert(pc.is_in(captures["file"], pa.array(sorted(kept), pa.string()))))
    chosen = chosen.filter(pc.equal(chosen["account"], account))
    chosen = chosen.filter(pc.equal(pc.year(chosen["captured_at"]), year))
    chosen = chosen.filter(pc.less(chosen["captured_at"], pa.scalar(end, chosen["captured_at"].type)))
    return chosen.sort_by([("captured_at", "ascending"), ("capture_id", "ascending")])


def _told_by(captures: pa.Table, file: str, sha256: str) -> pa.Table:
    """Return the captures as rows of a commit for another file."""
    told = captures.select(CAPTURES.names).to_pydict()
    told["file"], told["sha256"] = [file] * len(captures), [sha256] * len(captures)
    return pa.table(told, schema=CAPTURES)


def _refuse_other_counts(runs: pa.Table, captures: pa.Table, account: str, year: int) -> None:
    """Count the rows that the runs tell of every capture, and compare with those it had when it was taken."""
    times = captures["captured_at"].to_numpy()
    begin = np.searchsorted(times, runs["first_seen"].to_numpy(), side="left")
    end = np.searchsorted(times, runs["last_seen"].to_numpy(), side="right")
    size = len(times) + 1
    told = np.cumsum(np.bincount(begin, minlength=size) - np.bincount(end, minlength=size))[:-1]
    if not np.array_equal(told, captures["rows"].to_numpy()):
        raise LakeError(f"the runs of {account} in {year} do not add up to its captures; nothing was folded")


def _sweep(lake: Lake, account: str, grace: timedelta, now: datetime) -> Counter[int]:
    """Remove replaced commits and their files, orphans and half-written files; return how many a year."""
    removed: Counter[int] = Counter()
    contents = lake.contents(account)
    commits, unreadable = lake.commits(account)
    owners = set(contents.captures["file"].to_pylist())
    for commit in _replaced(commits, owners, grace, now):
        lake.remove(commit)
        removed[int(commit.path.split("/")[2])] += 2
    named = {commit.file for commit in commits}
    for path, entry in _entries(lake, account).items():
        is_old = time.time() - entry.written_at > ORPHAN_AGE.total_seconds()
        name = file_name(path)
        # A commit that cannot be read may name any of them.
        is_orphan = name is not None and name["dataset"] == "images" and path not in named and not unreadable
        if is_old and (is_orphan or path.endswith(TEMPORARY)):
            lake.remove_file(path)
            removed[int(path.split("/")[2])] += 1
    return removed


def _replaced(commits: list[Commit], owners: set[str], grace: timedelta, now: datetime) -> list[Commit]:
    """Return the commits that speak for no capture any more, since at least the grace period."""
    ids = {commit.stem: set(commit.capture_ids) for commit in commits}
    replaced = []
    for commit in commits:
        since = [
            time_of_stem(other.path)
            for other in commits
            if other.is_fold and other.stem > commit.stem and ids[commit.stem] <= ids[other.stem]
        ]
        if commit.file not in owners and since and max(now - min(since), timedelta(0)) >= grace:
            replaced.append(commit)
    return replaced
