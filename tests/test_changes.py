"""The report changes against rows written here and against laws; tests/test_model.py holds it against a model."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest

from genesis_etl.lake.lake import Lake
from genesis_etl.opened import open_lake
from tests.histories import Row, at, land, land_all, report, row, rows
from tests.lives import draw, live
from tests.model import gib, images_of

COLUMNS = [
    "account",
    "captured_at",
    "previous_captured_at",
    "change",
    "image_id",
    "name",
    "type",
    "region",
    "before",
    "after",
]
SHORT = ("change", "image_id", "region", "before", "after")


def changes(*columns: str, **options: Any) -> list[tuple[Any, ...]]:
    """Run the report over the lake of the test."""
    return report("lake", "changes", *columns, **options)


def test_every_kind_of_change() -> None:
    """Appearing and disappearing is one row per image, a change of regions one per region, all others one per image."""
    base = {"status": "created", "size_gib": 80.0, "versions": ["1"]}
    land_all(
        Lake("lake"),
        {
            "2026-11-01 12:00": [
                row("gone", "R2", name="Gone"),
                row("gone", "R1", name="Gone"),
                row("here", "R1", **base),
                row("here", "R2", **base),
                row("os", None, "base-os"),
            ],
            "2026-11-02 11:00": [
                row("here", "R2", **(base | {"name": "There", "status": "error", "size_gib": 2.5, "family": "f"})),
                row("here", "R3", **(base | {"name": "There", "status": "error", "size_gib": 2.5, "family": "f"})),
                row("new", "R9", "base-os"),
                row("new", "R1", "base-os"),
                row("os", None, "base-os", versions=[], slug="s"),
            ],
        },
    )
    table = open_lake("lake").report_rows("changes")
    assert table.column_names == COLUMNS
    before, now = at("2026-11-01 12:00"), at("2026-11-02 11:00")
    stem = ("default", now, before)
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        (*stem, "appeared", "new", "new", "base-os", None, None, "R1, R9"),
        (*stem, "disappeared", "gone", "Gone", "snapshot", None, "R1, R2", None),
        (*stem, "region_added", "here", "There", "snapshot", "R3", None, "R3"),
        (*stem, "region_removed", "here", "There", "snapshot", "R1", "R1", None),
        (*stem, "renamed", "here", "There", "snapshot", None, "here", "There"),
        (*stem, "resized", "here", "There", "snapshot", None, "80", "2.5"),
        (*stem, "status_changed", "here", "There", "snapshot", None, "created", "error"),
        (*stem, "updated", "here", "There", "snapshot", None, None, "family"),
        (*stem, "updated", "os", "os", "base-os", None, None, "slug, versions"),
    ]


def test_the_first_capture_changes_nothing() -> None:
    """There is nothing before an account's first capture, nor before the first up to `as_of`."""
    land_all(Lake("lake"), {"2026-11-01": rows("a"), "2026-11-02": rows("b")})
    assert changes("change", since="2026-01-01") == [("appeared",), ("disappeared",)]
    assert changes(since="2026-01-01", as_of="2026-11-01") == []


def test_an_update_that_only_dates_another_change_is_no_row() -> None:
    """`updated_at` alone is an update; beside another change it says nothing of its own."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [row(id, updated_at=at("2026-11-01")) for id in "abcd"],
            "2026-11-02": [
                row("a", updated_at=at("2026-11-02")),
                row("b", updated_at=at("2026-11-02"), name="B"),
                row("c", "R2", updated_at=at("2026-11-02")),
                row("d", updated_at=None, name="D", family="f"),
            ],
        },
    )
    assert changes(*SHORT) == [
        ("region_added", "c", "R2", None, "R2"),
        ("region_removed", "c", "R1", "R1", None),
        ("renamed", "b", None, "b", "B"),
        ("renamed", "d", None, "d", "D"),
        ("updated", "d", None, None, "family, updated_at"),
        ("updated", "a", None, None, "updated_at"),
    ]


def test_values_that_come_and_go() -> None:
    """Null is a value like any other: a size or status that becomes known is a change, `[]` is not null."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [row("a", None), row("b", versions=None)],
            "2026-11-02": [row("a", "R1", size_gib=0.1, status="created"), row("b", None, versions=[])],
            "2026-11-03": [row("a", "R1", size_gib=100.0), row("b", None)],
            "2026-11-04": [row("a", "R1", size_gib=100.0)],
            "2026-11-05": [row("a", "R1", size_gib=100.0), row("b", None)],
        },
    )
    assert changes(*SHORT, since="2026-11-02") == [
        ("region_added", "a", "R1", None, "R1"),
        ("region_removed", "b", "R1", "R1", None),
        ("resized", "a", None, None, "0.1"),
        ("status_changed", "a", None, None, "created"),
        ("updated", "b", None, None, "versions"),
        ("resized", "a", None, "0.1", "100"),
        ("status_changed", "a", None, "created", None),
        ("updated", "b", None, None, "versions"),
        ("disappeared", "b", None, "(none)", None),
        ("appeared", "b", None, None, "(none)"),
    ]


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, ["06 12:00"]),
        ({"as_of": "2026-11-05T12:00Z"}, ["05 00:00", "05 12:00"]),
        ({"until": "2026-11-05"}, ["05 00:00", "05 12:00"]),
        ({"until": "2026-11-05T12:00Z"}, ["05 00:00"]),
        ({"until": "2026-12-01"}, ["06 12:00"]),
        ({"since": "2026-11-05"}, ["05 00:00", "05 12:00", "06 12:00"]),
        ({"since": "2026-11-05T12:00Z"}, ["05 12:00", "06 12:00"]),
        ({"since": "2026-11-05T12:00:00.000001Z"}, ["06 12:00"]),
        ({"since": "2026-11-04", "until": "2026-11-05T00:00Z"}, ["04 00:00"]),
        ({"since": "2026-11-07"}, []),
    ],
)
def test_the_range_is_that_of_the_captures_that_saw_the_change(options: Any, seen: list[str]) -> None:
    """Days are whole, instants half-open; without a beginning it is the 24 hours up to the end or newest capture."""
    times = ["03 00:00", "04 00:00", "05 00:00", "05 12:00", "06 12:00"]
    land_all(Lake("lake"), {f"2026-11-{time}": rows("a", name=time) for time in times})
    assert [f"{moment:%d %H:%M}" for (moment,) in changes("captured_at", **options)] == seen


def test_every_account_has_its_own_day_and_captures() -> None:
    """The last 24 hours end at each account's newest capture, and accounts are compared with themselves alone."""
    lake = Lake("lake")
    for account, day in (("one", "2026-11-02"), ("two", "2026-06-02")):
        land(lake, at(day) - timedelta(hours=20), rows("a"), account)
        land(lake, at(day), rows("a", name=account), account)
    assert changes("account", "after") == [("one", "one"), ("two", "two")]
    assert changes("account", "after", account="two") == [("two", "two")]


def test_regions_and_types_narrow() -> None:
    """`region` keeps what happened to images that are or were there, and of regions that one; `type` the type now."""
    land_all(
        Lake("lake"),
        {
            "2026-11-01": [row("a", "R1"), row("b", "R2"), row("c", None), row("t", "R3")],
            "2026-11-02": [
                row("a", "R2", name="A"),
                row("b", "R2", name="B"),
                row("c", None, name="C"),
                row("t", "R3", "base-os"),
            ],
        },
    )
    assert changes(*SHORT, region="R1") == [
        ("region_removed", "a", "R1", "R1", None),
        ("renamed", "a", None, "a", "A"),
    ]
    assert changes("change", "image_id", region="R2") == [
        ("region_added", "a"),
        ("renamed", "a"),
        ("renamed", "b"),
    ]
    assert changes("change", "image_id", region="(none)") == [("renamed", "c")]
    assert changes(*SHORT, type="base-os") == [("updated", "t", None, None, "type")]
    assert len(changes(type="snapshot")) == 5


# --- laws


Known = dict[str, dict[str, Any]]


def applied(state: Known, changes: list[Row]) -> Known:
    """Apply what the report says to what stood before."""
    state = {id: {**each, "regions": set(each["regions"])} for id, each in state.items()}
    for each in changes:
        id, kind = each["image_id"], each["change"]
        if kind == "appeared":
            regions = set() if each["after"] == "(none)" else set(each["after"].split(", "))
            state[id] = {"name": each["name"], "regions": regions}
        elif kind == "disappeared":
            del state[id]
        elif kind == "region_added":
            state[id]["regions"].add(each["region"])
        elif kind == "region_removed":
            state[id]["regions"].remove(each["region"])
        elif kind not in ("updated", "source_gone"):
            field = {"renamed": "name", "resized": "size", "status_changed": "status"}[kind]
            assert state[id].get(field, each["before"]) == each["before"]
            state[id][field] = each["after"]
    return state


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_changes_lead_from_one_capture_to_the_next(seed: int) -> None:
    """Applied to a capture, its changes give the next; appeared less disappeared is the difference of the counts."""
    history = next(live("lake", draw(seed), seed))
    found: dict[tuple[str, datetime], list[Row]] = defaultdict(list)
    for each in open_lake("lake").report_rows("changes", since="2020-01-01").to_pylist():
        found[each["account"], each["captured_at"]].append(each)
    for account, captures in history.items():
        if len({each.at for each in captures}) < len(captures):
            continue  # rows of one instant cannot be told apart
        for earlier, later in itertools.pairwise(captures):
            known = [
                {
                    id: {"name": r["name"], "regions": s, "size": gib(r["size_gib"]), "status": r["status"]}
                    for id, (r, s) in images_of(capture.rows).items()
                }
                for capture in (earlier, later)
            ]
            rows = found[account, later.at]
            result = applied(known[0], rows)
            came = {each["image_id"] for each in rows if each["change"] == "appeared"}
            went = {each["image_id"] for each in rows if each["change"] == "disappeared"}
            assert len(known[1]) - len(known[0]) == len(came) - len(went)
            assert result.keys() == known[1].keys()
            for id, each in known[1].items():
                assert {**each, **result[id]} == each
                assert id in came or result[id] == each
