"""usage: GiB × time, by hand. What it tells of random lives is held against a model in tests/test_model.py."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from genesis_etl.lake.lake import Lake
from genesis_etl.opened import OpenLake, open_lake
from genesis_etl.query.report import find_report
from tests.histories import at, land, land_all, report, row, rows

SEPTEMBER, OCTOBER, NOVEMBER = (date(2026, month, 1) for month in (9, 10, 11))


def test_half_a_month_of_100_gib_is_50_gib_months() -> None:
    """A snapshot of 100 GiB that stood for fifteen of September's thirty days used 50 GiB-months, at 5 each 250."""
    land_all(
        Lake("lake"),
        {"2026-09-01": rows("a", size_gib=100.0), "2026-09-16": [], "2026-10-01": []},
    )
    table = OpenLake(Lake("lake"), (), 5.0).report_rows("usage")
    assert table.column_names == list(find_report("usage").columns)
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        ("default", SEPTEMBER, None, None, 50.0, 250.0, 1, "partial", True),
        ("default", OCTOBER, None, None, 0.0, 0.0, 0, "observed", False),
    ]


def test_each_months_part_is_divided_by_its_own_length() -> None:
    """A week over the end of a month adds a share of 30 days to one of 31; a whole month is 1, whatever its length."""
    land_all(Lake("lake"), {"2026-09-28": rows("a", size_gib=930.0), "2026-10-05": [], "2026-11-01": []})
    week = report("lake", "usage", "period", "gib_months", by="week", until="2026-10-04")
    assert week == [(date(2026, 9, 28), 3 * 31.0 + 4 * 30.0)]
    land_all(Lake("whole"), {"2026-02-01": rows("a", size_gib=7.0), "2026-04-01": rows("a")})
    assert report("whole", "usage", "gib_months") == [(7.0,), (7.0,), (None,)]


def test_a_state_holds_until_the_next_capture_and_the_newest_takes_no_time() -> None:
    """A gap counts at the level before it, what only the newest capture holds is there but used nothing."""
    land_all(
        Lake("lake"),
        {"2026-09-16": rows("a", size_gib=30.0), "2026-11-16": [*rows("a", "b", size_gib=30.0), row("c")]},
    )
    columns = ("period", "gib_months", "snapshots", "basis", "is_complete")
    assert report("lake", "usage", *columns) == [
        (SEPTEMBER, 15.0, 1, "partial", True),
        (OCTOBER, 30.0, 1, "gap", True),
        (NOVEMBER, 15.0, 3, "observed", False),
    ]


def test_a_newest_capture_on_the_first_instant_of_a_period_shows_what_it_holds() -> None:
    """What goes with that capture was not there in its period; what it holds was."""
    land_all(
        Lake("lake"),
        {"2026-09-30": rows("a", "b", size_gib=30.0), "2026-10-01": rows("b", "c", size_gib=30.0)},
    )
    assert report("lake", "usage", "gib_months", "snapshots") == [(2.0, 2), (0.0, 2)]


def test_what_one_of_two_captures_of_the_first_instant_of_a_period_holds_was_there() -> None:
    """Whichever of the two comes first by its name: what only the other one holds was there, and used nothing."""
    lake = Lake("lake")
    for day, names in (("2026-09-30", "ab"), ("2026-10-01", "a"), ("2026-10-01", "b"), ("2026-10-05", "")):
        land(lake, at(day), rows(*names, size_gib=31.0))
    assert report("lake", "usage", "period", "snapshots") == [(SEPTEMBER, 2), (OCTOBER, 2)]


def test_an_image_of_several_regions_counts_once_in_the_total() -> None:
    """It counts whole in each of its regions, and in the sources of its own; zero rows show where none is left."""
    a, b = {"size_gib": 60.0, "source_instance_id": "vm1"}, {"size_gib": 30.0}
    land_all(
        Lake("lake"),
        {
            "2026-09-01": [row("a", "R1", **a), row("a", "R2", **a), row("b", None, **b)],
            "2026-09-16": [row("a", "R2", **a), row("b", None, **b)],
            "2026-10-01": [],
            "2026-10-02": [],
        },
    )
    assert report("lake", "usage", "gib_months", until="2026-09-30") == [(90.0,)]
    regions = [
        (SEPTEMBER, "(none)", 30.0, 1),
        (SEPTEMBER, "R1", 30.0, 1),
        (SEPTEMBER, "R2", 60.0, 1),
        (OCTOBER, "(none)", 0.0, 0),
        (OCTOBER, "R1", 0.0, 0),
        (OCTOBER, "R2", 0.0, 0),
    ]
    columns = ("period", "region", "gib_months", "snapshots")
    assert report("lake", "usage", *columns, per_region=True) == regions
    assert report("lake", "usage", *columns, region="R1") == [each for each in regions if each[1] == "R1"]
    sources = ("region", "source_instance_id", "gib_months", "snapshots")
    assert report("lake", "usage", *sources, per_source=True) == [(None, "vm1", 60.0, 1), (None, None, 30.0, 1)]
    assert report("lake", "usage", *sources, per_source=True, region="R1") == [("R1", "vm1", 30.0, 1)]


def test_unknown_sizes_are_left_out() -> None:
    """A month's use is null where no size is known, and skips those that are not; a size counts while it is known."""
    land_all(
        Lake("lake"),
        {
            "2026-09-01": rows("a", "b"),
            "2026-10-01": [row("a", size_gib=62.0), row("b")],
            "2026-10-02": [row("a"), row("b")],
            "2026-11-01": [],
        },
    )
    assert report("lake", "usage", "gib_months", "cost", "snapshots") == [
        (None, None, 2),
        (2.0, None, 2),
        (0.0, None, 0),
    ]


def test_a_total_is_the_sum_of_its_accounts() -> None:
    """Every account counts from its own first capture to its own newest; partial is what one of them begins in."""
    lake = Lake("lake")
    states: dict[str, dict[str, Any]] = {
        "one": {"2026-09-01": rows("s", size_gib=30.0), "2026-11-11": []},
        "two": {"2026-10-16": rows("s", size_gib=31.0), "2026-10-17": rows("s", size_gib=31.0)},
    }
    for account, each in states.items():
        land_all(lake, each, account)
    columns = ("account", "period", "gib_months", "snapshots", "basis", "is_complete")
    assert report("lake", "usage", *columns, total=True) == [
        (None, SEPTEMBER, 30.0, 1, "partial", True),
        (None, OCTOBER, 31.0, 2, "partial", True),
        (None, NOVEMBER, 10.0, 1, "observed", False),
    ]
    assert report("lake", "usage", *columns[:3], total=True, account="two") == [(None, OCTOBER, 1.0)]


def test_the_largest_size_fits() -> None:
    """As many snapshots of the largest size that the API may tell as anyone has are summed to the byte."""
    most = float(2**53)
    states = {f"2026-{month}-01": [row(f"s{n}", size_gib=most) for n in range(64)] for month in ("09", "10")}
    land_all(Lake("lake"), states)
    assert report("lake", "usage", "gib_months", until="2026-09-30") == [(64 * most,)]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, ["2025-12", "2026-01", "2026-11"]),
        ({"since": "2025-10-31", "until": "2025-11-01"}, ["2025-10", "2025-11"]),
        ({"since": "2024-01-01", "until": "2025-09-30"}, ["2025-09"]),
        ({"since": "2026-12-01"}, []),
    ],
)
def test_usage_begins_with_the_first_capture(options: Any, shown: list[str]) -> None:
    """Without a range the last twelve months, never one before the first capture nor after the newest."""
    lake = Lake("lake")
    for moment in ("2025-09-20", "2026-11-05"):
        land(lake, at(moment), rows("a", size_gib=1.0))
    found = [f"{period:%Y-%m}" for (period,) in report("lake", "usage", "period", **options)]
    assert [found[0], found[1], found[-1]] == shown if not options else found == shown


def test_python_takes_the_same_options() -> None:
    """`report` of an open lake takes what the command does, and gives dates as pandas has them."""
    land_all(Lake("lake"), {"2026-09-01": rows("a", size_gib=30.0), "2026-09-02": []})
    frame = open_lake("lake", price=2.0).report("usage", by="day", per_source=True, per_region=True, total=True)
    assert frame["gib_months"].tolist() == [1.0]
    assert frame["cost"].tolist() == [2.0]
    assert str(frame["period"].dtype).startswith("datetime64")


def test_the_docs_tell_how_far_the_closing_level_is_from_what_was_used() -> None:
    """The percentages that docs/reports.md names are those of the sample, month by month."""
    root = Path(__file__).parent.parent
    used, closing = (
        [gib for (gib,) in report(str(root / "data" / "sample"), name, column, by="month", since="2026-07-01")]
        for name, column in (("usage", "gib_months"), ("snapshot-growth", "gib_closing"))
    )
    below = [f"{100 * (1 - one / other):.0f} %" for one, other in zip(used, closing, strict=True)]
    text = (root / "docs" / "reports.md").read_text(encoding="utf-8")
    assert f"{', '.join(below[:-1])} and {below[-1]} below" in " ".join(text.split())
