"""retention: what may go and what stays, by hand. Random lives are held against a model in tests/test_model.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from genesis_etl import cli
from genesis_etl.errors import ReportError
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import OpenLake, open_lake
from genesis_etl.query.report import find_report
from tests.histories import at, land, land_all, report, row

NOW = at("2026-11-20 12:00")
COLUMNS = ("keep", "snapshots", "size_gib", "kept_as_newest", "kept_gib")


def old(id: str, days: float, source: str | None = "vm", **fields: Any) -> dict[str, Any]:
    """Return a snapshot that was made so many days before the capture."""
    return row(id, created_at=NOW - timedelta(days=days), source_instance_id=source, **fields)


def test_it_frees_what_is_older_than_the_days_kept() -> None:
    """Snapshots older than each number of days count, with GiB and cost; younger ones and other images do not."""
    state = [
        old("a", 400, size_gib=10.0),
        old("b", 31, size_gib=5.0),
        old("c", 30, size_gib=2.5),
        old("d", 1, size_gib=1.0),
        row("os", type="base-os", size_gib=7.0, source_instance_id="vm"),
    ]
    land_all(Lake("lake"), {"2026-11-01": [old("gone", 500)], f"{NOW:%Y-%m-%d %H:%M}": state})
    table = OpenLake(Lake("lake"), (), 2.0).report_rows("retention")
    assert table.column_names == list(find_report("retention").columns)
    assert [tuple(each.values()) for each in table.to_pylist()] == [
        ("default", 7, 3, 17.5, 35.0, 0, 0.0),
        ("default", 14, 3, 17.5, 35.0, 0, 0.0),
        ("default", 30, 2, 15.0, 30.0, 0, 0.0),
        ("default", 60, 1, 10.0, 20.0, 0, 0.0),
        ("default", 90, 1, 10.0, 20.0, 0, 0.0),
        ("default", 180, 1, 10.0, 20.0, 0, 0.0),
        ("default", 365, 1, 10.0, 20.0, 0, 0.0),
    ]


def test_the_newest_of_an_instance_is_never_freed() -> None:
    """It stays whatever its age, and of several made at once all; another instance's newest makes no difference."""
    state = [
        old("old", 50, size_gib=1.0),
        old("twin1", 40, size_gib=2.0),
        old("twin2", 40, size_gib=4.0),
        old("only", 300, "vm2", size_gib=8.0),
        old("new", 1, "vm3", size_gib=16.0),
    ]
    land(Lake("lake"), NOW, state)
    assert report("lake", "retention", *COLUMNS, keep=["0d", "30d", "60d"]) == [
        (0, 1, 1.0, 4, 30.0),
        (30, 1, 1.0, 3, 14.0),
        (60, 0, 0.0, 1, 8.0),
    ]


def test_snapshots_without_an_instance_are_left_alone_and_copies_are_snapshots() -> None:
    """What has no source is neither freed nor kept; a copy counts by itself, an image of two regions once."""
    state = [
        old("none", 90, None, size_gib=100.0),
        old("a", 80, size_gib=1.0),
        old("copy", 70, size_gib=1.0, source_snapshot_id="a"),
        old("copy", 70, size_gib=1.0, source_snapshot_id="a", region="R2"),
        old("last", 60, size_gib=1.0),
    ]
    land(Lake("lake"), NOW, state)
    assert report("lake", "retention", *COLUMNS, keep="7d") == [(7, 2, 2.0, 1, 1.0)]


def test_unknown_sizes_are_left_out() -> None:
    """GiB skip what is not known and are null where nothing is; an account without snapshots frees 0."""
    lake = Lake("lake")
    land(lake, NOW, [old("a", 9), old("b", 8, size_gib=1.5), old("c", 7.5)], "one")
    land(lake, NOW, [old("a", 9), old("b", 8)], "two")
    land(lake, NOW, [], "zero")
    found = report("lake", "retention", "account", *COLUMNS[1:], keep="7d")
    assert found == [("one", 2, 1.5, 1, None), ("two", 1, None, 1, None), ("zero", 0, 0.0, 0, 0.0)]
    assert report("lake", "retention", "account", *COLUMNS, keep="7d", total=True) == [(None, 7, 3, 1.5, 2, None)]


def test_ages_count_from_the_newest_capture_or_the_time_asked() -> None:
    """Each account's ages are of its own newest capture; with `as_of` of that time, from what was there then."""
    lake = Lake("lake")
    for account, moment in (("one", NOW), ("two", NOW + timedelta(days=30))):
        land(lake, moment, [old("a", 20), old("b", 19)], account)
    options: dict[str, Any] = {"keep": "30d"}
    assert report("lake", "retention", "snapshots", "kept_as_newest", **options) == [(0, 0), (1, 1)]
    assert report("lake", "retention", "account", "snapshots", **options, as_of=NOW + timedelta(days=11)) == [
        ("one", 1)
    ]


@pytest.mark.parametrize(
    ("keep", "days"),
    [("30d", [30]), (["60d", "7d", "60d"], [7, 60]), (timedelta(days=3), [3]), (("48h", timedelta()), [0, 2])],
)
def test_days_are_kept_as_asked(keep: Any, days: list[int]) -> None:
    """One duration or several, each once, in order."""
    land(Lake("lake"), NOW, [])
    assert open_lake("lake").report("retention", keep=keep)["keep"].tolist() == days


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("36h", "--keep '36h': expected whole days, such as 30d"),
        (["7d", "1s"], "--keep '7d,1s': expected whole days"),
        (timedelta(days=-1), "expected whole days"),
        ([], "expected whole days"),
        (30, "--keep: '30' is not a duration"),
        (["7d", None], "--keep: 'None' is not a duration"),
    ],
)
def test_what_are_no_days_is_refused(keep: Any, message: str) -> None:
    """A part of a day, a negative one, none at all, or no duration ends with 2."""
    land(Lake("lake"), NOW, [])
    with pytest.raises(ReportError, match=message) as caught:
        open_lake("lake").report("retention", keep=keep)
    assert caught.value.exit_code == 2


def test_keep_is_repeated_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """`--keep` is given once for every number of days, `--total` puts accounts together."""
    for account in ("one", "two"):
        land(Lake("data/lake"), NOW, [old("a", 20, size_gib=1.0), old("b", 1)], account)
    assert cli.run(["report", "retention", "--keep", "14d", "--keep", "7d", "--total", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [",7,2,2,,0,0", ",14,2,2,,0,0"]
