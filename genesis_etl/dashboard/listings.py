"""The lists of the page: the first rows of a report, of all and of every region, and how many there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.dashboard import limits
from genesis_etl.opened import OpenLake
from genesis_etl.query.sources import one_line

Row = dict[str, Any]

_NO_REGION: Final = "(none)"
LARGEST: Final = [
    ("size_gib", "descending"),
    ("age_days", "descending"),
    ("account", "ascending"),
    ("image_id", "ascending"),
]
NEWEST: Final = [
    ("is_newest_of_family", "descending"),
    ("created_at", "descending"),
    ("account", "ascending"),
    ("image_id", "ascending"),
]
_TOLD: Final = ("type", "name", "family", "is_newest_of_family", "created_at", "released_at")
SOURCES: Final = [
    ("size_gib", "descending"),
    ("snapshots", "descending"),
    ("account", "ascending"),
    ("source_instance_id", "ascending"),
]
_OF_REGIONS: Final = ("appeared", "disappeared", "region_added", "region_removed")
_CHANGE_ORDER: Final = [("alike", "ascending"), ("captured_at", "descending")]


@dataclass
class Listing:
    """The rows of a report that the page lists, the first of all and of each region, and how many there are."""

    rows: list[Row] = field(default_factory=list)
    total: int = 0


@dataclass
class Sources:
    """Instances that snapshots are of: the largest, those that grew most, and what is of instances that are gone."""

    largest: Listing
    grown: list[Row]
    orphans: Listing
    orphaned: Row
    is_known: bool  # whether an instance exists


@dataclass
class Missing:
    """The images that regions lack: one row an image, with the regions; the newest of their families come first."""

    images: Listing
    newest: int
    regions: list[str]  # that of which most is missing first


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


def freed(old: pa.Table) -> pa.Table:
    """Return of the snapshots that are older those that a retention would free: a newer one of their instance lives."""
    return old.filter(pc.equal(old["is_newest_of_source"], pa.scalar(False)))


def list_snapshots(snapshots: pa.Table) -> Listing:
    """Return the first snapshots, the largest before the smaller."""
    return _listing(snapshots, LARGEST, _regions_of_snapshots)


def list_sources(sources: pa.Table) -> Sources:
    """Return the instances with the most GiB, those that grew most in 30 days, and those that are gone."""
    of_instances = sources.filter(pc.is_valid(sources["source_instance_id"]))
    gone = of_instances.filter(pc.equal(of_instances["source_instance_exists"], pa.scalar(False)))
    moved = of_instances.filter(pc.greater(of_instances["gib_net_30d"], 0))
    order = [("gib_net_30d", "descending"), *SOURCES]
    return Sources(
        largest=_first(sources, SOURCES),
        grown=_first(moved, order).rows[: limits.TOP],
        orphans=_first(gone, SOURCES),
        orphaned={"instances": len(gone), **_sums(gone)},
        is_known=bool(pc.any(pc.is_valid(sources["source_instance_exists"])).as_py()),
    )


def list_missing(releases: pa.Table) -> Missing:
    """Return the images that regions lack, the newest of their families first, and of these what was made last."""
    rows = releases.filter(pc.equal(releases["is_missing"], pa.scalar(True)))
    lacking = {each["values"]: each["counts"] for each in pc.value_counts(rows["region"]).to_pylist()}
    keys = ["account", "image_id"]
    grouped = rows.group_by(keys, use_threads=False).aggregate([("region", "list"), *((name, "min") for name in _TOLD)])
    images = grouped.select([*keys, "region_list", *(f"{name}_min" for name in _TOLD)])
    images = images.rename_columns([*keys, "regions", *_TOLD])
    newest = pc.sum(images["is_newest_of_family"]).as_py() or 0
    return Missing(
        _listing(images, NEWEST, _regions_of_snapshots),
        newest,
        sorted(lacking, key=lambda region: (-lacking[region], region)),
    )


def _sums(rows: pa.Table) -> Row:
    """Return how many snapshots these are, their GiB and their cost a month; 0 where there are none."""
    snapshots, gib, cost = (pc.sum(rows[name]).as_py() for name in ("snapshots", "size_gib", "cost_per_month"))
    return {"snapshots": snapshots or 0, "size_gib": gib if len(rows) else 0, "cost_per_month": cost}


def _first(rows: pa.Table, order: list[tuple[str, str]]) -> Listing:
    top = rows.take(pc.sort_indices(rows, order)[: limits.LISTED])
    return Listing(top.to_pylist(), len(rows))


def _listing(
    rows: pa.Table,
    order: list[tuple[str, str]],
    regions_of: Callable[[pa.Table], list[list[str]]],
) -> Listing:
    """Return the first rows in an order: of all, and of each region, for the page can be narrowed to one."""
    if not len(rows):
        return Listing()
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
    values: Iterable[Any] = rows["regions"].to_pylist()
    return [list(each) if each else [_NO_REGION] for each in values]
