"""Says whether all is well, a row per check, and tells those who asked to be told.

check      account  status  seen                                               where  wanted            advice
settings            ok      1 account: default                                        usable
token      default  ok      accepted, /images lists 68                                accepted
freshness  default  failed  stale: its newest capture, …T07:00:05Z, is 5h old         at most 2h old    see the log of …
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.api.client import Client, Stop, notify
from genesis_etl.errors import ApiError, GenesisEtlError, LakeError, SettingsError
from genesis_etl.lake import Contents, Lake
from genesis_etl.pipeline import TOLERANCE, refuse_clock
from genesis_etl.query.open_lake import find_report
from genesis_etl.query.warehouse import Warehouse
from genesis_etl.redact import clean_errors, redact
from genesis_etl.settings import Account, Hook, Settings
from genesis_etl.text import counted, shown
from genesis_etl.times import format_time
from genesis_etl.verify import FAILURES, verify

SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("check", "account", "status", "seen", "where", "wanted", "advice")]
)
_DAY: Final = timedelta(days=1)
_TOKEN_SECONDS: Final = 60.0  # for one request with its retries; a capture may take longer
_THREADS: Final = 16
_LONGEST: Final = 1000
_SUMMARY: Final = 1000  # characters of the line that the webhook gets
# What chat services would make a link or a call to everyone of; names come from whoever made a snapshot.
_IN_CHAT: Final = str.maketrans("<>@", "‹›＠")
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_SCHEDULER: Final = "see the log of whatever runs `genesis-etl export`, or run it"


class Row(NamedTuple):
    """One check, of one account where it is about one; `ok`, `failed`, or `skipped` where it cannot be told.

    `seen`, `where` and `advice` are those of the error, where it is one that made the check fail.
    """

    check: str
    account: str | None
    status: str
    seen: str
    wanted: str
    advice: str | None = None
    where: str | None = None


@clean_errors()
def check(settings: Settings) -> pa.Table:
    """Look at settings, tokens (one request each), the lake, its captures' age and gaps, and the thresholds.

    SettingsError where the settings cannot be used at all; whatever else is wrong is a row.
    """
    now = _now(settings)
    rows = [*_settings(settings), *_tokens(settings), *_lake(settings, now)]
    return _table(rows)


def has_failed(rows: pa.Table) -> bool:
    """Tell whether a check failed."""
    return "failed" in rows["status"].to_pylist()


def unusable(error: SettingsError) -> pa.Table:
    """Return the one row that there is where the settings cannot be used."""
    return _table([_failed("settings", None, "usable", error)])


def _table(rows: list[Row]) -> pa.Table:
    """Return rows with texts that may be shown: what the API calls an image may hold a token, or be a megabyte."""
    texts = ("seen", "where", "wanted", "advice")
    table = [row._asdict() for row in rows]
    for row in table:
        row |= {name: shown(redact(row[name]), _LONGEST) for name in texts if row[name]}
    return pa.Table.from_pylist(table, schema=SCHEMA)


def in_short(rows: pa.Table) -> pa.Table:
    """Return the rows for a narrow table: where, what was wanted, and what to do stand beside what was seen."""
    short = []
    for row in rows.to_pylist():
        seen, where, wanted, advice = (row.pop(name) for name in SCHEMA.names[3:])
        seen = f"{where}: {seen}" if where else seen
        parts = [seen, f"wanted: {wanted}", advice] if row["status"] == "failed" else [seen]
        short.append({**row, "seen": "; ".join(filter(None, parts))})
    return pa.Table.from_pylist(short, pa.schema([SCHEMA.field(name) for name in SCHEMA.names[:4]]))


def failures(rows: pa.Table) -> pa.Table:
    """Return the rows that failed."""
    return rows.filter(pc.equal(rows["status"], "failed"))


def alarm(webhook: Hook | None, rows: pa.Table, notice: Callable[[str], None]) -> None:
    """Post the failed rows, if any, to the webhook, if any; one that does not answer is a notice, no error.

    The body is `{"text": one line, "checks": [failed rows]}`: chat services show the text, programs read the rows.
    """
    failed = failures(rows).to_pylist()
    if webhook is not None and failed:
        try:
            notify(webhook, json.dumps({"text": _summary(failed, len(rows)), "checks": failed}).encode())
        except ApiError as error:
            notice(f"the webhook does not know of it: {error}")


def _summary(failed: list[dict[str, str]], count: int) -> str:
    """Return one line on the failed of so many checks, which no chat service takes for more than a text."""
    parts = [
        f"{row['check']}{' of ' + row['account'] if row['account'] else ''}: "
        f"{row['where'] + ': ' if row['where'] else ''}{row['seen']}"
        for row in failed
    ]
    line = f"genesis-etl: {len(failed)} of {counted(count, 'check')} failed: {'; '.join(parts)}"
    return shown(line.translate(_IN_CHAT), _SUMMARY)


def beat(settings: Settings, notice: Callable[[str], None]) -> None:
    """Ask for the heartbeat URL, if there is one, after a good run; its failure is a notice, no error."""
    if settings.heartbeat is not None:
        try:
            notify(settings.heartbeat)
        except ApiError as error:
            notice(f"the heartbeat did not arrive: {error}")


def try_token(settings: Settings, account: Account, stop: Stop | None = None) -> int:
    """Ask for the first page of /images and return how many it lists; raises what an export would.

    SettingsError where the answer says that the clock of this machine is off, which an export refuses.
    """
    brief = replace(settings, capture_deadline=min(settings.capture_deadline, _TOKEN_SECONDS))
    with Client(account, brief, stop) as client:
        images = client.page("images", 1).total_count
        refuse_clock(settings, client)
        return images


def _now(settings: Settings) -> datetime:
    if settings.now is None:
        return datetime.now(UTC)
    for account in settings.accounts:
        if not account.is_local:
            raise SettingsError(
                "GENESIS_ETL_NOW is for simulations against a sandbox on this machine",
                advice=f"unset it to check {account.endpoint}",
            )
    return settings.now


def _failed(check: str, account: str | None, wanted: str, error: GenesisEtlError) -> Row:
    """Make a row of an error: what was seen, where, and what to do."""
    return Row(check, account, "failed", error.seen, wanted, error.advice, error.where)


def _settings(settings: Settings) -> Iterator[Row]:
    names = [account.name for account in settings.accounts]
    yield Row("settings", None, "ok", f"{counted(len(names), 'account')}: {', '.join(names)}", "usable")


def _tokens(settings: Settings) -> list[Row]:
    stop = Stop()

    def row(account: Account) -> Row:
        try:
            images = try_token(settings, account, stop)
        except GenesisEtlError as error:
            return _failed("token", account.name, "accepted", error)
        return Row("token", account.name, "ok", f"accepted, /images lists {images:,}", "accepted")

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="token") as threads:
        try:
            return list(threads.map(row, settings.accounts))
        except BaseException:
            stop.set()
            raise


def _lake(settings: Settings, now: datetime) -> Iterator[Row]:
    try:
        contents = Lake(settings.lake).contents()
        if not len(contents.captures) and not contents.damage:
            raise LakeError(f"no capture yet in {settings.lake}", advice="run `genesis-etl export`")
    except (LakeError, SettingsError) as error:
        yield _failed("lake", None, "readable, with captures", error)
        for name in ("verify", "freshness", "gaps"):
            yield Row(name, None, "skipped", "no lake to look at", "a lake", "see the row lake")
        return
    times = _times(contents)
    accounts = counted(len(times), "account")
    yield Row(
        "lake",
        None,
        "ok",
        f"{counted(len(contents.captures), 'capture')} of {accounts}",
        "readable, with captures",
    )
    yield from _verified(settings.lake)
    watched = [account.name for account in settings.accounts]
    watched += [name for name in times if name not in watched]
    retired = [name for name in watched if name in settings.retired]
    for name in watched:
        yield _freshness(settings, name, times.get(name, []), now)
    for name in watched:
        if name not in retired:
            yield _gaps(settings.max_age, name, times.get(name, []), now)
    yield from _thresholds(settings, contents, [name for name in watched if name not in retired])


def _times(contents: Contents) -> dict[str, list[datetime]]:
    """Return the times of every account's captures, in order."""
    captures = contents.captures.select(["account", "captured_at"]).sort_by("captured_at")
    times: dict[str, list[datetime]] = {name: [] for name in sorted(set(captures["account"].to_pylist()))}
    for name, at in zip(captures["account"].to_pylist(), captures["captured_at"].to_pylist(), strict=True):
        times[name].append(at)
    return times


def _verified(url: str) -> Iterator[Row]:
    wanted = "every file whole"
    try:
        findings = verify(url).to_pylist()
    except LakeError as error:
        yield _failed("verify", None, wanted, error)
        return
    by_account = defaultdict(list)
    for each in findings:
        if each["account"]:
            by_account[each["account"]].append(each)
    for account, mine in sorted(by_account.items()):
        bad = [each for each in mine if each["status"] in FAILURES]
        if bad:
            seen = f"{counted(len(bad), 'file')} not whole, first {bad[0]['file']}: {bad[0]['detail']}"
            advice = "restore it; `genesis-etl verify` names them all"
            yield Row("verify", account, "failed", seen, wanted, advice)
        else:
            whole = next((each["detail"] for each in mine if each["status"] == "ok"), "nothing damaged")
            yield Row("verify", account, "ok", whole, wanted)


def _freshness(settings: Settings, name: str, times: list[datetime], now: datetime) -> Row:
    wanted = f"a capture at most {_span(settings.max_age)} old"
    if not times:
        return Row("freshness", name, "failed", "no capture yet", wanted, _SCHEDULER)
    if settings.now is None and now < times[-1] - TOLERANCE:
        seen = f"the clock says {format_time(now)}, its newest capture is of {format_time(times[-1])}"
        return Row("freshness", name, "failed", seen, wanted, "set the clock right: exports refuse to go back in time")
    age = max(now - times[-1], timedelta(0))
    seen = f"its newest capture, {format_time(times[-1])}, is {_span(age)} old"
    if age <= settings.max_age:
        return Row("freshness", name, "ok", seen, wanted)
    if name in settings.retired:
        return Row("freshness", name, "skipped", f"retired: {seen}", wanted)
    advice = _SCHEDULER
    if name not in {account.name for account in settings.accounts}:
        advice = "the settings name no such account any more: add it again, or put its name into the setting retired"
    return Row("freshness", name, "failed", f"stale: {seen}", wanted, advice)


def _gaps(most: timedelta, name: str, times: list[datetime], now: datetime) -> Row:
    """Hold the time between the two newest captures against `most`; a longer gap of the last day is told, and is over.

    So a gap fails until the second capture after it. What is missing in it stays missing: `capture-health` keeps it,
    and nothing that anyone could do now would end a failure that lasted longer.
    """
    wanted = f"no more than {_span(most)} between the two newest captures"
    recent = [at for at in times if now - _DAY < at]
    if not recent:
        return Row("gaps", name, "skipped", "no capture in the last day", wanted, "see the row freshness")
    pairs = list(pairwise(times[-len(recent) - 1 :]))
    if not pairs:
        return Row("gaps", name, "ok", "one capture", wanted)
    begin, end = max(pairs, key=lambda pair: pair[1] - pair[0])
    if end - begin <= most:
        seen = f"at most {_span(end - begin)} between {counted(len(pairs) + 1, 'capture')}"
        return Row("gaps", name, "ok", seen, wanted)
    last, newest = pairs[-1]
    if newest - last <= most:
        seen = f"none for {_span(end - begin)}, from {format_time(begin)} to {format_time(end)}; well again since then"
        return Row("gaps", name, "ok", seen, wanted)
    seen = f"none for {_span(newest - last)}, from {format_time(last)} to {format_time(newest)}"
    advice = "see what the log of `genesis-etl export` says of that time; all is well again with the next capture"
    return Row("gaps", name, "failed", seen, wanted, advice)


def _thresholds(settings: Settings, contents: Contents, watched: list[str]) -> Iterator[Row]:
    """Hold the newest capture of every account against the thresholds that are set."""
    limits = settings.thresholds
    age = limits.snapshot_age
    warehouse = Warehouse(contents, regions=settings.regions)
    try:
        sql = files("genesis_etl").joinpath("sql", "checks", "snapshot_levels.sql").read_text(encoding="utf-8")
        levels = warehouse.select(sql, {"old_seconds": None if age is None else int(age.total_seconds())}).to_pylist()
        report = find_report("region-coverage").sql
        coverage = warehouse.select(report, dict.fromkeys(warehouse.parameters(report))).to_pylist()
    except LakeError as error:
        yield _failed("thresholds", None, "readable captures", error)
        return
    finally:
        warehouse.close()
    level = {each["account"]: each for each in levels}
    covered = defaultdict(list)
    for each in coverage:
        covered[each["account"], each["type"]].append(each)
    damaged = {damage.account for damage in contents.damage}
    for name in watched:
        if name in damaged or name not in level:
            if limits != type(limits)():
                seen = "captures are damaged" if name in damaged else "no capture yet"
                yield Row("thresholds", name, "skipped", seen, "readable captures", "see the rows verify and freshness")
            continue
        yield from _snapshots(settings, name, level[name])
        for kind in limits.images_everywhere:
            yield _everywhere(name, kind, covered[name, kind], settings.regions)


def _snapshots(settings: Settings, name: str, level: dict[str, Any]) -> Iterator[Row]:
    limits = settings.thresholds
    count, gib, before = level["snapshots"], level["gib"], level["week_before"]
    if count is None:
        for check in ("snapshots", "gib", "growth_pct_week", "snapshot_age"):
            if getattr(limits, check) is not None:
                seen = "unknown: the newest capture could not read /snapshots"
                advice = "give the token access to /snapshots, or take the threshold out"
                yield Row(check, name, "failed", seen, "snapshots that can be counted", advice)
        return
    delete = "delete those that are not needed, or raise the threshold"
    if limits.snapshots is not None:
        wanted = f"at most {counted(limits.snapshots, 'snapshot')}"
        yield _row("snapshots", name, count <= limits.snapshots, counted(count, "snapshot"), wanted, delete)
    if limits.gib is not None:
        wanted = f"at most {limits.gib:,g} GiB"
        if gib is None:
            yield Row("gib", name, "skipped", "the size of no snapshot is known", wanted)
        else:
            unsized = f", {level['unsized']} of unknown size" if level["unsized"] else ""
            yield _row("gib", name, gib <= limits.gib, f"{gib:,.10g} GiB{unsized}", wanted, delete)
    if limits.growth_pct_week is not None:
        wanted = f"at most {limits.growth_pct_week:g} % more than a week before"
        if not before:
            seen = f"{counted(count, 'snapshot')}, none a week before"
            if before is None:
                seen = "no capture that knows, 7 to 8 days before the newest"
            yield Row("growth_pct_week", name, "skipped", seen, wanted)
        else:
            growth = 100 * (count - before) / before
            seen = f"{growth:+.1f} %, from {before} to {counted(count, 'snapshot')}"
            advice = "`genesis-etl report snapshot-growth` shows the days"
            yield _row("growth_pct_week", name, growth <= limits.growth_pct_week, seen, wanted, advice)
    if limits.snapshot_age is not None:
        wanted = f"none older than {_span(limits.snapshot_age)}"
        oldest = "no snapshot"
        if level["oldest_at"] is not None:
            oldest = f"the oldest is {shown(level['oldest_name'])!r} of {format_time(level['oldest_at'])}"
        seen = f"{level['old']} older, {oldest}" if level["old"] else oldest
        yield _row("snapshot_age", name, not level["old"], seen, wanted, delete)


def _everywhere(name: str, kind: str, coverage: list[dict[str, Any]], expected: tuple[str, ...]) -> Row:
    """Look for images of a type that a region lacks; a retired region need not have any, unless it is expected."""
    wanted = f"every image of type {shown(kind)} in every region"
    if not coverage:
        advice = "check the type in [thresholds]; `genesis-etl report region-coverage` lists them"
        return Row("images_everywhere", name, "failed", "no image of this type", wanted, advice)
    lost = [each["region"] for each in coverage if each["is_retired"] and each["region"] in expected]
    lacking = [each for each in coverage if not each["is_retired"] and each["images"] < each["of"]]
    told = [f"{region} lacks every image" for region in lost]
    for each in lacking:  # of snapshots the report names none
        names = each["missing_names"] or [counted(each["of"] - each["images"], "image")]
        told.append(f"{each['region']} lacks {shown(', '.join(names))}")
    seen = "; ".join(told)
    regions = sum(not each["is_retired"] for each in coverage)
    seen = seen or f"{counted(coverage[0]['of'], 'image')} in {counted(regions, 'region')}"
    advice = "`genesis-etl report region-coverage --matrix` shows which is where"
    return _row("images_everywhere", name, not told, seen, wanted, advice)


def _row(check: str, account: str, is_ok: bool, seen: str, wanted: str, advice: str) -> Row:
    return Row(check, account, "ok", seen, wanted) if is_ok else Row(check, account, "failed", seen, wanted, advice)


def _span(duration: timedelta) -> str:
    """Write a duration in its two largest units, `2h` or `1d 3h`; never shorter than it is by more than the second."""
    left = int(duration.total_seconds())
    parts = []
    for unit, size in _UNITS:
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts[:2]) or "0s"
