"""The lists of the page: the first rows of a report, of all and of every region, and how many there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.dashboard import limits
from genesis_etl.opened import OpenLake
from genesis_etl.query.sources import one_line

Row = dict[str, Any]

_NO_REGION: Final = "(none)"
_STALE_ORDER: Final = [("size_gib", "descending"), ("age_days", "descending"), ("image_id", "ascending")]
_OF_REGIONS: Final = ("appeared", "disappeared", "region_added", "region_removed")
_CHANGE_ORDER: Final = [("alike", "ascending"), ("captured_at", "descending")]


@dataclass
class Listing:
    """The rows of a report that the page lists, the first of all and of each region, and how many there are."""

    rows: list[Row]
    total: int


def list_changes(changes: pa.Table, regions_of: Callable[[pa.Table], list[list[str]]]) -> Listing:
    """Return the first changes, rare ones before those of which there are many."""
    return _listing(_with_alike(changes), _CHANGE_ORDER, regions_of)


def regions_of_changes(lake: OpenLake, changes: pa.Table) -> Callable[[pa.Table], list[list[str]]]:
    """Return a function that tells the regions which changes concern; of a whole image, those it has or had last."""
    whole = changes.filter(pc.invert(pc.is_in(changes["change"], pa.array(_OF_REGIONS))))
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    if len(whole):
        rows = lake.sql_rows(one_line("page", "places"))
        for row in rows.filter(pc.is_in(rows["image_id"], pc.unique(whole["image_id"]))).to_pylist():
            found[row["account"], row["image_id"]].append(row["region"])

    def regions_of(rows: pa.Table) -> list[list[str]]:
        names = ("account", "image_id", "change", "region", "before", "after")
        listed = []
        for account, image_id, change, region, before, after in zip(
            *(rows[name].to_pylist() for name in names), strict=True
        ):
            if region is not None:
                listed.append([region])
            elif change in _OF_REGIONS:
                listed.append(((after if change == "appeared" else before) or "").split(", "))
            else:
                listed.append(found.get((account, image_id), []))
        return listed

    return regions_of


def list_snapshots(stale: pa.Table) -> Listing:
    """Return the first stale snapshots, the largest before the smaller."""
    return _listing(stale, _STALE_ORDER, _regions_of_snapshots)


def sums(stale: pa.Table) -> Row:
    """Return how many snapshots these are, their GiB and their cost a month."""
    gib, cost = (pc.sum(stale[name]).as_py() for name in ("size_gib", "cost_per_month"))
    return {"snapshots": len(stale), "gib": gib if len(stale) else 0, "cost": cost}


def ages(stale: pa.Table) -> list[Row]:
    """Sum up stale snapshots by age."""
    summed = []
    for least, end in limits.AGES if len(stale) else ():
        is_in = pc.greater_equal(stale["age_days"], least)
        if end is not None:
            is_in = pc.and_(is_in, pc.less(stale["age_days"], end))
        summed.append({"least": least, "end": end, **sums(stale.filter(is_in))})
    return summed


def _listing(
    rows: pa.Table,
    order: list[tuple[str, str]],
    regions_of: Callable[[pa.Table], list[list[str]]],
) -> Listing:
    """Return the first rows in an order: of all, and of each region, for the page can be narrowed to one."""
    if not len(rows):
        return Listing([], 0)
    rows = rows.take(pc.sort_indices(rows, order))
    places: dict[str, list[int]] = defaultdict(list)
    for place, regions in enumerate(regions_of(rows)):
        for region in regions:
            places[region].append(place)
    chosen = set(range(min(limits.LISTED, len(rows)))).union(
        *(each[: limits.LISTED_PER_REGION] for each in places.values())
    )
    listed = sorted(chosen)
    top = rows.take(listed)
    texts = regions_of(top)
    picked = [
        {**row, "regions": regions, "is_first": place < limits.LISTED}
        for place, row, regions in zip(listed, top.to_pylist(), texts, strict=True)
    ]
    return Listing(picked, len(rows))


def _with_alike(changes: pa.Table) -> pa.Table:
    """Add to each change how many there are of its kind and type, so that rare ones need not drown in the usual."""
    kinds = list(zip(changes["change"].to_pylist(), changes["type"].to_pylist(), strict=True))
    counts = Counter(kinds)
    return changes.append_column("alike", pa.array([counts[kind] for kind in kinds], pa.int64()))


def _regions_of_snapshots(rows: pa.Table) -> list[list[str]]:
    values = rows["regions"].to_pylist()
    lists = [value.split(", ") if isinstance(value, str) else value for value in values]
    return [list(each) if each else [_NO_REGION] for each in lists]
