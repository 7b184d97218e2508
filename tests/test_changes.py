"""The report changes against rows written here, against laws, and against a second calculation in plain Python."""

from __future__ import annotations

import itertools
import tempfile
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis_etl.lake import Lake
from genesis_etl.reports import open_lake
from tests.histories import Row, at, land, land_all, row, rows
from tests.test_reports import BOUNDS, INSTANTS, PROPERTY, Captures, bound, landed, report

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
OTHERS = [
    "created_at",
    "extra",
    "family",
    "os_type",
    "slug",
    "source_instance_id",
    "source_snapshot_id",
    "type",
    "updated_at",
    "versions",
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


# --- the same in plain Python


def images_of(state: list[Row]) -> dict[str, tuple[Row, set[str]]]:
    """Return the images of a capture with their regions."""
    found: dict[str, tuple[Row, set[str]]] = {}
    for each in state:
        found.setdefault(each["image_id"], (each, set()))[1].update({each["region"]} - {None})
    return found


def gib(size: float | None) -> str | None:
    """Write a size."""
    return None if size is None else f"{size:.9f}".rstrip("0").rstrip(".")


def between(earlier: list[Row], later: list[Row]) -> list[dict[str, Any]]:
    """Compare two captures image by image."""
    old, new = images_of(earlier), images_of(later)
    found: list[tuple[Any, ...]] = []
    for id in old.keys() | new.keys():
        if id not in old:
            found.append(("appeared", id, None, None, ", ".join(sorted(new[id][1])) or "(none)"))
            continue
        if id not in new:
            found.append(("disappeared", id, None, ", ".join(sorted(old[id][1])) or "(none)", None))
            continue
        (was, were), (now, are) = old[id], new[id]
        start = len(found)
        found += [("region_added", id, region, None, region) for region in are - were]
        found += [("region_removed", id, region, region, None) for region in were - are]
        if was["name"] != now["name"]:
            found.append(("renamed", id, None, was["name"], now["name"]))
        if was["size_gib"] != now["size_gib"]:
            found.append(("resized", id, None, gib(was["size_gib"]), gib(now["size_gib"])))
        if was["status"] != now["status"]:
            found.append(("status_changed", id, None, was["status"], now["status"]))
        fields = [field for field in OTHERS if was[field] != now[field]]
        if fields and (fields != ["updated_at"] or len(found) == start):
            found.append(("updated", id, None, None, ", ".join(fields)))
    return [
        {
            **dict(zip(SHORT, each, strict=True)),
            "name": (new.get(each[1]) or old[each[1]])[0]["name"],
            "type": (new.get(each[1]) or old[each[1]])[0]["type"],
            "places": set().union(*(side[each[1]][1] or {"(none)"} for side in (old, new) if each[1] in side)),
        }
        for each in found
    ]


def python_changes(
    history: dict[str, Captures], since: datetime | None, end: datetime | None, region: str | None, type: str | None
) -> list[Row]:
    """Calculate the changes capture by capture."""
    found: list[Row] = []
    for account, captures in sorted(history.items()):
        newest = captures[-1][0]
        for (before, _, earlier), (moment, _, later) in itertools.pairwise(captures):
            if since is not None:
                is_shown = moment >= since
            elif end is not None and end <= newest:
                is_shown = moment >= end - timedelta(hours=24)
            else:
                is_shown = moment > newest - timedelta(hours=24)
            if not is_shown or (end is not None and moment >= end):
                continue
            rows = between(earlier, later)
            rows.sort(key=lambda each: (each["change"], each["name"], each["image_id"], each["region"] or ""))
            for each in rows:
                places = {each["region"]} if each["region"] else each["places"]
                if region in (None, *places) and type in (None, each["type"]):
                    stem = {"account": account, "captured_at": moment, "previous_captured_at": before}
                    found.append({**stem, **{name: each[name] for name in COLUMNS[3:]}})
    return found


@st.composite
def images(draw: st.DrawFn) -> list[Row]:
    """Draw the rows of one capture: images of which any field may be any of a few values."""
    state: list[Row] = []
    for id in draw(st.sets(st.sampled_from("abc"), max_size=3)):
        regions: list[Any] = sorted(draw(st.sets(st.sampled_from(["R1", "R2", "R3"]), max_size=2))) or [None]
        fields = {
            "type": draw(st.sampled_from(["snapshot", "snapshot", "base-os"])),
            "name": draw(st.sampled_from([id, id, "other"])),
            "size_gib": draw(st.sampled_from([None, 80.0, 80.0, 0.1])),
            "status": draw(st.sampled_from([None, "created", "created"])),
            "updated_at": draw(st.sampled_from([None, at("2026-10-05"), at("2026-10-06")])),
            "versions": draw(st.sampled_from([None, [], ["1"], ["1", "2"]])),
            "family": draw(st.sampled_from([None, None, None, ""])),
            "extra": draw(st.sampled_from([None, None, '{"a": 1}'])),
        }
        state += [row(id, region, **fields) for region in regions]
    return state


histories = st.dictionaries(
    st.sampled_from(["one", "two"]),
    st.lists(st.tuples(st.sampled_from(INSTANTS), images()), min_size=1, max_size=6),
    min_size=1,
)


@PROPERTY
@given(
    drawn=histories,
    is_folded=st.booleans(),
    since=st.sampled_from(["2020-01-01", *BOUNDS]),
    until=st.sampled_from([None, *BOUNDS]),
    region=st.sampled_from([None, None, "R1", "(none)"]),
    type=st.sampled_from([None, None, "snapshot"]),
)
def test_changes_are_what_plain_python_finds(
    drawn: Any, is_folded: bool, since: Any, until: Any, region: Any, type: Any
) -> None:
    """Over random histories, raw and folded, every row is the one found by comparing neighbours image by image."""
    start, end = bound(since, is_end=False), bound(until, is_end=True)
    if start and end and start >= end:
        start = since = None
    with tempfile.TemporaryDirectory() as url:
        history = landed(url, drawn, is_folded)
        found = open_lake(url).report_rows("changes", since=since, until=until, region=region, type=type).to_pylist()
    assert found == python_changes(history, start, end, region, type)


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
        elif kind != "updated":
            field = {"renamed": "name", "resized": "size", "status_changed": "status"}[kind]
            assert state[id].get(field, each["before"]) == each["before"]
            state[id][field] = each["after"]
    return state


@PROPERTY
@given(drawn=histories, is_folded=st.booleans())
def test_changes_lead_from_one_capture_to_the_next(drawn: Any, is_folded: bool) -> None:
    """Applied to a capture, its changes give the next; appeared less disappeared is the difference of the counts."""
    with tempfile.TemporaryDirectory() as url:
        history = landed(url, drawn, is_folded)
        found = open_lake(url).report_rows("changes", since="2020-01-01").to_pylist()
    for account, captures in history.items():
        moments = [moment for moment, _, _ in captures]
        if len(set(moments)) < len(moments):
            continue  # rows of one instant cannot be told apart
        for (_, _, earlier), (moment, _, later) in itertools.pairwise(captures):
            known = [
                {
                    id: {"name": r["name"], "regions": s, "size": gib(r["size_gib"]), "status": r["status"]}
                    for id, (r, s) in images_of(state).items()
                }
                for state in (earlier, later)
            ]
            rows = [each for each in found if (each["account"], each["captured_at"]) == (account, moment)]
            result = applied(known[0], rows)
            came = {each["image_id"] for each in rows if each["change"] == "appeared"}
            went = {each["image_id"] for each in rows if each["change"] == "disappeared"}
            assert len(known[1]) - len(known[0]) == len(came) - len(went)
            assert result.keys() == known[1].keys()
            for id, each in known[1].items():
                assert {**each, **result[id]} == each
                assert id in came or result[id] == each
