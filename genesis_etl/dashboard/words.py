"""How the page writes numbers, times, names and commands: for people, and for a shell."""

from __future__ import annotations

import shlex
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from genesis_etl.text import shown

_MINUS: Final = "\u2212"
_COMMAND: Final = 4000  # characters of a word of a command


def number(value: Any) -> str:
    """Write a number for people: thousands apart, two digits at most; `unknown` for null is a dash."""
    if value is None:
        return "–"
    text = f"{value:,.2f}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text.replace("-", _MINUS)


def exact(value: Any) -> str | None:
    """Return a number as its command prints it where `number` has rounded it, for the CSV of a table."""
    if not isinstance(value, float) or number(value).replace(",", "").replace(_MINUS, "-") == f"{value:.15g}":
        return None
    return repr(value)


def signed(value: Any) -> str:
    """Write a change with its sign."""
    if value is None:
        return "–"
    return f"+{number(value)}" if value > 0 else "±0" if value == 0 else number(value)


def plural(count: int, word: str) -> str:
    """Write `1 snapshot`, `1,200 snapshots`."""
    return f"{number(count)} {word}{'' if count == 1 else 's'}"


def instant(moment: datetime | None) -> str:
    """Write an instant for people, to the minute, in UTC."""
    return "–" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def minute(moment: datetime) -> str:
    """Write an instant of these days as `22 Nov 12:00`."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %H:%M}"


def day(value: date | datetime | str) -> str:
    """Write a day as `22 Nov 2026`."""
    value = date.fromisoformat(value) if isinstance(value, str) else value
    return f"{value.day} {value:%b %Y}"


def month(value: date) -> str:
    """Write a month as `November 2026`."""
    return f"{value:%B %Y}"


def clock(moment: datetime) -> str:
    """Write an instant's time of day as `12:00 UTC`."""
    return f"{moment.astimezone(UTC):%H:%M} UTC"


def ago(moment: datetime, made_at: datetime) -> str:
    """Write how long before an instant another was: `35 minutes`, `2 hours`, `3 days`."""
    return span(max(made_at - moment, timedelta(0)))


def span(value: Any) -> str:
    """Write a duration (a timedelta, or seconds) in the largest unit that it fills."""
    if value is None:
        return "–"
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, int | float):
        return shown(str(value), 30)
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:.0f} seconds"


def name(text: Any, limit: int = 60) -> str:
    """Shorten a name and show what does not print."""
    return "–" if text is None else shown(str(text), limit)


def argument(text: str) -> str:
    """Write a text as a word of a shell command, what does not print escaped as bash and zsh read it."""
    if text.isprintable():
        return shlex.quote(shown(text, _COMMAND))
    return "$'" + shown(text.replace("\\", "\\\\").replace("'", "\\'"), _COMMAND) + "'"


def literal(text: str) -> str:
    """Write a text as a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def coverage_level(images: int, of: int) -> int:
    """Return how much of something a region has, from 0, nothing, to 4, all."""
    if not of or images >= of:
        return 4
    return 0 if not images else 1 + min(int(3 * images / of), 2)


FILTERS: Final = {
    each.__name__: each
    for each in (number, exact, signed, instant, minute, day, month, clock, ago, span, name, argument, literal)
}
