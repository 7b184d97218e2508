"""Holds the newest capture of every account against the thresholds of the settings, a row per threshold that is set.

What can be told is what the reports tell of that capture. What cannot fails where someone can mend it (a price that is
not set, a collection that the token may not read), and is skipped where time alone does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from genesis_etl.checks.releases import check_releases
from genesis_etl.checks.rows import Row, amount, exceeds, held, row_of_error, span
from genesis_etl.checks.usage import check_usage
from genesis_etl.errors import LakeError
from genesis_etl.lake.contents import Contents
from genesis_etl.query.binding import bind
from genesis_etl.query.report import find_report
from genesis_etl.query.sources import read_sql
from genesis_etl.query.warehouse import Warehouse
from genesis_etl.settings import Settings, Thresholds
from genesis_etl.text import counted, shown
from genesis_etl.times import format_time

_OF_SNAPSHOTS: Final = ("snapshots", "gib", "cost_per_month", "growth_pct_week", "snapshot_age")
_DELETE: Final = "delete those that are not needed, or raise the threshold"
_SIZES: Final = "sizes come from /snapshots: see whether the token may read it"
_ACCESS: Final = "give the token access to {}, or take the threshold out"

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class _Figures:
    """What the lake says of every account: one row of levels, orphans and blind captures, several of the reports."""

    levels: dict[str, dict[str, Any]]
    orphans: dict[str, dict[str, Any]]
    blind: dict[str, dict[str, Any]]
    usage: dict[str, Rows]
    coverage: dict[str, Rows]
    releases: dict[str, Rows]


def check_thresholds(settings: Settings, contents: Contents, watched: list[str]) -> Iterator[Row]:
    """Hold the newest capture of every account against the thresholds that are set."""
    limits = settings.thresholds
    if limits == Thresholds():
        return
    try:
        figures = _figures(settings, contents)
    except LakeError as error:
        yield row_of_error("thresholds", None, "readable captures", error)
        return
    damaged = {damage.account for damage in contents.damage}
    for name in watched:
        level = figures.levels.get(name)
        if name in damaged or level is None:
            seen = "captures are damaged" if name in damaged else "no capture yet"
            yield Row("thresholds", name, "skipped", seen, "readable captures", "see the rows verify and freshness")
            continue
        yield from _snapshots(settings, name, level)
        if limits.orphaned_gib is not None:
            yield _orphans(limits.orphaned_gib, name, level, figures.orphans.get(name))
        if limits.usage_pct_month is not None:
            yield check_usage(
                limits.usage_pct_month, name, figures.usage[name], level["captured_at"], figures.blind.get(name)
            )
        for kind in limits.images_everywhere:
            mine = [each for each in figures.coverage[name] if each["type"] == kind]
            yield _everywhere(name, kind, mine, settings.regions)
        if limits.days_to_region is not None:
            yield check_releases(
                limits.days_to_region, name, figures.releases[name], figures.coverage[name], level["captured_at"]
            )


def _figures(settings: Settings, contents: Contents) -> _Figures:
    """Ask the lake for what the thresholds that are set need; LakeError where it cannot be read."""
    limits = settings.thresholds
    asks_usage, asks_releases = limits.usage_pct_month is not None, limits.days_to_region is not None
    old_seconds = None if limits.snapshot_age is None else int(limits.snapshot_age.total_seconds())
    warehouse = Warehouse(contents, regions=settings.regions)

    def report(name: str, is_asked: bool, **options: Any) -> dict[str, Rows]:
        by_account = defaultdict(list)
        if is_asked:
            found = find_report(name)
            for row in warehouse.run(found.sql, bind(found, options)).to_pylist():
                by_account[row["account"]].append(row)
        return by_account

    def select(folder: str, name: str, is_asked: bool = True, **values: Any) -> dict[str, dict[str, Any]]:
        rows = warehouse.select(read_sql(folder, name), values).to_pylist() if is_asked else []
        return {row["account"]: row for row in rows}

    try:
        return _Figures(
            levels=select("checks", "snapshot_levels", old_seconds=old_seconds),
            orphans=select("metrics", "orphans", limits.orphaned_gib is not None),
            blind=select("checks", "blind_captures", asks_usage),
            usage=report("usage", asks_usage, by="month"),
            coverage=report("region-coverage", bool(limits.images_everywhere) or asks_releases),
            releases=report("releases", asks_releases),
        )
    finally:
        warehouse.close()


def _snapshots(settings: Settings, name: str, level: dict[str, Any]) -> Iterator[Row]:
    limits = settings.thresholds
    count, gib, before = level["snapshots"], level["gib"], level["week_before"]
    if count is None:
        seen = "unknown: the newest capture could not read /snapshots"
        for check in _OF_SNAPSHOTS:
            if getattr(limits, check) is not None:
                yield Row(check, name, "failed", seen, "snapshots that can be counted", _ACCESS.format("/snapshots"))
        return
    if limits.snapshots is not None:
        wanted = f"at most {counted(limits.snapshots, 'snapshot')}"
        yield held("snapshots", name, count <= limits.snapshots, counted(count, "snapshot"), wanted, _DELETE)
    if limits.gib is not None:
        wanted = f"at most {amount(limits.gib)} GiB"
        if gib is None:
            yield Row("gib", name, "skipped", "the size of no snapshot is known", wanted, _SIZES)
        else:
            yield held("gib", name, gib <= limits.gib, f"{amount(gib)} GiB{_and_unsized(level)}", wanted, _DELETE)
    if limits.cost_per_month is not None:
        yield _cost(settings, limits.cost_per_month, name, level)
    if limits.growth_pct_week is not None:
        wanted = f"at most {limits.growth_pct_week:g} % more than a week before"
        if not before:
            seen = f"{counted(count, 'snapshot')}, none a week before"
            if before is None:
                seen = "no capture that knows, 7 to 8 days before the newest"
            yield Row("growth_pct_week", name, "skipped", seen, wanted)
        else:
            growth = 100 * (count - before) / before
            seen = f"{growth:+.1f} %, from {before} to {counted(count, 'snapshot')}"
            advice = "`genesis-etl report snapshot-growth` shows the days"
            yield held("growth_pct_week", name, growth <= limits.growth_pct_week, seen, wanted, advice)
    if limits.snapshot_age is not None:
        wanted = f"none older than {span(limits.snapshot_age)}"
        oldest = "no snapshot"
        if level["oldest_at"] is not None:
            oldest = f"the oldest is {shown(level['oldest_name'])!r} of {format_time(level['oldest_at'])}"
        seen = f"{level['old']} older, {oldest}" if level["old"] else oldest
        yield held("snapshot_age", name, not level["old"], seen, wanted, _DELETE)


def _cost(settings: Settings, most: float, name: str, level: dict[str, Any]) -> Row:
    """Hold what the snapshots cost a month, were they to stay, against `most`; the price is that of the settings."""
    check, price = "cost_per_month", settings.price_gib_month
    unit = f" {shown(settings.currency)}" if settings.currency else ""
    wanted = f"at most {amount(most)}{unit} a month"
    if price is None:
        advice = "set price_gib_month, or take the threshold out"
        return Row(check, name, "failed", "unknown: no price of a GiB-month is set", wanted, advice)
    if level["gib"] is None:
        return Row(check, name, "skipped", "the size of no snapshot is known", wanted, _SIZES)
    cost = level["gib"] * price
    seen = f"{amount(cost)}{unit} a month for {amount(level['gib'])} GiB{_and_unsized(level)}"
    return held(check, name, not exceeds(cost, most), seen, wanted, _DELETE)


def _orphans(most: float, name: str, level: dict[str, Any], orphans: dict[str, Any] | None) -> Row:
    """Hold the GiB of snapshots whose instance is gone against `most`: those of `sources` with such an instance."""
    check, wanted = "orphaned_gib", f"at most {amount(most)} GiB of snapshots whose instance is gone"
    unread = None if level["is_known"] else "/snapshots"
    unread = unread or (None if level["has_instances"] else "/instances")
    if unread is not None or orphans is None:
        seen = f"unknown: the newest capture could not read {unread}"
        return Row(check, name, "failed", seen, wanted, _ACCESS.format(unread))
    snapshots = counted(orphans["snapshots"], "snapshot")
    if orphans["gib"] is None:
        return Row(check, name, "skipped", f"{snapshots}, none of known size", wanted, _SIZES)
    seen = f"{amount(orphans['gib'])} GiB in {snapshots}{_and_unsized(orphans)}"
    advice = "`genesis-etl report sources` names the instances; delete what is not needed, or raise the threshold"
    return held(check, name, orphans["gib"] <= most, seen, wanted, advice)


def _and_unsized(row: dict[str, Any]) -> str:
    return f", {row['unsized']} of unknown size" if row["unsized"] else ""


def _everywhere(name: str, kind: str, coverage: Rows, expected: tuple[str, ...]) -> Row:
    """Look for images of a type that a region lacks; a retired region need not have any, unless it is expected."""
    wanted = f"every image of type {shown(kind)} in every region"
    if not coverage:
        advice = "check the type in [thresholds]; `genesis-etl report region-coverage` lists them"
        return Row("images_everywhere", name, "failed", "no image of this type", wanted, advice)
    lost = [each["region"] for each in coverage if each["is_retired"] and each["region"] in expected]
    lacking = [each for each in coverage if not each["is_retired"] and each["images"] < each["of"]]
    told = [f"{region} lacks every image" for region in lost]
    for each in lacking:  # of snapshots the report names none
        names = each["missing_names"] or [counted(each["of"] - each["images"], "image")]
        told.append(f"{each['region']} lacks {shown(', '.join(names))}")
    seen = "; ".join(told)
    regions = sum(not each["is_retired"] for each in coverage)
    seen = seen or f"{counted(coverage[0]['of'], 'image')} in {counted(regions, 'region')}"
    advice = "`genesis-etl report region-coverage --matrix` shows which is where"
    return held("images_everywhere", name, not told, seen, wanted, advice)
