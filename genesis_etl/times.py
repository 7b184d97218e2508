"""Instants, dates and durations as people write them, always in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from genesis_etl.errors import BadValue
from genesis_etl.text import seen

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_STAMP = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d(?:[.,]\d{1,9})?)?)?(?:Z|[+-]\d\d(?::?[0-5]\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)
# The days that reports know; no capture lies outside them.
CALENDAR = (date(1970, 1, 1), date(2100, 1, 1))
_LONGEST = timedelta(days=36_525)
_DATE_LENGTH = len("2026-11-23")


def parse_duration(text: str) -> timedelta:
    """Read `0s`, `30m`, `2h` or `7d`; BadValue for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadValue(f"{seen(text)} is not a duration", "write it as 30s, 45m, 2h or 7d")
    duration = timedelta(**{_UNIT[match[2]]: int(match[1])})
    if duration > _LONGEST:
        raise BadValue(f"{seen(text)} is more than a century", "write a shorter one")
    return duration


def is_date(text: str) -> bool:
    """Tell whether a time names a whole day rather than an instant."""
    return len(text.strip()) == _DATE_LENGTH


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 date (its first instant) or instant; UTC where no zone stands; BadValue otherwise.

    Fractions beyond microseconds are cut off.
    """
    stamp = text.strip()
    try:
        if _STAMP.fullmatch(stamp) is None:
            raise ValueError
        moment = datetime.fromisoformat(stamp.replace(",", ".").upper())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue(f"{seen(text, 40)} is not a time", "write 2026-11-23 or 2026-11-23T16:30:00Z") from None


def end_of(text: str) -> datetime:
    """Read a time as an excluded end: the end of the day for a date, the instant itself otherwise."""
    moment = parse_time(text)
    try:
        return moment + timedelta(days=1) if is_date(text) else moment
    except OverflowError:
        raise BadValue(f"{seen(text)} is too late a date", "write one before the year 9999") from None


def format_time(moment: datetime) -> str:
    """Write an instant as ISO 8601 in UTC with `Z`, with a fraction only where there is one."""
    text = moment.astimezone(UTC).isoformat()
    return text.replace("+00:00", "Z")


def today(now: datetime) -> date:
    """Return the UTC day of an instant."""
    return now.astimezone(UTC).date()
