"""Lives of accounts, drawn from a seed: mostly small and spiteful, some as large as a real account's.

A life is what an account held at each of its captures. It is landed in the order of time or not, compacted in the
middle or not, beside other accounts in the lake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from genesis_etl.lake.commit import Capture
from genesis_etl.lake.lake import Lake
from genesis_etl.maintenance.compact import compact, compact_account
from tests.histories import at, land, land_compacted, row
from tests.model import DAY, MOMENT, History, Row, Taken

REGIONS = ("R1", "R2", "R3", "R4")
TYPES = ("snapshot",) * 5 + ("base-os", "base-os", "cloud-image", "preconfigured")
STARTS = (
    *(at("2025-12-30 22:00"), at("2026-12-31 23:58"), at("2026-02-27 12:00")),
    *(at("2026-10-05"), at("2026-11-01 00:00"), at("2027-01-03 23:59")),
)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
PACES: dict[str, list[timedelta]] = {
    "seconds": [SECOND, 7 * SECOND, 59 * SECOND, MOMENT],
    "hours": [HOUR, HOUR, HOUR + SECOND, 5 * HOUR],
    "days": [DAY, DAY, 12 * HOUR, 2 * DAY],
    "wild": [SECOND, 20 * 60 * SECOND, HOUR, 13 * HOUR, DAY, 3 * DAY, 7 * DAY, 24 * DAY],
}
# What an image may have in each field; the first is what most have.
VALUES: dict[str, tuple[Any, ...]] = {
    "size_gib": (80.0, None, None, 0.0, 0.1, 2.5, 1000.125),
    "status": ("created", None, "creating", "error"),
    "updated_at": (None, at("2026-10-05"), at("2026-10-06 01:02:03.000004")),
    "versions": (None, [], ["1"], ["1", "2"]),
    "family": ("ubuntu", None, ""),
    "extra": (None, '{"a":1}', '{"a":[2]}'),
    "os_type": ("linux", None),
    "slug": (None, "s"),
    "source_instance_id": ("vm1", "vm2", None),
    "source_snapshot_id": (None, "i0", "i1"),
}
INSTANCES = ("vm1", "vm2")


@dataclass
class Life:
    """An account: its captures, which of them land late, and after which landings it is compacted."""

    captures: list[tuple[datetime, list[Row]]]
    late: set[int] = field(default_factory=set)
    compactions: set[int] = field(default_factory=set)


@dataclass
class Image:
    """One image as it is now; `rows` are made again only when it has changed."""

    id: str
    regions: set[str]
    fields: dict[str, Any]
    rows: list[Row] = field(default_factory=list)


def draw(seed: int) -> dict[str, Life]:
    """Draw the accounts of a lake: of eighty, seventy hold small ones and a long or wide one; ten hold larger ones."""
    random = Random(seed)
    size = random.choices(("small", "middle", "large"), (70, 9, 1))[0]
    if size == "large":
        return {"one": draw_life(random, random.randint(30, 60), random.randint(100, 300))}
    if size == "middle":
        return {name: draw_life(random, random.randint(8, 30), random.randint(10, 60)) for name in ("one", "two")}
    lives = {
        f"a{n}": draw_life(random, random.randint(1, 10), random.randint(1, 6)) for n in range(random.randint(3, 7))
    }
    # What is wrong only where there is much of it is wrong at many captures of few images, or few of many.
    is_long = random.random() < 0.5
    shape = (
        (random.randint(25, 60), random.randint(1, 4)) if is_long else (random.randint(4, 9), random.randint(40, 80))
    )
    return {**lives, "long" if is_long else "wide": draw_life(random, *shape, is_steady=True)}


def draw_life(random: Random, captures: int, images: int, *, is_steady: bool = False) -> Life:
    """Draw one account of so many captures and at most so many images.

    Those of a steady one are snapshots of several regions that hardly change, but go and come back all the time.
    """
    moments = _moments(random, captures)
    births = [moments[0] - 400 * DAY, moments[0] - 3 * DAY, moments[0] - HOUR, moments[0], moments[0] + DAY]
    births += [random.choice(moments), datetime.combine(moments[0].date(), datetime.min.time(), moments[0].tzinfo)]
    pool = [_image(random, f"i{n}", births) for n in range(images)]
    living = {image.id for image in pool if random.random() < 0.7}
    churn = random.choice((0.0, 0.03) if is_steady else (0.0, 0.03, 0.15, 0.4))
    calm = 0.3 if is_steady else random.choice((0.2, 0.6, 0.9))
    if is_steady:
        living = {image.id for image in pool}
        for image in pool:
            image.fields["type"], image.regions = "snapshot", set(random.sample(REGIONS, random.choice((2, 3, 3, 4))))
            _write(image)
    states = []
    running = {id: id for id in INSTANCES if random.random() < 0.8}
    told: dict[tuple[int, Any, Any], tuple[Row, Row]] = {}
    for _ in moments:
        running = _run(random, running) if random.random() < 0.4 else running
        known = None if random.random() < churn / 2 else running  # a capture that could not read them
        for image in pool:
            if random.random() < churn:
                _change(random, image, births)
        for image in random.sample(pool, 0 if is_steady else min(len(pool), random.choice((0, 0, 1, 2)))):
            living ^= {image.id}
        there = [image for image in pool if image.id in living]
        if random.random() > calm:
            away = random.choice((1, len(there) // 2, len(there) // 2, len(there)))
            there = [image for image in there if image not in random.sample(there, min(away, len(there)))]
        states.append([_told(each, known, told) for image in there for each in image.rows])
    late = {n for n in range(captures - 1) if random.random() < random.choice((0.0, 0.2))}
    compactions = {n for n in range(captures) if random.random() < 1.5 / captures} if random.random() < 0.25 else set()
    return Life(list(zip(moments, states, strict=True)), late, compactions)


def _run(random: Random, running: dict[str, str]) -> dict[str, str]:
    """Delete, rename or make again an instance."""
    one = random.choice(INSTANCES)
    if one not in running:
        return {**running, one: one}
    if random.random() < 0.5:
        return {**running, one: random.choice((one, "web", "ü"))}
    return {other: name for other, name in running.items() if other != one}


def _told(row: Row, running: dict[str, str] | None, known: dict[tuple[int, Any, Any], tuple[Row, Row]]) -> Row:
    """Return a row with what a capture tells of its instance: nothing without one, or where it could read none.

    A row that says the same as before is the same one again; `known` keeps what was made, and of what.
    """
    source = row["source_instance_id"]
    if source is None or running is None:
        return row
    key = id(row), running.get(source), source in running
    if key not in known:
        known[key] = row, {**row, "source_instance_name": key[1], "source_instance_exists": key[2]}
    return known[key][1]


def _moments(random: Random, count: int) -> list[datetime]:
    pace = PACES[random.choice(list(PACES))]
    moment = random.choice(STARTS) + random.choice((timedelta(), HOUR, 30 * HOUR, 61 * SECOND))
    found = [moment]
    while len(found) < count:
        moment += random.choice(pace) if random.random() < 0.97 else timedelta()
        if random.random() < 0.1:  # the first or last instant of a day
            day = datetime.combine((moment + DAY).date(), datetime.min.time(), moment.tzinfo)
            moment = random.choice((day, day - MOMENT))
        found.append(moment)
    return sorted(found)


def _image(random: Random, id: str, births: list[datetime]) -> Image:
    fields: dict[str, Any] = {"type": random.choice(TYPES), "created_at": random.choice(births), "name": id}
    for name, values in VALUES.items():
        fields[name] = values[0] if random.random() < 0.7 else random.choice(values)
    image = Image(id, set(random.sample(REGIONS, random.choice((0, 1, 1, 2, 3, 4)))), fields)
    _write(image)
    return image


def _change(random: Random, image: Image, births: list[datetime]) -> None:
    """Rename, resize, move, retype or otherwise change an image; the value may be the one it had."""
    what = random.choice(("name", "size_gib", "size_gib", "regions", "regions", "type", "created_at", *VALUES))
    if what == "regions":
        image.regions = set() if random.random() < 0.1 else image.regions ^ {random.choice(REGIONS)}
    elif what == "name":
        image.fields["name"] = random.choice((image.id, "other", "ü, \x1b"))
    elif what == "type":
        image.fields["type"] = random.choice((image.fields["type"], image.fields["type"], *TYPES))
    elif what == "created_at":
        image.fields["created_at"] = random.choice((image.fields["created_at"], random.choice(births)))
    else:
        image.fields[what] = random.choice(VALUES[what])
    _write(image)


def _write(image: Image) -> None:
    image.rows = [row(image.id, place, **image.fields) for place in sorted(image.regions) or (None,)]


def live(url: str, lives: dict[str, Life], seed: int) -> Iterator[History]:
    """Land the lives and yield what a model knows of them: as they came to lie, then compacted.

    Compaction in the middle comes with a grace or without; sometimes files of captures picked by hand lie over it. In
    the end a quarter is compacted as users do, the others by hand, which takes a tenth of the time.
    """
    random = Random(seed)
    lake = Lake(url)
    history: History = {}
    held: dict[str, list[tuple[Capture, list[Row]]]] = {}
    for account, life in lives.items():
        order = [n for n in range(len(life.captures)) if n not in life.late] + sorted(life.late)
        done = held.setdefault(account, [])
        taken: list[Taken] = []
        for place, n in enumerate(order):
            moment, state = life.captures[n]
            facts = {"requests": random.randint(1, 9), "retries": random.randint(0, 3), "passes": random.randint(1, 5)}
            finished_at = moment + random.randint(1, 10**7) * MOMENT
            capture = land(lake, moment, state, account, finished_at=finished_at, **facts)
            done.append((capture, state))
            taken.append(Taken(moment, capture.capture_id, state, finished_at, **facts))
            if place in life.compactions:
                grace, later = random.choice((timedelta(), 7 * DAY)), random.choice((DAY, 40 * DAY))
                compact_account(lake, account, grace=grace, now=moment + later)
        if random.random() < 0.2:
            year = random.choice(done)[0].captured_at.year
            _fold(lake, year, [each for each in done if random.random() < 0.7], 50 * DAY)
        history[account] = sorted(taken, key=lambda each: (each.at, each.id))
    yield history
    if random.random() < 1 / 4:
        compact(lake, grace=timedelta(), now=max(each.at for every in history.values() for each in every) + 2 * DAY)
    else:
        for done in held.values():
            for year in {capture.captured_at.year for capture, _ in done}:
                _fold(lake, year, done, 90 * DAY)
    yield history


def _fold(lake: Lake, year: int, done: list[tuple[Capture, list[Row]]], later: timedelta) -> None:
    """Write one file over those of these captures that lie in the year and share their instant with none."""
    moments = [capture.captured_at for capture, _ in done]
    alone = [
        each
        for each in sorted(done, key=lambda each: each[0].captured_at)
        if moments.count(each[0].captured_at) == 1 and each[0].captured_at.year == year
    ]
    if alone:
        land_compacted(lake, alone, max(moments) + later)
