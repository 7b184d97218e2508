"""Says whether all is well, a row per check: settings, tokens, the lake, the age and gaps of its captures, thresholds.

check      account  status  seen                                               where  wanted            advice
settings            ok      1 account: default                                        usable
token      default  ok      accepted, /images lists 68                                accepted
freshness  default  failed  stale: its newest capture, …T07:00:05Z, is 5h old         at most 2h old    see the log of …
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import pyarrow as pa

from genesis_etl.api.client import Client
from genesis_etl.api.clock import TOLERANCE, refuse_clock
from genesis_etl.api.stop import Stop
from genesis_etl.checks.rows import Row, row_of_error, span, table_of
from genesis_etl.checks.thresholds import check_thresholds
from genesis_etl.errors import GenesisEtlError, LakeError, SettingsError
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.lake import Lake, no_capture
from genesis_etl.maintenance.verify import FAILURES, verify
from genesis_etl.publish.against import held, strangers
from genesis_etl.redact import clean_errors
from genesis_etl.settings import Account, Settings
from genesis_etl.text import counted
from genesis_etl.times import format_time

_DAY: Final = timedelta(days=1)
_TOKEN_SECONDS: Final = 60.0  # for one request with its retries; a capture may take longer
_THREADS: Final = 16
_SCHEDULER: Final = "see the log of whatever runs `genesis-etl export`, or run it"


@clean_errors()
def check(settings: Settings) -> pa.Table:
    """Look at settings, tokens (one request each), the lake, its captures' age and gaps, and the thresholds.

    SettingsError where the settings cannot be used at all; whatever else is wrong is a row.
    """
    now = _now(settings)
    return table_of([*_settings(settings), *_tokens(settings), *_lake(settings, now)])


def check_lake(settings: Settings, now: datetime) -> list[Row]:
    """Look at what needs no request: the lake, its captures' age and gaps, and the thresholds."""
    return [*_settings(settings), *_lake(settings, now)]


def unusable(error: SettingsError) -> pa.Table:
    """Return the one row that there is where the settings cannot be used."""
    return table_of([row_of_error("settings", None, "usable", error)])


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


def _settings(settings: Settings) -> Iterator[Row]:
    names = [account.name for account in settings.accounts]
    yield Row("settings", None, "ok", f"{counted(len(names), 'account')}: {', '.join(names)}", "usable")


def _tokens(settings: Settings) -> list[Row]:
    stop = Stop()

    def row(account: Account) -> Row:
        try:
            images = try_token(settings, account, stop)
        except GenesisEtlError as error:
            return row_of_error("token", account.name, "accepted", error)
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
            raise no_capture(settings.lake)
    except (LakeError, SettingsError) as error:
        yield row_of_error("lake", None, "readable, with captures", error)
        for name in ("verify", "tables", "freshness", "gaps"):
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
    yield from _tables(settings.lake, contents, [*times])
    watched = [account.name for account in settings.accounts]
    watched += [name for name in times if name not in watched]
    retired = [name for name in watched if name in settings.retired]
    for name in watched:
        yield _freshness(settings, name, times.get(name, []), now)
    for name in watched:
        if name not in retired:
            yield _gaps(settings.max_age, name, times.get(name, []), now)
    yield from check_thresholds(settings, contents, [name for name in watched if name not in retired])


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
        yield row_of_error("verify", None, wanted, error)
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


def _tables(url: str, contents: Contents, accounts: list[str]) -> Iterator[Row]:
    """Tell whose tables hold other captures than the store, and what lies among them that others would count."""
    wanted = "tables of all captures"
    lake = Lake(url)
    try:
        found = [each for each in (*held(lake, contents), *strangers(lake)) if each.status != "stray"]
    except LakeError as error:
        yield row_of_error("tables", None, wanted, error)
        return
    for each in found:
        if each.account is None:
            yield Row("tables", None, "failed", each.detail, "no Parquet of others", "move it away", each.file)
    for account in accounts:
        mine = [each for each in found if each.account == account]
        if mine:
            seen, _, advice = mine[0].detail.partition("; ")
            seen = f"{mine[0].status}: {seen}"
            yield Row("tables", account, "failed", seen, wanted, advice, mine[0].file)
        else:
            yield Row("tables", account, "ok", "they hold the captures of the store", wanted)


def _freshness(settings: Settings, name: str, times: list[datetime], now: datetime) -> Row:
    wanted = f"a capture at most {span(settings.max_age)} old"
    if not times:
        return Row("freshness", name, "failed", "no capture yet", wanted, _SCHEDULER)
    if settings.now is None and now < times[-1] - TOLERANCE:
        seen = f"the clock says {format_time(now)}, its newest capture is of {format_time(times[-1])}"
        return Row("freshness", name, "failed", seen, wanted, "set the clock right: exports refuse to go back in time")
    age = max(now - times[-1], timedelta(0))
    seen = f"its newest capture, {format_time(times[-1])}, is {span(age)} old"
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
    wanted = f"no more than {span(most)} between the two newest captures"
    recent = [at for at in times if now - _DAY < at]
    if not recent:
        return Row("gaps", name, "skipped", "no capture in the last day", wanted, "see the row freshness")
    pairs = list(pairwise(times[-len(recent) - 1 :]))
    if not pairs:
        return Row("gaps", name, "ok", "one capture", wanted)
    begin, end = max(pairs, key=lambda pair: pair[1] - pair[0])
    if end - begin <= most:
        seen = f"at most {span(end - begin)} between {counted(len(pairs) + 1, 'capture')}"
        return Row("gaps", name, "ok", seen, wanted)
    last, newest = pairs[-1]
    if newest - last <= most:
        seen = f"none for {span(end - begin)}, from {format_time(begin)} to {format_time(end)}; well again since then"
        return Row("gaps", name, "ok", seen, wanted)
    seen = f"none for {span(newest - last)}, from {format_time(last)} to {format_time(newest)}"
    advice = "see what the log of `genesis-etl export` says of that time; all is well again with the next capture"
    return Row("gaps", name, "failed", seen, wanted, advice)
