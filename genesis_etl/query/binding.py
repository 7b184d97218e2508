"""What a report is asked for: the values of its parameters, read and checked, and the span of captures it needs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import ReportError
from genesis_etl.lake.contents import Contents
from genesis_etl.query import forecast
from genesis_etl.query.report import SETTING, Report, option_of
from genesis_etl.text import seen, shown
from genesis_etl.times import CALENDAR, end_of, parse_duration, parse_time

PERIODS: Final = ("day", "week", "month")
_MOMENT: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1) // _MOMENT
_FIRST, _LAST = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in CALENDAR)
_FLAGS: Final = ("per_region", "per_source", "total", "newest_of_family", "matrix")
_KINDS: Final[dict[str, type]] = dict.fromkeys(("account", "region", "type"), str) | dict.fromkeys(_FLAGS, bool)


def bind(
    report: Report, given: dict[str, Any], latest: datetime | None = None, price: float | None = None
) -> dict[str, Any]:
    """Return the values of the parameters that a report declares, read and checked."""
    for key, value in given.items():
        kind = _KINDS.get(key, type(value))
        if type(value) is not kind:
            raise ReportError(f"expected {kind.__name__}, got {seen(value)}", where=option_of(key))
    values: dict[str, Any] = {**report.defaults, **given, SETTING: price, "as_of": latest}
    if "since" in values:
        values["since"] = _start(values["since"], "since")
    if "until" in values:
        values["until"] = read_end(values["until"], "until")
    if "by" in values and values["by"] not in PERIODS:
        raise ReportError(f"expected one of {', '.join(PERIODS)}", where=f"--by {shown(str(values['by']))!r}")
    if values.get("since") and values.get("until") and values["since"] >= values["until"]:
        raise ReportError("--since lies after --until, so nothing would be shown", advice="swap them")
    if "older_than" in values:
        values["older_than"] = _microseconds(values["older_than"], "older-than")
    if "keep" in values:
        values["keep"] = _days(values["keep"], "keep")
    if "forecast" in values and not (type(ahead := values["forecast"]) is int and 1 <= ahead <= forecast.MOST):
        raise ReportError(
            f"expected a number of periods from 1 to {forecast.MOST}", where=f"--forecast {shown(str(ahead))}"
        )
    values |= {flag: values.get(flag) is True for flag in _FLAGS}
    values["window"] = report.window.get(_unit(report, values))
    return values


def needed_span(
    report: Report, contents: Contents, account: str, values: dict[str, Any], latest: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """Return the span of an account's captures that a report depends on: from here on, and before that end.

    A capture lost before it is like one never made: the next one tells what changed.
    """
    since, until, latest = (_known(each) for each in (values.get("since"), values.get("until"), latest))
    unit = _unit(report, values)
    period = unit if report.is_whole else None
    end = None if latest is None else latest + _MOMENT
    captures = contents.captures.filter(pc.equal(contents.captures["account"], account))
    times = captures["captured_at"]
    if end is not None:
        times = times.filter(pc.less(times, pa.scalar(end, times.type)))
    newest = pc.max(times).as_py()
    if newest is None:
        return since, end
    if "since" not in report.parameters:
        return newest, end
    if until is not None:
        whole = until if period is None else _period(until - _MOMENT, period, back=-1)
        end = whole if end is None else min(end, whole)
    last = newest if until is None else min(newest, until - _MOMENT)
    if unit == "hour":
        return since or last - timedelta(hours=report.window[unit]) + _MOMENT, end
    if since is None and unit in report.window:
        since = _period(last, unit, back=report.window[unit] - 1)
    if since is None:
        return None, end
    if period is not None:
        return _period(since, period), end
    looked_at = times if until is None else times.filter(pc.less(times, pa.scalar(until, times.type)))
    return min(since, pc.max(looked_at).as_py() or since), end


def _unit(report: Report, values: dict[str, Any]) -> str:
    """Return what a report's window is counted in: --by where it has one, else the one unit of its header."""
    return str(values.get("by") or next(iter(report.window), ""))


def _known(moment: datetime | None) -> datetime | None:
    """Return an instant or, where it lies further out than any capture, the end of what can be reckoned with."""
    return None if moment is None else min(max(moment, _FIRST), _LAST)


def _period(moment: datetime, by: str, back: int = 0) -> datetime:
    """Return the beginning of the period an instant lies in, or of the one so many before it."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if by == "month":
        months = day.year * 12 + day.month - 1 - back
        return day.replace(year=months // 12, month=months % 12 + 1, day=1)
    if by == "week":
        return day - timedelta(days=day.weekday(), weeks=back)
    return day - timedelta(days=back)


def _microseconds(value: Any, option: str) -> int:
    try:
        duration = value if isinstance(value, timedelta) else parse_duration(str(value))
    except ValueError as error:
        raise ReportError(str(error), where=f"--{option}") from None
    return duration // _MOMENT


def _days(value: Any, option: str) -> str:
    """Read one number of whole days or several, and write them sorted, once each, with commas between."""
    several = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    found = sorted({_microseconds(each, option) for each in several})
    if not found or any(each < 0 or each % _DAY for each in found):
        raise ReportError(
            "expected whole days, such as 30d", where=f"--{option} {shown(','.join(map(str, several)))!r}"
        )
    return ",".join(str(each // _DAY) for each in found)


def _start(value: Any, option: str) -> datetime:
    return _instant(value, option, parse_time)


def read_end(value: Any, option: str, *, is_instant_included: bool = False) -> datetime:
    """Read an end: of a day where a date is given, else the instant itself, included or not."""
    end = _instant(value, option, end_of)
    is_instant = isinstance(value, datetime) or (isinstance(value, str) and end == parse_time(value))
    if is_instant_included:
        return end if is_instant else end - _MOMENT
    return end


def _instant(value: Any, option: str, read: Callable[[str], datetime]) -> datetime:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    try:
        return read(value.isoformat() if isinstance(value, date) else str(value))
    except ValueError as error:
        raise ReportError(str(error), where=f"--{option}") from None
