"""A lake of schema version 1, frozen as the release before wrote it: read, gone on with and published by this one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genesis_etl.errors import LakeError
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import TABLES
from genesis_etl.lake.schema import SCHEMA_VERSION, version_of_file
from genesis_etl.lake.tables import published
from genesis_etl.maintenance.compact import compact
from genesis_etl.opened import open_lake
from genesis_etl.pipeline import export
from genesis_etl.publish import taken_on as taking
from genesis_etl.publish.against import verify_lake
from genesis_etl.publish.publish import publish
from genesis_etl.sandbox import Fault, Sandbox
from tests.commands import Run
from tests.conftest import files_of, settings_for
from tests.histories import at, report

FROZEN = Path(__file__).parent / "lakes" / "version-1"
NEW = {"source_instance_name", "source_instance_exists", "instances"}
ORDERS = {
    "images": "image_id, region nulls first",
    "image_history": "first_seen, image_id, region nulls first, last_seen",
    "captures": "captured_at, capture_id",
    "region_days": "day, type, region nulls first",
}


@pytest.fixture
def lake() -> str:
    """Return the URL of a copy of the frozen lake that the test may change."""
    shutil.copytree(FROZEN, "lake")
    return "lake"


@pytest.fixture
def sandbox(serve: Callable[..., Sandbox]) -> Sandbox:
    """Serve the account that the frozen lake is of, a day after its newest capture."""
    sandbox = serve(at=at("2026-10-28 12:00"), generation="middle", images=14)
    sandbox.at = at("2026-11-02 12:00")
    return sandbox


def versions(folder: str | Path) -> dict[str, str]:
    """Return the schema version of every Parquet file below a folder."""
    return {
        name: pq.read_schema(Path(folder) / name).metadata[b"genesis_etl.schema_version"].decode()
        for name in files_of(folder)
    }


def statuses(url: str) -> set[tuple[str, str]]:
    """Return what `verify` finds: the kind of file and its status."""
    return {("/".join(each["file"].split("/")[:2]), each["status"]) for each in verify_lake(url).to_pylist()}


def told(url: str, name: str) -> pa.Table:
    """Return a table as the lake tells it, in the order of its published file."""
    return open_lake(url).sql_rows(f"select * from {name} order by {ORDERS[name]}")


def test_the_frozen_lake_is_of_version_1() -> None:
    """It holds loose and compacted captures, and all tables, each written with version 1."""
    found = versions(FROZEN)
    assert set(found.values()) == {"1"}
    assert len([name for name in found if "-compacted-" in name]) == 2
    assert len([name for name in found if name.startswith("tables/")]) == len(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_it_tells_what_it_told(lake: str, name: str) -> None:
    """Every table is row by row what version 1 published of it; what that did not know is null."""
    before = pq.read_table(FROZEN / "tables" / name / "default.parquet")
    now = told(lake, name)
    news = [column for column in now.column_names if column not in before.column_names]
    assert set(news) == NEW & set(now.column_names)
    assert all(now[column].null_count == len(now) for column in news)
    assert now.drop_columns(news).cast(before.schema.remove_metadata()).to_pylist() == before.to_pylist()
    assert files_of(lake) == files_of(FROZEN)


def test_its_reports_answer(lake: str) -> None:
    """Snapshots are told with their source, of which nothing more is known; no change tells of that."""
    rows = report(lake, "stale-snapshots", "source_instance_id", "source_instance_name", "source_instance_exists")
    assert rows
    assert {(name, exists) for _, name, exists in rows} == {(None, None)}
    assert "source_gone" not in {change for (change,) in report(lake, "changes", "change", since="2026-10-01")}


def test_captures_of_both_versions_answer_together(lake: str, sandbox: Sandbox) -> None:
    """Beside older files, and compacted with them, a new capture tells of instances, and none of it is a change."""
    old = open_lake(lake).sql_rows("select * from image_regions order by all").to_pylist()
    (capture,) = export(settings_for(sandbox, lake), compacts=False)
    assert set(versions(f"{lake}/store").values()) == {"1", "2"}

    def answers() -> list[Any]:
        opened = open_lake(lake)
        rows = opened.sql_rows("select * from image_regions order by all").to_pylist()
        assert [each for each in rows if each["capture_id"] != capture.capture_id] == old
        reports = [opened.report_rows(name, **options).to_pylist() for name, options in REPORTS]
        return [rows, told(lake, "image_history").to_pylist(), *reports]

    loose = answers()
    known = {row["source_instance_exists"] for row in loose[0] if row["source_instance_id"]}
    assert {None, True} <= known
    running = {item["id"]: item["name"] for item in sandbox.read("instances")}
    for row in loose[0]:
        if row["capture_id"] == capture.capture_id and row["source_instance_id"]:
            source = row["source_instance_id"]
            assert (row["source_instance_name"], row["source_instance_exists"]) == (
                running.get(source),
                source in running,
            )
    changes = report(lake, "changes", "change", "after", since="2026-11-02")
    assert "source_gone" not in {change for change, _ in changes}
    assert not any("source_instance" in (after or "") for _, after in changes)
    compact(Lake(lake), grace=timedelta(0), now=at("2026-11-03 12:00"))
    assert set(versions(f"{lake}/store").values()) == {"2"}
    assert answers() == loose
    assert "damaged" not in {status for _, status in statuses(lake)}


REPORTS: list[tuple[str, dict[str, Any]]] = [
    ("snapshot-growth", {"since": "2026-10-01", "per_region": True}),
    ("region-coverage", {}),
    ("changes", {"since": "2026-10-01"}),
    ("stale-snapshots", {"older_than": "1d"}),
]


def test_nothing_of_the_columns_breaks_growth(lake: str, sandbox: Sandbox) -> None:
    """Where instances become known, nothing is created or deleted but what came and went."""
    ids = {item["id"] for item in sandbox.read("snapshots")}
    was = set(open_lake(lake).sql("select distinct image_id from images where type = 'snapshot'")["image_id"])
    export(settings_for(sandbox, lake))
    columns = ("opening", "created", "deleted", "closing")
    *_, last = report(lake, "snapshot-growth", *columns)
    assert last == (len(was), len(ids - was), len(was - ids), len(ids))


# --- the tables


def test_tables_of_version_1_are_none_of_this_version(lake: str) -> None:
    """They are whole but not taken on: each is `behind`, and `publish` is what `verify` names."""
    there = published(Lake(lake).storage, "default")
    assert {table.state for table in there.values()} == {None}
    rows = [each for each in verify_lake(lake).to_pylist() if each["status"] != "ok"]
    assert [(each["file"].split("/")[1], each["status"]) for each in rows] == [(name, "behind") for name in TABLES]
    assert {"earlier version" in each["detail"] and "publish" in each["detail"] for each in rows} == {True}


@pytest.mark.parametrize("by", ["export", "publish"])
def test_they_are_made_anew_of_the_whole_store(
    lake: str, sandbox: Sandbox, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A landing or `publish` writes all four in this version, from nothing; the next landing takes those on."""
    taken_on: list[datetime] = []
    go_on = taking.go_on

    def counted(tables: Any, rows: Any, account: str, id: str, at: datetime, previous: Any) -> Any:
        taken_on.append(at)
        return go_on(tables, rows, account, id, at, previous)

    monkeypatch.setattr(taking, "go_on", counted)
    if by == "export":
        export(settings_for(sandbox, lake), compacts=False)
    else:
        publish(Lake(lake))
    assert taken_on == []
    assert set(versions(f"{lake}/tables").values()) == {str(SCHEMA_VERSION)}
    assert {status for _, status in statuses(lake)} == {"ok"}
    for name in TABLES:
        assert pq.read_table(f"{lake}/tables/{name}/default.parquet").to_pylist() == told(lake, name).to_pylist()
    sandbox.at = at("2026-11-03 12:00")
    export(settings_for(sandbox, lake), compacts=False)
    assert taken_on == [sandbox.at]
    assert {status for _, status in statuses(lake)} == {"ok"}


def test_a_table_of_version_1_still_knows_what_the_store_has_lost(lake: str) -> None:
    """A capture that only an older table lists is missing, and nothing is published over it."""
    (newest,) = (name for name in files_of(lake) if "captures/default/2026/20261101" in name)
    os.remove(f"{lake}/{newest}")
    assert ("tables/captures", "missing") in statuses(lake)
    with pytest.raises(LakeError, match="1 capture of default"):
        publish(Lake(lake))


def test_check_and_verify_say_what_to_do(lake: str, run: Run) -> None:
    """After an upgrade the tables count as behind until they are published; then all is well."""
    ended = run("verify", "--lake", lake, "--format", "json")
    assert (ended.code, {row["status"] for row in ended.rows if row["status"] != "ok"}) == (1, {"behind"})
    assert run("publish", "--lake", lake).code == 0
    assert run("verify", "--lake", lake).code == 0


def test_a_refused_list_leaves_older_and_newer_rows_one_run(lake: str, sandbox: Sandbox) -> None:
    """Where /instances may not be read, a row goes on as the older version wrote it: not known is null."""
    sandbox.faults.append(Fault("status", "instances", times=0, status=403))
    runs = "select count(*) as n from image_history where type = 'snapshot'"
    before = open_lake(lake).sql_rows(runs).to_pylist()[0]["n"]
    known = set(open_lake(lake).sql("select image_id from images where type = 'snapshot'")["image_id"])
    new = {item["id"] for item in sandbox.read("snapshots")} - known
    export(settings_for(sandbox, lake))
    assert open_lake(lake).sql_rows(runs).to_pylist()[0]["n"] == before + len(new)


def test_a_footer_tells_its_version_as_arrow_reads_it(lake: str, sandbox: Sandbox) -> None:
    """Of files of the version before and of this one, and of one whose rows spell another in vain."""
    export(settings_for(sandbox))
    found = {name: version_of_file(data) for name, data in files_of(lake).items() if name.startswith("store/")}
    assert set(found.values()) == {1, SCHEMA_VERSION}
    assert all(str(version) == versions(lake)[name] for name, version in found.items())
    spelt = pa.table({"name": [f"genesis_etl.schema_version\x18\x01{SCHEMA_VERSION}"]})
    pq.write_table(spelt.replace_schema_metadata({"genesis_etl.schema_version": "1"}), "x", write_statistics=False)
    assert version_of_file(Path("x").read_bytes()) == 1
