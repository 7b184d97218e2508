"""Whole files or none: the folder under a lake, and a disk that fails at any step."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from genesis_etl.errors import LakeError, SettingsError
from genesis_etl.lake.layout import is_own_folder
from genesis_etl.lake.storage import Patience, open_storage
from genesis_etl.lake.storage.local import LocalStorage
from tests.media import Disk, failing, raises


def test_a_file_is_written_once_whole() -> None:
    """A written file has its bytes and can be listed and read; a second one of its name is refused."""
    lake = LocalStorage("lake")
    assert lake.list("store/rows", is_own_folder) == []
    lake.write("store/rows/a/x.parquet", b"one")
    assert [(entry.path, entry.size) for entry in lake.list("store/rows", is_own_folder)] == [
        ("store/rows/a/x.parquet", 3)
    ]
    with pytest.raises(LakeError, match=r"lake/store/rows/a/x.parquet: a file of this name is there already"):
        lake.write("store/rows/a/x.parquet", b"two")
    assert lake.read("store/rows/a/x.parquet") == b"one"
    assert [entry.path for entry in lake.list("store/rows", is_own_folder)] == ["store/rows/a/x.parquet"]
    with pytest.raises(FileNotFoundError):
        lake.read("store/rows/a/y.parquet")


def test_what_is_half_written_has_a_name_no_reader_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is whole and on disk, a file is called `.x.parquet.tmp`."""
    seen = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        seen.extend(entry.path for entry in LocalStorage("lake").list("store/rows", is_own_folder))
        real(descriptor)

    lake = LocalStorage("lake")
    lake.write("store/rows/a/z.parquet", b"")
    monkeypatch.setattr(os, "fsync", sync)
    lake.write("store/rows/a/x.parquet", b"one")
    # the file, then its folder
    assert seen == [
        "store/rows/a/.x.parquet.tmp",
        "store/rows/a/z.parquet",
        "store/rows/a/x.parquet",
        "store/rows/a/z.parquet",
    ]


def test_deleting_removes_the_folders_left_empty() -> None:
    """A deleted file takes empty folders along, never the lake's own, and may be gone already."""
    lake = LocalStorage("lake")
    lake.write("store/rows/a/x.parquet", b"one")
    lake.write("store/rows/b/x.parquet", b"one")
    lake.delete("store/rows/a/x.parquet")
    lake.delete("store/rows/a/x.parquet")
    assert sorted(os.listdir("lake/store/rows")) == ["b"]
    lake.delete("store/rows/b/x.parquet")
    assert os.listdir("lake") == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(umask: int) -> None:
    """Files and folders have the modes that the umask leaves."""
    before = os.umask(umask)
    try:
        LocalStorage("lake").write("store/rows/x.parquet", b"one")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("lake/store/rows/x.parquet").st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(os.stat("lake/store/rows").st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])
def test_a_write_fails_whole(code: int) -> None:
    """Whatever step of a write fails, nothing of it is left, and the error names the file and the reason."""
    failed = 0
    for n in range(1, 50):
        lake = LocalStorage(f"lake{n}")
        error = None
        with failing(Disk(n, raises(code))) as disk:
            try:
                lake.write("store/rows/a/x.parquet", b"one")
            except LakeError as caught:
                error = caught
        if error is not None:
            failed += 1
            assert f"lake{n}/store/rows/a/x.parquet: {os.strerror(code)}" in str(error)
            assert error.exit_code == 6
        result = [] if error else ["store/rows/a/x.parquet"]
        assert [entry.path for entry in lake.list("store/rows", is_own_folder)] == result
        assert result or not os.path.exists(f"lake{n}/store")
        if not disk.has_acted:
            break
    assert failed >= 10


def test_neighbours_that_remove_empty_folders_do_no_harm() -> None:
    """Writers and deleters of one folder never make each other fail."""
    lake = LocalStorage("lake")
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for count in range(100):
                lake.write(f"store/rows/a/{name}{count}", b"")
                lake.delete(f"store/rows/a/{name}{count}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """Where a folder should be and is not, the error names the path (exit 6)."""
    (tmp_path / "lake").write_text("no folder")
    lake = LocalStorage("lake")
    for act in (
        lambda: lake.list("store/rows", is_own_folder),
        lambda: lake.read("store/rows/x"),
        lambda: lake.write("store/rows/x", b""),
    ):
        with pytest.raises(LakeError, match=r"lake/store/rows.*(Not a directory|File exists)"):
            act()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named() -> None:
    """A read-only lake fails with its path and reason."""
    os.mkdir("lake", 0o555)
    with pytest.raises(LakeError, match="lake/store/rows/x: Permission denied"):
        LocalStorage("lake").write("store/rows/x", b"")


def test_urls() -> None:
    """A path and a file URL are folders; a kind of storage that there is none for is a setting to mend."""
    assert open_storage("file:///data/lake").url == "/data/lake"
    assert open_storage("data/lake").url == "data/lake"
    with pytest.raises(SettingsError, match="'ftp://host/lake' is neither a folder nor s3://bucket/prefix"):
        open_storage("ftp://host/lake")


def test_a_store_that_has_answered_is_waited_for_as_long_as_there_is_time() -> None:
    """One that never has, for half a minute, and so is any where nobody says how much time there is."""
    for patience, ends in ((Patience(), (130, 130)), (Patience(until=900), (130, 900)), (Patience(5), (105, 105))):
        assert tuple(patience.end(100, is_known=is_known) for is_known in (False, True)) == ends
