"""releases and coverage-history, by hand. Random lives are held against a model in tests/test_model.py."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from genesis_etl.lake.lake import Lake
from genesis_etl.opened import OpenLake, open_lake
from genesis_etl.query.report import find_report
from tests.histories import at, land, land_all, report, row

SAMPLE = str(Path(__file__).parent.parent / "data" / "sample")
REACH = ("image_id", "region", "released_at", "reached_at", "days_to_region", "is_missing")


def image(id: str, *regions: str | None, **fields: Any) -> list[dict[str, Any]]:
    """Return the rows of an image that is no snapshot."""
    return [row(id, region, "cloud-image", **fields) for region in regions]


# --- releases


def test_a_release_that_reached_a_region_after_four_days_says_four() -> None:
    """The days count from the first capture that saw it anywhere; where it never came it is missing."""
    old = image("old", "R1", "R2", "R3", name="Old", family="f", created_at=at("2026-10-01"))
    new = {"name": "New", "family": "f", "created_at": at("2026-10-30")}
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [*old, row("s", "R1")],
            "2026-11-02": [*old, *image("new", "R1", **new)],
            "2026-11-04": [*old, *image("new", "R1", **new)],
            "2026-11-06": [*old, *image("new", "R1", "R2", **new), row("s", "R1")],
        },
    )
    table = open_lake("lake").report_rows("releases")
    assert table.column_names == list(find_report("releases").columns)
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        (
            "default",
            "cloud-image",
            "new",
            "R1",
            "New",
            "f",
            True,
            new["created_at"],
            at("2026-11-02"),
            at("2026-11-02"),
            0,
            False,
        ),
        (
            "default",
            "cloud-image",
            "new",
            "R2",
            "New",
            "f",
            True,
            new["created_at"],
            at("2026-11-02"),
            at("2026-11-06"),
            4,
            False,
        ),
        (
            "default",
            "cloud-image",
            "new",
            "R3",
            "New",
            "f",
            True,
            new["created_at"],
            at("2026-11-02"),
            None,
            None,
            True,
        ),
        *(
            ("default", "cloud-image", "old", place, "Old", "f", False, at("2026-10-01"), None, None, None, False)
            for place in ("R1", "R2", "R3")
        ),
    ]


def test_what_the_first_capture_holds_was_not_seen_to_be_released() -> None:
    """It has no released_at and no days, and reached_at only where it came later, even if it had no region then."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [*image("a", "R1"), *image("b", None)],
            "2026-11-02": [*image("a", "R1", "R2"), *image("b", "R1")],
        },
    )
    second = at("2026-11-02")
    assert report("lake", "releases", *REACH) == [
        ("a", "R1", None, None, None, False),
        ("a", "R2", None, second, None, False),
        ("b", "R1", None, second, None, False),
        ("b", "R2", None, None, None, True),
    ]


def test_a_region_that_was_left_was_reached_once() -> None:
    """An image that went from a region is missing there and keeps the day it came; one without a region is nowhere."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01": image("x", "R1", "R2"),
            "2026-11-02": [*image("x", "R1", "R2"), *image("a", None)],
            "2026-11-03 12:00": [*image("x", "R1", "R2"), *image("a", "R2")],
            "2026-11-05": [*image("x", "R1", "R2"), *image("a", "R1")],
        },
    )
    came, later = at("2026-11-03 12:00"), at("2026-11-05")
    assert report("lake", "releases", *REACH, type="cloud-image")[:2] == [
        ("a", "R1", came, later, 1.5, False),
        ("a", "R2", came, came, 0.0, True),
    ]
    assert report("lake", "releases", *REACH, region="R2")[0] == ("a", "R2", came, came, 0.0, True)
    assert report("lake", "releases", type="snapshot") == []


def test_regions_are_those_of_coverage() -> None:
    """An expected region counts, a retired one says nothing of what is missing, and `until` moves the end."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01": image("a", "R1", "R2"),
            "2026-11-02": [*image("a", "R1"), row("s", "R3")],
            "2026-11-03": [*image("a", "R2"), *image("b", "R4")],
        },
    )
    opened = OpenLake(Lake("lake"), ("R9",), None)

    def missing(**options: Any) -> list[tuple[Any, ...]]:
        rows = opened.report_rows("releases", **options).to_pylist()
        return [(each["image_id"], each["region"], each["is_missing"]) for each in rows]

    assert missing(until="2026-11-02") == [("a", "R1", False), ("a", "R2", None), ("a", "R3", True), ("a", "R9", True)]
    assert missing(as_of="2026-11-02") == missing(until="2026-11-02")
    assert missing(since="2026-11-03") == [
        *(("a", "R2", False), ("a", "R4", True), ("a", "R9", True)),
        *(("b", "R2", True), ("b", "R4", False), ("b", "R9", True)),
    ]
    assert missing(until="2026-10-31") == []


@pytest.mark.parametrize("options", [{}, {"until": "2026-09-15"}, {"since": "2026-10-20"}])
def test_what_is_missing_is_what_coverage_misses(options: Any) -> None:
    """Counted by type and region, `is_missing` is the column `missing` of region-coverage, in any range."""
    counted = Counter(
        (kind, region)
        for kind, region, is_missing in report(SAMPLE, "releases", "type", "region", "is_missing", **options)
        if is_missing
    )
    lacking = report(SAMPLE, "region-coverage", "type", "region", "missing", **options)
    assert counted == {(kind, region): n for kind, region, n in lacking if n}
    assert counted


def test_the_newest_of_a_family_is_that_made_last() -> None:
    """Of several made at once that of the greatest id; by account and type; without a family each is its own."""
    first, second = at("2026-10-01"), at("2026-10-02")
    state = [
        *image("a", "R1", family="f", created_at=second),
        *image("b", "R1", family="f", created_at=second),
        *image("c", "R1", family="f", created_at=first),
        *image("d", "R1", created_at=first),
        *image("e", "R1", family="", created_at=first),
        *image("g", "R1", family="", created_at=second),
        row("z", "R1", "base-os", family="f", created_at=first),
    ]
    lake = Lake("lake")
    land(lake, at("2026-11-01"), state, "one")
    land(lake, at("2026-11-01"), image("c", "R1", family="f", created_at=first), "two")
    found = report("lake", "releases", "account", "image_id", "is_newest_of_family")
    assert [each[:2] for each in found if each[2]] == [
        *(("one", "z"), ("one", "b"), ("one", "d"), ("one", "e"), ("one", "g"), ("two", "c")),
    ]


def test_coverage_of_the_newest_of_each_family() -> None:
    """It counts the images that releases calls the newest of their family, by region and in the matrix."""
    for options in ({}, {"until": "2026-09-15"}):
        asked: dict[str, Any] = {"newest_of_family": True, "type": "cloud-image", **options}
        newest = [
            (id, region, bool(is_missing))
            for id, region, is_newest, is_missing in report(
                SAMPLE, "releases", "image_id", "region", "is_newest_of_family", "is_missing", **options
            )
            if is_newest
        ]
        lacking = Counter(region for _, region, is_missing in newest if is_missing)
        covered = report(SAMPLE, "region-coverage", "region", "missing", "of", **asked)
        assert {region: n for region, n, _ in covered if n} == lacking
        ids = {id for id, *_ in newest}
        assert {of for *_, of in covered} == {len(ids)}
        assert set(report(SAMPLE, "region-coverage", "image_id", matrix=True, **asked)) == {(id,) for id in ids}
        assert len(ids) < len(
            report(SAMPLE, "region-coverage", "image_id", matrix=True, **{**asked, "newest_of_family": False})
        )


# --- coverage-history

LEVEL = ("period", "type", "region", "images", "of", "coverage_pct", "basis")


def test_coverage_of_every_period_is_that_of_its_last_capture() -> None:
    """A period without a capture carries the level before; types and regions of the range stay, at 0 once gone."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01 08:00": image("a", "R1"),
            "2026-11-01 20:00": [*image("a", "R1", "R2"), *image("b", "R1", None), row("s", "R1")],
            "2026-11-03": [*image("b", "R1"), row("p", "R1", "preconfigured")],
            "2026-11-04": [row("s", "R3")],
        },
    )
    table = open_lake("lake").report_rows("coverage-history")
    assert table.column_names == list(find_report("coverage-history").columns)
    days = [date(2026, 11, day) for day in range(1, 5)]
    cloud = report("lake", "coverage-history", *LEVEL, type="cloud-image")
    assert [each[:1] + each[2:] for each in cloud] == [
        *((days[0], "R1", 2, 2, 100.0, "observed"), (days[0], "R2", 1, 2, 50.0, "observed")),
        (days[0], "R3", 0, 2, 0.0, "observed"),
        *((days[1], "R1", 2, 2, 100.0, "gap"), (days[1], "R2", 1, 2, 50.0, "gap"), (days[1], "R3", 0, 2, 0.0, "gap")),
        *((days[2], "R1", 1, 1, 100.0, "observed"), (days[2], "R2", 0, 1, 0.0, "observed")),
        (days[2], "R3", 0, 1, 0.0, "observed"),
        *((days[3], region, 0, 0, None, "observed") for region in ("R1", "R2", "R3")),
    ]
    assert report("lake", "coverage-history", *LEVEL, type="preconfigured", region="R1") == [
        (days[0], "preconfigured", "R1", 0, 0, None, "observed"),
        (days[1], "preconfigured", "R1", 0, 0, None, "gap"),
        (days[2], "preconfigured", "R1", 1, 1, 100.0, "observed"),
        (days[3], "preconfigured", "R1", 0, 0, None, "observed"),
    ]
    assert report("lake", "coverage-history", type="snapshot") == []
    by_month = report("lake", "coverage-history", *LEVEL, by="month", type="cloud-image", as_of="2026-11-02")
    assert by_month == [
        (date(2026, 11, 1), "cloud-image", "R1", 2, 2, 100.0, "observed"),
        (date(2026, 11, 1), "cloud-image", "R2", 1, 2, 50.0, "observed"),
    ]


def test_a_range_that_begins_in_a_gap_knows_the_level_before() -> None:
    """Types and regions are those of the range and of the level that it begins with; an expected region counts."""
    states = {"2026-10-01": image("gone", "R0"), "2026-11-01": image("a", "R1"), "2026-11-05": image("a", "R2")}
    land_all(Lake("lake"), states)
    columns = ("period", "region", "images", "basis")
    third, fifth = date(2026, 11, 3), date(2026, 11, 5)
    assert report("lake", "coverage-history", *columns, since="2026-11-03", until="2026-11-03") == [
        (third, "R1", 1, "gap"),
    ]
    assert report("lake", "coverage-history", *columns, since="2026-11-05") == [(fifth, "R2", 1, "observed")]
    assert report("lake", "coverage-history", *columns, since="2026-09-01", until="2026-09-30") == []
    opened = OpenLake(Lake("lake"), ("R9",), None)
    assert opened.report_rows("coverage-history", since="2026-11-05")["region"].to_pylist() == ["R2", "R9"]


def test_the_last_row_of_history_is_coverage_now() -> None:
    """In the sample the newest period tells of every type and region what region-coverage tells."""
    columns = ("type", "region", "images", "of", "coverage_pct")
    for by in ("day", "week", "month"):
        rows = report(SAMPLE, "coverage-history", "period", *columns, by=by)
        newest = [each[1:] for each in rows if each[0] == rows[-1][0] and each[4]]
        now = [each for each in report(SAMPLE, "region-coverage", *columns) if each[0] != "snapshot"]
        assert set(now) <= set(newest)
