"""Holds the newest capture of every account against the thresholds of the settings, a row per threshold that is set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from genesis_etl.checks.rows import Row, row_of_error, span
from genesis_etl.errors import LakeError
from genesis_etl.lake.contents import Contents
from genesis_etl.query.binding import bind
from genesis_etl.query.report import find_report
from genesis_etl.query.sources import read_sql
from genesis_etl.query.warehouse import Warehouse
from genesis_etl.settings import Settings
from genesis_etl.text import counted, shown
from genesis_etl.times import format_time


def check_thresholds(settings: Settings, contents: Contents, watched: list[str]) -> Iterator[Row]:
    """Hold the newest capture of every account against the thresholds that are set."""
    limits = settings.thresholds
    age = limits.snapshot_age
    warehouse = Warehouse(contents, regions=settings.regions)
    try:
        sql = read_sql("checks", "snapshot_levels")
        levels = warehouse.select(sql, {"old_seconds": None if age is None else int(age.total_seconds())}).to_pylist()
        report = find_report("region-coverage")
        coverage = warehouse.run(report.sql, bind(report, {})).to_pylist()
    except LakeError as error:
        yield row_of_error("thresholds", None, "readable captures", error)
        return
    finally:
        warehouse.close()
    level = {each["account"]: each for each in levels}
    covered = defaultdict(list)
    for each in coverage:
        covered[each["account"], each["type"]].append(each)
    damaged = {damage.account for damage in contents.damage}
    for name in watched:
        if name in damaged or name not in level:
            if limits != type(limits)():
                seen = "captures are damaged" if name in damaged else "no capture yet"
                yield Row("thresholds", name, "skipped", seen, "readable captures", "see the rows verify and freshness")
            continue
        yield from _snapshots(settings, name, level[name])
        for kind in limits.images_everywhere:
            yield _everywhere(name, kind, covered[name, kind], settings.regions)


def _snapshots(settings: Settings, name: str, level: dict[str, Any]) -> Iterator[Row]:
    limits = settings.thresholds
    count, gib, before = level["snapshots"], level["gib"], level["week_before"]
    if count is None:
        for check in ("snapshots", "gib", "growth_pct_week", "snapshot_age"):
            if getattr(limits, check) is not None:
                seen = "unknown: the newest capture could not read /snapshots"
                advice = "give the token access to /snapshots, or take the threshold out"
                yield Row(check, name, "failed", seen, "snapshots that can be counted", advice)
        return
    delete = "delete those that are not needed, or raise the threshold"
    if limits.snapshots is not None:
        wanted = f"at most {counted(limits.snapshots, 'snapshot')}"
        yield _row("snapshots", name, count <= limits.snapshots, counted(count, "snapshot"), wanted, delete)
    if limits.gib is not None:
        wanted = f"at most {limits.gib:,g} GiB"
        if gib is None:
            yield Row("gib", name, "skipped", "the size of no snapshot is known", wanted)
        else:
            unsized = f", {level['unsized']} of unknown size" if level["unsized"] else ""
            yield _row("gib", name, gib <= limits.gib, f"{gib:,.10g} GiB{unsized}", wanted, delete)
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
            yield _row("growth_pct_week", name, growth <= limits.growth_pct_week, seen, wanted, advice)
    if limits.snapshot_age is not None:
        wanted = f"none older than {span(limits.snapshot_age)}"
        oldest = "no snapshot"
        if level["oldest_at"] is not None:
            oldest = f"the oldest is {shown(level['oldest_name'])!r} of {format_time(level['oldest_at'])}"
        seen = f"{level['old']} older, {oldest}" if level["old"] else oldest
        yield _row("snapshot_age", name, not level["old"], seen, wanted, delete)


def _everywhere(name: str, kind: str, coverage: list[dict[str, Any]], expected: tuple[str, ...]) -> Row:
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
    return _row("images_everywhere", name, not told, seen, wanted, advice)


def _row(check: str, account: str, is_ok: bool, seen: str, wanted: str, advice: str) -> Row:
    return Row(check, account, "ok", seen, wanted) if is_ok else Row(check, account, "failed", seen, wanted, advice)
