"""What the page shows: figures, series and lists of every account, taken from reports and from SQL that it names."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date
from typing import Any

from genesis_etl.dashboard import limits
from genesis_etl.dashboard.history import histories_of
from genesis_etl.dashboard.listings import Row, list_changes, list_missing, list_snapshots, list_sources
from genesis_etl.dashboard.periods import by_period, first_day
from genesis_etl.dashboard.reports import Reports, named, of_account
from genesis_etl.dashboard.view import Figures, Money, Scope, View
from genesis_etl.opened import OpenLake
from genesis_etl.query.sources import one_line


def collect(lake: OpenLake) -> Figures:
    """Read what the page shows of a lake that holds a capture."""
    overview = lake.sql_rows(one_line("page", "captured")).to_pylist()
    read = Reports(lake, overview)
    for row in overview:
        row["images"] = read.images.get((row["account"], None), 0)
        row["now"] = read.newest_growth.get(row["account"])
        row["money"] = Money(read.newest_usage[row["account"]])
    overview.sort(key=lambda row: (-_size(row["now"]), -row["images"], row["account"]))
    shown = overview[: limits.ACCOUNTS]
    read.read_parts([row["account"] for row in shown])
    views = [_all_together(read, overview)] if len(overview) > 1 else []
    views += [_account(read, row) for row in shown]
    lists = [each for view in views for each in (view.freed, view.missing.images, view.changes)]
    return Figures(views, overview, read.changes_since, lake.price, histories_of(lake, lists))


def _account(read: Reports, row: Row) -> View:
    name = row["account"]
    coverage = read.coverage[name]
    scopes = _scopes(read, name, {each["region"] for each in coverage}, row["images_then"])
    return View(
        account=name,
        first=row["first"],
        newest=row["newest"],
        is_new=row["first"].date().isoformat() > read.changes_since,
        captures=row["captures"],
        # Older generations list snapshots in /images as well.
        are_snapshots_known=row["snapshots"] is not None or scopes[0].now["closing"] > 0,
        regions=[str(scope.region) for scope in scopes[1:]],
        retired={each["region"] for each in coverage if each["is_retired"]},
        scopes=scopes,
        **_lists(read, name),
        coverage=coverage,
        matrix=_matrix(coverage, read.families[name]),
        # before its first capture nobody was to capture it
        health=[each for each in read.health[name] if each["day"] >= row["first"].date()],
    )


def _all_together(read: Reports, overview: list[Row]) -> View:
    then = [row["images_then"] for row in overview]
    places = {region for _, region in read.images if region is not None}
    scopes = _scopes(read, None, places, None if None in then else sum(then))
    first, newest = min(row["first"] for row in overview), max(row["newest"] for row in overview)
    return View(
        account=None,
        first=first,
        newest=newest,
        is_new=first.date().isoformat() > read.changes_since,
        captures=sum(row["captures"] for row in overview),
        are_snapshots_known=any(row["snapshots"] is not None for row in overview) or scopes[0].now["closing"] > 0,
        regions=[str(scope.region) for scope in scopes[1:]],
        retired=set(),
        scopes=scopes,
        **_lists(read, None),
    )


def _lists(read: Reports, account: str | None) -> dict[str, Any]:
    changes = of_account(read.changes, account)
    counts = Counter(changes["change"].to_pylist()) if len(changes) else Counter()
    (retention,) = [table for table in (named(each, account) for each in read.retention) if len(table)]
    return {
        "retention": retention.to_pylist(),
        "freed": list_snapshots(of_account(read.freed, account)),
        "sources": list_sources(of_account(read.sources, account)),
        "missing": list_missing(of_account(read.releases, account)),
        "made": _made(read.made[account]),
        "changes": list_changes(changes, read.regions_of),
        "change_counts": counts.most_common(),
    }


def _scopes(read: Reports, account: str | None, places: set[str], images_then: int | None) -> list[Scope]:
    """Return what there is of an account (of all, without one), then of each region with images or snapshots."""
    growth: dict[str | None, dict[str, list[Row]]] = {}
    usage: dict[str | None, list[Row]] = defaultdict(list)
    for table in read.growth:
        growth |= by_period(named(table, account), read.price)
    for table in read.usage:
        for row in named(table, account).to_pylist():
            usage[row["region"]].append(row)
    regions = [*sorted(places), *sorted({region for region in growth if region} - places)]
    return [
        Scope(
            region,
            read.images.get((account, region), 0),
            images_then if region is None else None,
            growth.get(region, {}),
            Money(usage[region]),
        )
        for region in [None, *regions]
    ]


def _size(row: Row | None) -> float:
    return 0.0 if row is None else row["gib_closing"] or 0.0


def _made(months: list[Row]) -> list[Row]:
    """Return when the snapshots that stand today were made: the newest months, and what is older in one row."""
    if not months:
        return []
    found = {row["period"]: row for row in months}
    start = first_day(max(found))
    older = [row for period, row in found.items() if period < start]
    wanted = _months(start, max(found))
    nothing = {"snapshots": 0, "gib": 0.0}
    rows: list[Row] = [{**nothing, **found.get(period, {}), "period": period} for period in wanted]
    if not older:
        return rows
    sizes = [row["gib"] for row in older if row["gib"] is not None]
    summed = {"snapshots": sum(row["snapshots"] for row in older), "gib": sum(sizes) if sizes else None}
    return [{**summed, "period": None}, *rows]


def _months(first: date, last: date) -> list[date]:
    return [date(place // 12, place % 12 + 1, 1) for place in range(_place(first), _place(last) + 1)]


def _place(month: date) -> int:
    return month.year * 12 + month.month - 1


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
