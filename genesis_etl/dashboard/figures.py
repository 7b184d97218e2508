"""What the page shows: figures, series and lists of every account, taken from reports and from SQL that it names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import ReportError
from genesis_etl.query.forecast import LEAST, append_forecast
from genesis_etl.query.open_lake import OpenLake

Row = dict[str, Any]

# How much of each a page shows; what is left out it says, with the command that prints everything.
ACCOUNTS: Final = 12
CHARTS: Final = 45
FAMILIES: Final = 40
LISTED: Final = 15
LISTED_PER_REGION: Final = 10
NAMES: Final = 8
FORECAST_DAYS: Final = 30
FORECAST_NEEDS: Final = LEAST  # whole days captured
LATELY: Final = timedelta(days=7)
BACK: Final = timedelta(days=30)
STALE_DAYS: Final = 90
AGES: Final = ((90, 120), (120, 180), (180, 365), (365, None))
NO_REGION: Final = "(none)"

# One line each, for the page prints them as commands.
CAPTURED: Final = (
    "select account, min(captured_at) as first, max(captured_at) as newest, count(*) as captures, "
    "arg_max(snapshots, captured_at) as snapshots "
    "from captures group by account order by account"
)
IMAGES_NOW: Final = (
    "select account, region, count(distinct image_id) as images from "
    "(select account, coalesce(region, '(none)') as region, image_id from images) "
    "group by grouping sets ((account), (account, region)) order by all"
)
IMAGES_THEN: Final = (
    "select account, region, count(distinct image_id) as images from "
    "(select h.account, coalesce(h.region, '(none)') as region, h.image_id from image_history as h "
    "inner join (select account, max(captured_at) - interval 30 day as moment from captures group by account) as n "
    "on n.account = h.account where h.first_seen <= n.moment and (h.gone_at is null or h.gone_at > n.moment)) "
    "group by grouping sets ((account), (account, region)) order by all"
)
PLACES: Final = "select distinct account, image_id, region from images where region is not null order by all"
FAMILY_COVERAGE: Final = (
    "select account, type, family, region, count(distinct image_id) as images from "
    "(select account, type, family, coalesce(region, '(none)') as region, image_id from images "
    "where family is not null) "
    "group by grouping sets ((account, type, family), (account, type, family, region)) order by all"
)


@dataclass
class Scope:
    """What the page shows of an account, or of one region of it: figures and growth."""

    region: str | None
    images: int = 0
    images_then: int | None = None
    growth: list[Row] = field(default_factory=list)

    @property
    def seen(self) -> list[Row]:
        """Return the growth rows that are no forecast."""
        return [row for row in self.growth if row["basis"] != "forecast"]

    @property
    def now(self) -> Row:
        """Return the growth row of the newest capture's day."""
        return self.seen[-1] if self.growth else {"closing": 0, "gib_closing": None}

    @property
    def then(self) -> Row | None:
        """Return the growth row of 30 days before the newest capture's, if the report shows it."""
        if not self.growth:
            return None
        return next((row for row in self.seen if row["period"] == self.now["period"] - BACK), None)

    @property
    def lately(self) -> list[Row]:
        """Return the growth rows of the last 30 days."""
        return [row for row in self.seen if row["period"] > self.now["period"] - BACK]

    @property
    def forecast(self) -> list[Row]:
        """Return the growth rows that are a forecast."""
        return [row for row in self.growth if row["basis"] == "forecast"]


@dataclass
class Listing:
    """The rows of a report that the page lists, the first of all and of each region, and how many there are."""

    rows: list[Row]
    total: int


@dataclass
class View:
    """One account on the page."""

    account: str
    first: datetime
    newest: datetime
    is_new: bool  # captured for less time than changes are shown for
    captures: int
    are_snapshots_known: bool
    regions: list[str]
    retired: set[str]
    scopes: list[Scope]
    coverage: list[Row]
    matrix: list[Row]
    changes: Listing
    change_counts: list[tuple[str, int]]
    stale: Listing
    stale_ages: list[Row]
    stale_sums: Row
    health: list[Row]


@dataclass
class Figures:
    """Everything on a page."""

    views: list[View]
    overview: list[Row]
    since: str


def gather(lake: OpenLake) -> Figures:
    """Read what the page shows of a lake that holds a capture."""
    images = _per_scope(lake.sql_rows(IMAGES_NOW))
    overview = [{**row, "images": images.get((row["account"], None), 0)} for row in lake.sql_rows(CAPTURED).to_pylist()]
    names = [row["account"] for row in sorted(overview, key=lambda row: (-row["images"], row["account"]))][:ACCOUNTS]
    since = (max(row["newest"] for row in overview) - LATELY).date().isoformat()
    growth = _growth(lake, names)
    images_then = _per_scope(lake.sql_rows(IMAGES_THEN))
    coverage = _grouped(_coverage(lake))
    families = _grouped(lake.sql_rows(FAMILY_COVERAGE).to_pylist())
    changes = lake.report_rows("changes", since=since)
    regions_of_changes = _regions_of_changes(lake, changes)
    stale = lake.report_rows("stale-snapshots")
    health = _grouped(lake.report_rows("capture-health").to_pylist())
    views = []
    for row in (row for row in overview if row["account"] in names):
        name = row["account"]
        covered = sorted({each["region"] for each in coverage[name]})
        others = {region for account, region in growth if account == name and region} - set(covered)
        had = {account for account, _ in images_then}
        regions = [*covered, *sorted(others)]
        scopes = [
            Scope(
                region,
                images.get((name, region), 0),
                images_then.get((name, region), 0) if name in had else None,
                growth.get((name, region), []),
            )
            for region in [None, *regions]
        ]
        mine = _of_account(changes, name)
        old = _of_account(stale, name)
        counts = Counter(mine["change"].to_pylist()) if len(mine) else Counter()
        views.append(
            View(
                account=name,
                first=row["first"],
                newest=row["newest"],
                is_new=row["first"].date().isoformat() > since,
                captures=row["captures"],
                are_snapshots_known=row["snapshots"] is not None,
                regions=regions,
                retired={each["region"] for each in coverage[name] if each["is_retired"]},
                scopes=scopes,
                coverage=coverage[name],
                matrix=_matrix(coverage[name], families[name]),
                changes=_listing(_with_alike(mine), _CHANGE_ORDER, regions_of_changes),
                change_counts=counts.most_common(),
                stale=_listing(old, _STALE_ORDER, _regions_of_snapshots),
                stale_ages=_ages(old),
                stale_sums=_sums(old),
                # before its first capture nobody was to capture it
                health=[each for each in health[name] if each["day"] >= row["first"].date()],
            )
        )
    return Figures(views, overview, since)


_STALE_ORDER: Final = [("size_gib", "descending"), ("age_days", "descending"), ("image_id", "ascending")]
_OF_REGIONS: Final = ("appeared", "disappeared", "region_added", "region_removed")
_CHANGE_ORDER: Final = [("alike", "ascending"), ("captured_at", "descending")]


def _growth(lake: OpenLake, accounts: list[str]) -> dict[tuple[str, str | None], list[Row]]:
    """Return the rows of snapshot-growth by (account, region), None for all regions; a forecast where one can be."""
    found: dict[tuple[str, str | None], list[Row]] = defaultdict(list)
    for per_region in (False, True):
        growth = lake.report_rows("snapshot-growth", per_region=per_region)
        for account in accounts:
            table = growth.filter(pc.equal(growth["account"], account))
            # One account with too few captures takes the forecast from no other.
            with suppress(ReportError):
                table = append_forecast(table, "day", FORECAST_DAYS, lake.price)
            for row in table.to_pylist():
                found[account, row["region"] if per_region else None].append(row)
    return found


def _coverage(lake: OpenLake) -> list[Row]:
    """Return region-coverage without all but the first names of what is missing."""
    rows = lake.report_rows("region-coverage")
    index = rows.column_names.index("missing_names")
    short = pc.list_slice(rows["missing_names"], 0, NAMES)
    coverage: list[Row] = rows.set_column(index, "missing_names", short).to_pylist()
    return coverage


def _of_account(rows: pa.Table, account: str) -> pa.Table:
    return rows.filter(pc.equal(rows["account"], account))


def _grouped(rows: list[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["account"]].append(row)
    return groups


def _per_scope(rows: pa.Table) -> dict[tuple[str, str | None], int]:
    return {(row["account"], row["region"]): row["images"] for row in rows.to_pylist()}


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
    chosen = set(range(min(LISTED, len(rows)))).union(*(each[:LISTED_PER_REGION] for each in places.values()))
    listed = sorted(chosen)
    top = rows.take(listed)
    texts = regions_of(top)
    picked = [
        {**row, "regions": regions, "is_first": place < LISTED}
        for place, row, regions in zip(listed, top.to_pylist(), texts, strict=True)
    ]
    return Listing(picked, len(rows))


def _with_alike(changes: pa.Table) -> pa.Table:
    """Add to each change how many there are of its kind and type, so that rare ones need not drown in the usual."""
    kinds = list(zip(changes["change"].to_pylist(), changes["type"].to_pylist(), strict=True))
    counts = Counter(kinds)
    return changes.append_column("alike", pa.array([counts[kind] for kind in kinds], pa.int64()))


def _regions_of_changes(lake: OpenLake, changes: pa.Table) -> Callable[[pa.Table], list[list[str]]]:
    """Return a function that tells the regions which changes concern; of a whole image, those it has or had last."""
    whole = changes.filter(pc.invert(pc.is_in(changes["change"], pa.array(_OF_REGIONS))))
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    if len(whole):
        rows = lake.sql_rows(PLACES)
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


def _regions_of_snapshots(rows: pa.Table) -> list[list[str]]:
    values = rows["regions"].to_pylist()
    lists = [value.split(", ") if isinstance(value, str) else value for value in values]
    return [list(each) if each else [NO_REGION] for each in lists]


def _sums(rows: pa.Table) -> Row:
    gib, cost = (pc.sum(rows[name]).as_py() for name in ("size_gib", "cost_per_month"))
    return {"snapshots": len(rows), "gib": gib if len(rows) else 0, "cost": cost}


def _ages(rows: pa.Table) -> list[Row]:
    """Sum up stale snapshots by age."""
    ages = []
    for least, end in AGES if len(rows) else ():
        is_in = pc.greater_equal(rows["age_days"], least)
        if end is not None:
            is_in = pc.and_(is_in, pc.less(rows["age_days"], end))
        ages.append({"least": least, "end": end, **_sums(rows.filter(is_in))})
    return ages


def _matrix(coverage: list[Row], families: list[Row]) -> list[Row]:
    """Return a row per type, and below it one per family, with `cells`: region → images there."""
    rows: dict[tuple[str, str], Row] = {}
    for each in coverage:
        row = rows.setdefault((each["type"], ""), {"type": each["type"], "family": None, "of": each["of"], "cells": {}})
        row["cells"][each["region"]] = each["images"]
    for each in families:
        key = (each["type"], each["family"])
        row = rows.setdefault(key, {"type": each["type"], "family": each["family"], "of": 0, "cells": {}})
        if each["region"] is None:
            row["of"] = each["images"]
        else:
            row["cells"][each["region"]] = each["images"]
    # snapshots live where their instance does, so they come last and their gaps are none
    return [rows[key] for key in sorted(rows, key=lambda key: (key[0] == "snapshot", *key))]
