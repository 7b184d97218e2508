"""Spark tells what DuckDB tells: every table and report, row by row, from the same SQL files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from genesis_etl import open_lake
from genesis_etl.errors import ReportError
from genesis_etl.lake.lake import Lake
from genesis_etl.maintenance.compact import compact
from genesis_etl.opened import OpenLake
from genesis_etl.query.report import find_report, report_names
from tests.conftest import WHOLE, fewer
from tests.histories import at, land, land_all, row, rows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("spark")]
pytest.importorskip("pyspark", reason="needs the extra [spark]")

SAMPLE = str(Path(__file__).parent.parent / "data" / "sample")
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "snapshot-growth": [{"total": True}, {"by": "week", "per_region": True}, {"by": "month", "as_of": "2026-11-05"}],
    "usage": [{"by": "week", "per_source": True}, {"total": True, "per_region": True}],
    "region-coverage": [
        {"newest_of_family": True},
        {"newest_of_family": True, "matrix": True},
        {"since": "2026-09-01", "until": "2026-09-30"},
    ],
    "retention": [{"keep": ["1d", "0d"], "total": True}],
    "changes": [{}, {"since": "2026-10-01"}],
    "stale-snapshots": [{}, {"older_than": "7d"}],
}


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[OpenLake, OpenLake]]:
    """The sample, and a lake of accounts, gaps, renames, nulls, late captures, a compaction; each on both engines."""
    url = str(tmp_path_factory.mktemp("lake"))
    lake = Lake(url)
    land_all(
        lake,
        {
            "2026-11-01 10:00": [row("a", "R1", size_gib=1.5), row("a", "R2", size_gib=1.5), row("b", None)],
            "2026-11-01 18:00": [row("a", "R1", name="renamed"), row("b", "R1", versions=[])],
            "2026-11-04 10:00": [row("b", "R1", versions=["v1"], extra='{"x":1}'), row("ü \x1b", "R3", "cloud-image")],
            "2026-11-05 10:00": [],
            "2026-11-06 10:00": rows("a", "c"),
        },
    )
    land_all(lake, {"2026-10-01 10:00": rows("x"), "2026-11-03 10:00": rows("x", "y")}, account="other")
    compact(lake, now=at("2026-11-06 12:00"))
    land(lake, at("2026-11-01 12:00"), rows("late"))
    return [
        (open_lake(each, regions=["NEW-1"], price=0.05), open_lake(each, regions=["NEW-1"], price=0.05, engine="spark"))
        for each in (SAMPLE, url)
    ]


def plain(table: pa.Table) -> list[dict[str, Any]]:
    return [dict(each) for each in table.to_pylist()]


@pytest.mark.parametrize("table", ["captures", "images", "image_regions", "image_history"])
def test_a_table_is_the_same(lakes: list[tuple[OpenLake, OpenLake]], table: str) -> None:
    """The four tables hold the same rows on both engines."""
    for duck, spark in lakes:
        statement = f"select * exclude (file) from {table}" if table == "captures" else f"select * from {table}"
        ours, theirs = plain(duck.sql_rows(statement)), plain(spark.sql_rows(f"select * from {table}"))
        for each in theirs:
            if table == "captures":
                each.pop("file")
        assert sorted(map(repr, ours)) == sorted(map(repr, theirs))


@pytest.mark.parametrize("name", fewer(report_names(), 4, WHOLE))
def test_a_report_is_the_same(lakes: list[tuple[OpenLake, OpenLake]], name: str) -> None:
    """Every report tells the same rows in the same order on both engines, with its options."""
    for duck, spark in lakes:
        for options in OPTIONS.get(name, [{}]):
            ours = duck.report_rows(name, **options)
            theirs = spark.report_rows(name, **options)
            assert ours.column_names == theirs.column_names
            assert plain(ours) == plain(theirs)
            if not options.get("matrix"):
                assert ours.column_names[0] in find_report(name).columns


@pytest.mark.parametrize("statement", ["drop view images", "select 1; select 2", "delete from images", "selec"])
def test_only_a_select_is_run(lakes: list[tuple[OpenLake, OpenLake]], statement: str) -> None:
    """What is more than one SELECT is refused on Spark too."""
    with pytest.raises(ReportError):
        lakes[0][1].sql_rows(statement)
