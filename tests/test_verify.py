"""`verify` finds what is wrong with a lake, and only that."""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from genesis_etl.commit import capture_rows
from genesis_etl.errors import LakeError
from genesis_etl.lake import Lake
from genesis_etl.rows import IMAGES, ROW
from genesis_etl.verify import SCHEMA, has_failed, verify
from tests.conftest import figure
from tests.histories import at, fold, land, land_all, rows, snapshot_of

STATES = {"2026-11-01": rows("a"), "2026-11-02": rows("a", "b"), "2026-11-03": rows("b", "c"), "2026-11-04": []}


def filled() -> None:
    """Make a lake of raw and folded captures of two accounts."""
    lake = Lake("lake")
    captures = land_all(lake, STATES)
    fold(lake, list(zip(captures, STATES.values(), strict=True))[:3], at("2026-11-05"))
    land(lake, at("2026-11-01"), rows("x"), "other")


def statuses() -> dict[str, str]:
    """Return file → status of all findings that are not `ok`."""
    return {each["file"]: each["status"] for each in verify("lake").to_pylist() if each["status"] != "ok"}


def age(file: Path) -> None:
    """Make a file look two hours old."""
    os.utime(file, (time.time() - 7200,) * 2)


def test_a_whole_lake_is_ok_in_a_row_per_account() -> None:
    """A lake without a fault is one row per account that says how much was read."""
    filled()
    found = verify("lake")
    assert found.schema == SCHEMA
    assert not has_failed(found)
    sizes = {"default": 0, "other": 0}
    for name, data in snapshot_of("lake/images").items():
        sizes[name.split("/")[0]] += len(data)
    assert [tuple(each.values()) for each in found.to_pylist()] == [
        (
            "captures/default",
            "default",
            "ok",
            f"4 captures in 5 commits, 5 images files, {sizes['default']:,} bytes, all whole",
        ),
        (
            "captures/other",
            "other",
            "ok",
            f"1 capture in 1 commit, 1 images file, {sizes['other']:,} bytes, all whole",
        ),
    ]


def test_an_empty_lake_has_no_capture_yet() -> None:
    """Where nothing was ever captured, `verify` says how to begin (exit 6)."""
    Path("lake/images").mkdir(parents=True)
    Path("lake/images/x.parquet").write_bytes(b"")
    with pytest.raises(LakeError, match="no capture yet in lake; run `genesis-etl export`") as caught:
        verify("lake")
    assert caught.value.exit_code == 6


def test_every_flipped_bit_is_found() -> None:
    """Of 300 random bit flips over all committed files, 300 are found, and nothing else is blamed."""
    filled()
    files = sorted(snapshot_of("lake"))
    chance = random.Random(1)
    for _ in range(300):
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


@pytest.mark.parametrize("content", [b"", b"<html>", None])
def test_every_file_that_is_cut_or_gone_is_named(content: bytes | None) -> None:
    """A cut, empty or foreign file is damaged, an images file that is gone missing; a commit gone is an orphan."""
    filled()
    for name, data in snapshot_of("lake").items():
        file = Path("lake", name)
        if content is not None:
            file.write_bytes(content)
            assert statuses() == {name: "damaged"}
        else:
            file.unlink()
            if name.startswith("images"):
                assert statuses() == {name: "missing"}
                assert has_failed(verify("lake"))
            else:
                assert statuses() == {}
        file.write_bytes(data)


def test_an_images_file_without_commit_is_an_orphan_after_an_hour() -> None:
    """A landing that was cut off is a note once it is an hour old, no failure."""
    filled()
    (commit,) = Path("lake/captures/other").rglob("*.parquet")
    (images,) = Path("lake/images/other").rglob("*.parquet")
    commit.unlink()
    assert statuses() == {}
    age(images)
    assert statuses() == {str(images)[5:]: "orphan"}
    assert not has_failed(verify("lake"))


def test_the_images_file_of_a_damaged_commit_is_no_orphan() -> None:
    """While its commit can be restored, an images file is not called an orphan."""
    filled()
    (commit,) = Path("lake/captures/other").rglob("*.parquet")
    (images,) = Path("lake/images/other").rglob("*.parquet")
    age(images)
    commit.write_bytes(b"")
    assert statuses() == {str(commit)[5:]: "damaged"}


def test_strays_are_notes_and_a_broken_one_says_whom_it_would_hurt() -> None:
    """Foreign files are listed, broken ones with what reading them would do, and fail nothing."""
    filled()
    folder = Path("lake/images/default")
    (folder / "notes.txt").write_text("x")
    (folder / "cut.parquet").write_bytes(b"PAR1")
    shutil.copy(next(folder.rglob("2026*.parquet")), "lake/images/copy.parquet")
    (folder / ".young.parquet.tmp").write_bytes(b"PAR1")
    (folder / ".old.parquet.tmp").write_bytes(b"PAR1")
    age(folder / ".old.parquet.tmp")
    details = {each["file"]: each["detail"] for each in verify("lake").to_pylist() if each["status"] == "stray"}
    assert sorted(details) == [
        "images/copy.parquet",
        "images/default/.old.parquet.tmp",
        "images/default/cut.parquet",
        "images/default/notes.txt",
    ]
    assert "would fail on it" in details["images/default/cut.parquet"]
    assert "would fail" not in details["images/copy.parquet"]
    assert not has_failed(verify("lake"))


def test_a_stranger_whose_name_is_no_text_is_listed() -> None:
    """A name that is not UTF-8 keeps neither verify nor check from their findings."""
    filled()
    Path(os.fsdecode(b"lake/images/\xff.parquet")).write_bytes(b"PAR1")
    (stray,) = (each for each in verify("lake").to_pylist() if each["status"] == "stray")
    assert stray["file"] == "images/\\udcff.parquet"


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
        Lake("lake").commit(
            table,
            lambda file, sha256: capture_rows([replace(capture, file=file, sha256=sha256)]),
            account="default",
            year=2026,
            name=capture.capture_id,
        )
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
