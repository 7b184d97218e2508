"""Forgets an account's captures, all of them or those before a time, and leaves a whole lake at every step.

A capture before the time goes; one at it or later stays. A file goes if its commit lists a capture before the
time; what such a file alone tells of later captures is written anew first. A commit of its own says what is forgotten,
so that nobody takes it for lost. Then the files go, each commit before its rows. Of an account that is forgotten
whole nothing stays.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import LakeError, LakeMoved, SettingsError
from genesis_etl.lake.commit import Commit, Facts, Forgot
from genesis_etl.lake.contents import Contents, Damage
from genesis_etl.lake.lake import Lake, no_capture
from genesis_etl.lake.layout import LakeFile, is_old, new_name, temporary_path
from genesis_etl.lake.schema import CAPTURES
from genesis_etl.lake.tables import remove_tables, table_accounts
from genesis_etl.maintenance import runs
from genesis_etl.text import shown

_ROUNDS: Final = 5  # a compaction under way beside may bring back, once, what it had read before
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


def forgotten(done: Sequence[Forgotten]) -> pa.Table:
    """Return what went as a table, one row per account and year."""
    return pa.Table.from_pylist([asdict(each) for each in done], schema=_COLUMNS)


def forgettable(lake: Lake, account: str, before: datetime | None = None) -> list[Forgotten]:
    """Return what `forget` would do, and do nothing.

    LakeError for a lake that holds nothing or whose damage is in the way, SettingsError for an unknown account.
    """
    # Of an account whose commits are gone, a file may be left by a run that was killed.
    accounts = sorted({*lake.accounts(), *table_accounts(lake.storage)})
    if not accounts:
        lake.refuse_earlier_layout()
        raise no_capture(lake.url)
    if account not in accounts:
        raise SettingsError(
            f"no account {shown(account)!r} in the lake", advice=f"name one that it holds: {', '.join(accounts)}"
        )
    return _planned(lake, account, before).summary()


def forget(lake: Lake, account: str, before: datetime | None = None, *, now: datetime | None = None) -> list[Forgotten]:
    """Remove the account's captures, those before `before` if it is given; return what went, a row per year.

    Killed at any step the lake is whole, with all, some or none of them gone, and another run ends the work.
    """
    done = forgettable(lake, account, before)
    for _ in range(_ROUNDS):
        plan = _planned(lake, account, before)
        if plan.is_empty:
            break
        plan.execute(now or datetime.now(UTC))
    if before is None:
        remove_tables(lake.storage, account)
        # Until here, they told whoever looked that what was still there was not all that is left.
        for file in lake.list("captures", account).files:
            if file.kind == "forget":
                lake.remove(file)
    return done


def _planned(lake: Lake, account: str, before: datetime | None) -> _Plan:
    """Plan, and again where a neighbour's compaction takes away what is being read."""
    for _ in range(_ROUNDS):
        contents = lake.contents(account)
        try:
            return _Plan(lake, account, before, contents)
        except LakeError:
            if not lake.changed_since(contents, account):
                raise
    raise LakeMoved("files went while they were read", where=lake.url, advice="nothing was removed, run it again")


class _Plan:
    """The commits of an account that list captures before a time, and what else goes with them."""

    def __init__(self, lake: Lake, account: str, before: datetime | None, contents: Contents) -> None:
        self._lake = lake
        self._account = account
        self._before = before
        commits, unreadable = lake.commits(account)
        self._doomed = [commit for commit in commits if self._is_doomed(commit)]
        self._refuse_damage(contents, unreadable)
        records, rows = lake.list("captures", account), lake.list("rows", account)
        lost = {damage.path for damage in unreadable if self._is_before(damage.until)}
        self.marks = [file for file in records.files if before is None and file.kind == "forget"]
        lost_files = [file for file in records.files if file.path in lost and file not in self.marks]
        there = {*records.files, *rows.files}
        # A commit before its file: what no commit names, nobody reads. The oldest first, so that an end in the
        # middle leaves the later ones.
        files = [file for commit in self._doomed for file in (commit.file, commit.rows_file) if file in there]
        files += lost_files
        named = {commit.rows_file for commit in commits}
        names = {file.name for file in lost_files}
        is_certain = len(lost) == len(unreadable)
        told_lost = {damage.path for damage in contents.damage if damage.is_lost}
        is_again = before is None and any(commit.facts.forgot for commit in commits)  # after one that was killed
        files += [
            file
            for file in rows.files
            if file not in named
            and (
                file.name in names
                or (is_again and file.is_compacted)
                or (is_certain and (is_old(file) or file.path in told_lost) and self._covers(file))
            )
        ]
        by_path = {file.path: file for file in there}  # as listed, with their sizes
        self.files = [by_path[file.path] for file in files if file is not None]
        # A landing may be under way, so only what has lain there for long.
        self.temporary = [file for file in (*records.temporary, *rows.temporary) if before is None and is_old(file)]
        self._kept = self._kept_of(contents)
        # What is lost is forgotten as well, and no commit's word of it is evidence any more.
        self._losses = [damage for damage in contents.damage if damage.is_lost and self._is_before(damage.until)]
        self._marks = [commit.facts.forgot for commit in commits if commit.facts.forgot]
        self._has_uncounted = bool(self._losses or lost)
        others = sum(damage.is_lost for damage in contents.damage) - len(self._losses)
        self._uncounted = self._number_known(commits) - others

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to do."""
        return not (self.files or self.temporary or (self._losses and self._before is not None))

    def summary(self) -> list[Forgotten]:
        """Return what goes, a row per year of the lake's folders."""
        going = [*self.files, *self.marks, *self.temporary]
        years = sorted({file.year for file in going})
        captures: dict[int, dict[str, datetime]] = {year: {} for year in years}
        for commit in self._doomed:
            for id, at in zip(commit.capture_ids, _times(commit.captures), strict=True):
                if self._is_before(at):
                    captures[commit.file.year][id] = at
        files = Counter(file.year for file in going)
        sizes: Counter[int] = Counter()
        for file in going:
            sizes[file.year] += file.size
        kept: Counter[int] = Counter()
        for rows_file, mine in self._kept.items():
            kept[rows_file.year] += len(mine)
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

    def execute(self, now: datetime) -> None:
        """Write anew what is to stay, say what is forgotten, and remove it."""
        for rows_file, captures in self._kept.items():
            self._rewrite(rows_file, captures, now)
        if self._kept and (lost := self._kept_of(self._lake.contents(self._account))):
            seen = "what is to stay of it cannot be read back"
            raise LakeError(seen, where=next(iter(lost)).path, advice="check the disk, nothing was removed")
        self._mark(now)
        for file in self.files:
            self._lake.remove(file)
        for file in self.temporary:
            self._lake.storage.delete(temporary_path(file.path))

    def _mark(self, now: datetime) -> None:
        """Say what is forgotten before it goes, so that nobody takes it for lost."""
        ids = {
            id
            for commit in self._doomed
            for id, at in zip(commit.capture_ids, _times(commit.captures), strict=True)
            if self._is_before(at)
        }
        stem_time = self._stem_time(now)
        before = self._before or stem_time
        # Of commits that are lost, cannot be read or went in a run that was killed, later ones know the number.
        if any(forgot.before >= before for forgot in self._marks):
            number = max(0, self._uncounted)
        else:
            number = max(len(ids), self._uncounted if self._has_uncounted else 0)
        if number or self._losses:
            self._lake.mark(self._account, Facts("forget", forgot=Forgot(before, number)), stem_time)

    def _number_known(self, commits: Sequence[Commit]) -> int:
        """Return how many captures some commit knew that neither stay nor were forgotten before."""
        staying = {
            id: at
            for commit in commits
            for id, at in zip(commit.capture_ids, _times(commit.captures), strict=True)
            if not self._is_before(at)
        }
        times = sorted(staying.values())
        knowing = [commit.facts.known for commit in commits if commit.facts.known]
        most = max((known.captures - bisect_right(times, known.captured_at) for known in knowing), default=0)
        return most - sum(forgot.captures for forgot in self._marks)

    def _is_doomed(self, commit: Commit) -> bool:
        return any(map(self._is_before, _times(commit.captures)))

    def _is_before(self, at: datetime) -> bool:
        return self._before is None or at < self._before

    def _covers(self, file: LakeFile) -> bool:
        """Tell whether all captures of a rows file that no commit names lie before the time."""
        held = self._lake.held(file) if file.is_compacted else None
        return self._is_before(held.instants[-1] if held is not None and held.instants else file.time)

    def _kept_of(self, contents: Contents) -> dict[LakeFile, pa.Table]:
        """Return the captures that stay but lie in files that go, by rows file."""
        kept: dict[LakeFile, pa.Table] = {}
        if self._before is None:
            return kept
        stamp = pa.scalar(self._before, CAPTURES.field("captured_at").type)
        later = contents.captures.filter(pc.greater_equal(contents.captures["captured_at"], stamp))
        files = {commit.rows_file for commit in self._doomed if commit.rows_file is not None}
        for file in sorted(files, key=lambda file: file.path):
            mine = later.filter(pc.equal(later["file"], file.path))
            if len(mine):
                kept[file] = mine.select(CAPTURES.names).sort_by(
                    [("captured_at", "ascending"), ("capture_id", "ascending")]
                )
        return kept

    def _rewrite(self, file: LakeFile, captures: pa.Table, now: datetime) -> None:
        try:
            rows = self._lake.rows(file)
        except FileNotFoundError:
            what = "it went meanwhile, compacted perhaps"
            raise LakeMoved(what, where=file.path, advice="nothing was removed, run it again") from None
        clipped = runs.clip(rows, captures)
        if not runs.add_up(clipped, captures):
            raise LakeError("its runs do not add up to its captures", where=file.path, advice="nothing was removed")
        name = new_name(self._stem_time(now), "compacted")
        self._lake.commit(clipped, captures, Facts("compaction"), year=file.year, name=name)

    def _stem_time(self, now: datetime) -> datetime:
        """Return the time of the next name, later than every one of the account."""
        times = [file.time for file in self._lake.list("captures", self._account).files]
        return max([now, *(at + timedelta(microseconds=1) for at in times)])

    def _refuse_damage(self, contents: Contents, unreadable: Sequence[Damage]) -> None:
        """Raise LakeError where something damaged may hold captures that stay, and would go; or of a later version."""
        for damage in unreadable:
            if damage.is_newer:
                raise LakeError(damage.reason, where=damage.path, advice="upgrade it, nothing was removed")
        doomed = {commit.file.path for commit in self._doomed}
        for damage in contents.damage:
            may_go = damage.path in doomed or (damage in unreadable and self._is_before(damage.since))
            if may_go and not damage.is_lost and not self._is_before(damage.until):
                raise LakeError(
                    f"{damage.reason}; it may hold captures up to {damage.until:%Y-%m-%d} that are to stay",
                    where=damage.path,
                    advice="restore it, or give a later --before",
                )


def _times(captures: pa.Table) -> Sequence[datetime]:
    return list(captures["captured_at"].to_pylist())
