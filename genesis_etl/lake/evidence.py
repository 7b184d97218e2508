"""Tells from what commits know of each other which captures the lake has lost. Pure.

A commit knew the newest capture of its account and their number. Where no commit lists that capture today, or fewer
are listed up to its time than were known, and no `forget` removed them, a commit is lost. A compaction's rows file
that no commit names says the same, unless the captures in it are listed elsewhere: then it is one that was cut off.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from genesis_etl.lake.commit import Commit
from genesis_etl.lake.layout import LakeFile
from genesis_etl.text import counted
from genesis_etl.times import format_time

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Held:
    """What a compaction's rows file says it holds: so many captures, and the instants that its runs begin or end at."""

    captures: int
    instants: tuple[datetime, ...]


@dataclass(frozen=True)
class Loss:
    """Captures of an account that are listed nowhere: at least `captures`, within the span; `path` is the evidence."""

    path: str
    seen: str
    captures: int
    since: datetime
    until: datetime


def losses(
    commits: Iterable[Commit], listed: Mapping[str, datetime], left_over: Mapping[LakeFile, Held | None]
) -> list[Loss]:
    """Return what one account has lost.

    `commits` are those that could be read, `listed` the captures that any commit lists (id → time), `left_over` the
    compactions' rows files that no commit names, with what they hold (None: not known).
    """
    commits = list(commits)
    times = sorted(listed.values())
    forgotten = max((commit.facts.forgot.before for commit in commits if commit.facts.forgot), default=_BEGINNING)
    found = {loss.path: loss for loss in _not_named(commits, listed, times, forgotten)}
    found |= {loss.path: loss for loss in _left_over(left_over, times, forgotten)}
    if (uncounted := _uncounted(commits, times, list(found.values()))) is not None:
        found.setdefault(uncounted.path, uncounted)
    return sorted(found.values(), key=lambda loss: (loss.until, loss.path))


def _not_named(
    commits: Iterable[Commit], listed: Mapping[str, datetime], times: Sequence[datetime], forgotten: datetime
) -> Iterator[Loss]:
    """Yield the captures that a commit knew as the newest and that none lists, each once."""
    told = set()
    for commit in commits:
        known = commit.facts.known
        if known is None or known.capture_id in listed or known.capture_id in told or known.captured_at < forgotten:
            continue
        told.add(known.capture_id)
        before = bisect_left(times, known.captured_at)
        since = times[before - 1] + _MOMENT if before else _BEGINNING
        seen = f"it knew the capture {known.capture_id} of {format_time(known.captured_at)}, which no commit lists"
        yield Loss(commit.file.path, seen, 1, since, known.captured_at)


def _left_over(
    left_over: Mapping[LakeFile, Held | None], times: Sequence[datetime], forgotten: datetime
) -> Iterator[Loss]:
    """Yield the compactions whose rows file is there and whose commit is lost.

    Not those that hold all that is listed in their span, and beyond it later captures alone: a copy that was made
    beside them, commits first, has just that.
    """
    kept = set(times)
    for file, held in left_over.items():
        if held is None or not held.instants or held.instants[-1] < forgotten:
            continue
        first, last = max(held.instants[0], forgotten), held.instants[-1]
        lost = [at for at in held.instants if at >= forgotten and at not in kept]
        between = sum(first <= at <= last for at in times)
        is_short = held.instants[0] >= forgotten and between < held.captures
        if not lost and not is_short:
            continue
        if between and last > times[-1] and all(at > times[-1] for at in lost):
            continue
        seen = f"it holds {counted(held.captures, 'capture')} from {format_time(held.instants[0])} to"
        yield Loss(file.path, f"{seen} {format_time(last)}, and no commit lists them", held.captures, first, last)


def _uncounted(commits: Iterable[Commit], times: Sequence[datetime], found: Sequence[Loss]) -> Loss | None:
    """Return the earliest loss that numbers alone tell: more captures known up to a time than are listed up to it."""
    commits = list(commits)
    removed = sum(commit.facts.forgot.captures for commit in commits if commit.facts.forgot)
    knowing = [(commit.facts.known, commit) for commit in commits if commit.facts.known]
    for known, commit in sorted(knowing, key=lambda pair: (pair[0].captured_at, pair[1].file.stem)):
        here = bisect_right(times, known.captured_at)
        told = sum(loss.captures for loss in found if loss.until <= known.captured_at)
        if (lost := known.captures - here - removed - told) > 0:
            seen = f"it knew {counted(known.captures, 'capture')} up to {format_time(known.captured_at)}"
            seen += f", of which {counted(here, 'capture')} {'is' if here == 1 else 'are'} listed"
            return Loss(commit.file.path, seen, lost, _BEGINNING, known.captured_at)
    return None
