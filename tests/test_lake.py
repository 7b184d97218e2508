"""Landings that are whole or absent, files that go bad, and which file speaks for which capture."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genesis_etl.errors import GenesisEtlError, LakeError
from genesis_etl.lake.commit import (
    Capture,
    Facts,
    Forgot,
    capture_rows,
    commit_bytes,
    parquet,
    parse_commit,
    parse_commits,
)
from genesis_etl.lake.evidence import Held
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import Dataset, new_file, temporary_path
from genesis_etl.lake.schema import CAPTURES, IMAGES, SCHEMA_VERSION, schema_version, upgraded
from genesis_etl.lake.storage.local import LocalStorage
from genesis_etl.maintenance.compact import compact_account
from genesis_etl.maintenance.verify import has_failed, verify
from genesis_etl.opened import open_lake
from tests.conftest import fewer, figure
from tests.histories import at, land, land_all, land_compacted, row, rows, rows_files, snapshot_of
from tests.media import Disk, failing, raises

STATES = {"2026-11-01 12:00": rows("a"), "2026-11-02 12:00": rows("a", "b"), "2026-11-03 12:00": rows("b")}


def observed(lake: str = "lake") -> list[tuple[str, ...]]:
    """Return day, account and image of everything that was ever observed."""
    frame = open_lake(lake).sql("select strftime(captured_at, '%d'), account, image_id from image_regions order by all")
    return [tuple(each) for each in frame.to_numpy().tolist()]


def file_of(dataset: str, capture: Capture) -> Path:
    """Return the path of a capture's file."""
    (file,) = Path("lake/store", dataset).rglob(f"{capture.capture_id}-*.parquet")
    return file


def test_a_capture_is_two_files_and_one_row() -> None:
    """A landing is a rows file and a commit that names it by path and sha256; the result is its row."""
    landed = land(Lake("lake"), datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=2))), rows("a", "b"))
    rows_file, commit = sorted(snapshot_of("lake"), reverse=True)
    assert rows_file == landed.file
    assert rows_file.startswith(
        f"store/rows/default/2025/20251231T223000000000Z-{landed.capture_id[-8:]}-{landed.sha256[:16]}"
    )
    assert commit.startswith(f"store/captures/default/2025/{landed.capture_id}-")
    assert pq.read_table(f"lake/{commit}", partitioning=None).to_pylist() == capture_rows([landed]).to_pylist()
    assert landed.rows == 2
    assert Lake("lake").newest("default") == landed
    assert Lake("lake").newest("other") is None
    assert Lake("lake").accounts() == ["default"]


def test_schemas_are_one_whatever_the_data() -> None:
    """An empty capture and one of nulls have the same schema, every field described."""
    for landed in land_all(Lake("lake"), {"2026-11-01": [], "2026-11-02": rows("a", region=None)}):
        schema = pq.read_schema(f"lake/{landed.file}")
        assert schema.equals(IMAGES, check_metadata=False)
        assert all(field.metadata[b"description"] for field in schema)
        assert schema.metadata[b"genesis_etl.schema_version"] == str(SCHEMA_VERSION).encode()
        assert pq.read_schema(file_of("captures", landed)).equals(CAPTURES, check_metadata=False)


def test_any_reader_reads_the_folders_as_they_lie() -> None:
    """pandas, a DuckDB glob and pyarrow read both datasets without knowing the lake."""
    land_all(Lake("lake"), STATES)
    land(Lake("lake"), at("2026-11-04"), [], "other")
    assert sorted(pd.read_parquet("lake/store/rows")["image_id"]) == ["a", "a", "b", "b"]
    assert list(pd.read_parquet("lake/store/rows").columns) == IMAGES.names
    assert len(pd.read_parquet("lake/store/captures")) == 4
    for dataset, count in (("rows", 4), ("captures", 4)):
        found = duckdb.sql(f"select count(*) from read_parquet('lake/store/{dataset}/**/*.parquet')").fetchall()
        assert found == [(count,)]


# --- the disk fails


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_landing_fails_whole(code: int, is_first: bool) -> None:
    """Whatever step of a landing fails, the lake is as before to the byte, or the new capture is whole."""
    failed = landed = 0
    for n in range(1, 200):
        url = f"lake{n}"
        lake = Lake(url)
        if not is_first:
            land(lake, at("2026-11-01"), rows("a"))
        before = snapshot_of(url)
        error = None
        with failing(Disk(n, raises(code))) as disk:
            try:
                land(lake, at("2026-11-02"), rows("b"))
            except LakeError as caught:
                error = caught
        if error is None:
            landed += 1
            assert len(snapshot_of(url)) == len(before) + 2
        else:
            failed += 1
            assert error.exit_code == 6
            assert url in str(error)
            assert os.strerror(code) in str(error)
            assert snapshot_of(url) == before
            assert not is_first or not Path(url).exists() or os.listdir(url) == []
        if not disk.has_acted:
            break
        if before or snapshot_of(url):
            assert not has_failed(verify(url))
    figure("steps", failed)
    assert failed >= 25
    assert landed <= 9  # what killed runs left, and what was forgotten meanwhile, need not be looked for


EVERY_STEP = pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])


@EVERY_STEP
def test_a_disk_that_stays_broken_leaves_old_or_new(stride: int) -> None:
    """Where every step from the n-th on fails, cleaning up too, every table answers as before and the error says so."""
    for n in range(1, 200, stride):
        url = f"lake{n}"
        lake = Lake(url)
        land(lake, at("2026-11-01"), rows("a"))
        with failing(Disk(n, raises(errno.EIO), is_lasting=True)) as disk:
            try:
                land(lake, at("2026-11-02"), rows("b"))
                is_new = True
            except LakeError:
                is_new = False
        found = observed(url)
        assert found in ([("01", "default", "a")], [("01", "default", "a"), ("02", "default", "b")])
        assert not is_new or len(found) == 2
        figure("steps")
        assert not has_failed(verify(url))
        if not disk.has_acted:
            break


DEATH = """
import os, sys
from tests.histories import at, land, rows
from tests.media import Disk, failing
from genesis_etl.lake.lake import Lake
for n in range(1, 200, int(sys.argv[1])):
    lake = Lake(f"lake{n}")
    land(lake, at("2026-11-01"), rows("a"))
    child = os.fork()
    if child == 0:
        with failing(Disk(n, lambda: os._exit(9))):
            land(lake, at("2026-11-02"), rows("b"))
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        print(n)
        break
"""


@EVERY_STEP
def test_a_process_that_dies_leaves_old_or_new(stride: int) -> None:
    """Wherever a landing dies, the lake answers as before or as after, and the next landing needs no hand."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", DEATH, str(stride)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    steps = int(done.stdout)
    assert steps >= 25
    old = [("01", "default", "a")]
    news = 0
    for n in range(1, steps + 1, stride):
        land(Lake(f"lake{n}"), at("2026-11-03"), rows("c"))
        *found, last = observed(f"lake{n}")
        assert found in (old, [*old, ("02", "default", "b")])
        assert last == ("03", "default", "c")
        assert not has_failed(verify(f"lake{n}"))
        news += len(found) == 2
        figure("steps")
    assert 1 <= news < steps


def test_what_a_killed_run_left_is_swept_after_an_hour() -> None:
    """A compaction removes temporary files of its account that are older than an hour, and no younger ones."""
    land(Lake("lake"), at("2026-11-01"), rows("a"))
    files = (new_file("rows", "default", 2026, "20261101T000000000000Z-00000000", data) for data in (b"old", b"young"))
    old, young = (Path("lake", temporary_path(file.path)) for file in files)
    for file in (old, young):
        file.write_bytes(b"PAR1")
    os.utime(old, (time.time() - 3700,) * 2)
    compact_account(Lake("lake"), "default")
    assert not old.exists()
    assert young.exists()


class Interrupt(BaseException):
    """A signal's exception."""


@EVERY_STEP
def test_an_interrupt_at_any_step_leaves_no_damage(stride: int) -> None:
    """A signal's exception between any two steps leaves a lake that every table and `verify` accept."""

    def interrupt() -> None:
        raise Interrupt

    for n in range(1, 200, stride):
        lake = Lake(f"lake{n}")
        land(lake, at("2026-11-01"), rows("a"))
        with failing(Disk(n, interrupt)) as disk, contextlib.suppress(Interrupt):
            land(lake, at("2026-11-02"), rows("b"))
        assert not has_failed(verify(f"lake{n}"))
        assert len(observed(f"lake{n}")) in (1, 2)
        figure("steps")
        assert [name for name in snapshot_of(f"lake{n}") if name.endswith(".tmp")] == []
        if not disk.has_acted:
            break


def test_rows_that_cannot_be_written_leave_no_file() -> None:
    """An error while the commit is being made leaves nothing."""
    with pytest.raises(Exception, match="bool"):
        land(Lake("lake"), at("2026-11-01"), rows("a"), requests=False)
    assert snapshot_of("lake") == {}


# --- files that are not the lake's, or not any more


@pytest.mark.parametrize("content", fewer([b"PAR1", b"", b"<html>oops</html>"], 1))
@pytest.mark.parametrize("name", ["x.parquet", "20261101T120000000000Z.parquet", "._a.parquet", "notes.txt"])
def test_strays_harm_no_query(content: bytes, name: str) -> None:
    """Foreign and broken neighbours change no answer."""
    land_all(Lake("lake"), STATES)
    before = observed()
    for folder in ("", "store", "store/rows", "store/rows/default/2026", "store/captures/default/2026"):
        Path("lake", folder, name).write_bytes(content)
    shutil.copytree("lake/store/captures/default/2026", "lake/store/captures/default/2026/backup")
    assert observed() == before
    assert Lake("lake").newest("default") is not None
    assert open_lake("lake").report("snapshot-growth")["closing"].iloc[-1] == 1


def damage_cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def damage_flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


DAMAGES: dict[str, Any] = {
    "missing": Path.unlink,
    "cut": damage_cut,
    "flip": damage_flip,
    "html": lambda file: file.write_text("<html>"),
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("dataset", ["rows", "captures"])
@pytest.mark.parametrize("kind", fewer(DAMAGES, 2))
def test_damage_is_named_and_what_avoids_it_answers(dataset: str, kind: str) -> None:
    """Damage refuses what needs it (exit 6, the file named); another account or a later range answers."""
    lake = Lake("lake")
    bad, *_ = land_all(lake, STATES)
    land(lake, at("2026-11-02"), rows("z"), "other")
    file = file_of(dataset, bad)
    DAMAGES[kind](file)
    opened = open_lake("lake")
    for ask in (
        lambda: opened.report("snapshot-growth"),
        lambda: opened.report("snapshot-growth", account="default", since="2026-11-01"),
        lambda: opened.report("region-coverage"),
        lambda: opened.report("region-coverage", account="default"),
        lambda: opened.sql("select 1"),
    ):
        with pytest.raises(LakeError) as caught:
            ask()
        assert caught.value.exit_code == 6
        lost = bad.capture_id if (dataset, kind) == ("captures", "missing") else str(file.relative_to("lake"))
        assert lost in str(caught.value)
    for name in ("snapshot-growth", "region-coverage"):
        assert len(opened.report(name, account="other"))
        assert len(opened.report(name, account="default", since="2026-11-02"))
    assert opened.report("snapshot-growth", since="2026-11-02")["closing"].tolist() == [2, 1, 1]
    assert lake.newest("default") is not None
    land(lake, at("2026-11-04"), rows("b"))


def test_damage_inside_the_week_or_month_shown_is_refused() -> None:
    """A period is shown whole, so damage before --since in the same week counts, damage after it does not."""
    lake = Lake("lake")
    captures = land_all(lake, {f"2026-11-{day}": rows("a") for day in ("08", "09", "12", "16", "19")})
    damage_cut(file_of("rows", captures[1]))
    opened = open_lake("lake")
    with pytest.raises(LakeError):
        opened.report("snapshot-growth", by="week", since="2026-11-12")
    with pytest.raises(LakeError):
        opened.report("snapshot-growth", by="month", until="2026-11-08")
    assert len(opened.report("snapshot-growth", by="week", since="2026-11-16")) == 1
    assert len(opened.report("snapshot-growth", since="2026-11-12")) == 8
    assert len(opened.report("snapshot-growth", until="2026-11-08")) == 90
    assert len(opened.report("snapshot-growth", as_of="2026-11-08")) == 90
    with pytest.raises(LakeError):
        opened.report("snapshot-growth", as_of="2026-11-09T00:00Z")


def test_coverage_needs_the_capture_at_the_end_of_the_range() -> None:
    """Damage to the newest capture refuses each range that ends with it and none that ended before; so does export."""
    lake = Lake("lake")
    captures = land_all(lake, STATES)
    damage_cut(file_of("captures", captures[-1]))
    for options in ({}, {"until": "2026-11-03"}, {"since": "2026-11-10"}):
        with pytest.raises(LakeError):
            open_lake("lake").report("region-coverage", **options)
    assert open_lake("lake").report("region-coverage", until="2026-11-02")["of"].tolist() == [2]
    assert len(open_lake("lake").report("snapshot-growth", until="2026-11-02")) == 90
    damage_cut(file_of("captures", captures[0]))
    assert len(open_lake("lake").report("region-coverage", since="2026-11-02", until="2026-11-02"))
    with pytest.raises(LakeError):
        open_lake("lake").report("region-coverage", until="2026-11-01")
    with pytest.raises(LakeError, match="verify"):
        lake.newest("default")


def test_old_damage_is_out_of_the_default_range() -> None:
    """Damage more than 90 days, 13 weeks or 12 months before the newest capture refuses no default range."""
    lake = Lake("lake")
    captures = land_all(lake, {"2025-11-30": rows("a"), "2026-08-22": rows("a"), "2026-11-20": rows("a")})
    damage_cut(file_of("rows", captures[0]))
    for by in ("day", "week", "month"):
        assert len(open_lake("lake").report("snapshot-growth", by=by))
    damage_cut(file_of("rows", captures[1]))
    assert len(open_lake("lake").report("snapshot-growth", by="day")) == 90
    for by in ("week", "month"):
        if by == "month":
            with pytest.raises(LakeError):
                open_lake("lake").report("snapshot-growth", by=by)


def test_a_compaction_is_enough_to_know_what_it_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """During the grace, the hundreds of commits that a compaction replaced are listed but not read."""
    lake = Lake("lake")
    states = {f"2026-11-{day:02}": rows("a") for day in range(1, 21)}
    captures = land_all(lake, states)
    compacted = land_compacted(lake, [(each, rows("a")) for each in captures], at("2026-11-22"))
    land_all(lake, {"2026-11-20 12:00": rows("a", "b")})
    read: list[str] = []
    plain = LocalStorage.read
    monkeypatch.setattr(LocalStorage, "read", lambda self, path: (read.append(path), plain(self, path))[1])
    contents = Lake("lake").contents()
    assert len(contents.captures) == 21
    assert len(contents.commit_files) == 22
    assert len(read) == 4
    damage_cut(Path("lake", compacted[0].file))
    assert len(open_lake("lake").sql("select * from captures")) == 21


def test_commits_that_go_while_they_are_read_are_listed_until_they_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a compaction without grace comes between, no account is missing; in the end it is an error."""
    for account in ("one", "two", "three"):
        land_all(Lake("lake"), {f"2026-11-0{day}": rows("a") for day in range(1, 4)}, account)
    todo = ["one", "two", "three"]
    listed = Lake.list

    def between(self: Lake, dataset: Dataset, account: str | None = None) -> Any:
        listing = listed(self, dataset, account)
        if account is None and dataset == "captures" and todo:
            compact_account(Lake("lake"), todo.pop(), grace=timedelta(0))
        return listing

    monkeypatch.setattr(Lake, "list", between)
    assert len(Lake("lake").contents().captures) == 9
    assert not todo
    monkeypatch.setattr(Lake, "parse", lambda self, file: (_ for _ in ()).throw(FileNotFoundError))
    monkeypatch.setattr(Lake, "changed_since", lambda self, contents, account=None: True)
    for ask in (lambda: Lake("lake").contents(), lambda: Lake("lake").newest("one")):
        with pytest.raises(LakeError, match="in 5 listings, commits went before they could be read; try again"):
            ask()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("snapshot-growth", {"by": "month", "until": "0001-06-01"}),
        ("snapshot-growth", {"until": "0001-01-15"}),
        ("snapshot-growth", {"by": "week", "since": "0001-01-03"}),
        ("snapshot-growth", {"by": "month", "since": "9999-12-31"}),
        ("region-coverage", {"as_of": "9999-12-31T23:59:59.999999"}),
        ("changes", {"until": "0001-01-01T05:00"}),
    ],
)
def test_damage_and_the_ends_of_time(name: str, options: dict[str, Any]) -> None:
    """Which captures a report needs is reckoned for any date that can be written."""
    captures = land_all(Lake("lake"), {"2026-11-19": rows("a"), "2026-11-20": rows("a")})
    plain = open_lake("lake")
    asked = plain.report_rows(name, **options) if "as_of" not in options else None
    damage_cut(file_of("rows", captures[1]))
    with contextlib.suppress(LakeError):
        assert open_lake("lake").report_rows(name, **options) == asked


def test_a_commit_of_another_account_or_of_nonsense_is_damage() -> None:
    """A commit in another account's folder, or a whole file that is no commit, is refused by name."""
    landed = land(Lake("lake"), at("2026-11-01"), rows("a"))
    shutil.copytree("lake/store/captures/default", "lake/store/captures/renamed")
    with pytest.raises(LakeError, match=r"captures/renamed/.*holds captures of the account default"):
        open_lake("lake").sql("select 1")
    shutil.rmtree("lake/store/captures/renamed")
    file = file_of("captures", landed)
    for captures, facts in (
        (pa.table({"x": [1]}), {}),
        (capture_rows([]), {}),
        (capture_rows([replace(landed, file="../../etc/passwd")]), {}),
        (capture_rows([replace(landed, file=str(file.relative_to("lake")))]), {}),
        (capture_rows([landed, replace(landed, capture_id="other", sha256="0")]), {}),
        (capture_rows([landed]), {"did": "compaction"}),
        (capture_rows([landed]), {"did": "nonsense"}),
    ):
        data = commit_bytes(captures, Facts(**{"did": "capture", **facts}))
        file.unlink()
        file = Path("lake", new_file("captures", "default", 2026, landed.capture_id, data).path)
        file.write_bytes(data)
        with pytest.raises(LakeError, match=r"the commit cannot be read"):
            open_lake("lake").sql("select 1")


def test_a_newer_schema_is_refused() -> None:
    """A lake written by a later version is refused (exit 6) and the message says to upgrade."""
    landed = land(Lake("lake"), at("2026-11-01"), rows("a"))
    file = file_of("captures", landed)
    table = pq.read_table(file, partitioning=None)
    data = parquet(table.replace_schema_metadata({"genesis_etl.schema_version": str(SCHEMA_VERSION + 1)}))
    file.unlink()
    Path("lake", new_file("captures", "default", 2026, landed.capture_id, data).path).write_bytes(data)
    told = f"schema version {SCHEMA_VERSION + 1}, this genesis-etl reads up to {SCHEMA_VERSION}; upgrade it"
    for ask in (lambda: open_lake("lake").sql("select 1"), lambda: Lake("lake").newest("default")):
        with pytest.raises(LakeError, match=told):
            ask()
    assert verify("lake").to_pylist()[0]["status"] == "newer"


# --- which file speaks for a capture


def test_a_compaction_takes_its_captures_over_and_gives_them_back() -> None:
    """The greatest stem that lists a capture speaks for it; when that file is damaged, the one before does."""
    lake = Lake("lake")
    captures = land_all(lake, STATES)
    before = observed()
    compacted = land_compacted(lake, list(zip(captures, STATES.values(), strict=True)), at("2026-11-04"))
    contents = Lake("lake").contents()
    assert set(contents.captures["file"].to_pylist()) == {compacted[0].file}
    assert observed() == before
    damage_cut(Path("lake", compacted[0].file))
    assert observed() == before
    assert not Lake("lake").contents().damage
    assert has_failed(verify("lake"))


def test_what_a_compaction_replaced_may_go_in_any_order() -> None:
    """Once compacted, the loose commits and their rows files can be deleted one by one, commits first."""
    lake = Lake("lake")
    captures = land_all(lake, STATES)
    before = observed()
    land_compacted(lake, list(zip(captures, STATES.values(), strict=True)), at("2026-11-04"))
    for dataset in ("captures", "rows"):
        for capture in captures:
            file_of(dataset, capture).unlink()
            assert observed() == before


def test_a_late_capture_and_overlapping_compactions_are_right_at_once() -> None:
    """A capture that lands late inside a compaction, and compactions that overlap, give every table its true rows."""
    lake = Lake("lake")
    captures = land_all(lake, {f"2026-11-0{day}": rows("a") for day in (1, 3, 5, 7)})
    states = [(capture, rows("a")) for capture in captures]
    land_compacted(lake, states[:3], at("2026-11-08"))
    land_compacted(lake, states[1:], at("2026-11-09"))
    history = "select first_seen, last_seen, gone_at from image_history order by all"
    assert len(open_lake("lake").sql(history)) == 1
    land(lake, at("2026-11-04"), rows("b"))
    history = "select image_id, first_seen, last_seen, gone_at from image_history order by all"
    found = open_lake("lake").sql_rows(history).to_pylist()
    assert [[each and f"{each:%d}" for each in list(run.values())[1:]] for run in found] == [
        ["01", "03", "04"],
        ["05", "07", None],
        ["04", "04", "05"],
    ]
    assert observed() == [(day, "default", "b" if day == "04" else "a") for day in ("01", "03", "04", "05", "07")]


def test_compacted_neighbours_are_one_capture_each() -> None:
    """Twins of one microsecond in different files keep their own rows."""
    lake = Lake("lake")
    one, two = (land(lake, at("2026-11-01"), rows(id)) for id in "ab")
    land_compacted(lake, [(one, rows("a"))], at("2026-11-02"))
    found = open_lake("lake").sql("select capture_id, image_id from image_regions order by image_id")
    assert found.to_numpy().tolist() == [[one.capture_id, "a"], [two.capture_id, "b"]]


def test_a_compactions_rows_file_tells_alone_what_it_holds() -> None:
    """Number, first and last of its captures are known without its commit; of bytes that are another's, nothing."""
    lake = Lake("lake")
    states = {"2026-11-01": rows("a"), "2026-11-02": rows("a", "b"), "2026-11-03": []}
    captures = land_all(lake, states)
    for count in (3, 2):
        land_compacted(lake, list(zip(captures, states.values(), strict=True))[:count], at(f"2026-11-0{8 - count}"))
    of_three, of_two = (file for file in rows_files("lake") if file.is_compacted)
    assert lake.held(of_three) == Held(3, (at("2026-11-01"), at("2026-11-02"), at("2026-11-03")))
    assert lake.held(of_two) == Held(2, (at("2026-11-01"), at("2026-11-02")))
    Path("lake", of_two.path).write_bytes(Path("lake", of_three.path).read_bytes())
    assert Lake("lake").held(of_two) is None


def test_only_a_file_of_an_earlier_version_may_lack_a_column() -> None:
    """What an earlier version did not know is null; a file of this version without it holds something else."""
    whole = IMAGES.empty_table()
    earlier = {**IMAGES.metadata, b"genesis_etl.schema_version": str(SCHEMA_VERSION - 1).encode()}
    assert upgraded(whole.drop_columns("status").replace_schema_metadata(earlier), IMAGES).schema.equals(IMAGES)
    with pytest.raises(KeyError, match="status"):
        upgraded(whole.drop_columns("status"), IMAGES)


def test_files_of_the_first_version_can_be_read_for_ever() -> None:
    """A file that says version 1, or nothing of a version, is no later version's, and is read."""
    for metadata in ({b"genesis_etl.schema_version": b"1"}, {}):
        assert schema_version(pa.schema([], metadata)) == 1


def test_a_commit_that_the_disk_cannot_read_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error on one commit is told as damage of that file, and the other commits are read."""
    lake = Lake("lake")
    captures = land_all(lake, STATES)
    bad = file_of("captures", captures[1])
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == bad.name:
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    commits, (damage,) = Lake("lake").commits()
    assert [commit.capture_ids for commit in commits] == [[captures[0].capture_id], [captures[2].capture_id]]
    assert damage.path == str(bad.relative_to("lake"))


def test_a_reader_whose_file_has_gone_lists_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction and a sweep between listing and reading cost the reader a second look, not an error."""
    lake = Lake("lake")
    captures = land_all(lake, STATES)
    before = observed()
    reader = Lake("lake")
    real = reader.storage.read
    pending = [True]

    def read(path: str) -> bytes:
        if pending and path.startswith(f"store/{trigger}"):
            pending.clear()
            land_compacted(lake, list(zip(captures, STATES.values(), strict=True)), at("2026-11-04"))
            for dataset in ("captures", "rows"):
                for capture in captures:
                    file_of(dataset, capture).unlink()
        return real(path)

    monkeypatch.setattr(reader.storage, "read", read)
    for trigger in ("captures", "rows"):
        contents = reader.contents()
        assert contents.damage == ()
        assert len(contents.captures) == 3
        if trigger == "captures":
            shutil.rmtree("lake")
            captures = land_all(lake, STATES)
            pending.append(True)
    assert observed() == before


# --- places


@pytest.mark.parametrize(
    "name",
    fewer(
        ["with space", "ümläut-雪", "quo'te\"s", "gl[o]b*?{a,b}", "x=1/year=2026", "%41$p", "-rf", "#a;b", "a\\b"], 3
    ),
)
def test_a_lake_may_have_any_path(name: str, tmp_path: Path) -> None:
    """Spaces, quotes, other scripts, glob characters and hive-like names in a lake's path change no answer."""
    lake = Lake(name)
    captures = land_all(lake, STATES)
    land_all(Lake("glob"), {"2026-11-01": rows("wrong")})
    expected = [("01", "default", "a"), ("02", "default", "a"), ("02", "default", "b"), ("03", "default", "b")]
    land_compacted(lake, list(zip(captures, STATES.values(), strict=True))[:2], at("2026-11-05"))
    assert observed(name) == expected
    assert observed(str(tmp_path / name)) == expected
    assert observed(f"file://{tmp_path / name}") == expected
    assert open_lake(name).report("region-coverage")["images"].tolist() == [1]
    assert not has_failed(verify(name))


def test_a_copy_of_a_lake_is_a_lake() -> None:
    """A copied, moved or linked lake answers the same, with the original gone."""
    land_all(Lake("lake"), STATES)
    before = observed()
    shutil.copytree("lake", "deep/copy")
    shutil.move("lake", "moved")
    os.symlink("moved", "link")
    for name in ("deep/copy", "moved", "link"):
        assert observed(name) == before


def test_an_account_copied_into_another_lake_is_there_too() -> None:
    """Two lakes of different accounts laid into one folder are one lake."""
    land(Lake("lake"), at("2026-11-01"), rows("a"), "one")
    land(Lake("lake2"), at("2026-11-01"), rows("b"), "two")
    shutil.copytree("lake2", "lake", dirs_exist_ok=True)
    assert observed() == [("01", "one", "a"), ("01", "two", "b")]


def test_a_lake_that_is_no_folder() -> None:
    """A file in the lake's place is named, for reading and for landing (exit 6)."""
    Path("lake").write_text("no folder")
    for ask in (lambda: land(Lake("lake"), at("2026-11-01"), []), lambda: open_lake("lake").sql("select 1")):
        with pytest.raises(GenesisEtlError, match=r"lake.*Not a directory") as caught:
            ask()
        assert caught.value.exit_code == 6


def test_too_many_open_files() -> None:
    """Without file descriptors left a landing and a query fail with exit 6, and nothing has changed."""
    land(Lake("lake"), at("2026-11-01"), rows("a"))
    before = snapshot_of("lake")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 256), limits[1]))
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        for ask in (lambda: land(Lake("lake"), at("2026-11-02"), []), lambda: open_lake("lake").sql("select 1")):
            with pytest.raises(LakeError, match=r"lake.*Too many open files"):
                ask()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert snapshot_of("lake") == before
    assert observed() == [("01", "default", "a")]


def test_names_are_unique_and_sort_by_time() -> None:
    """Captures of one microsecond have names of their own, and stems sort as the captures do."""
    lake = Lake("lake")
    moments = [at("2026-11-01"), at("2026-11-01"), at("2026-11-01") + timedelta(microseconds=1), at("2027-01-01")]
    ids = [land(lake, moment, []).capture_id for moment in moments]
    assert len(set(ids)) == 4
    assert sorted(ids)[2:] == ids[2:]
    newest = lake.newest("default")
    assert newest is not None
    assert newest.captured_at == datetime(2027, 1, 1, tzinfo=UTC)


def test_one_file_speaks_whatever_the_year_folder() -> None:
    """The order is that of stems, not of folders, and a compaction counts as later than every stem it holds."""
    lake = Lake("lake")
    capture = land(lake, at("2026-11-01"), [row("a")])
    land_compacted(lake, [(capture, rows("right"))], at("2026-11-01") + timedelta(microseconds=1), nonce="00000000")
    assert observed() == [("01", "default", "right")]


def test_a_file_in_the_place_of_the_commits_folder_leaves_no_rows() -> None:
    """Where the commit cannot even be looked for, it is not there, and its rows file goes."""
    Path("lake/store/captures/default").mkdir(parents=True)
    Path("lake/store/captures/default/2026").write_text("")
    with pytest.raises(LakeError):
        land(Lake("lake"), at("2026-11-20"), rows("a"))
    assert not list(Path("lake").rglob("*.parquet"))


def test_a_commit_that_may_yet_come_keeps_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store may complete an upload that was given up; the capture that then appears has its rows."""
    lake = Lake("lake")
    write, late = lake.storage.write, []

    def give_up(path: str, data: bytes) -> None:
        if path.startswith("store/captures/"):
            late.append((path, data))
            raise LakeError("cannot write: timeout")
        write(path, data)

    monkeypatch.setattr(lake.storage, "write", give_up)
    monkeypatch.setattr(lake.storage, "keeps_failed_writes", True)  # as an object store's
    with pytest.raises(LakeError):
        land(lake, at("2026-11-20"), rows("a"))
    assert len(open_lake("lake").sql("select * from captures")) == 0
    write(*late[0])
    assert open_lake("lake").sql("select image_id from images")["image_id"].tolist() == ["a"]


def test_commits_read_together_are_as_if_read_alone() -> None:
    """Of landings, a compaction and a `forget`, read at once, each commit tells what it tells alone."""
    lake = Lake("lake")
    for day in range(1, 5):
        land(lake, at(f"2026-11-0{day}"), [row("a", "R1"), row(f"b{day}", "R1")])
    compact_account(lake, "default", now=at("2026-11-05"))
    lake.mark("default", Facts("forget", forgot=Forgot(at("2026-01-01"), 0)), at("2026-11-09"))
    read = [(file, lake.read(file)) for file in lake.list("captures").files]
    alone = [parse_commit(*each) for each in read]
    assert {0, 4} <= {len(commit.captures) for commit in alone}
    assert parse_commits(read) == alone
