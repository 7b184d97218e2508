"""Holds what this month has used against the last one, both as `usage` tells them."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from genesis_etl.checks.rows import Row, amount, exceeds, held
from genesis_etl.text import counted
from genesis_etl.times import format_time

_CHECK: Final = "usage_pct_month"
_LEAST: Final = timedelta(days=1)  # of a month, before its mean says anything


def check_usage(
    most: float, name: str, usage: list[dict[str, Any]], newest_at: datetime, blind: dict[str, Any] | None
) -> Row:
    """Hold the month of the newest capture against the whole month before: at most so many per cent more GiB-months.

    A month that is not over is taken at the mean of it so far: its GiB-months, divided by the share of it that has
    passed, are what it comes to if that mean holds. To hold a part against a whole month would let every month pass
    until its last days. `usage` has the account's months in order, `blind` what captures of both could not read.
    """
    wanted = f"at most {most:g} % more GiB-months than the month before"
    if blind is not None and blind["is_newest"]:
        seen = "unknown: the newest capture could not read /snapshots"
        return Row(
            _CHECK, name, "failed", seen, wanted, "give the token access to /snapshots, or take the threshold out"
        )
    this = usage[-1]
    month = f"{this['period']:%Y-%m}"
    if len(usage) < 2:
        seen = f"the first capture lies in {month}: no month before to hold it against"
        return Row(_CHECK, name, "skipped", seen, wanted, "wait: the month after next has a whole one before it")
    last = usage[-2]
    month_before = f"{last['period']:%Y-%m}"
    if last["basis"] == "partial":
        seen = f"the first capture lies in {month_before}, of which only a part is known"
        return Row(_CHECK, name, "skipped", seen, wanted, f"wait for the month after {month}")
    if blind is not None:
        captures = counted(blind["captures"], "capture")
        newest = format_time(blind["newest_at"])
        seen = f"{captures} that these months count could not read /snapshots, the newest of {newest}"
        return Row(_CHECK, name, "skipped", seen, wanted, "wait until the two newest months have no such capture")
    begin, end = _bounds(this["period"])
    passed = newest_at - begin
    if passed < _LEAST:
        seen = f"less than a day of {month} has been captured"
        return Row(_CHECK, name, "skipped", seen, wanted, "wait for a day of it")
    if this["gib_months"] is None or last["gib_months"] is None:
        unknown = month if this["gib_months"] is None else month_before
        seen = f"the size of no snapshot of {unknown} is known"
        advice = "sizes come from /snapshots: see whether the token may read it"
        return Row(_CHECK, name, "skipped", seen, wanted, advice)
    told = f"{amount(this['gib_months'])} GiB-months in {month} so far"
    if not last["gib_months"]:
        return Row(_CHECK, name, "skipped", f"{told}, none in {month_before}", wanted, "wait for the next month")
    expected = this["gib_months"] / (passed / (end - begin))
    growth = 100 * (expected - last["gib_months"]) / last["gib_months"]
    gap = ", which has no capture and counts at the level before it" if last["basis"] == "gap" else ""
    seen = (
        f"{growth:+.1f} %: {told}, {amount(expected)} by its end if their mean holds, "
        f"against {amount(last['gib_months'])} in {month_before}{gap}"
    )
    advice = "`genesis-etl report usage --per-source` shows which instances' snapshots used it"
    return held(_CHECK, name, not exceeds(growth, most), seen, wanted, advice)


def _bounds(month: date) -> tuple[datetime, datetime]:
    """Return the first instant of a month and that of the next."""
    begin = datetime(month.year, month.month, 1, tzinfo=UTC)
    return begin, begin + timedelta(days=monthrange(month.year, month.month)[1])
