"""What is not the lake's: strays at every level, lakes of the earlier layout, media that refuse what is not needed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from genesis_etl.errors import LakeError
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import new_file, temporary_path
from genesis_etl.lake.storage.local import LocalStorage
from genesis_etl.maintenance.compact import compact
from genesis_etl.maintenance.forget import forget
from genesis_etl.maintenance.verify import has_failed, verify
from genesis_etl.pipeline import export
from genesis_etl.sandbox import Sandbox
from tests.commands import Run, refused
from tests.conftest import settings_for
from tests.histories import HISTORY, NOTHING, NOW, answers, at, commit_files, land, land_all, rows, snapshot_of

EARLIER = Path(__file__).parent / "lakes" / "earlier"
LEVELS = (
    "",
    "store",
    "store/rows",
    "store/captures",
    "store/rows/default",
    "store/captures/default",
    "store/rows/default/2026",
    "store/captures/default/2026",
)
FILES = (".DS_Store", "Thumbs.db", "._x.parquet", ".nfs0000000000c7", "x (conflicted copy).parquet", ".x.parquet.tmp")


def strew(url: str) -> int:
    """Lay strays, all of them old, into every folder of a lake; return how many lie where it keeps its files."""
    number = 1
    for level in LEVELS:
        for name in FILES:
            Path(url, level, name).write_bytes(b"PAR1")
        eadir = Path(url, level, "@eaDir")
        eadir.mkdir()
        (eadir / "x.parquet").write_bytes(b"")
        number += (len(FILES) + 1) * (level.count("/") > 0)
    # Where folders of accounts are expected, and as a file of a lake's own form that was never finished.
    for name in ("store/rows/nobody", "store/captures/nobody", "store/captures/default/2024"):
        Path(url, name).write_bytes(b"")
        number += 1
    half = Path(url, temporary_path(new_file("rows", "default", 2026, "20261101T000000000000Z-00000000", b"").path))
    half.write_bytes(b"PAR1")
    for path in Path(url).rglob("*"):
        os.utime(path, (1, 1))
    return number


def strays(url: str) -> set[str]:
    """Return what `verify` calls stray."""
    return {each["file"] for each in verify(url).to_pylist() if each["status"] == "stray"}


def test_strays_at_every_level_stop_no_command(run: Run, serve: Callable[..., Sandbox]) -> None:
    """Reports, SQL, the page, exports, compactions and forgetting go on as without them; `verify` alone lists them."""
    lake = Lake("lake")
    land_all(lake, HISTORY)
    before = answers("lake")
    number = strew("lake")
    assert answers("lake") == before
    assert len(strays("lake")) == number
    assert not has_failed(verify("lake"))
    for command in (
        ["report", "region-coverage"],
        ["sql", "select 1"],
        ["dashboard", "--output", "page.html"],
        ["verify"],
        ["compact", "--grace", "0s"],
        ["forget", "--account", "default", "--before", "2026-11-02", "--yes"],
    ):
        assert run(*command, "--lake", "lake").code == 0, command
    sandbox = serve(images=3, at=at("2026-11-24"))
    (capture,) = export(settings_for(sandbox))
    assert capture.images == 3
    assert not has_failed(verify("lake"))


def closing(monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    """Let nobody look into these folders, whoever runs the tests."""
    scandir = os.scandir

    def refusing(folder: os.PathLike[str]) -> object:
        if str(folder) in paths:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)


def test_a_closed_folder_that_is_a_strangers_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be looked into, of no account that the lake knows, is told by `verify` alone."""
    land_all(Lake("lake"), HISTORY)
    before = answers("lake")
    for name in ("store/captures/closed", "store/captures/lost+found", "store/rows/closed"):
        Path("lake", name).mkdir()
        closing(monkeypatch, f"lake/{name}")
        if name != "store/rows/closed":
            assert answers("lake") == before
            land(Lake("lake"), NOW + timedelta(days=1), rows("a"))
            before = answers("lake")
    assert "store/captures/closed" in {each["file"] for each in verify("lake").to_pylist()}


@pytest.mark.parametrize("folder", ["store/captures/default", "store/captures/default/2026", "store/rows/default"])
def test_a_closed_folder_of_an_account_is_no_empty_one(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captures that may not be looked at are refused (6) by the name of the folder, and other accounts answer."""
    land_all(Lake("lake"), HISTORY)
    land_all(Lake("lake"), {"2026-11-01": rows("x")}, "other")
    closing(monkeypatch, f"lake/{folder}")
    if folder == "store/rows/default":
        return  # its files can be opened by their names
    with pytest.raises(LakeError, match=folder):
        answers("lake")
    Lake("lake").contents().refuse_damage("other")
    assert has_failed(verify("lake"))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_medium_that_cannot_sync_folders_takes_captures(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network and FUSE mounts that refuse the sync of a folder lose no capture; a disk that fails does."""
    fsync = os.fsync

    def refusing(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    land_all(Lake("lake"), HISTORY)
    compact(Lake("lake"), grace=NOTHING, now=NOW)
    assert len(Lake("lake").contents().captures) == len(HISTORY)
    code = errno.EIO
    with pytest.raises(LakeError, match="Input/output error"):
        land(Lake("lake"), at("2026-11-24"), rows("a"))


def refusing_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the medium delete nothing."""

    def refuse(self: LocalStorage, path: str) -> None:
        raise LakeError(f"cannot delete {path}: Operation not permitted", advice="check the disk")

    monkeypatch.setattr(LocalStorage, "delete", refuse)


def test_refused_deletes_are_notices_of_compact_and_end_forget(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compacted counts (0), each file that stays is told; `forget` has not done its work (6)."""
    land_all(Lake("lake"), HISTORY)
    before = answers("lake")
    strew("lake")
    with monkeypatch.context() as patch:
        refusing_deletes(patch)
        ended = run("compact", "--grace", "0s", "--lake", "lake")
        assert ended.code == 0
        assert "could not be removed" in ended.err
        assert "Operation not permitted" in ended.err
        assert answers("lake") == before
        refused(run("forget", "--account", "default", "--yes", "--lake", "lake"), 6, "Operation not permitted")
        land(Lake("lake"), NOW, rows("a"))
    assert not has_failed(verify("lake"))


def test_a_newest_commit_that_cannot_be_read_stops_no_export(serve: Callable[..., Sandbox]) -> None:
    """The capture lands and a notice names the file; what could be read before it is the newest."""
    land_all(Lake("lake"), HISTORY)
    newest = commit_files("lake")[-1]
    Path("lake", newest.path).write_bytes(b"PAR1")
    said: list[str] = []
    sandbox = serve(images=3, at=at("2026-11-24"))
    (capture,) = export(settings_for(sandbox), notice=said.append)
    assert capture.images == 3
    assert any(newest.path in each for each in said)


def test_a_dry_run_changes_nothing_and_tells_what_will_be(run: Run) -> None:
    """`--dry-run` of compact and forget leaves every byte, and what is done afterwards is what it said."""
    land_all(Lake("lake"), HISTORY)
    files = snapshot_of("lake")
    for command in (
        ["compact", "--grace", "0s"],
        ["forget", "--account", "default", "--before", "2026-11-02"],
        ["forget", "--account", "default"],
    ):
        dry = run(*command, "--dry-run", "--lake", "lake", "--format", "json")
        assert (dry.code, dry.err) == (0, "")
        assert snapshot_of("lake") == files
        extra = ["--yes"] if command[0] == "forget" else []
        done = run(*command, *extra, "--lake", "lake", "--format", "json")
        unknown = {"files_after", "bytes_after"}
        assert [{k: v for k, v in each.items() if k not in unknown} for each in done.rows] == [
            {k: v for k, v in each.items() if k not in unknown} for each in dry.rows
        ], command
        files = snapshot_of("lake")
    assert not Path("lake/store").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["sql", "select 1"],
        ["report", "snapshot-growth"],
        ["dashboard", "--output", "page.html"],
        ["compact"],
        ["verify"],
        ["forget", "--account", "default", "--yes"],
    ],
    ids=" ".join,
)
def test_a_lake_of_the_earlier_layout_is_refused(command: list[str], run: Run) -> None:
    """It ends with 6 and one line that says to capture anew, and nothing in it changes."""
    shutil.copytree(EARLIER, "lake")
    files = snapshot_of("lake")
    refused(run(*command, "--lake", "lake"), 6, "a lake of the earlier layout", "capture anew")
    assert snapshot_of("lake") == files


def test_no_export_lands_in_a_lake_of_the_earlier_layout(serve: Callable[..., Sandbox]) -> None:
    """Before any request, and nothing is written."""
    shutil.copytree(EARLIER, "lake")
    files = snapshot_of("lake")
    sandbox = serve(images=3)
    with pytest.raises(Exception, match="a lake of the earlier layout") as caught:
        export(settings_for(sandbox))
    assert caught.value.exit_code == 6  # type: ignore[attr-defined]
    assert sandbox.requests == []
    assert snapshot_of("lake") == files


def test_check_says_that_a_lake_is_of_the_earlier_layout(run: Run) -> None:
    """Its row `lake` fails and says what to do."""
    shutil.copytree(EARLIER, "lake")
    ended = run("check", "--lake", "lake", "--format", "json")
    assert ended.code == 1
    (row,) = (each for each in json.loads(ended.out) if each["check"] == "lake")
    assert row["status"] == "failed"
    assert "earlier layout" in row["seen"]


def test_mere_folders_are_no_earlier_layout() -> None:
    """Folders of its names, and files of other forms in them, are strangers': the lake is empty, or as it is."""
    for name in ("captures/default/2026", "images/default/2026"):
        Path("lake", name).mkdir(parents=True)
        Path("lake", name, "x.parquet").write_bytes(b"PAR1")
    Path("lake/images/20261101T120000000000Z-x.parquet").write_bytes(b"")
    with pytest.raises(LakeError, match="no capture yet"):
        verify("lake")
    land(Lake("lake"), at("2026-11-01"), rows("a"))
    assert len(answers("lake")["captures"]) == 1
    forget(Lake("lake"), "default")
    assert Path("lake/captures/default/2026/x.parquet").exists()
