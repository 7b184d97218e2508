"""Looks for releases that a region still lacks after the days that they may take, as `releases` tells them."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any, Final

from genesis_etl.checks.rows import Row, held, span
from genesis_etl.text import counted, shown

_CHECK: Final = "days_to_region"
_ADVICE: Final = "`genesis-etl report releases` shows what came where, and after how many days"


def check_releases(
    most: float, name: str, releases: list[dict[str, Any]], coverage: list[dict[str, Any]], newest_at: datetime
) -> Row:
    """Look for releases that a region still lacks more than `most` days after they came out, or the region opened.

    One that came late is told and is over: nothing that anyone could do now would end a failure that lasted longer.
    Nor does a region wait for what a newer release of its family, which it has, replaced. Of an image that was there
    before the first capture nobody knows when it came out; those that a region lacks are counted apart.
    """
    wanted = f"every release in every region within {most:g} days"
    opened = _opened(coverage)
    late: dict[str, list[tuple[timedelta, str]]] = defaultdict(list)
    waiting: list[timedelta] = []
    unknown = set()
    for row in _lacking(releases):
        if row["released_at"] is None:
            unknown.add(row["image_id"])
            continue
        waited = newest_at - max(row["released_at"], opened.get(row["region"], row["released_at"]))
        waiting.append(waited)
        if waited > timedelta(days=most):
            late[row["region"]].append((waited, row["name"]))
    told = [f"{region} lacks {_named(images)}" for region, images in late.items()]
    if not told:
        told = [_slowest(releases)]
        if waiting:
            told.append(f"{len(waiting)} still to come, for {span(max(waiting))} at most")
        if unknown:
            told.append(f"{counted(len(unknown), 'image')} of before the first capture not everywhere")
    return held(_CHECK, name, not late, "; ".join(told), wanted, _ADVICE)


def _lacking(releases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of what is missing where no newer release of its family is; one without a family is its own."""
    newest_there: dict[tuple[str, str, str], tuple[datetime, str]] = {}
    for row in releases:
        if row["is_missing"] is False and row["family"]:
            key = (row["type"], row["family"], row["region"])
            newest_there[key] = max(newest_there.get(key, _age(row)), _age(row))
    return [
        row
        for row in releases
        if row["is_missing"] and newest_there.get((row["type"], row["family"], row["region"]), _age(row)) <= _age(row)
    ]


def _age(row: dict[str, Any]) -> tuple[datetime, str]:
    return row["created_at"], row["image_id"]


def _opened(coverage: list[dict[str, Any]]) -> dict[str, datetime]:
    """Return when each region was first seen with an image."""
    seen = ((each["first_seen"], each["region"]) for each in coverage if each["first_seen"] is not None)
    return {region: at for at, region in sorted(seen, reverse=True)}


def _named(images: list[tuple[timedelta, str]]) -> str:
    """Return the names, the one that has waited longest first, each with how long."""
    return shown(", ".join(f"{name} for {span(waited)}" for waited, name in sorted(images, reverse=True)))


def _slowest(releases: list[dict[str, Any]]) -> str:
    """Tell of the release that took longest to a region, of all that were seen to come."""
    arrived = [row for row in releases if row["days_to_region"] is not None]
    if not arrived:
        return "no release has come since the first capture"
    row = max(arrived, key=lambda row: row["days_to_region"])
    return f"the slowest took {span(timedelta(days=row['days_to_region']))}, {shown(row['name'])!r} to {row['region']}"
