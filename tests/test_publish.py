"""The tables of a lake as files: exact for any reader, replaced whole, taken on by a capture or made of the store."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import genesis_etl
from genesis_etl.errors import LakeError, SettingsError
from genesis_etl.lake.commit import Commit
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import TABLES, LakeFile, Table
from genesis_etl.lake.schema import SCHEMA_VERSION, TABLE_SCHEMAS
from genesis_etl.lake.storage import Storage
from genesis_etl.lake.tables import FoundTable, listed_captures, published
from genesis_etl.maintenance.compact import compact, compact_account
from genesis_etl.maintenance.forget import forget
from genesis_etl.publish import against
from genesis_etl.publish import publish as publishing
from genesis_etl.publish.against import has_failed, verify_lake
from genesis_etl.publish.publish import publish, publish_account, publish_after
from genesis_etl.sandbox import Fault, Sandbox
from tests import lives, model
from tests.commands import Run
from tests.conftest import fewer, figure, files_of
from tests.histories import at, commit_files, land, land_all, row, rows_files
from tests.model import DAY, History, Row, Taken

ON_A_STORE = [pytest.mark.slow, pytest.mark.xdist_group("s3")]
HOUR = timedelta(hours=1)
START = at("2026-11-20 08:00")
ROWS = [row("a", "R1", type="snapshot", size_gib=80.0), row("a", "R2", type="snapshot", size_gib=80.0), row("b", "R1")]


def table(url: str, name: str, account: str | None = None) -> pd.DataFrame:
    """Read a table's files as pandas does."""
    return pd.read_parquet(f"{url}/tables/{name}" + (f"/{account}.parquet" if account else ""))


def state(url: str, name: str, account: str = "default") -> tuple[str, int]:
    """Return what a table's file says of the captures in it: the newest, and their number."""
    metadata = pq.read_schema(f"{url}/tables/{name}/{account}.parquet").metadata
    assert metadata[b"genesis_etl.schema_version"] == str(SCHEMA_VERSION).encode()
    return metadata[b"genesis_etl.newest_capture"].decode(), int(metadata[b"genesis_etl.captures"])


def statuses(url: str) -> list[tuple[str, str]]:
    """Return what `verify` finds below the tables."""
    rows = verify_lake(url).to_pylist()
    return sorted((each["file"], each["status"]) for each in rows if each["file"].startswith("tables"))


def plain(rows: pa.Table) -> list[str]:
    """Return rows without their order, instants as the model has them."""
    instants = [field.name for field in rows.schema if pa.types.is_timestamp(field.type)]
    found = rows.to_pylist()
    for each in found:
        for column in instants:
            each[column] = each[column] and each[column].astimezone(model.UTC)
    return sorted(repr(sorted(each.items())) for each in found)


# --- what they hold


def test_an_export_publishes_four_tables(api: Callable[..., Sandbox], run: Run) -> None:
    """One file a table and account, with the rows of the command's own tables, described, in the schema of the docs."""
    api(generation="seed", images=60)
    assert run("export", "--lake", "lake").code == 0
    assert run("export", "--lake", "lake").code == 0
    for name in TABLES:
        file = pq.read_table(f"lake/tables/{name}/default.parquet")
        assert file.schema.equals(TABLE_SCHEMAS[name])
        assert all(field.metadata[b"description"] for field in file.schema)
        assert plain(file) == plain(genesis_etl.opened.open_lake("lake").sql_rows(f"select * from {name}"))  # type: ignore[attr-defined]
    newest = genesis_etl.open_lake("lake").captures["capture_id"].max()
    assert {state("lake", name) for name in TABLES} == {(newest, 2)}


def test_a_stranger_gets_the_numbers_of_the_reports() -> None:
    """DuckDB, which knows nothing of the lake, counts with one statement what both reports tell."""
    lake = Lake("lake")
    for name in ("one", "two", "three"):
        for n in range(9):
            state = [*ROWS[: 1 + n % 3], *(row(f"s{k}", "R2", type="snapshot") for k in range(n))]
            land(lake, START + n * 11 * HOUR, state, name)
            publish_account(lake, name)
    opened = genesis_etl.open_lake("lake")
    growth = opened.report("snapshot-growth", per_region=True, since="2026-11-20")
    days = duckdb.sql(
        "select account, day as period, region, images as closing from 'lake/tables/region_days/*.parquet' "
        "where type = 'snapshot' and region is not null order by all"
    ).df()
    told = growth[["account", "period", "region", "closing"]].sort_values(["account", "period", "region"])
    both = told.merge(days, on=["account", "period", "region"], how="outer", suffixes=("", "_there"))
    assert both["closing"].fillna(0).tolist() == both["closing_there"].fillna(0).tolist()
    coverage = opened.report("region-coverage").set_index(["account", "type", "region"])["images"]
    now = duckdb.sql(
        "select account, type, region, count(*) as images from 'lake/tables/images/*.parquet' group by all order by all"
    ).df()
    assert now.set_index(["account", "type", "region"])["images"].to_dict() == coverage[coverage > 0].to_dict()


@pytest.mark.parametrize("seed", range(3))
def test_taken_on_capture_by_capture_they_are_those_of_the_model(seed: int, tmp_path: Path) -> None:
    """Published after each landing, in the order in which captures come, they hold what plain Python counts."""
    random = Random(seed)
    life = lives.draw_life(random, 12, 12, is_steady=seed == 1)
    lake = Lake(str(tmp_path))
    taken: list[Taken] = []
    order = [n for n in range(len(life.captures)) if n not in life.late] + sorted(life.late)
    for place, n in enumerate(order):
        moment, state = life.captures[n]
        capture = land(lake, moment, state)
        taken.append(Taken(moment, capture.capture_id, state, capture.finished_at, 2, 0, 1))
        if place in life.compactions:
            compact_account(lake, "default", grace=timedelta(), now=moment + DAY)
        publish_account(lake, "default")
        history: History = {"default": sorted(taken, key=lambda each: (each.at, each.id))}
        figure("publications")
        expected: dict[str, list[Row]] = {
            "images": model.images(history),
            "image_history": model.image_history(history),
            "region_days": model.region_days(history),
        }
        for name, rows in expected.items():
            assert plain(pq.read_table(tmp_path / f"tables/{name}/default.parquet")) == sorted(
                repr(sorted(each.items())) for each in rows
            ), (seed, place, name)


@pytest.mark.slow
def test_taken_on_or_made_anew_they_are_the_same_to_the_byte(tmp_path: Path) -> None:
    """Over sixty lives with compactions, late captures and forgotten ones they are those that the whole store gives."""
    for seed in range(60):
        random = Random(seed)
        url = tmp_path / str(seed)
        lake = Lake(str(url))
        for moment, state in lives.draw_life(random, random.randint(2, 14), random.randint(1, 12)).captures:
            land(lake, moment, state)
            if random.random() < 0.2:
                compact_account(lake, "default", grace=timedelta(), now=moment + DAY)
            if random.random() < 0.1:
                land(lake, moment - random.choice((DAY, HOUR, timedelta())), ROWS)
            if random.random() < 0.1:
                forget(lake, "default", moment - 3 * DAY)
            if random.random() < 0.8:
                publish_account(random.choice((lake, Lake(str(url)))), "default")
        publish_account(lake, "default")
        before = files_of(url / "tables")
        assert {each.status for each in publish_account(Lake(str(url)), "default", is_anew=True)} == {"whole"}
        assert files_of(url / "tables") == before
        figure("publications", 2)
        shutil.rmtree(url)


def test_captures_of_one_instant_leave_their_runs_in_one_order() -> None:
    """Runs that only begin and are gone between two captures of one instant lie before those that go on, each time."""
    lake = Lake("lake")
    for moment, extra in ((START, None), (START, '{"a":1}'), (START, '{"b":1}'), (START + HOUR, None)):
        land(lake, moment, [row(f"s{n}", f"R{n % 3}", extra=extra if n % 2 else None) for n in range(60)])
        publish_account(lake, "default")
        taken_on = files_of("lake/tables")
        publish_account(Lake("lake"), "default", is_anew=True)
        assert files_of("lake/tables") == taken_on
    history = pq.read_table("lake/tables/image_history/default.parquet")
    order = [(name, "ascending") for name in ("first_seen", "image_id", "region", "last_seen", "gone_at")]
    assert history.select(name for name, _ in order).equals(history.sort_by(order).select(name for name, _ in order))


def test_an_old_file_that_is_damaged_keeps_no_new_capture_out_of_the_tables() -> None:
    """The tables hold what it held, so the next capture takes them on; where it is missing, too."""
    lake = Lake("lake")
    for n in range(2):
        land(lake, START + n * HOUR, ROWS[n:])
        publish_account(lake, "default")
    first, _ = rows_files("lake")
    whole = Path("lake", first.path).read_bytes()
    Path("lake", first.path).write_bytes(whole[:50] + b"?" + whole[51:])
    land(lake, START + 2 * HOUR, ROWS)
    assert {each.captures for each in publish_account(Lake("lake"), "default")} == {3}
    Path("lake", first.path).unlink()
    land(lake, START + 3 * HOUR, ROWS)
    assert {each.captures for each in publish_account(Lake("lake"), "default")} == {4}
    Path("lake", first.path).write_bytes(whole)
    assert statuses("lake") == [("tables", "ok")]


def test_taking_tables_on_reads_the_new_commits_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many captures the tables hold; after a compaction all are looked at, once."""
    lake = Lake("lake")
    for n in range(6):
        land(lake, START + n * HOUR, ROWS[n % 2 :])
    publish_account(lake, "default")
    read: list[str] = []
    real = Lake.parse

    def counted(self: Lake, file: LakeFile) -> Commit:
        read.append(file.name)
        return real(self, file)

    monkeypatch.setattr(Lake, "parse", counted)
    new = [land(lake, START + n * HOUR, ROWS).capture_id for n in (6, 7)]
    read.clear()
    publish_account(Lake("lake"), "default")
    assert read == new
    compact_account(lake, "default", grace=timedelta(), now=START + 9 * HOUR)
    publish_account(Lake("lake"), "default")
    new = [land(lake, START + 8 * HOUR, ROWS).capture_id]
    read.clear()
    publish_account(Lake("lake"), "default")
    assert read == new
    assert statuses("lake") == [("tables", "ok")]


@pytest.mark.parametrize("is_known_to", ["the next capture", "the tables"])
def test_a_commit_that_is_lost_is_no_new_commits_only(is_known_to: str) -> None:
    """What the newcomer knew and no commit lists, or a table lists and no commit does, is told and not passed over."""
    lake = Lake("lake")
    for n in range(3):
        land(lake, START + n * HOUR, ROWS[n % 2 :])
    publish_account(lake, "default")
    land(lake, START + 3 * HOUR, ROWS)
    land(lake, START + 4 * HOUR, ROWS)
    lake.remove(commit_files("lake")[3 if is_known_to == "the next capture" else 1])
    with pytest.raises(LakeError, match=r"no commit lists|the store has lost"):
        publish_account(Lake("lake"), "default")
    assert {state("lake", name)[1] for name in TABLES} == {3}


def test_a_landing_beside_verify_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that are newer than the captures which were read before them are looked at again."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    publish_account(lake, "default")
    real, landings = against.from_contents, iter([ROWS[:1]])

    def slow(contents: Contents) -> dict[str, Any]:
        for rows in landings:
            land(lake, START + HOUR, rows)
            publish_account(lake, "default")
        return real(contents)

    monkeypatch.setattr(against, "from_contents", slow)
    assert statuses("lake") == [("tables", "ok")]


def test_sizes_are_summed_as_the_reports_sum_them() -> None:
    """Bytes that are no round number of GiB, and halves of a ninth place, add up to the same figure both ways."""
    sizes = [2**-10, 5 * 2**-10, 1 / 3, 0.1, 1.5e-9, 2**-30, 20271.3554099435, None, 0.0]
    lake = Lake("lake")
    land(lake, START, [row(f"s{n}", "R1", type="snapshot", size_gib=size) for n, size in enumerate(sizes)])
    publish_account(lake, "default")
    taken_on = files_of("lake/tables")
    publish_account(Lake("lake"), "default", is_anew=True)
    assert files_of("lake/tables") == taken_on


# --- when they are written


def test_no_publish_leaves_the_tables_to_publish(api: Callable[..., Sandbox], run: Run) -> None:
    """With --no-publish nothing lies below tables/; `check` says so and what to do, and `publish` does it."""
    api(generation="seed", images=20)
    assert run("export", "--no-publish", "--lake", "lake").code == 0
    assert not Path("lake/tables").exists()
    ended = run("check", "--lake", "lake", "--format", "json")
    (bad,) = (each for each in ended.rows if each["status"] == "failed")
    assert (bad["check"], bad["account"], bad["where"]) == ("tables", "default", "tables/images/default.parquet")
    assert "genesis-etl publish" in bad["advice"]
    ended = run("publish", "--lake", "lake", "--format", "json")
    assert [(each["table"], each["status"]) for each in ended.rows] == [(name, "written") for name in TABLES]
    assert run("check", "--lake", "lake").code == 0
    ended = run("publish", "--lake", "lake", "--format", "json")
    assert {each["status"] for each in ended.rows} == {"whole"}


def test_compact_and_forget_publish_what_they_changed(run: Run) -> None:
    """After `compact` in its grace, and after `forget`, the tables hold what the store holds; forgotten whole, none."""
    lake = Lake("lake")
    for name in ("keep", "go"):
        land_all(lake, {f"2026-01-0{n} 12:00": ROWS[: n % 3 + 1] for n in range(1, 9)}, name)
    publish(lake)
    assert run("compact", "--lake", "lake").code == 0
    assert statuses("lake") == [("tables", "ok"), ("tables", "ok")]
    assert run("forget", "--lake", "lake", "--account", "keep", "--before", "2026-01-04", "--yes").code == 0
    assert statuses("lake") == [("tables", "ok"), ("tables", "ok")]
    assert len(table("lake", "captures", "keep")) == 5
    assert run("forget", "--lake", "lake", "--account", "go", "--yes").code == 0
    assert {path for path in files_of("lake") if "go" in path} == set()
    assert statuses("lake") == [("tables", "ok")]


def test_what_hinders_publishing_costs_no_capture(api: Callable[..., Sandbox], run: Run) -> None:
    """Where the tables cannot be written the capture lands, the command ends with 0 and says so once."""
    api(generation="seed", images=20)
    Path("lake").mkdir()
    Path("lake/tables").write_text("in the way")
    ended = run("export", "--lake", "lake", "--format", "json")
    assert ended.code == 0
    assert "the tables were not published" in ended.err
    assert ended.rows[0]["status"] == "landed"


@pytest.mark.parametrize("compares", [False, True])
@pytest.mark.parametrize("when", ["before they are read", "after they were read"])
def test_tables_that_a_neighbour_takes_on_meanwhile_are_whole(
    monkeypatch: pytest.MonkeyPatch, when: str, compares: bool
) -> None:
    """They hold more than the captures that were read before them, which is no damage; nor what is replaced then."""
    lake = Lake("lake")
    for account in ("one", "two"):
        land(lake, START, ROWS, account)
    publish(lake)
    landed = 0

    def read(storage: Storage, account: str) -> dict[Table, FoundTable]:
        nonlocal landed
        found = published(storage, account)
        if account == "two" and landed < 3:
            landed += 1
            land(Lake("lake"), START + landed * HOUR, ROWS[:landed], "two")
            publish_account(Lake("lake"), "two")
        return published(storage, account) if when == "before they are read" else found

    monkeypatch.setattr(against, "published", read)
    found = against.held(lake, lake.contents(), compares=compares)
    assert landed == (3 if when == "before they are read" else 1)
    assert {each.status for each in found} == ({"ok"} if compares else set())
    assert len(found) == 2 * compares


def test_an_account_that_is_forgotten_meanwhile_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its captures nor its tables are there any more, and nothing of it is behind."""
    lake = Lake("lake")
    for account in ("one", "two"):
        land(lake, START, ROWS, account)
    publish(lake)
    contents = lake.contents()

    def read(storage: Storage, account: str) -> dict[Table, FoundTable]:
        if account in Lake("lake").accounts() and account == "two":
            forget(Lake("lake"), "two")
        return published(storage, account)

    monkeypatch.setattr(against, "published", read)
    assert against.held(lake, contents) == []


@pytest.mark.parametrize("name", fewer(TABLES, 1))
def test_a_damaged_table_makes_no_number_wrong_and_is_made_anew(name: str) -> None:
    """`verify` tells of it, the next landing does not build on it, and `publish` mends it."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    publish_account(lake, "default")
    path = Path(f"lake/tables/{name}/default.parquet")
    for spoilt in (b"PAR1", path.read_bytes()[:-9], _other_rows(path)):
        path.write_bytes(spoilt)
        assert has_failed(verify_lake("lake"))
        assert len(publish_after(lake, ["default"], pytest.fail)) == len(TABLES)
        publish(lake)
        assert statuses("lake") == [("tables", "ok")]
        path.write_bytes(spoilt)
        land(lake, START + len(spoilt) * HOUR, ROWS[:2])
        publish_account(lake, "default")
        assert statuses("lake") == [("tables", "ok")]


def _other_rows(path: Path) -> bytes:
    """Return the bytes of the same table without its last row."""
    rows = pq.read_table(path)
    sink = pa.BufferOutputStream()
    pq.write_table(rows.slice(0, len(rows) - 1), sink)
    return bytes(sink.getvalue())


def test_a_killed_publisher_leaves_old_or_new_files_and_the_next_one_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended before any of its writes, each table is the whole old or new one; `check` tells, an export mends it."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    publish_account(lake, "default")
    old = files_of("lake/tables")
    land(lake, START + HOUR, ROWS[:1])
    shutil.copytree("lake", "copy")
    publish_account(Lake("copy"), "default")
    new = files_of("copy/tables")
    real = type(lake.storage).replace
    for last in range(len(TABLES)):
        shutil.rmtree("lake")
        shutil.copytree("copy", "lake")
        shutil.rmtree("lake/tables")
        for path, data in old.items():
            Path("lake/tables", path).parent.mkdir(parents=True, exist_ok=True)
            Path("lake/tables", path).write_bytes(data)
        calls = iter(range(99))

        def replace(self: Any, path: str, data: bytes, calls: Iterator[int] = calls, last: int = last) -> None:
            if next(calls) == last:
                raise KeyboardInterrupt
            real(self, path, data)

        with monkeypatch.context() as patch:
            patch.setattr(type(lake.storage), "replace", replace)
            with pytest.raises(KeyboardInterrupt):
                publish_account(Lake("lake"), "default")
        for path, data in files_of("lake/tables").items():
            assert data in (old[path], new[path])
        assert "behind" in {status for _, status in statuses("lake")}
        land(Lake("lake"), START + 2 * HOUR, ROWS)
        publish_account(Lake("lake"), "default")
        assert statuses("lake") == [("tables", "ok")]


# --- several at once


@pytest.mark.parametrize(
    "place", ["lake", pytest.param("store", marks=[pytest.mark.slow, pytest.mark.xdist_group("s3")])]
)
def test_publishers_and_exporters_at_once_end_with_all_captures(place: str, request: pytest.FixtureRequest) -> None:
    """Whoever ends last has seen what all landed: four writers of two accounts, then every table is whole."""
    url = str(request.getfixturevalue("url")) if place == "store" else place

    def work(number: int) -> None:
        lake = Lake(url)
        for n in range(3):
            land(lake, START + (number * 10 + n) * HOUR, ROWS[: n % 3 + 1], f"a{number % 2}")
            publish_account(lake, f"a{number % 2}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert statuses(url) == [("tables", "ok"), ("tables", "ok")]
    lake = Lake(url)
    assert sum(len(listed_captures(published(lake.storage, name))) for name in ("a0", "a1")) == 12


def test_a_slow_publisher_does_not_leave_old_tables_over_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lands and is published while another one writes is in the tables when that one has ended."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    real = publishing._write

    def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(publishing, "_write", real)
        other = Lake("lake")
        land(other, START + HOUR, ROWS[:1])
        publish_account(other, "default")
        return real(*arguments)

    monkeypatch.setattr(publishing, "_write", slow)
    publish_account(lake, "default")
    assert statuses("lake") == [("tables", "ok")]
    assert len(table("lake", "captures")) == 2


def test_forgetting_beside_a_publisher_leaves_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that is forgotten while its tables are written has none in the end."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    real = publishing._write

    def slow(*arguments: Any) -> Any:
        forget(Lake("lake"), "default")
        return real(*arguments)

    monkeypatch.setattr(publishing, "_write", slow)
    publish_account(lake, "default")
    assert files_of("lake") == {}


# --- what they know of the store


def test_a_capture_that_only_a_table_knows_is_missing() -> None:
    """The newest loose commit deleted is told by `verify`, and no publisher wipes out the evidence."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    lost = land(lake, START + HOUR, ROWS)
    publish_account(lake, "default")
    for path in Path("lake/store").rglob(f"{lost.capture_id}*"):
        path.unlink()
    assert ("tables/captures/default.parquet", "missing") in statuses("lake")
    land(lake, START + 2 * HOUR, ROWS)
    with pytest.raises(LakeError, match=r"1 capture of default.*the store has lost.*restore"):
        publish_account(lake, "default")
    assert ("tables/captures/default.parquet", "missing") in statuses("lake")
    Path("lake/tables/captures/default.parquet").unlink()
    publish(lake)
    assert statuses("lake") == [("tables", "ok")]


def test_a_store_that_is_gone_whole_is_told_by_its_tables() -> None:
    """Without a store `verify` names the account whose captures its tables know."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    publish_account(lake, "default")
    shutil.rmtree("lake/store")
    assert statuses("lake") == [("tables/captures/default.parquet", "missing")]


def test_an_account_that_only_its_tables_know_can_be_forgotten(run: Run) -> None:
    """After its store is gone, `forget` removes what still names the account."""
    land(Lake("lake"), START, ROWS, "here")
    land(Lake("lake"), START, ROWS, "gone")
    publish(Lake("lake"))
    for folder in ("rows", "captures"):
        shutil.rmtree(f"lake/store/{folder}/gone")
    assert run("verify", "--lake", "lake").code == 1
    assert run("forget", "--lake", "lake", "--account", "gone", "--yes").code == 0
    assert run("verify", "--lake", "lake").code == 0
    assert {path for path in files_of("lake") if "gone" in path} == set()


def test_a_table_of_a_later_version_is_left_alone(run: Run) -> None:
    """It is told by `verify`, and no publisher of this version replaces it."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    publish(lake)
    path = Path("lake/tables/images/default.parquet")
    rows = pq.read_table(path)
    later = rows.replace_schema_metadata({**rows.schema.metadata, b"genesis_etl.schema_version": b"99"})
    pq.write_table(later, path)
    before = path.read_bytes()
    ended = run("publish", "--lake", "lake")
    assert (ended.code, "later version" in ended.err, path.read_bytes()) == (6, True, before)
    assert ("tables/images/default.parquet", "newer") in statuses("lake")


def test_a_rows_file_that_the_tables_know_is_not_swept() -> None:
    """An old rows file without its commit stays where `tables/captures` lists its capture, else it goes."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    known, unknown = (land(lake, START + n * HOUR, ROWS) for n in (1, 2))
    publish_account(lake, "default")
    for capture in (known, unknown):
        for path in Path("lake/store/captures").rglob(f"{capture.capture_id}*"):
            path.unlink()
    ids = pq.read_table("lake/tables/captures/default.parquet")
    assert known.capture_id in ids["capture_id"].to_pylist()
    old = (START - 40 * DAY).timestamp()
    for path in Path("lake/store/rows").rglob("*.parquet"):
        os.utime(path, (old, old))
    compact(lake, grace=timedelta(), now=START + DAY)
    assert Path("lake", known.file).exists()
    shutil.rmtree("lake/tables")
    compact(lake, grace=timedelta(), now=START + DAY)
    assert not Path("lake", unknown.file).exists()


@pytest.mark.parametrize(
    ("path", "status"),
    fewer(
        [
            ("tables/images/old.copy.parquet", "stranger"),
            ("tables/images/Default.parquet", "stranger"),
            ("tables/images/2025/default.parquet", "stranger"),
            ("tables/other/default.parquet", "stranger"),
            ("tables/more.parquet", "stranger"),
            ("tables/images/notes.txt", "stray"),
            ("tables/.DS_Store", "stray"),
        ],
        3,
    ),
)
def test_what_others_put_among_the_tables_is_told(run: Run, path: str, status: str) -> None:
    """A Parquet file there fails `verify` and `check`, for whoever reads the folder counts it; any other is a note."""
    lake = Lake("lake")
    land(lake, START, ROWS)
    publish_account(lake, "default")
    Path("lake", path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("lake/tables/images/default.parquet", Path("lake", path))
    assert (path, status) in statuses("lake")
    assert run("verify", "--lake", "lake").code == (1 if status == "stranger" else 0)
    rows = run("check", "--lake", "lake", "--format", "json").rows
    failed = {each["where"] for each in rows if each["check"] == "tables" and each["status"] == "failed"}
    assert failed == ({path} if status == "stranger" else set())


# --- in other forms


def test_a_duckdb_file_holds_the_tables_and_image_regions(run: Run) -> None:
    """`publish --duckdb` writes the four tables and the view, replaced whole; who has it open keeps the old one."""
    lake = Lake("lake")
    for n in range(3):
        land(lake, START + n * HOUR, ROWS[: n + 1], "one")
    land(lake, START, ROWS[:1], "two")
    shared = [land(lake, START, ROWS[: n + 1], "twice") for n in range(2)]
    assert run("publish", "--lake", "lake", "--duckdb", "x.duckdb").code == 0
    opened = genesis_etl.open_lake("lake")
    with duckdb.connect("x.duckdb", read_only=True) as old:
        for name in (*TABLES, "image_regions"):
            select = f"select * from {name}"
            assert plain(old.sql(select).to_arrow_table()) == plain(opened.sql_rows(select))
        assert {each.capture_id for each in shared} <= set(
            old.execute("select capture_id from image_regions").df().iloc[:, 0]
        )
        about = old.execute(
            "select comment from duckdb_columns() where table_name = 'images' and column_name = 'region'"
        )
        assert about.fetchone() == ("region id; null for an image that lists none",)
        land(lake, START + DAY, ROWS, "one")
        assert run("publish", "--lake", "lake", "--duckdb", "x.duckdb").code == 0
        assert old.execute("select count(*) from captures").fetchone() == (6,)
    with duckdb.connect("x.duckdb", read_only=True) as new:
        assert new.execute("select count(*) from captures").fetchone() == (7,)
    assert [path for path in os.listdir() if "duckdb" in path] == ["x.duckdb"]


def test_a_duckdb_file_that_cannot_be_written_is_refused_before_anything_is(run: Run) -> None:
    """A folder in its place ends with 2 and leaves the lake as it was."""
    land(Lake("lake"), START, ROWS)
    Path("x.duckdb").mkdir()
    ended = run("publish", "--lake", "lake", "--duckdb", "x.duckdb")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert not Path("lake/tables").exists()


def test_delta_tables_are_replaced_in_one_version(run: Run) -> None:
    """`publish --delta` gives tables that delta-rs reads; a second one replaces all rows, and the old version stays."""
    deltalake = pytest.importorskip("deltalake")
    lake = Lake("lake")
    land(lake, START, ROWS)
    for _ in range(2):
        assert run("publish", "--lake", "lake", "--delta", "delta").code == 0
    land(lake, START + HOUR, ROWS[:1])
    assert run("publish", "--lake", "lake", "--delta", "delta").code == 0
    for name in TABLES:
        found = deltalake.DeltaTable(f"delta/{name}")
        assert found.version() == 2
        assert len(found.to_pandas()) == len(table("lake", name))
    assert len(deltalake.DeltaTable("delta/images", version=0).to_pandas()) == len(ROWS)


@pytest.mark.slow
@pytest.mark.xdist_group("s3")
def test_delta_tables_lie_on_an_object_store(run: Run, url: str) -> None:
    """`--delta s3://…` takes the credentials and the endpoint of the lake, and replaces what is there."""
    deltalake = pytest.importorskip("deltalake")
    from genesis_etl.publish.delta import storage_options

    place = url.replace("a lake", "delta")
    land(Lake("lake"), START, ROWS)
    for _ in range(2):
        ended = run("publish", "--lake", "lake", "--delta", place)
        assert (ended.code, ended.err) == (0, "")
    found = deltalake.DeltaTable(f"{place}/images", storage_options=storage_options())
    assert (found.version(), len(found.to_pandas())) == (1, len(ROWS))


@pytest.mark.parametrize("place", ["lake", "lake/tables/delta", "./lake/delta", "gs://x/y"])
def test_delta_tables_never_lie_in_the_lake(run: Run, place: str) -> None:
    """There whoever reads a folder would count them as well; that, and a URL of another kind, ends with 2."""
    pytest.importorskip("deltalake")
    land(Lake("lake"), START, ROWS)
    before = files_of(".")
    ended = run("publish", "--lake", "lake", "--delta", place)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert files_of(".") == before


# --- the library


def test_the_library_lists_what_is_there_now(api: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """`genesis_etl.images()` gives a DataFrame with one row per image × region, and stores nothing."""
    api(generation="newest", images=40)
    frame = genesis_etl.images()
    assert isinstance(frame, pd.DataFrame)
    assert frame["account"].unique().tolist() == ["default"]
    assert not frame.duplicated(["image_id", "region"]).any()
    assert set(genesis_etl.images(type="snapshot")["type"]) == {"snapshot"}
    assert files_of(".") == {}
    genesis_etl.export(genesis_etl.Settings.load(lake="lake"))
    stored = genesis_etl.open_lake(Path("lake")).images
    assert len(stored) == len(frame)


def test_a_lake_opened_gives_its_tables_and_publishes(tmp_path: Path) -> None:
    """`open_lake(Path)` has .images, .captures, .image_history and .region_days, and .publish, as the command."""
    lake = Lake(str(tmp_path))
    land(lake, START, ROWS)
    opened = genesis_etl.open_lake(tmp_path)
    for name in TABLES:
        assert list(getattr(opened, name).columns) == TABLE_SCHEMAS[name].names
    done = opened.publish(duckdb=tmp_path / "x.duckdb")
    assert done["status"].tolist() == ["written"] * 4
    assert len(opened.region_days) == len(table(str(tmp_path), "region_days"))


def test_an_account_that_is_not_there_is_refused(run: Run) -> None:
    """`publish --account` of an unknown one ends with 2 and names those that there are; an empty lake with 6."""
    assert run("publish", "--lake", "lake").code == 6
    land(Lake("lake"), START, ROWS)
    ended = run("publish", "--lake", "lake", "--account", "other")
    assert ended.code == 2
    assert "default" in ended.err
    with pytest.raises(SettingsError):
        publish(Lake("lake"), ["../x"])


def test_a_refused_token_publishes_nothing(api: Callable[..., Sandbox], run: Run) -> None:
    """Where nothing has landed nothing is published."""
    api(faults=[Fault("status", status=401, times=0)])
    assert run("export", "--lake", "lake").code == 3
    assert not Path("lake").exists()
