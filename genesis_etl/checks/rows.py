"""The rows of `check`: how one is made, what they are as a table, and which of them failed."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import GenesisEtlError
from genesis_etl.redact import redact
from genesis_etl.text import shown

SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("check", "account", "status", "seen", "where", "wanted", "advice")]
)
_LONGEST: Final = 1000
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


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


def held(check: str, account: str, is_ok: bool, seen: str, wanted: str, advice: str) -> Row:
    """Make a row of what was held against what was wanted; there is something to do only where it failed."""
    return Row(check, account, "ok", seen, wanted) if is_ok else Row(check, account, "failed", seen, wanted, advice)


def row_of_error(check: str, account: str | None, wanted: str, error: GenesisEtlError) -> Row:
    """Make a row of an error: what was seen, where, and what to do."""
    return Row(check, account, "failed", error.seen, wanted, error.advice, error.where)


def table_of(rows: list[Row]) -> pa.Table:
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


def has_failed(rows: pa.Table) -> bool:
    """Tell whether a check failed."""
    return "failed" in rows["status"].to_pylist()


def amount(number: float) -> str:
    """Write GiB, GiB-months or money to two digits after the point, what is less than 1 to three that count."""
    return f"{round(number, 2):,.15g}" if abs(number) >= 1 else f"{number:.3g}"


def exceeds(number: float, most: float) -> bool:
    """Tell whether a number that was reckoned is more than `most`, by more than the reckoning itself may be off."""
    return number > most and not math.isclose(number, most, rel_tol=1e-9)


def span(duration: timedelta) -> str:
    """Write a duration in its two largest units, `2h` or `1d 3h`; never shorter than it is by more than the second."""
    left = int(duration.total_seconds())
    parts = []
    for unit, size in _UNITS:
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts[:2]) or "0s"
