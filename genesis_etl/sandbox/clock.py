"""Count simulated time in whole minutes since 1970 (UTC) and draw repeatable numbers and ids from names."""

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

HOUR = 60
DAY = 24 * HOUR
WEEK = 7 * DAY
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONDAY = 4 * DAY  # 1970-01-05, the first Monday that is counted
FOR_EVER = 10**9


def draw(*names: object) -> int:
    """Return a number of 64 bits that depends on the names alone, not on the process or earlier calls."""
    return int.from_bytes(_digest(8, names), "big")


def draw_id(*names: object) -> str:
    """Return a UUID that depends on the names alone."""
    return str(uuid.UUID(bytes=_digest(16, names), version=4))


def _digest(size: int, names: tuple[object, ...]) -> bytes:
    return hashlib.blake2b("|".join(map(str, names)).encode(), digest_size=size).digest()


def minute_of(at: datetime) -> int:
    """Return the whole minute that `at` lies in; a time without a zone is UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - EPOCH) // timedelta(minutes=1)


def day_name(minute: int) -> str:
    """Return the UTC date, like `2026-11-22`."""
    return instant(minute).date().isoformat()


def instant(minute: int) -> datetime:
    """Return the minute as a datetime in UTC."""
    return EPOCH + timedelta(minutes=minute)


def stamp(minute: int, luck: int) -> str:
    """Write a moment of the minute before, set by `luck`: what shows from `minute` on came just before."""
    moment = instant(minute) - timedelta(milliseconds=1 + luck % 59_999)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
