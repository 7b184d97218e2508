"""What the page shows: figures, series and lists of every account, taken from reports and from SQL that it names."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.dashboard import limits
from genesis_etl.dashboard.listings import Listing, Row, ages, list_changes, list_snapshots, regions_of_changes, sums
from genesis_etl.errors import ReportError
from genesis_etl.opened import OpenLake
from genesis_etl.query.forecast import append_forecast
from genesis_etl.query.sources import one_line


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
        return next((row for row in self.seen if row["period"] == self.now["period"] - limits.BACK), None)

    @property
    def lately(self) -> list[Row]:
        """Return the growth rows of the last 30 days."""
        return [row for row in self.seen if row["period"] > self.now["period"] - limits.BACK]

    @property
    def forecast(self) -> list[Row]:
        """Return the growth rows that are a forecast."""
        return [row for row in self.growth if row["basis"] == "forecast"]


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


def collect(lake: OpenLake) -> Figures:
    """Read what the page shows of a lake that holds a capture."""
    images = _per_scope(lake.sql_rows(one_line("page", "images_now")))
    overview = [
        {**row, "images": images.get((row["account"], None), 0)}
        for row in lake.sql_rows(one_line("page", "captured")).to_pylist()
    ]
    largest_first = sorted(overview, key=lambda row: (-row["images"], row["account"]))
    names = [row["account"] for row in largest_first[: limits.ACCOUNTS]]
    since = (max(row["newest"] for row in overview) - limits.LATELY).date().isoformat()
    growth = _growth(lake, names)
    images_then = _per_scope(lake.sql_rows(one_line("page", "images_then")))
    coverage = _grouped(_coverage(lake))
    families = _grouped(lake.sql_rows(one_line("page", "family_coverage")).to_pylist())
    changes = lake.report_rows("changes", since=since)
    regions_of = regions_of_changes(lake, changes)
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
                # Older generations list snapshots in /images as well.
                are_snapshots_known=row["snapshots"] is not None or scopes[0].now["closing"] > 0,
                regions=regions,
                retired={each["region"] for each in coverage[name] if each["is_retired"]},
                scopes=scopes,
                coverage=coverage[name],
                matrix=_matrix(coverage[name], families[name]),
                changes=list_changes(mine, regions_of),
                change_counts=counts.most_common(),
                stale=list_snapshots(old),
                stale_ages=ages(old),
                stale_sums=sums(old),
                # before its first capture nobody was to capture it
                health=[each for each in health[name] if each["day"] >= row["first"].date()],
            )
        )
    return Figures(views, overview, since)


def _growth(lake: OpenLake, accounts: list[str]) -> dict[tuple[str, str | None], list[Row]]:
    """Return the rows of snapshot-growth by (account, region), None for all regions; a forecast where one can be."""
    found: dict[tuple[str, str | None], list[Row]] = defaultdict(list)
    for per_region in (False, True):
        growth = lake.report_rows("snapshot-growth", per_region=per_region)
        for account in accounts:
            table = growth.filter(pc.equal(growth["account"], account))
            # One account with too few captures takes the forecast from no other.
            with suppress(ReportError):
                table = append_forecast(table, "day", limits.FORECAST_DAYS, lake.price)
            for row in table.to_pylist():
                found[account, row["region"] if per_region else None].append(row)
    return found


def _coverage(lake: OpenLake) -> list[Row]:
    """Return region-coverage without all but the first names of what is missing."""
    rows = lake.report_rows("region-coverage")
    index = rows.column_names.index("missing_names")
    short = pc.list_slice(rows["missing_names"], 0, limits.NAMES)
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
