"""sources: the snapshots of each instance, by hand. Random lives are held against a model in tests/test_model.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from genesis_etl.lake.lake import Lake
from genesis_etl.opened import OpenLake
from genesis_etl.query.report import find_report
from tests.histories import at, land, land_all, report, row

NOW = "2026-11-20 12:00"


def made(id: str, when: str, source: str | None = "vm", **fields: Any) -> dict[str, Any]:
    """Return a snapshot of an instance that was made then."""
    return row(id, created_at=at(when), source_instance_id=source, **fields)


def test_every_instance_has_its_snapshots() -> None:
    """Number, GiB, cost, oldest, newest and the median time between are those of living snapshots alone."""
    vm: dict[str, Any] = {"source_instance_name": "web", "source_instance_exists": True}
    state = [
        made("a", "2026-11-01", size_gib=10.0, **vm),
        made("b", "2026-11-02", size_gib=20.0, **vm),
        made("b", "2026-11-02", size_gib=20.0, region="R2", **vm),
        made("c", "2026-11-05", **vm),
        made("d", "2026-11-05", "vm2"),
        made("e", "2026-11-03", None, size_gib=1.0),
        made("f", "2026-11-04", None, size_gib=2.0),
        row("os", type="base-os", source_instance_id="vm"),
    ]
    land_all(Lake("lake"), {"2026-11-10": [*state, made("gone", "2026-10-01", "vm3")], NOW: state})
    table = OpenLake(Lake("lake"), (), 2.0).report_rows("sources")
    assert table.column_names == list(find_report("sources").columns)
    first, third, fourth, fifth = (at(f"2026-11-0{day}") for day in (1, 3, 4, 5))
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        ("default", "vm", "web", True, 3, 30.0, 60.0, first, fifth, 48.0, None),
        ("default", "vm2", None, None, 1, None, None, fifth, fifth, None, None),
        ("default", None, None, None, 2, 3.0, 6.0, third, fourth, 24.0, None),
    ]


def test_an_instance_that_is_gone_has_its_last_known_name() -> None:
    """The name is that of the last capture that knew it; where instances could not be read there is none."""
    lake = Lake("lake")
    for day, name, exists in ((1, "old", True), (2, "new", True), (3, None, None), (4, None, False)):
        vm = {"source_instance_name": name, "source_instance_exists": exists}
        land(lake, at(f"2026-11-0{day}"), [made("a", "2026-10-01", **vm)])
    columns = ("source_instance_name", "source_instance_exists")
    told = [report("lake", "sources", *columns, as_of=f"2026-11-0{day}") for day in (1, 2, 3, 4)]
    assert told == [[("old", True)], [("new", True)], [(None, None)], [("new", False)]]


def test_growth_in_thirty_days_is_against_the_last_capture_before() -> None:
    """One at 30 days ago counts, one a moment later does not; what was not there is 0, what is gone has no row."""
    now = at(NOW)
    lake = Lake("lake")
    land(lake, now - timedelta(days=31), [made("a", "2026-01-01", size_gib=1.0)])
    then = [made("a", "2026-01-01", size_gib=4.0), made("b", "2026-01-01", "vm2"), made("x", "2026-01-01", "vm4")]
    land(lake, now - timedelta(days=30), then)
    land(lake, now - timedelta(days=30) + timedelta(microseconds=1), [made("a", "2026-01-01", size_gib=64.0)])
    land(
        lake,
        now,
        [
            made("a", "2026-01-01", size_gib=10.0),
            made("b", "2026-01-01", "vm2", size_gib=1.0),
            made("c", "2026-11-01", "vm3", size_gib=5.0),
            made("d", "2026-11-01", "vm5"),
        ],
    )
    columns = ("source_instance_id", "gib_net_30d")
    assert report("lake", "sources", *columns) == [("vm", 6.0), ("vm2", None), ("vm3", 5.0), ("vm5", None)]
    assert report("lake", "sources", *columns, as_of=now - timedelta(days=1)) == [("vm", 63.0)]
    assert report("lake", "sources", *columns, as_of=now - timedelta(days=2)) == [("vm", None)]


def test_accounts_have_sources_of_their_own() -> None:
    """The same id in two accounts is two sources; an account without snapshots has none."""
    lake = Lake("lake")
    land(lake, at(NOW), [made("a", "2026-11-01")], "one")
    land(lake, at(NOW), [made("a", "2026-11-01"), made("b", "2026-11-02")], "two")
    land(lake, at(NOW), [], "zero")
    assert report("lake", "sources", "account", "snapshots") == [("one", 1), ("two", 2)]
