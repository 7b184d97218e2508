"""Reports against rows written here and against golden files; tests/test_model.py holds them against a model."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import genesis_etl
from genesis_etl import cli
from genesis_etl.errors import LakeError, ReportError
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.storage.local import LocalStorage
from genesis_etl.maintenance.compact import compact
from genesis_etl.opened import OpenLake, open_lake
from genesis_etl.query import sources
from genesis_etl.query.report import describe, find_report, report_names
from genesis_etl.render import render, sparkline, wrapped
from tests.conftest import fewer
from tests.histories import at, land, land_all, land_compacted, report, row, rows

GOLDEN = Path(__file__).parent / "golden"
GROWTH = [
    "account",
    "period",
    "region",
    "opening",
    "created",
    "deleted",
    "closing",
    "net",
    "growth_pct",
    "gib_closing",
    "gib_net",
    "cost_per_month",
    "basis",
    "is_complete",
]
COVERAGE = [
    "account",
    "type",
    "region",
    "images",
    "of",
    "coverage_pct",
    "missing",
    "missing_names",
    "first_seen",
    "is_retired",
]
STALE = [
    "account",
    "image_id",
    "name",
    "created_at",
    "age_days",
    "size_gib",
    "cost_per_month",
    "regions",
    "source_instance_id",
    "source_instance_name",
    "source_instance_exists",
    "copies",
    "is_newest_of_source",
]
HEALTH = ["account", "day", "captures", "longest_gap", "requests", "retries", "passes", "seconds", "rows"]


# --- snapshot-growth: whole frames


def test_growth_first_capture_reconstructs_what_came_before() -> None:
    """At the first capture, snapshots created before the period are its opening, the others created; it is partial."""
    land_all(
        Lake("lake"),
        {
            "2026-11-20 12:00": [
                row("old", created_at=at("2026-11-18 09:00"), size_gib=10.0),
                row("new", created_at=at("2026-11-20 08:00"), size_gib=5.0),
                row("clock", created_at=at("2026-11-21 08:00")),
            ]
        },
    )
    table = OpenLake(Lake("lake"), (), 0.5).report_rows("snapshot-growth", since="2026-11-17")
    assert table.column_names == GROWTH
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        ("default", date(2026, 11, 17), None, 0, 0, 0, 0, 0, None, 0.0, 0.0, 0.0, "created_at", True),
        ("default", date(2026, 11, 18), None, 0, 1, 0, 1, 1, None, 10.0, 10.0, 5.0, "created_at", True),
        ("default", date(2026, 11, 19), None, 1, 0, 0, 1, 0, 0.0, 10.0, 0.0, 5.0, "created_at", True),
        ("default", date(2026, 11, 20), None, 1, 2, 0, 3, 2, None, 15.0, 5.0, 7.5, "partial", False),
    ]


def test_growth_counts_a_change_over_a_gap_when_it_is_next_seen() -> None:
    """A period without a capture has the level of its neighbours and basis gap, never a fall to zero."""
    land_all(
        Lake("lake"),
        {"2026-11-02": rows("a", "b"), "2026-11-05": rows("b", "c", "d"), "2026-11-06": rows("c")},
    )
    columns = ("period", "opening", "created", "deleted", "closing", "growth_pct", "cost_per_month", "basis")
    assert report("lake", "snapshot-growth", *columns, since="2026-11-02") == [
        (date(2026, 11, 2), 2, 0, 0, 2, None, None, "partial"),
        (date(2026, 11, 3), 2, 0, 0, 2, 0.0, None, "gap"),
        (date(2026, 11, 4), 2, 0, 0, 2, 0.0, None, "gap"),
        (date(2026, 11, 5), 2, 2, 1, 3, 50.0, None, "observed"),
        (date(2026, 11, 6), 3, 0, 2, 1, -100 * 2 / 3, None, "observed"),
    ]


def test_growth_counts_presences_within_one_period() -> None:
    """A snapshot that comes, goes and comes back in one day is created twice and deleted once."""
    land_all(
        Lake("lake"),
        {
            "2026-11-02": [],
            "2026-11-03 01:00": rows("a"),
            "2026-11-03 02:00": [],
            "2026-11-03 03:00": rows("a"),
            "2026-11-03 04:00": rows("a", name="renamed", size_gib=3.0),
        },
    )
    found = report("lake", "snapshot-growth", "opening", "created", "deleted", "closing", "gib_closing")
    assert found[-2:] == [(0, 0, 0, 0, 0.0), (0, 2, 1, 1, 3.0)]


def test_growth_knows_sizes_that_change_and_sizes_it_does_not_know() -> None:
    """GiB sums follow the size of each capture, skip null sizes, are null if all are and 0 without snapshots."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [row("a", size_gib=1.5), row("b")],
            "2026-11-02": [row("a", size_gib=2.5), row("b")],
            "2026-11-03": [row("a"), row("b")],
            "2026-11-04": [row("a"), row("b", size_gib=0.1)],
            "2026-11-05": [],
        },
    )
    assert report("lake", "snapshot-growth", "closing", "gib_closing", "gib_net", since="2026-11-01") == [
        (2, 1.5, 0.0),
        (2, 2.5, 1.0),
        (2, None, None),
        (2, 0.1, None),
        (0, 0.0, -0.1),
    ]


def test_growth_of_regions() -> None:
    """A snapshot in several regions counts once in the total and once in each; without a region it is `(none)`."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [row("a", "R1"), row("a", "R2"), row("b", None)],
            "2026-11-02": [row("a", "R2"), row("b", "R1")],
        },
    )
    columns = ("period", "region", "opening", "created", "deleted", "closing")
    first, second = date(2026, 11, 1), date(2026, 11, 2)
    assert report("lake", "snapshot-growth", *columns, since="2026-11-01") == [
        (first, None, 2, 0, 0, 2),
        (second, None, 2, 0, 0, 2),
    ]
    regions = [
        (first, "(none)", 1, 0, 0, 1),
        (first, "R1", 1, 0, 0, 1),
        (first, "R2", 1, 0, 0, 1),
        (second, "(none)", 1, 0, 1, 0),
        (second, "R1", 1, 1, 1, 1),
        (second, "R2", 1, 0, 0, 1),
    ]
    assert report("lake", "snapshot-growth", *columns, since="2026-11-01", per_region=True) == regions
    assert report("lake", "snapshot-growth", *columns, since="2026-11-01", region="R1") == [
        each for each in regions if each[1] == "R1"
    ]
    assert report("lake", "snapshot-growth", region="R9") == []


def test_growth_follows_the_type_of_each_capture() -> None:
    """An image counts while its type is the one asked for, so a change of type is a deletion."""
    land_all(Lake("lake"), {"2026-11-01": rows("a", "b"), "2026-11-02": [row("a", type="base-os"), row("b")]})
    columns = ("created", "deleted", "closing")
    assert report("lake", "snapshot-growth", *columns, since="2026-11-01") == [(0, 0, 2), (0, 1, 1)]
    assert report("lake", "snapshot-growth", *columns, since="2026-11-01", type="base-os") == [(0, 0, 0), (1, 0, 1)]


def test_growth_range_of_each_account_ends_at_its_own_newest_capture() -> None:
    """Without a range every account shows its last 90 days, 13 weeks or 12 months."""
    lake = Lake("lake")
    land(lake, at("2026-11-20 12:00"), rows("a"), "one")
    land(lake, at("2026-06-01 00:00"), rows("a"), "two")
    for by, count, first, last in (
        ("day", 90, date(2026, 8, 23), date(2026, 11, 20)),
        ("week", 13, date(2026, 8, 24), date(2026, 11, 16)),
        ("month", 12, date(2025, 12, 1), date(2026, 11, 1)),
    ):
        periods = [
            p for account, p in report("lake", "snapshot-growth", "account", "period", by=by) if account == "one"
        ]
        assert (len(periods), periods[0], periods[-1]) == (count, first, last)
    found = report("lake", "snapshot-growth", "account", "period")
    assert max(p for account, p in found if account == "two") == date(2026, 6, 1)
    assert {account for (account,) in report("lake", "snapshot-growth", "account", account="two")} == {"two"}


@pytest.mark.parametrize(
    ("since", "until", "shown"),
    [
        ("2026-11-03", "2026-11-04", ["03", "04"]),
        ("2026-11-03T00:00:00Z", "2026-11-04T00:00:00Z", ["03"]),
        ("2026-11-03T23:59:59.999999Z", "2026-11-04T00:00:00.000001Z", ["03", "04"]),
        ("2026-11-04T01:00+02:00", "2026-11-05T01:00+02:00", ["03", "04"]),
        (date(2026, 11, 5), None, ["05", "06"]),
        (datetime(2026, 11, 5, tzinfo=UTC), "2027-01-01", ["05", "06"]),
        ("2026-11-07", None, []),
    ],
)
def test_growth_shows_every_period_that_overlaps_the_range(since: Any, until: Any, shown: list[str]) -> None:
    """Dates are whole UTC days, both included, instants half-open; a period that overlaps them is shown whole."""
    land_all(Lake("lake"), {f"2026-11-0{day} 12:00": rows("a", "b"[: day % 2]) for day in (1, 3, 4, 6)})
    found = report("lake", "snapshot-growth", "period", since=since, until=until)
    assert [f"{period:%d}" for (period,) in found] == shown


def test_growth_by_week_is_whole_when_the_range_begins_inside() -> None:
    """A range from Wednesday on shows the week from Monday, with all its changes."""
    land_all(Lake("lake"), {"2026-11-09": rows("a"), "2026-11-16": rows("a", "b"), "2026-11-19": rows("b", "c")})
    found = report("lake", "snapshot-growth", "period", "opening", "created", "deleted", by="week", since="2026-11-18")
    assert found == [(date(2026, 11, 16), 1, 2, 1)]


def test_growth_as_of_uses_only_what_was_known_then() -> None:
    """`as_of` leaves out later captures, an instant and a date included."""
    land_all(Lake("lake"), {"2026-11-01 12:00": rows("a"), "2026-11-02 12:00": rows("a", "b"), "2026-11-03": []})
    for as_of, closing in (
        ("2026-11-01", 1),
        ("2026-11-02T11:59:59Z", 1),
        ("2026-11-02T12:00Z", 2),
        (date(2026, 11, 2), 2),
        ("2027-01-01", 0),
    ):
        assert report("lake", "snapshot-growth", "closing", as_of=as_of)[-1] == (closing,)
    with pytest.raises(LakeError, match="no capture yet in lake up to that time"):
        report("lake", "snapshot-growth", as_of="2026-10-31")


def test_growth_of_captures_in_one_microsecond() -> None:
    """Captures of the same instant are two captures, in the order of their ids."""
    lake = Lake("lake")
    landed = [(land(lake, at("2026-11-02"), state).capture_id, len(state)) for state in (rows("a"), rows("a", "b"))]
    found = report("lake", "snapshot-growth", "opening", "created", "deleted", "closing")[-1]
    assert found == ((1, 1, 0, 2) if max(landed)[1] == 2 else (2, 0, 1, 1))


def test_growth_of_all_accounts_together() -> None:
    """Counts, GiB and cost add up; who is captured no more keeps its level; partial until every account has begun."""
    lake = Lake("lake")
    land_all(lake, {"2026-11-02": rows("a", size_gib=1.0), "2026-11-03": rows("a", "b", size_gib=1.0)}, "one")
    new = [row("x", "R2", size_gib=2.0), row("y", created_at=at("2026-11-04"))]
    land_all(lake, {"2026-11-04": new, "2026-11-07": new[:1]}, "two")
    columns = ("account", "period", "opening", "created", "deleted", "closing", "growth_pct", "gib_closing", "basis")
    days = [date(2026, 11, day) for day in range(1, 8)]
    assert report("lake", "snapshot-growth", *columns, total=True, since="2026-11-01") == [
        (None, days[0], 2, 0, 0, 2, 0.0, 3.0, "created_at"),
        (None, days[1], 2, 0, 0, 2, None, 3.0, "partial"),
        (None, days[2], 2, 1, 0, 3, None, 4.0, "partial"),
        (None, days[3], 3, 1, 0, 4, None, 4.0, "partial"),
        (None, days[4], 4, 0, 0, 4, 0.0, 4.0, "gap"),
        (None, days[5], 4, 0, 0, 4, 0.0, 4.0, "gap"),
        (None, days[6], 4, 0, 1, 3, -25.0, 4.0, "observed"),
    ]
    regions = report(
        "lake", "snapshot-growth", "account", "region", "closing", total=True, since="2026-11-07", per_region=True
    )
    assert regions == [(None, "R1", 2), (None, "R2", 1)]
    alone = report(
        "lake", "snapshot-growth", "account", "closing", "is_complete", total=True, account="one", by="month"
    )
    assert alone[-1] == (None, 2, False)


def test_growth_is_zero_for_an_account_without_snapshots() -> None:
    """An account that never had a snapshot still has its rows, all zero."""
    land_all(Lake("lake"), {"2026-11-01": [row("a", type="base-os")]})
    assert set(report("lake", "snapshot-growth", "opening", "closing", "growth_pct", "gib_closing")) == {
        (0, 0, None, 0.0)
    }


# --- region-coverage: whole frames


def test_coverage_counts_what_is_and_names_what_is_missing() -> None:
    """Every type × region says how many of the type's images are there, and which are not; no snapshot is missing."""
    lake = Lake("lake")
    land(lake, at("2026-11-01"), [row("a", "R1", "base-os"), row("s", "R3")])
    land(
        lake,
        at("2026-11-02"),
        [
            row("a", "R1", "base-os"),
            row("a", "R2", "base-os"),
            row("c", None, "base-os", name="Zed"),
            row("b", "R1", "base-os", name="Beta"),
            row("s", "R2"),
        ],
    )
    table = OpenLake(lake, ("R2", "R4"), None).report_rows("region-coverage")
    assert table.column_names == COVERAGE
    first, second = at("2026-11-01"), at("2026-11-02")
    third = 100 / 3
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        ("default", "base-os", "R1", 2, 3, 2 * third, 1, ["Zed"], first, False),
        ("default", "base-os", "R2", 1, 3, third, 2, ["Beta", "Zed"], second, False),
        ("default", "base-os", "R3", 0, 3, 0.0, None, None, None, True),
        ("default", "base-os", "R4", 0, 3, 0.0, 3, ["Beta", "Zed", "a"], None, False),
        ("default", "snapshot", "R1", 0, 1, 0.0, None, None, None, False),
        ("default", "snapshot", "R2", 1, 1, 100.0, None, None, second, False),
        ("default", "snapshot", "R3", 0, 1, 0.0, None, None, first, True),
        ("default", "snapshot", "R4", 0, 1, 0.0, None, None, None, False),
    ]


def test_coverage_of_a_region_that_returns() -> None:
    """A region is retired while it has no image of any type, and not any more once it is back."""
    base: Any = {"type": "base-os"}
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [row("a", **base), row("a", "R2", **base)],
            "2026-11-02": [row("a", **base)],
            "2026-11-03": [row("a", **base), row("b", "R2", **base)],
        },
    )
    columns = ("region", "images", "missing_names", "is_retired")
    assert report("lake", "region-coverage", *columns, as_of="2026-11-02") == [
        ("R1", 1, [], False),
        ("R2", 0, None, True),
    ]
    assert report("lake", "region-coverage", *columns) == [("R1", 1, ["b"], False), ("R2", 1, ["a"], False)]


def test_coverage_shows_the_regions_observed_in_the_range() -> None:
    """Regions are those observed in the range, by default the 90 days up to the account's newest capture."""
    land_all(
        Lake("lake"),
        {
            "2026-05-01": rows("a", region="R0"),
            "2026-08-22 23:59": rows("a", region="R1"),
            "2026-11-20 12:00": rows("a"),
        },
    )
    assert report("lake", "region-coverage", "region") == [("R1",)]
    land_all(Lake("lake"), {"2026-08-23 00:00": rows("a", region="R2")})
    assert report("lake", "region-coverage", "region", "is_retired") == [("R1", False), ("R2", True)]
    assert report("lake", "region-coverage", "region", since="2026-01-01") == [("R0",), ("R1",), ("R2",)]
    assert report("lake", "region-coverage", "region", until="2026-05-01") == [("R0",)]
    # Ninety days with a date as with the instants that mean it.
    land_all(Lake("days"), {"2026-08-23": rows("a", region="OLD"), "2026-11-20": rows("a"), "2026-11-25": rows("a")})
    for until in ("2026-11-20", "2026-11-20T23:59:59Z"):
        assert report("days", "region-coverage", "region", until=until) == [("OLD",), ("R1",)]
    assert report("days", "region-coverage", "region", until="2026-11-21") == [("R1",)]
    assert report("lake", "region-coverage", "region", since="2026-01-01", region="R0") == [("R0",)]


@pytest.mark.parametrize("is_folded", fewer([False, True], 1))
def test_coverage_tells_of_the_end_of_the_range(is_folded: bool) -> None:
    """`until` moves types, images, what is missing and what is retired; only `first_seen` looks back without limit."""
    base: Any = {"type": "base-os"}
    states = {
        "2026-05-01": [row("a", **base)],
        "2026-11-01": [row("a", **base), row("a", "R2", **base), row("s", "R3")],
        "2026-11-02": [row("a", "R2", name="A", **base), row("b", "R4", **base)],
        "2026-11-03": [row("c", "R5", "cloud-image")],
    }
    landed = land_all(Lake("lake"), states)
    if is_folded:
        land_compacted(Lake("lake"), list(zip(landed, states.values(), strict=True)), at("2026-12-01"))
    columns = ("type", "region", "images", "of", "missing_names", "first_seen", "is_retired")
    may, first, second, _ = map(at, states)
    assert report("lake", "region-coverage", *columns, until="2026-11-02") == [
        ("base-os", "R1", 0, 2, None, may, True),
        ("base-os", "R2", 1, 2, ["b"], first, False),
        ("base-os", "R3", 0, 2, None, None, True),
        ("base-os", "R4", 1, 2, ["A"], second, False),
    ]
    assert report("lake", "region-coverage", *columns, until="2026-11-02T00:00Z") == [
        ("base-os", "R1", 1, 1, [], may, False),
        ("base-os", "R2", 1, 1, [], first, False),
        ("base-os", "R3", 0, 1, ["a"], None, False),
        ("snapshot", "R1", 0, 1, None, None, False),
        ("snapshot", "R2", 0, 1, None, None, False),
        ("snapshot", "R3", 1, 1, None, first, False),
    ]
    since = {"since": "2026-11-01T12:00Z", "until": "2026-11-02"}
    assert report("lake", "region-coverage", "region", **since) == [("R2",), ("R4",)]
    assert report("lake", "region-coverage", "region", since="2026-10-01", until="2026-10-31") == []
    assert report("lake", "region-coverage", until="2026-04-30") == []
    assert report("lake", "region-coverage", "type", "region")[-1] == ("cloud-image", "R5")
    matrix = open_lake("lake").report_rows("region-coverage", matrix=True, until="2026-11-01")
    assert [tuple(each.values()) for each in matrix.to_pylist()] == [
        ("default", "base-os", "a", "a", True, True, False),
        ("default", "snapshot", "s", "s", False, False, True),
    ]


def test_coverage_of_several_accounts_and_of_one_type() -> None:
    """Accounts are covered apart, and `type` leaves the retirement of a region alone."""
    lake = Lake("lake")
    land(lake, at("2026-11-01"), [row("a", "R1"), row("b", "R2", "base-os")], "one")
    land(lake, at("2026-11-02"), rows("a", region="R3"), "two")
    land(lake, at("2026-11-03"), [], "three")
    columns = ("account", "type", "region", "is_retired")
    assert report("lake", "region-coverage", *columns, type="snapshot") == [
        ("one", "snapshot", "R1", False),
        ("one", "snapshot", "R2", False),
        ("two", "snapshot", "R3", False),
    ]
    assert report("lake", "region-coverage", *columns, account="three") == []


def test_coverage_matrix_has_a_row_per_image_and_a_column_per_region() -> None:
    """The matrix tells for every image of every region whether it is there."""
    land_all(
        Lake("lake"),
        {"2026-11-01": [row("a", "R2")], "2026-11-02": [row("b", "R1", name="B"), row("a", "R1"), row("c", None)]},
    )
    table = open_lake("lake").report_rows("region-coverage", matrix=True)
    assert table.column_names == ["account", "type", "image_id", "name", "R1", "R2"]
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        ("default", "snapshot", "b", "B", True, False),
        ("default", "snapshot", "a", "a", True, False),
        ("default", "snapshot", "c", "c", False, False),
    ]
    assert open_lake("lake").report_rows("region-coverage", matrix=True, region="R1").column_names[4:] == ["R1"]


# --- stale-snapshots: whole frames


def test_stale_snapshots_are_the_old_ones_that_live() -> None:
    """Every living snapshot older than asked has its age, cost, regions, copies and whether a newer one exists."""
    vm = {"source_instance_id": "vm"}
    land_all(
        Lake("lake"),
        {
            "2026-11-19": rows("dead", created_at=at("2020-01-01")),
            "2026-11-20 12:00": [
                row("old", "R2", name="Old", created_at=at("2026-08-01 13:00"), size_gib=10.0, **vm),
                row("old", "R1", name="Old", created_at=at("2026-08-01 13:00"), size_gib=10.0, **vm),
                row("twin1", None, created_at=at("2026-08-02"), source_snapshot_id="old", source_instance_id="vm2"),
                row("twin2", created_at=at("2026-08-02"), source_snapshot_id="old", source_instance_id="vm2"),
                row("edge", created_at=at("2026-08-22 12:00")),
                row("over", created_at=at("2026-08-22 11:59"), size_gib=0.0),
                row("new", created_at=at("2026-11-20"), source_snapshot_id="dead", **vm),
                row("os", type="base-os", source_snapshot_id="over"),
            ],
        },
    )
    table = OpenLake(Lake("lake"), (), 0.5).report_rows("stale-snapshots")
    assert table.column_names == STALE
    second = at("2026-08-02")
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        ("default", "old", "Old", at("2026-08-01 13:00"), 110, 10.0, 5.0, ["R1", "R2"], "vm", None, None, 2, False),
        ("default", "twin1", "twin1", second, 110, None, None, [], "vm2", None, None, 0, True),
        ("default", "twin2", "twin2", second, 110, None, None, ["R1"], "vm2", None, None, 0, True),
        ("default", "over", "over", at("2026-08-22 11:59"), 90, 0.0, 0.0, ["R1"], None, None, None, 0, None),
    ]
    assert report("lake", "stale-snapshots", "image_id", "cost_per_month", region="R2") == [("old", None)]
    assert report("lake", "stale-snapshots", "image_id", region="(none)") == [("twin1",)]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"older_than": "0s"}, ["a", "b"]),
        ({"older_than": "36h"}, ["a"]),
        ({"older_than": "2160m"}, ["a"]),
        ({"older_than": timedelta(days=2)}, []),
        ({"older_than": "36h", "as_of": "2026-11-04"}, ["a", "b"]),
        ({"older_than": "36h", "as_of": "2026-11-03T12:00Z"}, ["a"]),
        ({"older_than": "1d", "as_of": "2026-11-02T00:00Z"}, []),
        ({"older_than": "1d", "as_of": "2026-11-02"}, ["a"]),
    ],
)
def test_ages_count_from_the_newest_capture_or_from_the_time_asked(options: Any, found: list[str]) -> None:
    """Not from now: the newest capture tells the age, `as_of` another time with what was known then."""
    created = {"a": at("2026-11-01"), "b": at("2026-11-02"), "later": at("2027-01-01")}
    states = {f"2026-11-0{day}": [row(id, created_at=born) for id, born in created.items()] for day in (1, 2)}
    land_all(Lake("lake"), {**states, "2026-11-03": states["2026-11-02"]})
    assert [id for (id,) in report("lake", "stale-snapshots", "image_id", **options)] == found


def test_accounts_age_apart() -> None:
    """Each account's ages, copies and newest snapshots are its own."""
    lake = Lake("lake")
    old = row("s", created_at=at("2026-01-01"), source_instance_id="vm")
    land(lake, at("2026-02-01"), [old], "one")
    land(lake, at("2026-06-01"), [old, row("t", created_at=at("2026-05-01"), source_instance_id="vm")], "two")
    columns = ("account", "age_days", "is_newest_of_source")
    assert report("lake", "stale-snapshots", *columns, older_than="7d", account="one") == [("one", 31, True)]
    assert report("lake", "stale-snapshots", *columns) == [("two", 151, False)]


# --- capture-health: whole frames


def test_health_has_every_day_and_every_gap() -> None:
    """Days without captures are there; a gap counts whole on each day that it touches."""
    lake = Lake("lake")
    evidence = {"requests": 5, "retries": 1, "passes": 2, "finished_at": at("2026-11-02 12:00:01.5")}
    land(lake, at("2026-11-02 12:00"), rows("a", "b"), **evidence)
    for moment in ("2026-11-02 13:00", "2026-11-02 15:30", "2026-11-05 00:00", "2026-11-05 01:00", "2026-11-06 00:30"):
        land(lake, at(moment), rows("a"))
    table = open_lake("lake").report_rows("capture-health", since="2026-11-01")
    assert table.column_names == HEALTH
    long, night = 56.5 * 3600, 23.5 * 3600
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        ("default", date(2026, 11, 1), 0, None, 0, 0, 0, 0.0, 0),
        ("default", date(2026, 11, 2), 3, long, 9, 1, 4, 3.5, 4),
        ("default", date(2026, 11, 3), 0, long, 0, 0, 0, 0.0, 0),
        ("default", date(2026, 11, 4), 0, long, 0, 0, 0, 0.0, 0),
        ("default", date(2026, 11, 5), 2, long, 4, 0, 2, 2.0, 2),
        ("default", date(2026, 11, 6), 1, night, 2, 0, 1, 1.0, 1),
    ]


@pytest.mark.parametrize(
    ("options", "count", "first", "last"),
    [
        ({}, 90, "2026-08-23", "2026-11-20"),
        ({"as_of": "2026-11-10"}, 90, "2026-08-12", "2026-11-09"),
        ({"since": "2026-11-09"}, 12, "2026-11-09", "2026-11-20"),
        ({"since": "2026-11-09", "until": "2026-11-09"}, 1, "2026-11-09", "2026-11-09"),
        ({"since": "2026-11-09T23:00Z", "until": "2026-11-11T00:00Z"}, 2, "2026-11-09", "2026-11-10"),
        ({"until": "2026-11-22"}, 90, "2026-08-25", "2026-11-22"),
        ({"since": "2026-11-21"}, 0, None, None),
    ],
)
def test_health_shows_the_days_of_the_range(options: Any, count: int, first: Any, last: Any) -> None:
    """90 days up to the newest capture, or every day that overlaps the range, later ones too if it asks for them."""
    land_all(Lake("lake"), {"2026-11-09 12:00": [], "2026-11-20 12:00": []})
    days = [f"{day:%Y-%m-%d}" for (day,) in report("lake", "capture-health", "day", **options)]
    assert (len(days), *(days[:1] or [None]), *(days[-1:] or [None])) == (count, first, last)
    assert days == sorted(set(days))


# --- golden files


def told_of(source: str | None, day: int) -> dict[str, Any]:
    """Return what a day's capture tells of an instance: vm2 goes on the 15th, and on the 20th none could be read."""
    if source is None or day == 20:
        return {"source_instance_id": source}
    is_there = source != "vm2" or day < 15
    name = f"machine {source[2:]}" if is_there else None
    return {"source_instance_id": source, "source_instance_name": name, "source_instance_exists": is_there}


def golden_lake(url: str) -> None:
    """Land a small account with everything that the reports have to tell."""
    lake = Lake(url)
    for day in range(1, 29):
        if day in (9, 10, 11):
            continue
        base = [
            row(f"os{n}", region, "base-os", name=f"OS {n}", versions=["1"] if day < 13 else ["1", "2"])
            for n in (1, 2)
            for region in ("ARC-IS-HAF-1", "NORD-NO-KRS-1")
        ]
        alive = [n for n in range(40) if n % 28 <= day < n % 28 + 9 + n % 5]
        snapshots = [
            row(
                f"s{n}",
                ("ARC-IS-HAF-1", "NORD-NO-KRS-1", None)[n % 3],
                name=f"backup {n}" if (n, day) < (33, 14) or n > 33 else f"kept {n}",
                size_gib=None if n % 4 == 0 else n + 0.5,
                created_at=at("2026-09-01") + timedelta(days=n),
                status="creating" if day == n % 28 else "created",
                **told_of(None if n % 6 == 0 else f"vm{n % 4}", day),
                source_snapshot_id=f"s{n - 1}" if n % 5 == 0 else None,
            )
            for n in alive
        ]
        regions = (
            [row("pre", "EUC-DE-MUC-1", "preconfigured")] if day < 20 else [row("pre", "ARC-IS-HAF-1", "preconfigured")]
        )
        land(lake, at(f"2026-10-{day:02} 12:00"), [*(base if day > 3 else base[:3]), *regions, *snapshots])


# Every report as it is without options; other options, and variants of it, under names of their own.
GOLDENS: dict[str, dict[str, Any]] = {name.replace("-", "_"): {} for name in report_names()} | {
    "snapshot_growth.week_per_region": {"by": "week", "per_region": True},
    "snapshot_growth.month": {"by": "month"},
    "snapshot_growth.forecast": {"since": "2026-10-12", "forecast": 5},
    "changes.days": {"since": "2026-10-12", "until": "2026-10-21"},
    "stale_snapshots": {"older_than": "7d"},
    "region_coverage.matrix": {"matrix": True},
}


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the lake of the golden results, which is only read; the tests of one xdist group share it."""
    url = str(tmp_path_factory.mktemp("golden"))
    golden_lake(url)
    return url


@pytest.mark.xdist_group("golden")
@pytest.mark.parametrize("name", GOLDENS)
def test_golden(golden: str, name: str) -> None:
    """A report's CSV over a fixed account is the golden file, byte for byte."""
    opened = open_lake(golden, regions=("NORD-NO-KRS-1", "NORD-NO-KRS-2"), price=0.05)
    data = render(opened.report_rows(name.split(".")[0].replace("_", "-"), **GOLDENS[name]), "csv")
    file = GOLDEN / f"{name}.csv"
    if os.environ.get("REGENERATE_GOLDEN"):
        file.write_bytes(data)
    again = "REGENERATE_GOLDEN=1 python -m pytest tests/test_reports.py -k golden, then read the difference"
    assert file.exists(), f"{file} is not there; make it with: {again}"
    assert data.decode() == file.read_text(encoding="utf-8"), f"{file.name} differs; if it should: {again}"


def test_every_golden_file_is_of_a_report() -> None:
    """No golden result outlives its report."""
    assert {path.stem for path in GOLDEN.glob("*.csv")} == set(GOLDENS)


# --- around the reports


def test_headers_declare_what_the_reports_take_and_give() -> None:
    """A report's header names exactly the parameters that DuckDB finds in it and the columns it returns."""
    land_all(Lake("lake"), {"2026-11-01": rows("a")})
    opened = open_lake("lake")
    warehouse = opened._fresh()[1]
    for name in report_names():
        found = find_report(name)
        declared = {*found.parameters, *(["window"] if found.window else [])}
        assert declared == warehouse.parameters(found.sql), name
        assert list(found.columns) == opened.report_rows(name).column_names


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("growth", {}, "no report 'growth'; there are "),
        ("../x", {}, "no report"),
        ("snapshot-growth", {"by": "year"}, "--by 'year': expected one of day, week, month"),
        ("snapshot-growth", {"since": "yesterday"}, "--since: 'yesterday' is not a time"),
        ("snapshot-growth", {"since": "2026-11-02", "until": "2026-11-01"}, "--since lies after --until"),
        ("snapshot-growth", {"as_of": "x"}, "--as-of"),
        ("snapshot-growth", {"account": "nobody"}, "no account 'nobody' in the lake; it holds default"),
        ("snapshot-growth", {"matrix": True}, "has no --matrix"),
        ("region-coverage", {"by": "day"}, "region-coverage has no --by; it has --account"),
        ("snapshot-growth", {"price": 3}, "has no --price"),
        ("region-coverage.matrix", {}, "no report 'region-coverage.matrix'"),
        (
            "changes",
            {"by": "day"},
            "changes has no --by; it has --account, --region, --type, --since, --until, --as-of",
        ),
        ("changes", {"older_than": "7d"}, "changes has no --older-than"),
        ("capture-health", {"region": "R1"}, "capture-health has no --region"),
        ("stale-snapshots", {"since": "2026-11-01"}, "stale-snapshots has no --since"),
        ("stale-snapshots", {"type": "base-os"}, "stale-snapshots has no --type"),
        ("stale-snapshots", {"older_than": "a week"}, "--older-than: 'a week' is not a duration"),
        ("stale-snapshots", {"older_than": 90}, "--older-than: '90' is not a duration"),
    ],
)
def test_misuse_is_a_report_error(name: str, options: Any, message: str) -> None:
    """An unknown report, option or value is refused and the message says what there is."""
    land_all(Lake("lake"), {"2026-11-01": rows("a")})
    with pytest.raises(ReportError, match=message) as caught:
        open_lake("lake").report_rows(name, **options)
    assert caught.value.exit_code == 2


def test_a_misused_option_is_told_in_parts() -> None:
    """Which option, what is wrong with it and what to do are fields of the error."""
    land_all(Lake("lake"), {"2026-11-01": rows("a")})
    for options, parts in (
        ({"by": "year"}, ("expected one of day, week, month", "--by 'year'", None)),
        ({"account": "nobody"}, ("no account 'nobody' in the lake", None, "it holds default")),
    ):
        with pytest.raises(ReportError) as caught:
            open_lake("lake").report_rows("snapshot-growth", **options)
        assert (caught.value.seen, caught.value.where, caught.value.advice) == parts


def test_options_are_bound_never_pasted() -> None:
    """SQL text in an option is a value like any other."""
    land_all(Lake("lake"), {"2026-11-01": rows("a", region="x' or 'a' = 'a")})
    evil = "x' or 'a' = 'a"
    assert report("lake", "region-coverage", "region", region=evil) == [(evil,)]
    assert report("lake", "snapshot-growth", "closing", type="' or true --")[-1] == (0,)


@pytest.mark.parametrize("name", fewer(report_names(), 2))
def test_an_empty_lake_has_no_report_but_sql(name: str) -> None:
    """Without a capture a report says how to get one (exit 6), and the tables have no rows."""
    with pytest.raises(LakeError, match="no capture yet in lake; run `genesis-etl export`") as caught:
        open_lake("lake").report(name)
    assert caught.value.exit_code == 6
    assert not Path("lake").exists()
    for table in ("images", "image_history", "image_regions", "captures"):
        assert open_lake("lake").sql(f"select * from {table}").empty


@pytest.mark.xdist_group("golden")
@pytest.mark.parametrize("name", fewer(report_names(), 3))
def test_every_report_knows_how_it_was(golden: str, name: str) -> None:
    """With `as_of` a report of a lake is the report of the lake as it was then."""
    shutil.copytree(golden, "lake")
    age = {"older_than": "7d"} if name == "stale-snapshots" else {}
    now = open_lake("lake").report_rows(name, as_of="2026-10-17", **age)
    earlier = open_lake("lake").sql("select count(*) as n from captures where captured_at < '2026-10-18'")["n"][0]
    lake = Lake("earlier")
    for stem in ("rows", "captures"):
        for path in sorted(Path("lake", "store", stem).rglob("*.parquet"))[:earlier]:
            copy = Path(lake.url, *path.parts[1:])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    options = {"as_of": "2026-10-17", **age} if age else {}  # ages count from then, not from the newest capture
    assert now.to_pylist() == open_lake("earlier").report_rows(name, **options).to_pylist()
    assert len(now) > 0


@pytest.mark.parametrize(("name", "is_needed"), [("changes", False), ("capture-health", True)])
def test_damage_outside_the_range_hinders_no_report(name: str, is_needed: bool) -> None:
    """A damaged file is refused where the report shows it, and passed over by a narrower `since`."""
    landed = land_all(Lake("lake"), {f"2026-11-0{day}": rows(*"abc"[:day]) for day in (1, 2, 3)})
    broken = Path("lake", "store", "captures", "default", "2026", Path(landed[0].file).name)
    (commit,) = [path for path in broken.parent.iterdir() if path.name.startswith("20261101")]
    commit.write_bytes(b"PAR1")
    with pytest.raises(LakeError):
        open_lake("lake").report_rows(name, since="2026-11-01")
    if is_needed:
        with pytest.raises(LakeError):
            open_lake("lake").report_rows(name)
    else:
        assert len(open_lake("lake").report_rows(name)) == 1
    assert len(open_lake("lake").report_rows(name, since="2026-11-03")) == 1


@pytest.fixture
def sql(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a copy of all SQL, which is the one that is read; what is cached of it is forgotten."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(Path(genesis_etl.__file__).with_name("sql"), folder / "sql")
    monkeypatch.setattr(sources, "files", lambda package: folder)
    forget_sql()
    yield folder / "sql"
    forget_sql()


def forget_sql() -> None:
    """Have every statement read anew."""
    for cached in (sources.read_sql, find_report):
        cached.cache_clear()


def land_days(days: range) -> None:
    """Land a capture at noon of each day of November, with an image in a region of its own."""
    land_all(Lake("lake"), {f"2026-11-{day:02} 12:00": rows(f"i{day}", region=f"R{day:02}") for day in days})


def damage_day(day: int) -> None:
    """Spoil the commit of a day of November."""
    (commit,) = Path("lake").rglob(f"captures/*/*/202611{day:02}*")
    commit.write_bytes(b"PAR1")


@pytest.mark.parametrize(("by", "periods"), [("day", 90), ("week", 13), ("month", 12)])
def test_how_far_the_growth_looks_back(by: str, periods: int) -> None:
    """Without `since`, snapshot-growth shows 90 days, 13 weeks or 12 months up to the newest capture."""
    land_all(Lake("lake"), {"2024-01-01": rows("a"), "2026-11-20": rows("a", "b")})
    assert len(report("lake", "snapshot-growth", by=by)) == periods


@pytest.mark.parametrize(
    ("name", "window", "of_three_days"),
    fewer(
        [
            ("snapshot-growth", "90 whole days", "3 whole days"),
            ("capture-health", "90 whole days", "3 whole days"),
            ("region-coverage", "90 days", "3 days"),
            ("changes", "24 hours", "72 hours"),
        ],
        2,
    ),
)
def test_a_window_stands_in_one_line(name: str, window: str, of_three_days: str, sql: Path) -> None:
    """What a report shows without `since`, and which damage it refuses then, follow the line of its header."""
    land_days(range(1, 11))
    wanted = open_lake("lake").report_rows(name, since="2026-11-08").to_pylist()
    assert wanted != open_lake("lake").report_rows(name).to_pylist()
    file = sql / "reports" / f"{name.replace('-', '_')}.sql"
    text = file.read_text(encoding="utf-8")
    assert text.count(f"-- window: {window}") == 1
    file.write_text(text.replace(f"-- window: {window}", f"-- window: {of_three_days}"), encoding="utf-8")
    forget_sql()
    assert open_lake("lake").report_rows(name).to_pylist() == wanted
    damage_day(7)
    assert open_lake("lake").report_rows(name).num_rows
    damage_day(8)
    with pytest.raises(LakeError, match="20261108"):
        open_lake("lake").report_rows(name)


NEW_REPORT = """-- title: Captures
-- grain: one row per capture
-- window: 2 days
-- parameter account: this account alone
-- parameter since: from here on; else in the $window up to the newest capture
-- column day: day of the month
with ends as (select max(captured_at) as newest_at from lake_captures)

select cast(day(c.captured_at) as bigint) as day
from lake_captures as c
cross join ends as e
where (cast($account as varchar) is null or c.account = $account)
    and c.captured_at >= coalesce(
        cast($since as timestamptz), date_trunc('day', e.newest_at) - ($window - 1) * interval 1 day
    )
order by c.n
"""


def test_adding_a_report_is_adding_a_file(sql: Path) -> None:
    """A file in sql/reports is a report: listed, described, run in its window, and refused for damage there alone."""
    (sql / "reports" / "my_captures.sql").write_text(NEW_REPORT, encoding="utf-8")
    land_days(range(1, 6))
    assert "my-captures" in report_names()
    assert "else in the 2 days up to" in str(describe("my-captures").to_pylist())
    assert open_lake("lake").report("my-captures")["day"].tolist() == [4, 5]
    assert open_lake("lake").report("my-captures", since="2026-11-02")["day"].tolist() == [2, 3, 4, 5]
    damage_day(3)
    assert open_lake("lake").report("my-captures")["day"].tolist() == [4, 5]
    with pytest.raises(LakeError):
        open_lake("lake").report("my-captures", since="2026-11-02")


def test_a_report_without_a_window_shows_all(sql: Path) -> None:
    """Without a window and without `since` a report looks at every capture, and refuses any damage."""
    text = NEW_REPORT.replace("-- window: 2 days\n", "").replace("in the $window up to the newest capture", "all")
    text = text.replace("date_trunc('day', e.newest_at) - ($window - 1) * interval 1 day", "c.captured_at")
    (sql / "reports" / "my_captures.sql").write_text(text, encoding="utf-8")
    land_days(range(1, 6))
    assert open_lake("lake").report("my-captures")["day"].tolist() == [1, 2, 3, 4, 5]
    damage_day(2)
    with pytest.raises(LakeError):
        open_lake("lake").report("my-captures")


@pytest.mark.parametrize("name", report_names())
def test_a_report_describes_itself(name: str) -> None:
    """Each option and column has its meaning; what it takes and gives is all there."""
    found = describe(name).to_pylist()
    assert all(each["meaning"] for each in found)
    assert [each["name"] for each in found if each["kind"] == "column"][: len(find_report(name).columns)] == list(
        find_report(name).columns
    )
    options = {each["name"]: each["default"] for each in found if each["kind"] == "option"}
    assert {"--account", "--as-of"} <= options.keys()
    assert "--price" not in options
    assert options.get("--older-than") == ("90d" if name == "stale-snapshots" else None)
    assert "$" not in find_report(name).summary


def test_an_open_lake_sees_what_lands_later() -> None:
    """Every call sees the captures that have landed by then."""
    lake, opened = Lake("lake"), open_lake("lake")
    for count in (1, 2, 3):
        land(lake, at(f"2026-11-0{count}"), rows(*"abc"[:count]))
        assert opened.report("snapshot-growth")["closing"].iloc[-1] == count


def test_a_report_of_one_account_reads_the_files_of_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundred accounts in a lake, one is as quick as alone; who then asks for another still gets its answer."""
    lake = Lake("lake")
    for account, count in (("prod", 2), ("staging", 1)):
        land(lake, at("2026-11-02"), rows(*"ab"[:count]), account)
    read: list[str] = []
    plain = LocalStorage.read
    monkeypatch.setattr(LocalStorage, "read", lambda self, path: (read.append(path), plain(self, path))[1])
    opened = open_lake("lake")
    assert opened.report("snapshot-growth", account="prod")["closing"].iloc[-1] == 2
    assert {path.split("/")[2] for path in read} == {"prod"}
    for account, count in (("staging", 1), ("prod", 2)):
        assert opened.report("snapshot-growth", account=account)["closing"].iloc[-1] == count
    assert len(opened.sql("select * from captures")) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["snapshot-growth", "--region", "R9"], "no rows: no region 'R9' in the lake; it has R1"),
        (["region-coverage", "--type", "base"], "no rows: no type 'base' in the lake; it has snapshot"),
        (
            ["changes", "--since", "2027-01-01"],
            "no rows: nothing to tell in that range; the captures go from 2026-11-01T00:00:00Z to 2026-11-02T00:00:00Z",
        ),
    ],
)
def test_no_rows_have_a_reason(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error in a region is not taken for an account without snapshots."""
    land_all(Lake("lake"), {"2026-11-01": rows("a"), "2026-11-02": rows("a", "b")})
    assert cli.run(["report", *arguments, "--lake", "lake"]) == 0
    assert capsys.readouterr().err == f"{said}\n"
    assert cli.run(["report", *arguments, "--lake", "lake", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_an_open_lake_says_what_it_is_and_what_it_wants() -> None:
    """In a notebook it names its reports, and an option of a wrong kind is refused by name."""
    land(Lake("lake"), at("2026-11-01"), rows("a"))
    opened = open_lake("lake")
    assert repr(opened).startswith("<lake 'lake': .report(name) of capture-health, changes,")
    assert opened.report("snapshot-growth").resample("MS", on="period")["closing"].last().iloc[-1] == 1
    with pytest.raises(ReportError, match="--per-region: expected bool, got 'yes'"):
        opened.report("snapshot-growth", per_region="yes")
    with pytest.raises(ReportError, match=r"--region: expected str, got \['R1'\]"):
        opened.report("snapshot-growth", region=["R1"])


def test_an_account_without_a_capture_up_to_a_time_is_told_apart_from_one_that_is_not_there() -> None:
    """Whether the account's files or all are open, the answer is the same line."""
    lake = Lake("lake")
    land(lake, at("2026-11-01"), rows("a"), "old")
    land(lake, at("2026-11-20"), rows("a"), "new")
    widely = open_lake("lake")
    widely.sql("select 1")
    for opened in (open_lake("lake"), widely):
        with pytest.raises(LakeError, match="no capture yet in lake of new up to that time; run"):
            opened.report("region-coverage", account="new", as_of="2026-11-10")
        for name in ("none", "../lake/store/captures/new", "", "a\0b"):
            with pytest.raises(ReportError, match="in the lake; it holds new, old"):
                opened.report("region-coverage", account=name)
        assert len(opened.report("region-coverage", account="new"))


def test_frames_for_notebooks() -> None:
    """A DataFrame has the report's columns, UTC instants and whole numbers."""
    land_all(Lake("lake"), {"2026-11-01": rows("a")})
    frame = open_lake("lake").report("region-coverage")
    assert list(frame.columns) == COVERAGE
    assert str(frame["first_seen"].dtype) == "datetime64[us, UTC]"
    assert pa.Table.from_pandas(frame)["images"].type == pa.int64()
    assert io.BytesIO(render(open_lake("lake").report_rows("region-coverage"), "parquet")).read(4) == b"PAR1"


def test_a_lake_is_held_as_often_as_one_likes() -> None:
    """Each time it answers as before, and as it does when it is not held."""
    land_all(Lake("lake"), {"2026-11-01": rows("a"), "2026-11-02": rows("a", "b")})
    opened = open_lake("lake")
    for _ in range(2):
        with opened.held():
            assert opened.report("snapshot-growth").equals(open_lake("lake").report("snapshot-growth"))
            assert opened.image_history.equals(open_lake("lake").image_history)


def test_a_held_lake_loses_no_question_to_a_compaction() -> None:
    """Files that are compacted and swept before the first question are looked for again."""
    land_all(Lake("lake"), {"2026-11-01": rows("a"), "2026-11-02": rows("a", "b")})
    opened = open_lake("lake")
    with opened.held():
        compact(Lake("lake"), grace=timedelta(0))
        assert list(opened.report("snapshot-growth", since="2026-11-01")["closing"]) == [1, 2]
        assert len(opened.image_history) == 2


def test_a_held_lake_answers_from_one_state() -> None:
    """What lands meanwhile is seen after it, not by half of the questions; what is gone is looked for again."""
    land_all(Lake("lake"), {"2026-11-01": rows("a")})
    opened = open_lake("lake")
    with opened.held():
        land_all(Lake("lake"), {"2026-11-02": rows("a", "b")})
        assert len(opened.captures) == 1
        assert opened.report("snapshot-growth")["closing"].iloc[-1] == 1
    assert len(opened.captures) == 2
    with opened.held():
        for path in Path("lake/store/rows").rglob("*.parquet"):
            path.unlink()
        with pytest.raises(LakeError):
            opened.report("snapshot-growth")
    assert len(Lake("lake").contents().damage) == 2


# --- on a terminal


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], None, ""),
        ([3], None, "▁"),
        ([5, 5, 5], 10, "▁▁▁"),
        ([0, None, 7, 1], None, "▁ █▂"),
        ([-1, 0, 1], None, "▁▅█"),
        (list(range(80)), 8, "▁▂▃▄▅▆▇█"),
        ([9, 1, 1, 1, 8], 1, "▁"),
    ],
)
def test_sparklines(values: list[float | None], width: int | None, drawn: str) -> None:
    """Bars stand between the least and the greatest; what is too wide is thinned out and ends with the newest."""
    assert sparkline(values, width) == drawn


def test_long_meanings_go_on_below() -> None:
    """In a table the last cell is wrapped into rows of its own instead of being cut."""
    rows = pa.table({"name": ["a", "b", "c"], "meaning": ["word " * 9, "short", None]})
    assert [tuple(each.values()) for each in wrapped(rows, 36).to_pylist()] == [
        ("a", "word word word word word word"),
        (None, "word word word"),
        ("b", "short"),
        ("c", ""),
    ]
    assert max(map(len, render(wrapped(describe("changes"), 70), "table", 70).decode().split("\n"))) <= 70
    assert wrapped(rows.slice(0, 0), 36).to_pylist() == []


def on_terminal(*arguments: str, **environ: str) -> str:
    """Run a command on a terminal of 100 columns and return what it shows."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "genesis_etl", *arguments]
    surroundings = {**os.environ, "COLUMNS": "100", "TERM": "xterm", **environ}
    process = subprocess.Popen(command, stdout=its, stderr=its, env=surroundings)
    os.close(its)
    text = b""
    with contextlib.suppress(OSError):  # the other side has ended
        while chunk := os.read(ours, 65536):
            text += chunk
    assert process.wait(10) == 0, text
    return text.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_a_terminal_sees_how_it_grows() -> None:
    """Below the table stands a line of bars, coloured unless NO_COLOR is set; pipes and --quiet are spared."""
    land_all(Lake("data/lake"), {f"2026-11-0{day}": rows(*"abcdefgh"[:day]) for day in range(1, 9)})
    growth = ("report", "snapshot-growth", "--since", "2026-11-01")
    assert on_terminal(*growth).endswith("closing  default  \x1b[36m▁▂▃▄▅▆▇█\x1b[0m  1 → 8\n")
    assert on_terminal(*growth, NO_COLOR="1").endswith("closing  default  ▁▂▃▄▅▆▇█  1 → 8\n")
    assert "closing  default" not in on_terminal(*growth, "--quiet")
    piped = subprocess.run([sys.executable, "-m", "genesis_etl", *growth], capture_output=True, check=True)
    assert piped.stderr == b""
    assert b"\x1b" not in piped.stdout


def test_the_command_says_how_it_forecasts(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The rows go to stdout, the method to stderr, and under five complete observed periods the code is 2."""
    land_all(Lake("data/lake"), {f"2026-11-0{day}": rows(*"abcdefgh"[:day]) for day in range(1, 9)})
    growth = ["report", "snapshot-growth", "--format", "csv", "--forecast", "2", "--since"]
    assert cli.run([*growth, "2026-11-03"]) == 0
    said = capsysbinary.readouterr()
    assert said.out.decode().splitlines()[-1].startswith("default,2026-11-10,,9,,,10,1,")
    assert said.err.startswith(b"forecast: Theil-Sen slope")
    assert cli.run([*growth, "2026-11-04"]) == 2
    said = capsysbinary.readouterr()
    assert said.out == b""
    assert said.err.startswith(b"error: a forecast needs 5 complete observed periods, account default shows 4")


def test_the_command_describes_a_report(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """`--describe` needs no lake and answers in every form; an unknown report is 2."""
    assert cli.run(["report", "stale-snapshots", "--describe", "--format", "json"]) == 0
    said = capsysbinary.readouterr()
    assert json.loads(said.out) == describe("stale-snapshots").to_pylist()
    assert said.err.startswith(b"Snapshots that grow old: one row per ")
    assert b"older than --older-than" in said.err
    assert cli.run(["report", "stale", "--describe"]) == 2
