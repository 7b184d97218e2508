"""Growth by day, week and month, from one run of the report by day: what it says with each --by.

A level of a period is that of its last day, what came and went is the sum over its days. So the page asks the report
once, and a test holds every number against the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, timedelta
from itertools import groupby, pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.dashboard import limits
from genesis_etl.errors import ReportError
from genesis_etl.query.forecast import append_forecast

Row = dict[str, Any]


def first_day(newest: date) -> date:
    """Return the day from which on the report is needed for every period that the page shows."""
    month = newest.replace(day=1)
    for _ in range(limits.PERIODS["month"] - 1):
        month = (month - timedelta(days=1)).replace(day=1)
    return month


def by_period(days: pa.Table, price: float | None) -> dict[str | None, dict[str, list[Row]]]:
    """Return the rows of one account's snapshot-growth by region (None: the total) and by day, week and month.

    `days` is whole days from `first_day` on. Days go on with a forecast, where there can be one.
    """
    found: dict[str | None, dict[str, list[Row]]] = {}
    if not len(days):
        return found
    newest = pc.max(days["period"]).as_py()
    lately = days.filter(pc.greater(days["period"], newest - timedelta(days=limits.PERIODS["day"])))
    with suppress(ReportError):
        lately = append_forecast(lately, "day", limits.FORECAST_DAYS, price)
    for row in lately.to_pylist():
        found.setdefault(row["region"], {"day": [], "week": [], "month": []})["day"].append(row)
    whole: dict[str | None, list[Row]] = {}
    for row in days.to_pylist():
        whole.setdefault(row["region"], []).append(row)
    for region, rows in whole.items():
        for by in ("week", "month"):
            found[region][by] = _periods(rows, by)[-limits.PERIODS[by] :]
    return found


def captured(rows: Sequence[Row]) -> list[Row]:
    """Return the rows from the end of the first captured period on; of all accounts, from that of the last to come.

    What lies before is no growth: only what still stood at the first capture is known of it.
    """
    start = 0
    for place, row in enumerate(rows):
        if row["basis"] == "partial":
            start = place
        elif row["basis"] == "created_at":
            start = place + 1
    return list(rows[start:])


def start_of(day: date, by: str) -> date:
    """Return the first day of the period that a day lies in."""
    if by == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if by == "week" else day


def _periods(days: Sequence[Row], by: str) -> list[Row]:
    rows = [_period(start, list(each)) for start, each in groupby(days, lambda row: start_of(row["period"], by))]
    for before, row in pairwise(rows):
        gib, gib_before = row["gib_closing"], before["gib_closing"]
        row["gib_net"] = None if gib is None or gib_before is None else gib - gib_before
    for row in rows:
        row["is_complete"] = row["period"] < rows[-1]["period"]
    return rows


def _period(start: date, days: Sequence[Row]) -> Row:
    opening, created, deleted = (
        days[0]["opening"],
        *(sum(day[name] for day in days) for name in ("created", "deleted")),
    )
    bases = {day["basis"] for day in days}
    # That of the first capture beats all others, and a day with a capture those without one.
    basis = next(each for each in ("partial", "observed", "gap", "created_at") if each in bases)
    return {
        **days[-1],
        "period": start,
        "opening": opening,
        "created": created,
        "deleted": deleted,
        "net": created - deleted,
        "growth_pct": None if basis == "partial" or not opening else 100.0 * (created - deleted) / opening,
        "basis": basis,
    }
