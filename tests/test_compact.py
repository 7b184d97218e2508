"""Compaction: the same answers before, during and after, whatever it meets and wherever it dies."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from genesis_etl.errors import LakeError
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import new_file, temporary_path
from genesis_etl.lake.storage.local import LocalStorage
from genesis_etl.maintenance.compact import Compaction, compact, compact_account
from genesis_etl.maintenance.verify import has_failed, verify
from genesis_etl.opened import open_lake
from tests.conftest import WHOLE, figure
from tests.histories import (
    HISTORY,
    NOTHING,
    NOW,
    REPORTS,
    STATEMENTS,
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


def test_loose_captures_become_one_file_per_year() -> None:
    """A file a year holds them as runs, the newest capture stays loose, answers stay the same."""
    land_all(Lake("lake"), HISTORY)
    before = answers("lake")
    done = compact(Lake("lake"), grace=NOTHING, now=NOW)
    assert answers("lake") == before
    assert [(each.account, each.year, each.captures, each.removed) for each in done] == [
        ("default", 2025, 1, 2),
        ("default", 2026, 4, 8),
    ]
    assert sorted(file.is_compacted for file in rows_files("lake")) == [False, True, True]
    runs = Lake("lake").rows(next(file for file in rows_files("lake") if file.is_compacted and file.year == 2026))
    assert runs.select(["image_id", "name", "first_seen", "last_seen"]).to_pylist() == [
        {"image_id": "a", "name": "a", "first_seen": at("2026-11-01 12:00"), "last_seen": at("2026-11-22 12:00")},
        {"image_id": "b", "name": "b", "first_seen": at("2026-11-01 12:00"), "last_seen": at("2026-11-01 12:00")},
        {"image_id": "b", "name": "b", "first_seen": at("2026-11-03 12:00"), "last_seen": at("2026-11-22 12:00")},
        {"image_id": "c", "name": "c", "first_seen": at("2026-11-01 12:00"), "last_seen": at("2026-11-02 12:00")},
        {"image_id": "c", "name": "renamed", "first_seen": at("2026-11-03 12:00"), "last_seen": at("2026-11-22 12:00")},
    ]


def test_a_capture_is_compacted_half_an_hour_after_it_began() -> None:
    """What is younger stays loose; a single older one is compacted too, however few there are."""
    land_all(Lake("lake"), {"2026-11-22 11:59": rows("a"), "2026-11-22 12:00": rows("a")})
    for now, captures in (("12:28", 0), ("12:29", 1), ("12:29", 0), ("12:30", 1), ("12:30", 0)):
        (done,) = compact(Lake("lake"), now=at(f"2026-11-22 {now}"))
        assert done.captures == captures


def test_compaction_is_idempotent() -> None:
    """A second run writes and removes nothing."""
    land_all(Lake("lake"), HISTORY)
    compact(Lake("lake"), now=NOW)
    files = snapshot_of("lake")
    again = compact(Lake("lake"), now=NOW)
    assert snapshot_of("lake") == files
    assert [(each.captures, each.removed) for each in again] == [(0, 0), (0, 0)]
    assert all(each.files_before == each.files_after and each.bytes_before == each.bytes_after for each in again)


def test_what_was_replaced_goes_after_the_grace_period() -> None:
    """Captures stay for seven days after the first compaction that holds them, however many follow it."""
    lake = Lake("lake")
    start = at("2026-11-01 12:00")
    for day in range(12):
        land(lake, start + timedelta(days=day), rows("a", f"day{day}"))
        compact(lake, now=start + timedelta(days=day, hours=13))
        loose = [file for file in rows_files("lake") if not file.is_compacted]
        assert len(loose) == min(day + 1, 7)
    assert sum(file.is_compacted for file in rows_files("lake")) == 8


def test_a_late_capture_before_a_compaction_counts_at_once() -> None:
    """A capture between compacted ones breaks runs at once, and the next compaction tells the same."""
    lake = Lake("lake")
    land_all(lake, {"2026-11-01 10:00": rows("a"), "2026-11-01 14:00": rows("a")})
    compact(lake, grace=NOTHING, now=NOW)
    land(lake, at("2026-11-01 12:00"), rows("b"))
    before = answers("lake")
    assert before["history"]["first_seen"].to_pylist() == [
        at("2026-11-01 10:00"),
        at("2026-11-01 12:00"),
        at("2026-11-01 14:00"),
    ]
    compact(lake, grace=NOTHING, now=NOW)
    assert answers("lake") == before
    assert len(rows_files("lake")) == 1


def test_captures_of_one_instant_stay_apart() -> None:
    """Two captures in one microsecond are not compacted, for runs could not tell which of them held a row."""
    lake = Lake("lake")
    for state in (rows("a"), rows("b"), rows("a", "b")):
        land(lake, at("2026-11-01 12:00"), state)
    land_all(lake, {"2026-11-01 10:00": rows("a"), "2026-11-01 14:00": rows("a")})
    before = answers("lake")
    compact(lake, grace=NOTHING, now=NOW)
    assert answers("lake") == before
    assert sorted(file.is_compacted for file in rows_files("lake")) == [False, False, False, True]


def test_overlapping_compactions_become_one() -> None:
    """Compactions that share captures, with late ones between, are compacted again without a change in any answer."""
    lake = Lake("lake")
    states = [(f"2026-11-{day:02} 12:00", rows("a", f"only{day}")) for day in range(1, 7)]
    landed = [(land(lake, at(text), state), state) for text, state in states]
    land_compacted(lake, landed[:4], at("2026-11-08"))
    land_compacted(lake, landed[2:], at("2026-11-09"))
    land(lake, at("2026-11-03 18:00"), rows("late"))
    before = answers("lake")
    compact(lake, grace=NOTHING, now=NOW)
    assert answers("lake") == before
    assert len(rows_files("lake")) == 1


def test_a_damaged_compaction_is_refused_and_what_is_loose_answers() -> None:
    """Its year file damaged, an account is not compacted (exit 6), others are, and later captures answer."""
    lake = Lake("lake")
    land_all(lake, {"2026-11-01 12:00": rows("a"), "2026-11-02 12:00": rows("a")})
    compact(lake, grace=NOTHING, now=NOW)
    (file,) = rows_files("lake")
    land_all(lake, {"2026-11-20 12:00": rows("b"), "2026-11-21 12:00": rows("c")})
    land_all(lake, {"2026-11-20 12:00": rows("b"), "2026-11-21 12:00": rows("c")}, account="other")
    data = bytearray(Path("lake", file.path).read_bytes())
    data[len(data) // 2] ^= 1
    Path("lake", file.path).write_bytes(data)
    files = snapshot_of("lake")
    with pytest.raises(LakeError, match="is damaged") as caught:
        compact(Lake("lake"), grace=NOTHING, now=NOW)
    assert caught.value.exit_code == 6
    assert {name for name in files if "/default/" in name} == {n for n in snapshot_of("lake") if "/default/" in n}
    assert sum(each.is_compacted for each in rows_files("lake", "other")) == 1
    growth = open_lake("lake").report_rows("snapshot-growth", account="default", since="2026-11-20")
    assert growth["closing"].to_pylist() == [1, 1]


def test_a_damaged_compaction_loses_nothing_that_is_still_loose() -> None:
    """While the captures it replaced are there, they answer for it, are not swept, and a new compaction holds them."""
    lake = Lake("lake")
    land_all(lake, HISTORY)
    before = answers("lake")
    compact(lake, now=NOW)
    (file,) = (file for file in rows_files("lake") if file.is_compacted and file.year == 2026)
    Path("lake", file.path).write_bytes(b"nonsense")
    assert answers("lake") == before
    compact(Lake("lake"), grace=NOTHING, now=NOW + timedelta(days=30))
    assert answers("lake") == before


def test_orphans_and_half_written_files_are_swept_after_an_hour() -> None:
    """A rows file without a commit and a temporary file go when they are older than an hour, not before."""
    lake = Lake("lake")
    land_all(lake, HISTORY)
    orphan = Path("lake", rows_files("lake")[-1].path)
    commit = Path("lake", commit_files("lake")[-1].path)
    commit.unlink()
    half = Path("lake", temporary_path(new_file("rows", "default", 2026, "20261101T000000000000Z-00000000", b"").path))
    half.write_bytes(b"half")
    compact(lake, now=NOW)
    assert orphan.exists()
    assert half.exists()
    for file in (orphan, half):
        os.utime(file, (1, 1))
    compact(lake, now=NOW)
    assert not orphan.exists()
    assert not half.exists()


def test_nothing_is_an_orphan_while_a_commit_cannot_be_read() -> None:
    """A damaged commit may name any rows file, so none is swept."""
    lake = Lake("lake")
    land_all(lake, HISTORY)
    commit = Path("lake", commit_files("lake")[0].path)
    commit.write_bytes(b"nonsense")
    files = rows_files("lake")
    for file in files:
        os.utime(Path("lake", file.path), (1, 1))
    with pytest.raises(LakeError, match="damaged"):
        compact(Lake("lake"), grace=NOTHING, now=NOW)
    assert rows_files("lake") == files


def test_an_empty_lake_has_nothing_to_compact() -> None:
    """Exit 6 and the next step."""
    with pytest.raises(LakeError, match="no capture yet in lake; run `genesis-etl export`") as caught:
        compact(Lake("lake"))
    assert caught.value.exit_code == 6


def test_runs_that_do_not_add_up_are_not_written() -> None:
    """A file whose rows are fewer than its captures say is not compacted."""
    lake = Lake("lake")
    land(lake, at("2026-11-01"), rows("a"))
    capture = land(lake, at("2026-11-02"), rows("a", "b"))
    lie = [(capture, rows("a"))]
    land_compacted(lake, lie, at("2026-11-03"))
    with pytest.raises(LakeError, match="do not add up"):
        compact(lake, now=NOW)


STATE = st.lists(
    st.builds(
        row,
        image_id=st.sampled_from("abcd"),
        region=st.sampled_from(["R1", "R2", None]),
        name=st.sampled_from(["one", "two"]),
        versions=st.sampled_from([None, [], ["v1"]]),
        size_gib=st.sampled_from([None, 1.0, 2.0]),
    ),
    max_size=5,
    unique_by=lambda each: (each["image_id"], each["region"]),
)
STEP = st.tuples(
    st.sampled_from(["land", "land", "land", "land", "late", "compact"]),
    st.integers(1, 40),
    st.sampled_from("xy"),
    STATE,
)


HISTORIES = st.lists(st.lists(STEP, min_size=1, max_size=16), min_size=5, max_size=5)


def play(url: str, histories: list[list[tuple[str, int, str, list[Row]]]]) -> None:
    """Live random histories on two lakes, one of which is compacted now and then; both must tell the same.

    Each history has accounts of its own, so that a lake holds all of them and is asked once.
    """
    plain, compacted = Lake(f"{url}/plain"), Lake(f"{url}/compacted")
    for place, steps in enumerate(histories):
        now = at("2025-12-20 01:00")
        accounts: set[str] = set()
        for number, (step, hours, letter, state) in enumerate(steps):
            # One image has one size and name in a capture, as in a merged reading.
            whole = {each["image_id"]: each for each in state}
            state = [{**whole[each["image_id"]], "region": each["region"]} for each in state]
            if step == "compact":
                now += timedelta(hours=hours)
                for account in sorted(accounts):
                    compact_account(compacted, account, grace=timedelta(hours=hours), now=now)
                continue
            if step == "land":
                now += timedelta(hours=hours)
            moment = now if step == "land" else now - timedelta(hours=hours, minutes=number)
            account = f"{letter}{place}"
            accounts.add(account)
            land(plain, moment, state, account)
            land(compacted, moment, state, account)
    if not plain.accounts():
        return
    without_ids = (
        STATEMENTS["history"],
        "select * exclude (capture_id) from image_regions order by all",
        "select * exclude (capture_id) from images order by all",
        "select * exclude (capture_id, file, sha256) from captures order by all",
    )
    one, other = open_lake(f"{url}/plain"), open_lake(f"{url}/compacted")
    for statement in without_ids:
        assert one.sql_rows(statement).equals(other.sql_rows(statement))
    for name, options in REPORTS:
        assert one.report_rows(name, **options).equals(other.report_rows(name, **options))


@pytest.mark.parametrize(
    ("part", "lakes"),
    [(0, 2), pytest.param(1, 50, marks=pytest.mark.slow), *(pytest.param(part, 50, marks=WHOLE) for part in (2, 3, 4))],
)
def test_random_histories_tell_the_same_compacted_or_not(part: int, lakes: int) -> None:
    """Renames, gaps, disappearances, returns, late and empty captures, two accounts: compaction changes no answer.

    A lake holds five histories; in `make test-all` they are a thousand.
    """

    @seed(part)
    @settings(max_examples=lakes, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(HISTORIES)
    def law(histories: list[list[tuple[str, int, str, list[Row]]]]) -> None:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            figure("histories of compaction", sum(bool(steps) for steps in histories))
            play(folder, histories)

    law()


KILLED = """
from datetime import datetime, timedelta, UTC
from genesis_etl.maintenance.compact import compact
from genesis_etl.lake.lake import Lake
def work(url):
    compact(Lake(url), grace=timedelta(0), now=datetime(2026, 11, 23, 11, 20, tzinfo=UTC))
"""


@pytest.mark.parametrize("stride", [40, pytest.param(1, marks=WHOLE)])
def test_killed_at_any_step_nothing_is_lost_or_doubled(stride: int) -> None:
    """Sudden death at the n-th change of the disk, for every n: the same answers, and the next run ends the work."""
    land_all(Lake("whole"), HISTORY)
    before = answers("whole")
    last = died_at_every_step(KILLED, stride=stride)
    assert last > 10
    for step in range(0, last + 1, stride):
        lake = f"lake{step}"
        assert answers(lake) == before
        figure("steps")
        compact(Lake(lake), grace=NOTHING, now=NOW)
        assert answers(lake) == before
        assert len(rows_files(lake)) >= 3


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("operation", ["os.fsync", "os.rename"])
def test_an_io_error_leaves_old_or_new(operation: str, stride: int) -> None:
    """A full disk at the n-th step ends with exit 6, the same answers and no half-written file."""
    land_all(Lake("whole"), HISTORY)
    before = answers("whole")
    original: Callable[..., Any] = getattr(os, operation.removeprefix("os."))
    for step in range(0, 40, stride):
        shutil.rmtree("lake", ignore_errors=True)
        shutil.copytree("whole", "lake")
        left = step

        def failing(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == -1:
                raise OSError(28, "No space left on device")
            return original(*args, **kwargs)

        done: list[Compaction] = []
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(LakeError):
            patch.setattr(operation, failing)
            done = compact(Lake("lake"), grace=NOTHING, now=NOW)
        assert answers("lake") == before
        assert not [name for name in snapshot_of("lake") if name.endswith(".tmp")]
        if left >= 0:
            assert [type(each) for each in done] == [Compaction, Compaction]
            return
    raise AssertionError("the run never came to its end")


def test_a_second_capture_of_a_compacted_instant_stops_no_later_compaction() -> None:
    """A compaction that holds an instant which came twice stays as it is; the others go on, and every answer stands."""
    lake = Lake("lake")
    land_all(lake, {"2026-11-20 10:00": rows("a"), "2026-11-20 11:00": rows("a", "b"), "2026-11-20 12:00": rows("b")})
    compact(lake, grace=timedelta(0), now=at("2026-11-22"))
    land_all(lake, {"2026-11-20 11:00": rows("c"), "2026-11-21 11:00": rows("a"), "2026-11-21 12:00": rows("a", "d")})
    tables = ("image_regions", "image_history", "images")
    before = {name: open_lake("lake").sql(f"select * from {name} order by all") for name in tables}
    for day in ("2026-11-23", "2026-11-24"):
        compact(lake, grace=timedelta(0), now=at(day))
        for name in tables:
            assert open_lake("lake").sql(f"select * from {name} order by all").equals(before[name])
    assert sorted(file.is_compacted for file in rows_files("lake")) == [False, True, True]


def test_what_is_left_of_an_account_without_commits_is_swept() -> None:
    """A rows file alone, as a landing or a `forget` that was killed leaves it, goes after an hour."""
    capture = land(Lake("lake"), at("2026-11-20"), rows("a"))
    shutil.rmtree("lake/store/captures")
    land(Lake("lake"), at("2026-11-20"), rows("a"), "other")
    compact(Lake("lake"))
    assert Path("lake", capture.file).exists()
    os.utime(Path("lake", capture.file), (0, 0))
    compact(Lake("lake"))
    assert not Path("lake", capture.file).exists()


def test_a_file_whose_runs_begin_at_a_capture_that_stays_apart_stays_too() -> None:
    """Where a late capture shares its instant with one of a compacted file, files that overlap it are left alone."""
    lake = Lake("lake")
    states = [rows("a"), rows("a", "b"), rows("a", "b"), rows("a", "b")]
    done = [(land(lake, at("2026-01-01") + n * timedelta(hours=1), state), state) for n, state in enumerate(states)]
    land_compacted(lake, done, at("2026-01-02"))
    land_compacted(lake, done[1:2], at("2026-01-03"))
    land(lake, at("2026-01-01") + timedelta(hours=1), rows("c"))
    land(lake, at("2026-01-01") + timedelta(hours=9), rows("b"))
    before = sorted(map(repr, open_lake("lake").sql_rows("select * from image_regions").to_pylist()))
    compact(lake, grace=timedelta(), now=at("2026-01-05"))
    assert sorted(map(repr, open_lake("lake").sql_rows("select * from image_regions").to_pylist())) == before


def test_rows_stay_as_long_as_a_commit_that_cannot_go_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the medium keeps commits that were replaced, it keeps their rows files too, and nothing is missing."""
    lake = Lake("lake")
    land_all(lake, HISTORY)
    loose = rows_files("lake")
    delete = LocalStorage.delete

    def refusing(self: LocalStorage, path: str) -> None:
        if "/captures/" in path:
            raise LakeError("cannot delete it")
        delete(self, path)

    monkeypatch.setattr(LocalStorage, "delete", refusing)
    compact(lake, grace=NOTHING, now=NOW + timedelta(days=30))
    assert {*loose} < {*rows_files("lake")}
    assert not has_failed(verify("lake"))


def test_an_account_is_compacted_unless_it_is_only_to_be_said() -> None:
    """`is_dry` has to be asked for."""
    land_all(Lake("lake"), HISTORY)
    told = compact_account(Lake("lake"), "default", now=NOW, is_dry=True)
    assert not any(file.is_compacted for file in rows_files("lake"))
    done = compact_account(Lake("lake"), "default", now=NOW)
    assert [each.captures for each in done] == [each.captures for each in told]
    assert any(file.is_compacted for file in rows_files("lake"))
