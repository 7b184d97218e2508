"""The published tables, made of the store: all of them from nothing, or one capture further than they are. Pure.

Both ways give the same rows in the same order; going on from what is there takes no query engine.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.lake.contents import Contents
from genesis_etl.lake.layout import TABLES, Table
from genesis_etl.lake.schema import TABLE_SCHEMAS
from genesis_etl.rows import INSTANT, ROW

Tables = dict[Table, pa.Table]

_DAY: Final = timedelta(days=1)
_NANO: Final = 10**9  # a GiB counts as so many parts, as in the SQL, which sums decimals of nine places
NOWHERE: Final = "(none)"
_BY_IMAGE: Final = [("image_id", "ascending", "at_start"), ("region", "ascending", "at_start")]
# A total order each, by which a file can be compared with another; of runs that begin at one instant, the one that
# goes on is the last, so that taking the table on keeps the order.
_ORDERS: Final[dict[Table, str]] = {
    "images": "account, image_id, region nulls first",
    "image_history": "account, first_seen, image_id, region nulls first, last_seen, gone_at nulls last, "
    + ", ".join(f"{name} nulls first" for name in ROW.names if name not in ("image_id", "region")),
    "captures": "account, captured_at, capture_id",
    "region_days": "account, day, type, region nulls first",
}


def empty() -> Tables:
    """Return the tables of an account without a capture."""
    return {name: TABLE_SCHEMAS[name].empty_table() for name in TABLES}


def from_contents(contents: Contents) -> dict[str, Tables]:
    """Make the tables of every account that the contents of a lake hold captures of; raises as a query does."""
    from genesis_etl.query.warehouse import Warehouse  # DuckDB, which most exports do without

    accounts = sorted(pc.unique(contents.captures["account"]).to_pylist())
    made: dict[str, Tables] = {account: {} for account in accounts}
    warehouse = Warehouse(contents)
    try:
        for name in TABLES:
            columns = ", ".join(TABLE_SCHEMAS[name].names)
            rows = warehouse.select(f"select {columns} from {name} order by {_ORDERS[name]}")
            rows = rows.cast(TABLE_SCHEMAS[name])
            for account in accounts:
                made[account][name] = rows.filter(pc.equal(rows["account"], account)).combine_chunks()
    finally:
        warehouse.close()
    return made


def together(contents: Contents) -> Tables:
    """Make the tables of the contents, those of all accounts as one; LakeError where something is damaged."""
    contents.refuse_damage()
    made = from_contents(contents)
    return {
        name: pa.concat_tables([TABLE_SCHEMAS[name].empty_table(), *(tables[name] for tables in made.values())])
        for name in TABLES
    }


def captures_table(captures: pa.Table) -> pa.Table:
    """Return the table `captures` of the captures (schema `CAPTURES`) of one account."""
    ordered = captures.sort_by([("captured_at", "ascending"), ("capture_id", "ascending")])
    return ordered.select(TABLE_SCHEMAS["captures"].names).cast(TABLE_SCHEMAS["captures"]).combine_chunks()


def by_image(rows: pa.Table) -> pa.Table:
    """Return rows in the order of image and region, in which a capture has them already."""
    order = pc.sort_indices(rows, _BY_IMAGE)
    return rows if order.equals(pa.arange(0, len(rows)).cast(order.type)) else rows.take(order)


def go_on(
    tables: Tables, rows: pa.Table, account: str, capture_id: str, captured_at: datetime, previous: datetime | None
) -> Tables:
    """Return the tables, `captures` apart, after one capture more, which is later than all that they hold.

    `rows` are its rows (columns of `ROW`), by image and region; `previous` is when the capture before it was.
    """
    names = pa.repeat(pa.scalar(account, pa.string()), len(rows))
    ids = pa.repeat(pa.scalar(capture_id, pa.string()), len(rows))
    stamps = pa.repeat(pa.scalar(captured_at, INSTANT), len(rows))
    columns = [rows[name] for name in ROW.names]
    images = pa.table([names, ids, stamps, *columns], schema=TABLE_SCHEMAS["images"])
    return {
        "images": images,
        "image_history": _history(tables["image_history"], rows, account, captured_at),
        "captures": tables["captures"],
        "region_days": _region_days(tables["region_days"], images, account, captured_at, previous),
    }


def _history(history: pa.Table, rows: pa.Table, account: str, at: datetime) -> pa.Table:
    """Let the runs of rows that stay go on, end those of rows that went, begin those of rows that came."""
    schema = TABLE_SCHEMAS["image_history"]
    stamp, none = pa.scalar(at, INSTANT), pa.scalar(None, INSTANT)
    if not len(history):
        return _begun(rows, account, stamp)
    going = pc.is_null(history["gone_at"])
    living = history.filter(going)
    order = pc.sort_indices(living, _BY_IMAGE)
    before = living.select(ROW.names).take(order)
    stays = _same(before, rows)
    # Back in the order in which the runs lie.
    stayed = pa.array(stays[0], pa.bool_()).take(pc.sort_indices(order))
    last_seen = pc.replace_with_mask(
        history["last_seen"].combine_chunks(),
        going.combine_chunks(),
        pc.if_else(stayed, stamp, living["last_seen"].combine_chunks()),
    )
    gone_at = pc.replace_with_mask(
        history["gone_at"].combine_chunks(), going.combine_chunks(), pc.if_else(stayed, none, stamp)
    )
    kept = history.set_column(2, schema.field("last_seen"), last_seen).set_column(3, schema.field("gone_at"), gone_at)
    new = rows.filter(pc.invert(pa.array(stays[1], pa.bool_())))
    return pa.concat_tables([kept, _begun(new, account, stamp)]).combine_chunks()


def _begun(rows: pa.Table, account: str, stamp: pa.Scalar) -> pa.Table:
    """Return the runs that begin with rows."""
    columns = [
        pa.repeat(pa.scalar(account, pa.string()), len(rows)),
        pa.repeat(stamp, len(rows)),
        pa.repeat(stamp, len(rows)),
        pa.nulls(len(rows), INSTANT),
        *(rows[name] for name in ROW.names),
    ]
    return pa.table(columns, schema=TABLE_SCHEMAS["image_history"])


def _same(before: pa.Table, after: pa.Table) -> tuple[list[bool], list[bool]]:
    """Tell which rows of one table stand in the other as they are; no image stands in a region twice."""
    if before.equals(after):
        return [True] * len(before), [True] * len(after)
    found = {key: index for index, key in enumerate(_keys(before))}
    pairs = [(found[key], index) for index, key in enumerate(_keys(after)) if key in found]
    left = before.take(pa.array([one for one, _ in pairs], pa.int64()))
    right = after.take(pa.array([other for _, other in pairs], pa.int64()))
    equal = [True] * len(pairs)
    for name in ROW.names:
        if not left[name].equals(right[name]):
            both = zip(left[name].to_pylist(), right[name].to_pylist(), strict=True)
            equal = [is_equal and one == other for is_equal, (one, other) in zip(equal, both, strict=True)]
    stood, stands = [False] * len(before), [False] * len(after)
    for (one, other), is_equal in zip(pairs, equal, strict=True):
        stood[one] = stands[other] = is_equal
    return stood, stands


def _keys(rows: pa.Table) -> Iterable[tuple[str, str | None]]:
    return zip(rows["image_id"].to_pylist(), rows["region"].to_pylist(), strict=True)


def _region_days(days: pa.Table, images: pa.Table, account: str, at: datetime, previous: datetime | None) -> pa.Table:
    """Write the day of a capture anew, and those without a capture between it and the one before."""
    today = at.date()
    levels = _levels(images)
    kept, more = days, []
    if previous is not None:
        newest = previous.date()
        last = days.filter(pc.equal(days["day"], pa.scalar(newest)))
        known = last.select(["type", "region", "images", "size_gib"]).to_pylist()
        if newest == today:
            kept = days.filter(pc.less(days["day"], pa.scalar(today)))
        for number in range(1, (today - newest).days):
            more += [_day(account, newest + number * _DAY, row, "gap") for row in known]
        for row in known:
            levels.setdefault((row["type"], row["region"]), (0, 0.0))
    for type, region in sorted(levels, key=lambda key: (key[0], key[1] is not None, key[1] or "")):
        count, gib = levels[type, region]
        row = {"type": type, "region": region, "images": count, "size_gib": gib}
        more.append(_day(account, today, row, "observed"))
    schema = TABLE_SCHEMAS["region_days"]
    return pa.concat_tables([kept, pa.Table.from_pylist(more, schema=schema)]).combine_chunks()


def _day(account: str, day: date, row: dict[str, Any], basis: str) -> dict[str, Any]:
    return {"account": account, "day": day, **row, "basis": basis}


def _levels(images: pa.Table) -> dict[tuple[str, str | None], tuple[int, float | None]]:
    """Count the images of a capture, in their order, by type and region, with their GiB; region None is the total."""
    rows = images.select(["type", "region", "size_gib"])
    rows = rows.set_column(1, "region", pc.fill_null(rows["region"], NOWHERE))
    ids = images["image_id"].combine_chunks()
    is_first = pa.concat_arrays([pa.array([True][: len(ids)], pa.bool_()), pc.not_equal(ids[1:], ids[:-1])])
    once = rows.filter(is_first).set_column(1, "region", pa.nulls(pc.sum(is_first).as_py() or 0, pa.string()))
    rows = pa.concat_tables([rows, once])
    sizes: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    known = rows.filter(pc.is_valid(rows["size_gib"]))
    for type, region, size in zip(*(column.to_pylist() for column in known.columns), strict=True):
        sizes[type, region].append(size)
    counts = rows.group_by(["type", "region"]).aggregate([([], "count_all")])
    columns = (counts[name].to_pylist() for name in ("type", "region", "count_all"))
    return {(type, region): (count, _gib(sizes[type, region])) for type, region, count in zip(*columns, strict=True)}


def _gib(sizes: list[float]) -> float | None:
    """Sum sizes as the SQL does: each rounded to nine places, half away from zero; null if none is known."""
    if not sizes:
        return None
    parts = 0
    for size in sizes:
        scaled = size * _NANO
        whole = math.floor(scaled)
        parts += whole + (scaled - whole >= 0.5)
    return parts / _NANO
