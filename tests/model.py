"""What every report and table has to say, counted capture by capture in plain Python.

Written from what the reports promise and not from their SQL, so that neither can repeat a mistake of the other. A
history maps each account to its captures in their order, (`captured_at`, `capture_id`); the options are those of the
reports, times as a user writes them.
"""

from __future__ import annotations

import itertools
import statistics
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

Row = dict[str, Any]
Images = dict[str, Row]

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
SHOWN = {"day": 90, "week": 13, "month": 12}
OTHERS = [
    *("created_at", "extra", "family", "os_type", "slug", "source_instance_id", "source_snapshot_id", "type"),
    *("updated_at", "versions"),
]


class Taken(NamedTuple):
    """A capture: when it began, its id, its rows of image × region, and what it took."""

    at: datetime
    id: str
    rows: list[Row]
    finished_at: datetime
    requests: int
    retries: int
    passes: int


History = dict[str, list[Taken]]


# --- times, as the options give them


def midnight(day: date) -> datetime:
    """Return the first instant of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def beginning(text: str | None) -> datetime | None:
    """Read --since: a day from its first instant on."""
    return None if text is None else datetime.fromisoformat(text if "T" in text else f"{text}T00:00Z")


def end_of(text: str | None) -> datetime | None:
    """Read --until: before an instant, or before the end of a day."""
    return None if text is None else datetime.fromisoformat(text) if "T" in text else beginning(text) + DAY  # type: ignore[operator]


def latest(text: str | None) -> datetime | None:
    """Read --as-of: up to an instant, or to the last of a day."""
    return None if text is None else datetime.fromisoformat(text) if "T" in text else end_of(text) - MOMENT  # type: ignore[operator]


def period_of(moment: datetime | date, by: str) -> date:
    """Return the first day of the period an instant or day lies in; weeks begin on Monday."""
    day = moment.date() if isinstance(moment, datetime) else moment
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[by]


def next_period(period: date, by: str) -> date:
    """Return the first day of the period after."""
    return period_of(period + timedelta(days={"day": 1, "week": 7, "month": 31}[by]), by)


def periods(last: date, by: str, since: str | None, until: str | None) -> list[date]:
    """Return the periods shown: those that overlap the range, without its begin so many before its end."""
    begin, end = beginning(since), end_of(until)
    if end is not None:
        last = min(last, period_of(end - MOMENT, by))
    found: list[date] = []
    period = last
    while (len(found) < SHOWN[by]) if begin is None else (midnight(next_period(period, by)) > begin):
        found.append(period)
        period = period_of(period - DAY, by)
    return found[::-1]


def accounts(history: History, account: str | None, as_of: str | None) -> Iterator[tuple[str, list[Taken]]]:
    """Yield the accounts asked for that have a capture by then, with their captures up to it."""
    end = latest(as_of)
    for name, every in sorted(history.items()):
        captures = [each for each in every if end is None or each.at <= end]
        if captures and account in (None, name):
            yield name, captures


def images_of(rows: list[Row], type: str | None = None) -> dict[str, tuple[Row, set[str]]]:
    """Return the images of a capture (of one type), each with its regions; but for these all its rows are the same."""
    found: dict[str, tuple[Row, set[str]]] = {}
    for row in rows:
        if type in (None, row["type"]):
            found.setdefault(row["image_id"], (row, set()))[1].update({row["region"]} - {None})
    return found


def newest_of_families(images: dict[str, tuple[Row, set[str]]]) -> set[str]:
    """Return the ids of those made last of each type and family; one without a family is its own."""
    families: dict[tuple[str, str], tuple[datetime, str]] = {}
    for id, (row, _) in images.items():
        key = (row["type"], row["family"] or f"of {id} alone")
        families[key] = max(families.get(key, (row["created_at"], id)), (row["created_at"], id))
    return {id for _, id in families.values()}


# --- snapshot-growth


def growth(
    history: History,
    *,
    account: str | None = None,
    region: str | None = None,
    per_region: bool = False,
    total: bool = False,
    type: str = "snapshot",
    since: str | None = None,
    until: str | None = None,
    by: str = "day",
    as_of: str | None = None,
    price: float | None = None,
) -> list[Row]:
    """Count presences: what a capture holds and the one before does not came, what it does not and that did went."""
    asked = dict(accounts(history, account, as_of))
    found: list[Row] = []
    for group in [list(asked)] if total and asked else [[name] for name in asked]:
        every = [asked[name] for name in group]
        shown = periods(period_of(max(captures[-1].at for captures in every), by), by, since, until)
        series: dict[str | None, list[list[Row]]] = defaultdict(list)
        for captures in every:
            scopes: dict[str | None, list[Images]] = defaultdict(lambda: [{} for _ in captures])  # noqa: B023
            if region is None and not per_region:
                scopes[None] = [{} for _ in captures]
            for index, capture in enumerate(captures):
                for row in capture.rows:
                    place = row["region"] or "(none)"
                    if row["type"] == type and region in (None, place):
                        scopes[place if per_region or region else None][index][row["image_id"]] = row
            for place, states in scopes.items():
                series[place].append(list(_levels(captures, states, shown, by)))
        moments = [[period_of(each.at, by) for each in captures] for captures in every]
        for place, each in series.items():
            for row in _finished(list(zip(*each, strict=True)), moments, price):
                found.append({"account": None if total else group[0], "region": place, **row})
    return sorted(found, key=lambda row: (row["account"] or "", row["period"], row["region"] or ""))


Level = tuple[int, Decimal | None]


def _levels(captures: list[Taken], states: list[Images], shown: list[date], by: str) -> Iterator[Row]:
    """Yield the periods of one account and region: what came and went, number and GiB before and after each."""
    times = [capture.at for capture in captures]
    came = Counter(period_of(min(times[0], row["created_at"]), by) for row in states[0].values())
    went: Counter[date] = Counter()
    for (before, _), (state, moment) in itertools.pairwise(zip(states, times, strict=True)):
        came[period_of(moment, by)] += len(state.keys() - before.keys())
        went[period_of(moment, by)] += len(before.keys() - state.keys())
    weights: dict[int, Decimal | None] = {}

    def level(day: date) -> Level:
        """Return the number and GiB of what there was just before a day began."""
        index = bisect_left(times, midnight(day)) - 1
        if index < 0:
            born = [row for row in states[0].values() if row["created_at"] < midnight(day)]
            return len(born), gib_of(born)
        if index not in weights:
            weights[index] = gib_of(list(states[index].values()))
        return len(states[index]), weights[index]

    for period in shown:
        opening, closing = level(period), level(next_period(period, by))
        yield {"period": period, "created": came[period], "deleted": went[period], "before": opening, "after": closing}


def _together(levels: list[Level]) -> Level:
    """Add up levels; GiB that are not known are left out, where there are others."""
    count = sum(each for each, _ in levels)
    known = [gib for each, gib in levels if each and gib is not None]
    return count, sum(known, Decimal(0)) if known or not count else None


def _finished(rows: list[tuple[Row, ...]], moments: list[list[date]], price: float | None) -> Iterator[Row]:
    """Yield the rows of a series, of each account one; `moments` are the periods of each account's captures."""
    firsts, newest = [each[0] for each in moments], max(each[-1] for each in moments)
    captured = set(itertools.chain(*moments))
    for of_accounts in rows:
        period = of_accounts[0]["period"]
        opening, gib_before = _together([row["before"] for row in of_accounts])
        closing, gib = _together([row["after"] for row in of_accounts])
        is_partial = min(firsts) <= period <= max(firsts)
        seen = "partial" if is_partial else "observed" if period in captured else "gap"
        net = closing - opening
        yield {
            "period": period,
            "opening": opening,
            "created": sum(row["created"] for row in of_accounts),
            "deleted": sum(row["deleted"] for row in of_accounts),
            "closing": closing,
            "net": net,
            "growth_pct": 100 * net / opening if opening and not is_partial else None,
            "gib_closing": None if gib is None else float(gib),
            "gib_net": None if gib is None or gib_before is None else float(gib - gib_before),
            "cost_per_month": None if gib is None or price is None else float(gib) * price,
            "basis": "created_at" if period < min(firsts) else seen,
            "is_complete": period < newest,
        }


def gib_of(rows: list[Row]) -> Decimal | None:
    """Return the GiB of images whose size is known; none if no size is, 0 without images."""
    sizes = [Decimal(str(row["size_gib"])) for row in rows if row["size_gib"] is not None]
    return None if rows and not sizes else sum(sizes, Decimal(0))


# --- usage


def usage(
    history: History,
    *,
    account: str | None = None,
    region: str | None = None,
    per_region: bool = False,
    per_source: bool = False,
    total: bool = False,
    since: str | None = None,
    until: str | None = None,
    by: str = "month",
    as_of: str | None = None,
    price: float | None = None,
) -> list[Row]:
    """Let every capture's snapshots stand until the next capture, and cut that time at the ends of days."""
    asked = dict(accounts(history, account, as_of))
    found: list[Row] = []
    for group in [list(asked)] if total and asked else [[name] for name in asked]:
        used: dict[tuple[date, Any, Any], Fraction] = defaultdict(Fraction)
        there: dict[tuple[date, Any, Any], set[tuple[str, str]]] = defaultdict(set)
        sized: set[tuple[date, Any, Any]] = set()
        scopes: set[tuple[Any, Any]] = set() if per_region or per_source or region else {(None, None)}
        for name in group:
            captures = asked[name]
            for capture, after in zip(captures, [*captures[1:], captures[-1]], strict=True):
                held: dict[tuple[Any, Any], dict[str, float | None]] = defaultdict(dict)
                for row in capture.rows:
                    place = row["region"] or "(none)"
                    if row["type"] == "snapshot" and region in (None, place):
                        source = row["source_instance_id"] if per_source else None
                        held[place if per_region or region else None, source][row["image_id"]] = row["size_gib"]
                scopes |= held.keys() if not per_source else set()
                for day, share in _shares(capture.at, after.at):
                    for scope, sizes in held.items():
                        cell = (period_of(day, by), *scope)
                        known = [Fraction(str(size)) for size in sizes.values() if size is not None]
                        used[cell] += sum(known) * share
                        there[cell] |= {(name, id) for id in sizes}
                        sized |= {cell} if known else set()
        firsts = [period_of(asked[name][0].at, by) for name in group]
        newest = max(period_of(asked[name][-1].at, by) for name in group)
        captured = {period_of(each.at, by) for name in group for each in asked[name]}
        for period in periods(newest, by, since, until):
            if period < min(firsts):
                continue
            of_period = {cell[1:] for cell in there if cell[0] == period} | scopes
            for place, source in sorted(of_period, key=lambda each: [(part is None, part or "") for part in each]):
                cell = (period, place, source)
                gib = None if there[cell] and cell not in sized else round(float(used[cell]), 9)
                found.append(
                    {
                        "account": None if total else group[0],
                        "period": period,
                        "region": place,
                        "source_instance_id": source,
                        "gib_months": gib,
                        "cost": None if gib is None or price is None else gib * price,
                        "snapshots": len(there[cell]),
                        "basis": "partial" if period <= max(firsts) else "observed" if period in captured else "gap",
                        "is_complete": period < newest,
                    }
                )
    return found


def _shares(begin: datetime, end: datetime) -> Iterator[tuple[date, Fraction]]:
    """Yield the days from a capture to the next, each with how much of its month passed there; none, if it is none."""
    day = begin.date()
    while begin.date() == day or midnight(day) < end:
        month = next_period(day.replace(day=1), "month") - day.replace(day=1)
        passed = max(min(end, midnight(day + DAY)) - max(begin, midnight(day)), timedelta())
        yield day, Fraction(passed // MOMENT, month // MOMENT)
        day += DAY


# --- region-coverage


def coverage(
    history: History,
    *,
    expected: tuple[str, ...] = (),
    account: str | None = None,
    region: str | None = None,
    type: str | None = None,
    newest_of_family: bool = False,
    since: str | None = None,
    until: str | None = None,
    as_of: str | None = None,
) -> list[Row]:
    """Look for every image of the last capture of the range in every region that the range has seen."""
    found: list[Row] = []
    end = end_of(until)
    for name, every in accounts(history, account, as_of):
        captures = [each for each in every if end is None or each.at < end]
        if not captures:
            continue
        last = every[-1].at if end is None else min(every[-1].at, end - MOMENT)
        begin = beginning(since) or midnight(last.date() - timedelta(days=89))
        regions = {row["region"] for each in captures if each.at >= begin for row in each.rows} | set(expected)
        first_seen: dict[tuple[str, str], datetime] = {}
        for capture in captures:
            for row in capture.rows:
                first_seen.setdefault((row["type"], row["region"]), capture.at)
        ever = {place for _, place in first_seen}
        now = captures[-1].rows
        alive = {row["region"] for row in now}
        for kind in sorted({row["type"] for row in now} if type is None else {type}):
            images = images_of(now, kind)
            if newest_of_family:
                images = {id: images[id] for id in sorted(newest_of_families(images))}
            for place in sorted(regions - {None}):
                if not images or region not in (None, place):
                    continue
                lacking = sorted(row["name"] for row, places in images.values() if place not in places)
                is_retired = place in ever - alive
                is_told = kind != "snapshot" and not is_retired
                found.append(
                    {
                        "account": name,
                        "type": kind,
                        "region": place,
                        "images": len(images) - len(lacking),
                        "of": len(images),
                        "coverage_pct": 100 * (len(images) - len(lacking)) / len(images),
                        "missing": len(lacking) if is_told else None,
                        "missing_names": lacking if is_told else None,
                        "first_seen": first_seen.get((kind, place)),
                        "is_retired": is_retired,
                    }
                )
    return found


def releases(history: History, **options: Any) -> list[Row]:
    """Follow every image of the last capture of the range through the captures, region by region."""
    every_type = {**options, "region": None, "type": None}
    counted = {(row["account"], row["region"]): row["is_retired"] for row in coverage(history, **every_type)}
    found: list[Row] = []
    end = end_of(options.get("until"))
    for name, every in accounts(history, options.get("account"), options.get("as_of")):
        captures = [each for each in every if end is None or each.at < end]
        living = images_of(captures[-1].rows) if captures else {}
        newest = newest_of_families(living)
        old = {row["image_id"] for row in captures[0].rows} if captures else set()
        seen: dict[tuple[str, str | None], datetime | None] = {}
        for capture in captures:
            for row in capture.rows:
                if row["region"] is not None:
                    moment = None if capture is captures[0] else capture.at
                    seen.setdefault((row["image_id"], row["region"]), moment)
                    seen.setdefault((row["image_id"], None), moment)
        for id, (row, places) in sorted(
            living.items(), key=lambda each: (each[1][0]["type"], each[1][0]["name"], each[0])
        ):
            for place in sorted(region for account, region in counted if account == name):
                if row["type"] == "snapshot" or options.get("type") not in (None, row["type"]):
                    continue
                if options.get("region") not in (None, place):
                    continue
                released, reached = None if id in old else seen.get((id, None)), seen.get((id, place))
                found.append(
                    {
                        "account": name,
                        "type": row["type"],
                        "image_id": id,
                        "region": place,
                        "name": row["name"],
                        "family": row["family"],
                        "is_newest_of_family": id in newest,
                        "created_at": row["created_at"],
                        "released_at": released,
                        "reached_at": reached,
                        "days_to_region": (reached - released) / DAY if released and reached else None,
                        "is_missing": None if counted[name, place] else place not in places,
                    }
                )
    return found


def coverage_history(
    history: History,
    *,
    expected: tuple[str, ...] = (),
    account: str | None = None,
    region: str | None = None,
    type: str | None = None,
    since: str | None = None,
    until: str | None = None,
    by: str = "day",
    as_of: str | None = None,
) -> list[Row]:
    """Look into the last capture of every period, or that before it, for types and regions of the whole range."""
    found: list[Row] = []
    for name, captures in accounts(history, account, as_of):
        first, newest = (period_of(captures[index].at, by) for index in (0, -1))
        shown = [period for period in periods(newest, by, since, until) if period >= first]
        states: dict[date, list[Taken]] = {}
        for period in shown:
            own = [each for each in captures if period_of(each.at, by) == period]
            states[period] = own or [each for each in captures if period_of(each.at, by) < period][-1:]
        looked_at = [row for every in states.values() for each in every for row in each.rows]
        kinds = {row["type"] for row in looked_at} - {"snapshot"} if type is None else {type} - {"snapshot"}
        kinds &= {row["type"] for row in looked_at}
        places = {row["region"] for row in looked_at} | set(expected)
        for period in shown:
            last = states[period][-1]
            for kind in sorted(kinds):
                images = images_of(last.rows, kind)
                for place in sorted(places - {None}):
                    if region not in (None, place):
                        continue
                    there = sum(place in own for _, own in images.values())
                    found.append(
                        {
                            "account": name,
                            "period": period,
                            "type": kind,
                            "region": place,
                            "images": there,
                            "of": len(images),
                            "coverage_pct": 100 * there / len(images) if images else None,
                            "basis": "observed" if period_of(last.at, by) == period else "gap",
                        }
                    )
    return found


def matrix(history: History, **options: Any) -> list[Row]:
    """Tell for every image and every region that coverage names whether it is there."""
    regions = sorted({row["region"] for row in coverage(history, **options)})
    end = end_of(options.get("until"))
    found: list[Row] = []
    for name, every in accounts(history, options.get("account"), options.get("as_of")):
        for capture in [each for each in every if end is None or each.at < end][-1:]:
            images = images_of(capture.rows, options.get("type"))
            newest = newest_of_families(images)
            for id, (row, places) in images.items():
                if options.get("newest_of_family") and id not in newest:
                    continue
                cells = {place: place in places for place in regions}
                found.append({"account": name, "type": row["type"], "image_id": id, "name": row["name"], **cells})
    return sorted(found, key=lambda row: (row["account"], row["type"], row["name"], row["image_id"]))


# --- changes


def changes(
    history: History,
    *,
    account: str | None = None,
    region: str | None = None,
    type: str | None = None,
    since: str | None = None,
    until: str | None = None,
    as_of: str | None = None,
) -> list[Row]:
    """Compare every capture of the range with the one before it, image by image."""
    found: list[Row] = []
    begin, end = beginning(since), end_of(until)
    for name, captures in accounts(history, account, as_of):
        newest = captures[-1].at
        for before, capture in itertools.pairwise(captures):
            if begin is not None:
                is_shown = capture.at >= begin
            elif end is not None and end <= newest:
                is_shown = capture.at >= end - DAY
            else:
                is_shown = capture.at > newest - DAY
            if not is_shown or (end is not None and capture.at >= end):
                continue
            rows = differences(before.rows, capture.rows)
            rows.sort(key=lambda row: (row["change"], row["name"], row["image_id"], row["region"] or ""))
            for row in rows:
                places = row.pop("places")
                places = {row["region"]} if row["region"] else places
                if region in (None, *places) and type in (None, row["type"]):
                    found.append({"account": name, "captured_at": capture.at, "previous_captured_at": before.at, **row})
    return found


def differences(earlier: list[Row], later: list[Row]) -> list[Row]:
    """Compare two captures; `places` are the regions that an image is or was in."""
    old, new = images_of(earlier), images_of(later)
    found: list[tuple[Any, ...]] = []
    for id in old.keys() | new.keys():
        if id not in old:
            found.append(("appeared", id, None, None, listed(new[id][1])))
            continue
        if id not in new:
            found.append(("disappeared", id, None, listed(old[id][1]), None))
            continue
        (was, were), (now, are) = old[id], new[id]
        if was is now and were == are:
            continue
        start = len(found)
        found += [("region_added", id, place, None, place) for place in are - were]
        found += [("region_removed", id, place, place, None) for place in were - are]
        if was["name"] != now["name"]:
            found.append(("renamed", id, None, was["name"], now["name"]))
        if was["size_gib"] != now["size_gib"]:
            found.append(("resized", id, None, gib(was["size_gib"]), gib(now["size_gib"])))
        if was["status"] != now["status"]:
            found.append(("status_changed", id, None, was["status"], now["status"]))
        if was["source_instance_exists"] is True and now["source_instance_exists"] is False:
            found.append(("source_gone", id, None, was["source_instance_name"], None))
        fields = [field for field in OTHERS if was[field] != now[field]]
        # An update that only dates another change is none of its own.
        if fields and (fields != ["updated_at"] or len(found) == start):
            found.append(("updated", id, None, None, ", ".join(fields)))
    rows = []
    for change, id, place, before, after in found:
        image = (new.get(id) or old[id])[0]
        places = set().union(*(side[id][1] or {"(none)"} for side in (old, new) if id in side))
        row = {"change": change, "image_id": id, "name": image["name"], "type": image["type"]}
        rows.append({**row, "region": place, "before": before, "after": after, "places": places})
    return rows


def listed(regions: set[str]) -> str:
    """Write the regions of an image."""
    return ", ".join(sorted(regions)) or "(none)"


def gib(size: float | None) -> str | None:
    """Write a size."""
    return None if size is None else f"{size:.9f}".rstrip("0").rstrip(".")


# --- stale-snapshots, capture-health


def stale(
    history: History,
    *,
    older_than: timedelta,
    account: str | None = None,
    region: str | None = None,
    as_of: str | None = None,
    price: float | None = None,
) -> list[Row]:
    """Look at the age of every snapshot of the newest capture."""
    found: list[Row] = []
    for name, captures in accounts(history, account, as_of):
        now = latest(as_of) or captures[-1].at
        living = images_of(captures[-1].rows, "snapshot")
        copies = Counter(row["source_snapshot_id"] for row, _ in living.values())
        last_names = {
            row["source_instance_id"]: row["source_instance_name"]
            for capture in captures
            for row in capture.rows
            if row["source_instance_name"] is not None
        }
        newest: dict[str, datetime] = {}
        for row, _ in living.values():
            source = row["source_instance_id"]
            newest[source] = max(newest.get(source, row["created_at"]), row["created_at"])
        for id, (row, places) in living.items():
            age = now - row["created_at"]
            if age <= older_than or region not in (None, *(places or {"(none)"})):
                continue
            source, size = row["source_instance_id"], row["size_gib"]
            found.append(
                {
                    "account": name,
                    "image_id": id,
                    "name": row["name"],
                    "created_at": row["created_at"],
                    "age_days": age // DAY,
                    "size_gib": size,
                    "cost_per_month": None if size is None or price is None else size * price,
                    "regions": sorted(places),
                    "source_instance_id": source,
                    "source_instance_name": last_names.get(source)
                    if row["source_instance_exists"] is False
                    else row["source_instance_name"],
                    "source_instance_exists": row["source_instance_exists"],
                    "copies": copies[id],
                    "is_newest_of_source": None if source is None else row["created_at"] == newest[source],
                }
            )
    return sorted(found, key=lambda row: (row["account"], row["created_at"], row["image_id"]))


def sources(
    history: History, *, account: str | None = None, as_of: str | None = None, price: float | None = None
) -> list[Row]:
    """Sort the snapshots of the newest capture by their instance, and those of the last one 30 days before it."""
    found: list[Row] = []
    for name, captures in accounts(history, account, as_of):
        begin = (latest(as_of) or captures[-1].at) - 30 * DAY
        by_source: dict[str | None, list[Row]] = defaultdict(list)
        for row, _ in images_of(captures[-1].rows, "snapshot").values():
            by_source[row["source_instance_id"]].append(row)
        then: dict[str | None, list[Row]] | None = None
        for capture in captures:
            if capture.at <= begin:
                then = defaultdict(list)
                for row, _ in images_of(capture.rows, "snapshot").values():
                    then[row["source_instance_id"]].append(row)
        for source, every in sorted(by_source.items(), key=lambda each: (each[0] is None, each[0] or "")):
            exists, title = every[0]["source_instance_exists"], every[0]["source_instance_name"]
            if exists is False:
                for row in (row for capture in captures for row in capture.rows):
                    if row["source_instance_id"] == source and row["source_instance_name"] is not None:
                        title = row["source_instance_name"]
            made = sorted(row["created_at"] for row in every)
            apart = [(after - before) // MOMENT for before, after in itertools.pairwise(made)]
            size = gib_of(every)
            before = None if then is None else gib_of(then[source])
            found.append(
                {
                    "account": name,
                    "source_instance_id": source,
                    "source_instance_name": title,
                    "source_instance_exists": exists,
                    "snapshots": len(every),
                    "size_gib": None if size is None else float(size),
                    "cost_per_month": None if size is None or price is None else float(size) * price,
                    "oldest_at": made[0],
                    "newest_at": made[-1],
                    "cadence_hours": statistics.median(apart) / 3.6e9 if apart else None,
                    "gib_net_30d": None if size is None or before is None else float(size - before),
                }
            )
    return found


def retention(
    history: History,
    *,
    keep: tuple[timedelta, ...] = tuple(days * DAY for days in (7, 14, 30, 60, 90, 180, 365)),
    account: str | None = None,
    total: bool = False,
    as_of: str | None = None,
    price: float | None = None,
) -> list[Row]:
    """Go through the snapshots of every instance that are older than what is kept, and leave its newest."""
    asked = dict(accounts(history, account, as_of))
    found: list[Row] = []
    for group in [list(asked)] if total and asked else [[name] for name in asked]:
        for days in sorted(set(keep)):
            freed: list[Row] = []
            kept: list[Row] = []
            for name in group:
                now = latest(as_of) or asked[name][-1].at
                instances: dict[str, list[Row]] = defaultdict(list)
                for row, _ in images_of(asked[name][-1].rows, "snapshot").values():
                    if row["source_instance_id"] is not None:
                        instances[row["source_instance_id"]].append(row)
                for every in instances.values():
                    newest = max(row["created_at"] for row in every)
                    for row in every:
                        if now - row["created_at"] > days:
                            (kept if row["created_at"] == newest else freed).append(row)
            size, stays = gib_of(freed), gib_of(kept)
            found.append(
                {
                    "account": None if total else group[0],
                    "keep": days // DAY,
                    "snapshots": len(freed),
                    "size_gib": None if size is None else float(size),
                    "cost_per_month": None if size is None or price is None else float(size) * price,
                    "kept_as_newest": len(kept),
                    "kept_gib": None if stays is None else float(stays),
                }
            )
    return found


def health(
    history: History,
    *,
    account: str | None = None,
    since: str | None = None,
    until: str | None = None,
    as_of: str | None = None,
) -> list[Row]:
    """Sum up the captures of every day of the range, and look for the longest gap that touches it."""
    found: list[Row] = []
    for name, captures in accounts(history, account, as_of):
        end = end_of(until)
        last = captures[-1].at.date() if end is None else (end - MOMENT).date()
        gaps = [(one.at, other.at) for one, other in itertools.pairwise(captures)]
        days: dict[date, list[Taken]] = defaultdict(list)
        for capture in captures:
            days[capture.at.date()].append(capture)
        for day in periods(last, "day", since, until):
            own = days[day]
            longest = max((b - a for a, b in gaps if a.date() <= day <= b.date()), default=None)
            took = sum(((each.finished_at - each.at) for each in own), timedelta())
            found.append(
                {
                    "account": name,
                    "day": day,
                    "captures": len(own),
                    "longest_gap": None if longest is None else longest.total_seconds(),
                    "requests": sum(each.requests for each in own),
                    "retries": sum(each.retries for each in own),
                    "passes": sum(each.passes for each in own),
                    "seconds": took.total_seconds(),
                    "rows": sum(len(each.rows) for each in own),
                }
            )
    return found


# --- the tables


def images(history: History) -> list[Row]:
    """Return the rows of each account's newest capture."""
    return image_regions({name: captures[-1:] for name, captures in history.items()})


def image_regions(history: History) -> list[Row]:
    """Return the rows of every capture."""
    return [
        {"account": name, "capture_id": capture.id, "captured_at": capture.at, **row}
        for name, captures in history.items()
        for capture in captures
        for row in capture.rows
    ]


def image_history(history: History) -> list[Row]:
    """Return every unbroken run of captures that hold the same row; null is null, `[]` is not."""
    found: list[Row] = []
    for name, captures in history.items():
        keys: dict[int, str] = {}
        going: dict[str, Row] = {}
        for capture in captures:
            before, going = going, {}
            for row in capture.rows:
                key = keys.get(id(row)) or keys.setdefault(id(row), repr(sorted(row.items())))
                going[key] = before.pop(key, None) or {"account": name, "first_seen": capture.at, **row}
                going[key]["last_seen"] = capture.at
            found += [{**run, "gone_at": capture.at} for run in before.values()]
        found += [{**run, "gone_at": None} for run in going.values()]
    return found


def region_days(history: History) -> list[Row]:
    """Count, for every day from the first capture to the newest, what the day's last capture holds, or the one before.

    A type and region has a row from the day on which any capture holds it, and a type its total, 0 where none are left.
    """
    found: list[Row] = []
    for name, captures in history.items():
        seen: set[tuple[str, str | None]] = set()
        level: dict[tuple[str, str | None], dict[str, Row]] = {}
        day = captures[0].at.date()
        while day <= captures[-1].at.date():
            own = [capture for capture in captures if capture.at.date() == day]
            for capture in own:
                level = defaultdict(dict)
                for row in capture.rows:
                    level[row["type"], row["region"] or "(none)"][row["image_id"]] = row
                    level[row["type"], None][row["image_id"]] = row
                seen |= level.keys()
            for type, region in seen:
                there = list(level.get((type, region), {}).values())
                gib = gib_of(there)
                found.append(
                    {
                        "account": name,
                        "day": day,
                        "type": type,
                        "region": region,
                        "images": len(there),
                        "size_gib": None if gib is None else float(gib),
                        "basis": "observed" if own else "gap",
                    }
                )
            day += DAY
    return found
