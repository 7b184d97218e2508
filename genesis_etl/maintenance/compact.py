"""Compacts loose captures into one file per account and year, and clears away what compactions replaced.

A compacted file holds each unbroken run of an identical row once. It is written like a capture, rows first, then the
commit, under a stem later than every stem it holds; from then on its captures belong to it. Nothing is ever changed
in place, so compaction is safe beside exports, readers and other compactions, and a killed one leaves old or new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import LakeError, LakeMoved
from genesis_etl.lake.commit import Commit, Facts, parse_rows
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.lake import Lake, no_capture
from genesis_etl.lake.layout import LakeFile, new_name, parsed
from genesis_etl.lake.schema import IMAGES
from genesis_etl.maintenance import runs
from genesis_etl.maintenance.sweep import LeftOver, Notice, left_over, sweep

GRACE: Final = timedelta(days=7)
# A capture is left alone so long: one that began before it has landed by then.
SETTLED: Final = timedelta(minutes=30)
LOOSE_CAPTURES: Final = 6
_TRIES: Final = 5

_COLUMNS: Final = pa.schema(
    [("account", pa.string()), ("year", pa.int64()), ("captures", pa.int64())]
    + [(name, pa.int64()) for name in ("files_before", "files_after", "bytes_before", "bytes_after", "removed")]
)
_RUNS: Final = f"select {', '.join(IMAGES.names)} from image_history order by image_id, region, first_seen"


@dataclass(frozen=True)
class Compaction:
    """What compaction did, or would do, to one account and year: loose captures compacted, files and bytes.

    `removed` are files. What was only planned does not know what comes after it.
    """

    account: str
    year: int
    captures: int
    files_before: int
    files_after: int | None
    bytes_before: int
    bytes_after: int | None
    removed: int


def compactions(done: Sequence[Compaction]) -> pa.Table:
    """Return what was done as a table, one row per account and year."""
    return pa.Table.from_pylist([asdict(each) for each in done], schema=_COLUMNS)


def compact(
    lake: Lake,
    *,
    grace: timedelta = GRACE,
    now: datetime | None = None,
    is_dry: bool = False,
    notice: Notice = lambda text: None,
) -> list[Compaction]:
    """Compact every account, then remove what was replaced more than `grace` ago; with `is_dry` only say what would.

    LakeError for an empty lake; where one account is damaged, the others are compacted before it is raised. What
    cannot be removed, and what a neighbour is at, is told to `notice`.
    """
    accounts = lake.accounts()
    done: list[Compaction] = []
    errors: list[LakeError] = []
    for account in accounts:
        try:
            done += compact_account(lake, account, grace=grace, now=now, is_dry=is_dry, notice=notice)
        except LakeError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    if not accounts:
        lake.refuse_earlier_layout()
        raise no_capture(lake.url)
    return done


def compact_when_due(lake: Lake, account: str, now: datetime, notice: Notice = lambda text: None) -> bool:
    """Compact an account of which more than `LOOSE_CAPTURES` settled captures are loose; tell whether that was so."""
    if lake.loose(account, now - SETTLED) <= LOOSE_CAPTURES:
        return False
    compact_account(lake, account, end=now - SETTLED, notice=notice)
    return True


def compact_account(
    lake: Lake,
    account: str,
    *,
    grace: timedelta = GRACE,
    now: datetime | None = None,
    end: datetime | None = None,
    is_dry: bool = False,
    notice: Notice = lambda text: None,
) -> list[Compaction]:
    """Compact one account, a year after the other; LakeError where any of them is damaged.

    Captures up to `end` are compacted, those that are half an hour old if it is left out.
    """
    now = now or datetime.now(UTC)
    moved: LakeError | None = None
    for _ in range(_TRIES):
        contents = None
        try:
            contents = lake.contents(account)
            plan = Plan(lake, account, contents, grace, now, end or now - SETTLED)
            return plan.summary() if is_dry else plan.execute(notice)
        except (LakeError, FileNotFoundError) as error:
            # A neighbour compacts, sweeps or forgets what this one was about to read: look again.
            is_moved = isinstance(error, LakeMoved) or (contents is not None and lake.changed_since(contents, account))
            if isinstance(error, LakeError):
                if not is_moved:
                    raise
                moved = error
    notice(f"account {account}: left to a compaction that runs beside ({moved})")
    return []


class Plan:
    """What compaction will do to one account: the captures of each year that become one file, and what goes."""

    def __init__(
        self, lake: Lake, account: str, contents: Contents, grace: timedelta, now: datetime, end: datetime
    ) -> None:
        contents.refuse_damage(account)
        self._lake = lake
        self._account = account
        self._contents = contents
        self._grace = grace
        self._now = now
        self._before = _files(lake, account)
        self._years = sorted({file.year for file in self._before})
        self._inputs = {year: _compactable(lake, contents.captures, account, year, end) for year in self._years}

    def summary(self) -> list[Compaction]:
        """Return what `execute` would do, as far as it is known before."""
        commits, rest, pairs = self._leftovers()
        going = Counter(file.year for file in (*rest.orphans, *rest.temporary))
        for commit in pairs:
            going[commit.file.year] += 2
        if not self._grace:
            compacted = {path for year in self._years for path in self._inputs[year]["file"].to_pylist()}
            for commit in commits:
                if commit not in pairs and commit.rows_file is not None and commit.rows_file.path in compacted:
                    going[commit.file.year] += 2
        return [
            Compaction(
                self._account,
                year,
                _loose(self._inputs[year]),
                *_sizes(self._before, year)[:1],
                None,
                *_sizes(self._before, year)[1:],
                None,
                going[year],
            )
            for year in self._years
        ]

    def execute(self, notice: Notice) -> list[Compaction]:
        """Write the compacted files, then remove what was replaced long enough ago."""
        compacted = {year: self._compact(year) for year in self._years}
        _, rest, pairs = self._leftovers()
        swept = sweep(self._lake, pairs, rest, lambda text: notice(f"account {self._account}: {text}"))
        removed = Counter(file.year for file in swept)
        after = _files(self._lake, self._account)
        done = []
        for year in self._years:
            files_before, bytes_before = _sizes(self._before, year)
            files_after, bytes_after = _sizes(after, year)
            sizes = (files_before, files_after, bytes_before, bytes_after)
            done.append(Compaction(self._account, year, compacted[year], *sizes, removed[year]))
        return done

    def _compact(self, year: int) -> int:
        """Write the year's captures into one file; return how many were loose."""
        captures = self._inputs[year]
        loose = _loose(captures)
        if not loose and len(captures["file"].unique()) < 2:
            return 0
        from genesis_etl.query.warehouse import Warehouse  # DuckDB, which an export that compacts nothing does without

        warehouse = Warehouse(Contents(captures))
        try:
            rows = warehouse.select(_RUNS).cast(IMAGES)
        finally:
            warehouse.close()
        if not runs.add_up(rows, captures):
            what = f"the runs of {self._account} in {year} do not add up to its captures"
            raise LakeError(what, advice="nothing was compacted, `genesis-etl verify` tells more")
        ids = set(captures["capture_id"].to_pylist())
        commits, _ = self._lake.commits(self._account)
        replaced = {each.file.name for each in commits if each.file.is_compacted and set(each.capture_ids) <= ids}
        latest = max(file.time for file in self._lake.list("captures", self._account).files)
        commit = self._lake.commit(
            rows.replace_schema_metadata(IMAGES.metadata),
            captures,
            Facts("compaction", replaced=frozenset(replaced)),
            year=year,
            name=new_name(max(self._now, latest + timedelta(microseconds=1)), "compacted"),
        )
        assert commit.rows_file is not None
        try:
            is_whole = parse_rows(self._lake.read(commit.rows_file), IMAGES).equals(rows)
        except FileNotFoundError:  # a neighbour's compaction has replaced it already
            return loose
        if not is_whole:
            self._lake.remove(commit.file)
            self._lake.remove(commit.rows_file)
            raise LakeError(
                f"{commit.rows_file.path}: reads back other than it was written",
                advice="check the disk, nothing was removed",
            )
        return loose

    def _leftovers(self) -> tuple[Sequence[Commit], LeftOver, list[Commit]]:
        """Return all commits, what is left over, and the commits that were replaced long enough ago."""
        contents = self._lake.contents(self._account)
        commits, unreadable = self._lake.commits(self._account)
        owners = set(contents.captures["file"].to_pylist())
        rest = left_over(self._lake, self._account, commits, contents, is_certain=not unreadable)
        # Where something is lost or damaged, what could tell of it stays.
        pairs = [] if contents.damage else _replaced(commits, owners, self._grace, self._now)
        return commits, rest, pairs


def _files(lake: Lake, account: str) -> list[LakeFile]:
    return [*lake.list("captures", account).files, *lake.list("rows", account).files]


def _sizes(files: list[LakeFile], year: int) -> tuple[int, int]:
    """Return how many files of a year there are, and their bytes."""
    sizes = [file.size for file in files if file.year == year]
    return len(sizes), sum(sizes)


def _loose(captures: pa.Table) -> int:
    """Count the captures that lie in a file of their own."""
    files = map(parsed, captures["file"].to_pylist())
    return sum(file is not None and not file.is_compacted for file in files)


def _compactable(lake: Lake, captures: pa.Table, account: str, year: int, end: datetime) -> pa.Table:
    """Return the year's captures before `end`, but those that share their instant with another.

    Runs are told by their first and last instant, so captures of the same instant have to stay apart. A compacted
    file that holds one of them stays as it is: its runs may begin or end there; and so does a file that lists captures
    of one that stays.
    """
    times = captures["captured_at"].to_pylist()
    shared = Counter(zip(captures["account"].to_pylist(), times, strict=True))
    alone = [shared[key] == 1 for key in zip(captures["account"].to_pylist(), times, strict=True)]
    kept = {file for file, is_alone in zip(captures["file"].to_pylist(), alone, strict=True) if not is_alone}
    commits = lake.commits(account)[0] if kept else ()
    while True:
        staying = pc.is_in(captures["file"], pa.array(sorted(kept), pa.string()))
        ids = set(captures.filter(staying)["capture_id"].to_pylist())
        more = {each.rows_file.path for each in commits if each.rows_file and not ids.isdisjoint(each.capture_ids)}
        if more <= kept:
            break
        kept |= more
    chosen = captures.filter(pc.invert(pc.is_in(captures["file"], pa.array(sorted(kept), pa.string()))))
    chosen = chosen.filter(pc.equal(chosen["account"], account))
    chosen = chosen.filter(pc.equal(pc.year(chosen["captured_at"]), year))
    chosen = chosen.filter(pc.less_equal(chosen["captured_at"], pa.scalar(end, chosen["captured_at"].type)))
    return chosen.sort_by([("captured_at", "ascending"), ("capture_id", "ascending")])


def _replaced(commits: Sequence[Commit], owners: set[str], grace: timedelta, now: datetime) -> list[Commit]:
    """Return the commits that speak for no capture any more, since at least the grace period."""
    ids = {commit.file.stem: set(commit.capture_ids) for commit in commits}
    replaced = []
    for commit in commits:
        if commit.rows_file is None or commit.rows_file.path in owners:
            continue
        since = [
            other.file.time
            for other in commits
            if other.file.is_compacted
            and other.file.stem > commit.file.stem
            and ids[commit.file.stem] <= ids[other.file.stem]
        ]
        if since and max(now - min(since), timedelta(0)) >= grace:
            replaced.append(commit)
    return replaced
