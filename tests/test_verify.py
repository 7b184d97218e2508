"""`verify` finds what is wrong with a lake, and only that."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pytest

from genesis_etl.errors import LakeError
from genesis_etl.lake.commit import Facts, capture_rows
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import LakeFile
from genesis_etl.lake.schema import IMAGES
from genesis_etl.maintenance.verify import SCHEMA, has_failed, verify
from genesis_etl.rows import ROW
from tests.conftest import figure
from tests.histories import at, land, land_all, land_compacted, rows, rows_files, snapshot_of

STATES = {"2026-11-01": rows("a"), "2026-11-02": rows("a", "b"), "2026-11-03": rows("b", "c"), "2026-11-04": []}


def filled() -> None:
    """Make a lake of loose and compacted captures of two accounts."""
    lake = Lake("lake")
    captures = land_all(lake, STATES)
    land_compacted(lake, list(zip(captures, STATES.values(), strict=True))[:3], at("2026-11-05"))
    land(lake, at("2026-11-01"), rows("x"), "other")


def statuses() -> dict[str, str]:
    """Return file → status of all findings that are not `ok`."""
    return {each["file"]: each["status"] for each in verify("lake").to_pylist() if each["status"] != "ok"}


def age(file: Path, minutes: int = 120) -> None:
    """Make a file look so many minutes old."""
    os.utime(file, (time.time() - 60 * minutes,) * 2)


def test_a_whole_lake_is_ok_in_a_row_per_account() -> None:
    """A lake without a fault is one row per account that says how much was read."""
    filled()
    found = verify("lake")
    assert found.schema == SCHEMA
    assert not has_failed(found)
    sizes = {"default": 0, "other": 0}
    for name, data in snapshot_of("lake/store/rows").items():
        sizes[name.split("/")[0]] += len(data)
    assert [tuple(each.values()) for each in found.to_pylist()] == [
        (
            "store/captures/default",
            "default",
            "ok",
            f"4 captures in 5 commits, 5 rows files, {sizes['default']:,} bytes, all whole",
        ),
        (
            "store/captures/other",
            "other",
            "ok",
            f"1 capture in 1 commit, 1 rows file, {sizes['other']:,} bytes, all whole",
        ),
    ]


def test_an_empty_lake_has_no_capture_yet() -> None:
    """Where nothing was ever captured, `verify` says how to begin (exit 6)."""
    Path("lake/store/rows").mkdir(parents=True)
    Path("lake/store/rows/x.parquet").write_bytes(b"")
    with pytest.raises(LakeError, match="no capture yet in lake; run `genesis-etl export`") as caught:
        verify("lake")
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("flips", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_found(flips: int) -> None:
    """Of random bit flips over all committed files every one is found, and nothing else is blamed."""
    filled()
    files = sorted(snapshot_of("lake"))
    chance = random.Random(1)
    for _ in range(flips):
        file = Path("lake", chance.choice(files))
        data = file.read_bytes()
        bad = bytearray(data)
        bad[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(bad)
        found = verify("lake")
        figure("flips")
        figure("flips found", has_failed(found))
        assert has_failed(found)
        assert [each["file"] for each in found.to_pylist() if each["status"] == "damaged"] == [str(file)[5:]]
        file.write_bytes(data)
    assert not has_failed(verify("lake"))


@pytest.mark.parametrize("content", [b"", b"<html>"])
def test_every_file_that_is_cut_or_foreign_is_named(content: bytes) -> None:
    """A cut, empty or foreign file is damaged, and nothing else is blamed."""
    filled()
    for name, data in snapshot_of("lake").items():
        Path("lake", name).write_bytes(content)
        assert statuses() == {name: "damaged"}
        Path("lake", name).write_bytes(data)


def test_a_rows_file_that_is_gone_is_missing() -> None:
    """Whatever else could speak for its captures, `verify` fails and names it."""
    filled()
    for name, data in snapshot_of("lake").items():
        if name.startswith("store/rows"):
            Path("lake", name).unlink()
            assert statuses() == {name: "missing"}
            assert has_failed(verify("lake"))
            Path("lake", name).write_bytes(data)


def test_what_goes_between_two_looks_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rows file that went with its commit, to a compaction under way, is missed by nobody."""
    filled()
    rows_file = next(file for file in rows_files("lake", "default") if not file.is_compacted)
    (commit,) = Path("lake/store/captures/default/2026").glob(f"{rows_file.name[:30]}*")
    Path("lake", rows_file.path).unlink()
    assert statuses() == {rows_file.path: "missing"}
    read = Lake.read

    def going(lake: Lake, file: LakeFile) -> bytes:
        commit.unlink(missing_ok=True)
        return read(lake, file)

    monkeypatch.setattr(Lake, "read", going)
    assert statuses() == {}


def test_a_rows_file_without_commit_is_an_orphan_after_an_hour() -> None:
    """A landing that was cut off is a note once it is an hour old, no failure."""
    filled()
    (commit,) = Path("lake/store/captures/other").rglob("*.parquet")
    (rows_file,) = Path("lake/store/rows/other").rglob("*.parquet")
    commit.unlink()
    assert statuses() == {}
    age(rows_file, 59)
    assert statuses() == {}
    age(rows_file, 61)
    assert statuses() == {str(rows_file)[5:]: "orphan"}
    assert not has_failed(verify("lake"))


@pytest.mark.parametrize("name", [".x.parquet.tmp", f".20261101T000000000000Z-{'a' * 8}-{'b' * 16}.parquet.tmp"])
def test_what_a_run_left_half_written_is_a_stray_after_an_hour(name: str) -> None:
    """A temporary file is one that is being written, until it is an hour old, whoever made it."""
    filled()
    file = Path("lake/store/rows/default/2026", name)
    file.write_bytes(b"PAR1")
    age(file, 59)
    assert statuses() == {}
    age(file, 61)
    assert statuses() == {str(file)[5:]: "stray"}
    assert not has_failed(verify("lake"))


def test_what_a_missing_rows_file_costs_depends_on_what_was_compacted_later() -> None:
    """No table needs a rows file that is gone where a later one has its captures; any other has to be restored."""
    filled()
    loose = [file for file in rows_files("lake", "default") if not file.is_compacted]
    (compacted,) = (file for file in rows_files("lake", "default") if file.is_compacted)
    for file, words in [(each, "no table needs it") for each in loose[:3]] + [
        (loose[3], "restore it"),
        (compacted, "restore it"),
    ]:
        path = Path("lake", file.path)
        data = path.read_bytes()
        path.unlink()
        (missing,) = (each for each in verify("lake").to_pylist() if each["file"] == file.path)
        assert words in missing["detail"]
        path.write_bytes(data)


def test_the_rows_file_of_a_damaged_commit_is_no_orphan() -> None:
    """While its commit can be restored, a rows file is not called an orphan."""
    filled()
    (commit,) = Path("lake/store/captures/other").rglob("*.parquet")
    (rows_file,) = Path("lake/store/rows/other").rglob("*.parquet")
    age(rows_file)
    commit.write_bytes(b"")
    assert statuses() == {str(commit)[5:]: "damaged"}


def test_strays_are_notes_and_a_broken_one_says_whom_it_would_hurt() -> None:
    """Foreign files are listed, broken ones with what reading them would do, and fail nothing."""
    filled()
    folder = Path("lake/store/rows/default")
    (folder / "notes.txt").write_text("x")
    (folder / "cut.parquet").write_bytes(b"PAR1")
    shutil.copy(next(folder.rglob("2026*.parquet")), "lake/store/rows/copy.parquet")
    (folder / ".young.parquet.tmp").write_bytes(b"PAR1")
    (folder / ".old.parquet.tmp").write_bytes(b"PAR1")
    (folder / "@eaDir").mkdir()
    for name in (".old.parquet.tmp", "@eaDir"):
        age(folder / name)
    details = {each["file"]: each["detail"] for each in verify("lake").to_pylist() if each["status"] == "stray"}
    assert sorted(details) == [
        "store/rows/copy.parquet",
        "store/rows/default/.old.parquet.tmp",
        "store/rows/default/@eaDir",
        "store/rows/default/cut.parquet",
        "store/rows/default/notes.txt",
    ]
    assert "would fail on it" in details["store/rows/default/cut.parquet"]
    assert "would fail" not in details["store/rows/copy.parquet"]
    assert not has_failed(verify("lake"))


def test_a_stranger_whose_name_is_no_text_is_listed() -> None:
    """A name that is not UTF-8 keeps neither verify nor check from their findings."""
    filled()
    Path(os.fsdecode(b"lake/store/rows/\xff.parquet")).write_bytes(b"PAR1")
    (stray,) = (each for each in verify("lake").to_pylist() if each["status"] == "stray")
    assert stray["file"] == "store/rows/\\udcff.parquet"


def test_whole_files_that_contradict_each_other_are_damaged() -> None:
    """Rows that are another schema's, another account's, or not as many as the commit says, are found."""
    good = pa.Table.from_pylist(
        [{"account": "default", "first_seen": at("2026-11-01"), "last_seen": at("2026-11-01"), **rows("a")[0]}],
        schema=IMAGES,
    )
    capture = land(Lake("first"), at("2026-11-01"), rows("a"))
    for table, reason in (
        (good, None),
        (pa.table({"x": [1]}), "cannot be read as rows of images"),
        (good.select(ROW.names), "cannot be read as rows of images"),
        (good.set_column(0, IMAGES.field(0), [["other"]]), "rows of another account"),
        (pa.concat_tables([good, good]), "other numbers of rows"),
        (good.slice(1), "other numbers of rows"),
    ):
        shutil.rmtree("lake", ignore_errors=True)
        Lake("lake").commit(table, capture_rows([capture]), Facts("capture"), year=2026, name=capture.capture_id)
        found = [each["detail"] for each in verify("lake").to_pylist() if each["status"] == "damaged"]
        assert len(found) == (reason is not None)
        assert reason is None or reason in found[0]


def test_a_file_that_cannot_be_read_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error on one file is a finding, and the others are still read."""
    filled()
    names = sorted(snapshot_of("lake"))
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if str(path).endswith(names[-1]):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    (bad,) = [each for each in verify("lake").to_pylist() if each["status"] != "ok"]
    assert (bad["file"], bad["status"]) == (names[-1], "damaged")
    assert "Input/output error" in bad["detail"]
