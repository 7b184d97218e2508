"""`forget`: what is to go is gone, what is to stay answers as before, at every step of the way."""

from __future__ import annotations

import itertools
import os
import pty
import shutil
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from genesis_etl.errors import LakeError, SettingsError
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import LakeFile, new_file, temporary_path
from genesis_etl.maintenance.compact import compact
from genesis_etl.maintenance.forget import forget, forgettable
from genesis_etl.maintenance.verify import has_failed, verify
from genesis_etl.opened import open_lake
from tests.commands import ETL, Run, refused
from tests.conftest import WHOLE, fewer, figure
from tests.histories import (
    HISTORY,
    NOTHING,
    NOW,
    Row,
    answers,
    at,
    commit_files,
    died_at_every_step,
    land,
    land_all,
    land_compacted,
    row,
    rows,
    rows_files,
    snapshot_of,
)

D = at("2026-11-02 12:00")


def observed(account: str = "default") -> pa.Table:
    """Return everything observed of an account, without what names its files."""
    return open_lake("lake").sql_rows(f"select * from image_regions where account = '{account}' order by all")


def captured(account: str = "default") -> list[Any]:
    """Return the times of an account's captures."""
    statement = f"select captured_at from captures where account = '{account}' order by all"
    times: list[Any] = open_lake("lake").sql_rows(statement)["captured_at"].to_pylist()
    return times


def later(table: pa.Table, before: Any) -> list[Row]:
    """Return the rows of captures that stay."""
    kept: list[Row] = [each for each in table.to_pylist() if each["captured_at"] >= before]
    return kept


def build(kind: str) -> None:
    """Make a lake of two accounts: loose, compacted with the loose files still there, or compacted alone."""
    land_all(Lake("lake"), HISTORY)
    land(Lake("lake"), at("2026-11-01"), rows("x"), "other")
    if kind != "loose":
        compact(Lake("lake"), grace=timedelta(days=7) if kind == "both" else NOTHING, now=NOW)


KINDS = ["loose", "both", "compacted"]


BEFORE = [None, *map(at, HISTORY), at("2026-11-02 12:00:01"), at("2030-01-01")]


@pytest.mark.parametrize(("before", "kind"), fewer(itertools.product(BEFORE, KINDS), 4, WHOLE))
def test_what_is_before_goes_and_the_rest_stays(before: Any, kind: str) -> None:
    """Whichever files captures lie in, those before the time are gone for good and all others answer as before."""
    build(kind)
    everything, times, other = observed(), captured(), observed("other")
    end = before or at("2100-01-01")
    planned = forgettable(Lake("lake"), "default", before)
    done = forget(Lake("lake"), "default", before)
    assert done == planned
    assert sum(each.captures for each in done) == len([at for at in times if at < end])
    left = observed()
    assert captured() == [at for at in times if at >= end]
    assert left.to_pylist() == later(everything, end)
    assert observed("other") == other
    if before is None:
        assert Lake("lake").accounts() == ["other"]
    assert not has_failed(verify("lake"))
    gone = set(everything["image_id"].to_pylist()) - set(left["image_id"].to_pylist())
    tables = [Lake("lake").rows(file) for file in rows_files("lake", "default")]
    assert gone.isdisjoint(id for table in tables for id in table["image_id"].to_pylist())
    assert all(at >= end for table in tables for at in table["first_seen"].to_pylist())


def test_what_stays_is_compacted_and_answers_as_if_nothing_else_had_been() -> None:
    """After forgetting, every table and report is that of a lake that never held what is gone, compacted again too."""
    build("both")
    forget(Lake("lake"), "default", D)
    fresh = {name: state for name, state in HISTORY.items() if at(name) >= D}
    land_all(Lake("fresh"), fresh)
    land(Lake("fresh"), at("2026-11-01"), rows("x"), "other")
    for _ in range(2):
        told = answers("lake")
        for name, table in answers("fresh").items():
            if name != "captures":
                columns = [column for column in table.column_names if column != "capture_id"]
                assert told[name].select(columns) == table.select(columns), name
        compact(Lake("lake"), grace=NOTHING, now=NOW)
    assert forget(Lake("lake"), "default", D) == []


def test_the_rows_say_what_went() -> None:
    """A row a year: captures, their span, what was written anew, files and bytes."""
    build("compacted")
    sizes = {name: len(data) for name, data in snapshot_of("lake").items()}
    first, second = forget(Lake("lake"), "default", D)
    assert (first.year, first.captures, first.rewritten, first.files) == (2025, 1, 0, 2)
    assert (second.year, second.captures, second.rewritten, second.files) == (2026, 1, 3, 2)
    assert first.first_captured_at == first.last_captured_at == at("2025-12-31 12:00")
    assert second.first_captured_at == at("2026-11-01 12:00")
    gone = sizes.keys() - snapshot_of("lake").keys()
    assert first.bytes + second.bytes == sum(sizes[name] for name in gone)


def test_overlapping_compactions_and_captures_between_them() -> None:
    """A compaction that speaks for some of its captures only, with others' captures between, is clipped right."""
    lake = Lake("lake")
    states = {f"2026-11-0{n} 12:00": [*rows("a"), row("b", name=f"b{n % 2}"), *rows(f"c{n}")] for n in range(1, 8)}
    captures = land_all(lake, states)
    pairs = list(zip(captures, states.values(), strict=True))
    land_compacted(lake, [pairs[n] for n in (0, 1, 2, 3, 4, 5)], at("2026-11-08"))
    land_compacted(lake, [pairs[n] for n in (0, 2, 4)], at("2026-11-09"))
    compact(lake, grace=timedelta(days=365), now=at("2026-11-04"))
    everything = observed()
    for number in range(1, 8):
        before = at(f"2026-11-0{number} 13:00")
        forget(lake, "default", before)
        assert observed().to_pylist() == later(everything, before)
        assert not has_failed(verify("lake"))


def test_unknown_accounts_and_empty_lakes_are_refused() -> None:
    """An account that the lake does not hold is misuse, a lake without captures is told as everywhere."""
    with pytest.raises(LakeError, match="no capture yet in lake"):
        forget(Lake("lake"), "default")
    build("loose")
    with pytest.raises(SettingsError, match="no account 'Default' in the lake; name one that it holds: default, other"):
        forget(Lake("lake"), "Default")


def test_what_a_killed_run_left_of_an_account_can_be_forgotten() -> None:
    """An account of which no commit is left, but a file, is still known, and the file goes when it is an hour old."""
    build("loose")
    (commit,) = Path("lake/store/captures/other").rglob("*.parquet")
    commit.unlink()
    assert forget(Lake("lake"), "other") == []
    (rows_file,) = Path("lake/store/rows/other").rglob("*.parquet")
    os.utime(rows_file, (time.time() - 7200,) * 2)
    (gone,) = forget(Lake("lake"), "other")
    assert (gone.captures, gone.files, gone.first_captured_at) == (0, 1, None)
    assert not Path("lake/store/rows/other").exists()


def test_damage_in_the_way_is_refused_before_anything_goes() -> None:
    """A file that may hold what is to stay and cannot be read stops it; without --before everything can go."""
    build("compacted")
    (commit,) = Path("lake/store/captures/default/2026").glob("*compacted*")
    (rows_file,) = Path("lake/store/rows/default/2026").glob("*compacted*")
    for file in (commit, rows_file):
        data = file.read_bytes()
        file.write_bytes(b"PAR1")
        files = snapshot_of("lake")
        with pytest.raises(LakeError, match="restore it, or give a later --before"):
            forget(Lake("lake"), "default", D)
        assert snapshot_of("lake") == files
        file.write_bytes(data)
    commit.write_bytes(b"")
    forget(Lake("lake"), "default")
    assert Lake("lake").accounts() == ["other"]
    assert list(rows_files("lake", "default")) == []


def test_what_nobody_names_goes_when_it_is_old() -> None:
    """A landing under way keeps its file; one that was cut off an hour ago goes along, a stranger's file stays."""
    build("loose")
    folder = Path("lake/store/rows/default/2026")
    old, young = sorted(folder.glob("*.parquet"))[:2]
    for file in (old, young):
        (commit,) = Path("lake/store/captures/default/2026").glob(f"{file.name[:30]}*")
        commit.unlink()
    half = Path("lake", temporary_path(new_file("rows", "default", 2026, "20261101T000000000000Z-00000000", b"").path))
    for file in (old, half, folder / "notes.txt"):
        file.touch()
        os.utime(file, (time.time() - 7200,) * 2)
    forget(Lake("lake"), "default")
    assert sorted(file.name for file in Path("lake/store/rows/default").rglob("*") if file.is_file()) == sorted(
        [young.name, "notes.txt"]
    )


def test_a_compaction_that_nobody_names_goes_with_the_last_of_its_captures() -> None:
    """Its commit is lost; forgetting what lies before the last of them leaves it, as it may still be mended."""
    lake = Lake("lake")
    land_all(lake, {f"2026-11-0{day} 12:00": rows("a", f"d{day}") for day in range(1, 5)})
    compact(lake, grace=NOTHING, now=NOW)
    (file,) = rows_files("lake")
    for commit in commit_files("lake"):
        lake.remove(commit)
    land(lake, at("2026-11-06"), rows("z"))
    os.utime(f"lake/{file.path}", (1, 1))
    for before, is_there in (("2026-11-02", True), ("2026-11-04 12:00", True), ("2026-11-05", False)):
        forget(Lake("lake"), "default", at(before))
        assert Path("lake", file.path).exists() == is_there, before


KILLED = """
import sys
from datetime import datetime, UTC
from genesis_etl.maintenance.forget import forget
from genesis_etl.lake.lake import Lake
def work(url):
    forget(Lake(url), "default", datetime.fromisoformat(sys.argv[1]) if sys.argv[1] else None)
"""


@pytest.mark.parametrize("stride", [16, pytest.param(1, marks=WHOLE)])
@pytest.mark.parametrize("before", fewer([D, None], 1))
def test_killed_at_any_step_the_lake_is_whole(before: Any, stride: int) -> None:
    """Sudden death at every change of the disk: each capture is as it was or gone, and another run ends the work."""
    states = {name: state for name, state in HISTORY.items() if "2026-11-01" <= name < "2026-11-04"}
    land_all(Lake("lake"), states)
    compact(Lake("lake"), now=NOW)
    land(Lake("lake"), at("2026-11-01"), rows("x"), "other")
    shutil.copytree("lake", "whole")
    everything, other = observed(), observed("other")
    end = before or at("2100-01-01")
    last = died_at_every_step(KILLED, before.isoformat() if before else "", stride=stride)
    assert last >= 8
    for step in range(0, last + 1, stride):
        shutil.rmtree("lake")
        os.rename(f"lake{step}", "lake")
        figure("steps")
        assert not has_failed(verify("lake"))
        times = set(captured())
        assert observed().to_pylist() == [each for each in everything.to_pylist() if each["captured_at"] in times]
        assert {each["captured_at"] for each in later(everything, end)} <= times
        assert observed("other") == other
        if step < last:
            named = {commit.rows_file for commit in Lake("lake").commits()[0]}
            assert len(set(rows_files("lake")) - named) <= 1
            if times:
                forget(Lake("lake"), "default", before)
        assert observed().to_pylist() == later(everything, end)


def test_a_compaction_under_way_brings_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction that commits while captures go is forgotten in the same run."""
    build("loose")
    remove = Lake.remove
    compacted: list[LakeFile] = []

    def removing(lake: Lake, file: LakeFile) -> None:
        if not compacted:
            compacted.append(file)
            compact(Lake("lake"), now=NOW)
        remove(lake, file)

    everything = observed()
    monkeypatch.setattr(Lake, "remove", removing)
    forget(Lake("lake"), "default", D)
    assert compacted
    assert observed().to_pylist() == later(everything, D)


def test_a_lake_moved_or_copied_is_the_same_lake() -> None:
    """A folder that was copied, moved and reached by a link answers the same, and grows on its own."""
    build("both")
    before = answers("lake")
    shutil.copytree("lake", "backup/of/lake")
    shutil.move("lake", "elsewhere")
    os.symlink("elsewhere", "link")
    for url in ("backup/of/lake", "elsewhere", "link", f"file://{Path('elsewhere').resolve()}"):
        assert answers(url) == before
        assert not has_failed(verify(url))
    land(Lake("elsewhere"), at("2026-11-23 12:00"), rows("new"))
    compact(Lake("elsewhere"), grace=NOTHING, now=NOW)
    assert answers("backup/of/lake") == before


# the command


def test_without_a_terminal_it_is_refused(run: Run) -> None:
    """Where nobody can be asked nothing goes without --yes, and what went is printed as rows."""
    build("loose")
    files = snapshot_of("lake")
    refused(run("forget", "--account", "default", "--lake", "lake"), 2, "give --yes")
    assert snapshot_of("lake") == files
    ended = run(
        "forget", "--account", "default", "--before", "2026-01-01", "--yes", "--lake", "lake", "--format", "json"
    )
    assert (ended.code, ended.err) == (0, "")
    (told,) = ended.rows
    assert (told["account"], told["year"], told["captures"], told["files"]) == ("default", 2025, 1, 2)
    assert told["first_captured_at"] == "2025-12-31T12:00:00Z"
    ended = run(
        "forget", "--account", "default", "--before", "2026-01-01", "--yes", "--lake", "lake", "--format", "json"
    )
    assert (ended.code, ended.rows) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["forget"], 2, ["--account"]),
        (
            ["forget", "--account", "nobody"],
            2,
            ["no account 'nobody' in the lake; name one that it holds: default, other"],
        ),
        (["forget", "--account", "default", "--before", "soon", "--yes"], 2, ["--before: 'soon' is not a time"]),
        (["forget", "--account", "default", "--yes", "--lake", "none"], 6, ["no capture yet in none"]),
    ],
)
def test_misuse_removes_nothing(run: Run, arguments: list[str], code: int, words: list[str]) -> None:
    """Whatever is unknown or wrong is one line, and every file is there afterwards."""
    build("loose")
    files = snapshot_of("lake")
    Path("genesis-etl.toml").write_text("lake = 'lake'")
    refused(run(*arguments), code, *words)
    assert snapshot_of("lake") == files


@pytest.mark.parametrize(("answer", "code", "left"), fewer([("n", 2, 6), ("", 2, 6), ("y", 0, 5)], 2))
def test_it_asks_on_a_terminal(answer: str, code: int, left: int) -> None:
    """The question says how much goes and from where; only yes is yes."""
    build("loose")
    ours, its = pty.openpty()
    command = [*ETL, "forget", "--account", "default", "--before", "2026-01-01", "--lake", "lake"]
    process = subprocess.Popen(command, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(its)
    os.write(ours, f"{answer}\n".encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == code, err
    assert b"Remove 1 capture of default from lake, for ever? [y/N]" in err
    assert bool(out) == (code == 0)
    assert len(captured()) == left
