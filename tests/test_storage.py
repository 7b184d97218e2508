"""Whole files or none: the folder under a lake, and a disk that fails at any step."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from genesis_etl import storage as room
from genesis_etl.errors import LakeError, SettingsError
from genesis_etl.storage import LocalStorage, open_storage

OPERATIONS = ("mkdir", "rename", "replace", "link", "unlink", "rmdir", "fsync", "open", "scandir", "stat")


class Disk:
    """Counts operations on files; calls `act` in place of the n-th, or of it and every later one."""

    def __init__(self, n: int, act: Callable[[], None], *, is_lasting: bool = False) -> None:
        self.count = 0
        self.has_acted = False
        self._n, self._act, self._is_lasting = n, act, is_lasting

    def step(self) -> None:
        """Count one operation, and fail if it is its turn."""
        self.count += 1
        if self.count == self._n or (self._is_lasting and self.count > self._n):
            self.has_acted = True
            self._act()

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts as an operation."""

        def wrapped(*args: Any, **options: Any) -> Any:
            self.step()
            return real(*args, **options)

        return wrapped

    def open(self, *args: Any, **options: Any) -> Any:
        """Open a file whose reads, writes and closing count too."""
        self.step()
        return _File(io.open.__wrapped__(*args, **options), self)  # type: ignore[attr-defined]


class _File:
    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._disk.step()

    def write(self, data: bytes) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._disk.step()
        self._file.write(data[len(data) // 2 :])

    def read(self) -> bytes:
        self._disk.step()
        data: bytes = self._file.read()
        return data

    def flush(self) -> None:
        self._disk.step()
        self._file.flush()

    def fileno(self) -> int:
        return int(self._file.fileno())


@contextmanager
def failing(disk: Disk) -> Iterator[Disk]:
    """Put a failing disk under the storage."""
    real = io.open

    def opened(*args: Any, **options: Any) -> Any:
        return disk.open(*args, **options)

    opened.__wrapped__ = real  # type: ignore[attr-defined]
    with ExitStack() as stack:
        for name in OPERATIONS:
            stack.enter_context(patch.object(os, name, disk.wrap(getattr(os, name))))
        stack.enter_context(patch.object(io, "open", opened))
        stack.enter_context(patch.object(room, "open", opened, create=True))
        yield disk


def raises(code: int) -> Callable[[], None]:
    """Return an act that raises an OSError."""

    def act() -> None:
        raise OSError(code, os.strerror(code))

    return act


def test_a_file_is_written_once_whole() -> None:
    """A written file has its bytes and can be listed and read; a second one of its name is refused."""
    lake = LocalStorage("lake")
    assert lake.entries("images") == []
    lake.write("images/a/x.parquet", b"one")
    assert [(entry.path, entry.size) for entry in lake.entries("images")] == [("images/a/x.parquet", 3)]
    with pytest.raises(LakeError, match=r"lake/images/a/x.parquet: a file of this name is there already"):
        lake.write("images/a/x.parquet", b"two")
    assert lake.read("images/a/x.parquet") == b"one"
    assert [entry.path for entry in lake.entries("images")] == ["images/a/x.parquet"]
    with pytest.raises(FileNotFoundError):
        lake.read("images/a/y.parquet")


def test_what_is_half_written_has_a_name_no_reader_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is whole and on disk, a file is called `.x.parquet.tmp`."""
    seen = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        seen.extend(entry.path for entry in LocalStorage("lake").entries("images"))
        real(descriptor)

    lake = LocalStorage("lake")
    lake.write("images/a/z.parquet", b"")
    monkeypatch.setattr(os, "fsync", sync)
    lake.write("images/a/x.parquet", b"one")
    # the file, then its folder
    assert seen == ["images/a/.x.parquet.tmp", "images/a/z.parquet", "images/a/x.parquet", "images/a/z.parquet"]


def test_deleting_removes_the_folders_left_empty() -> None:
    """A deleted file takes empty folders along, never the lake's own, and may be gone already."""
    lake = LocalStorage("lake")
    lake.write("images/a/x.parquet", b"one")
    lake.write("images/b/x.parquet", b"one")
    lake.delete("images/a/x.parquet")
    lake.delete("images/a/x.parquet")
    assert sorted(os.listdir("lake/images")) == ["b"]
    lake.delete("images/b/x.parquet")
    assert os.listdir("lake") == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(umask: int) -> None:
    """Files and folders have the modes that the umask leaves."""
    before = os.umask(umask)
    try:
        LocalStorage("lake").write("images/x.parquet", b"one")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("lake/images/x.parquet").st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(os.stat("lake/images").st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])
def test_a_write_fails_whole(code: int) -> None:
    """Whatever step of a write fails, nothing of it is left, and the error names the file and the reason."""
    failed = 0
    for n in range(1, 50):
        lake = LocalStorage(f"lake{n}")
        error = None
        with failing(Disk(n, raises(code))) as disk:
            try:
                lake.write("images/a/x.parquet", b"one")
            except LakeError as caught:
                error = caught
        if error is not None:
            failed += 1
            assert f"lake{n}/images/a/x.parquet: {os.strerror(code)}" in str(error)
            assert error.exit_code == 6
        result = [] if error else ["images/a/x.parquet"]
        assert [entry.path for entry in lake.entries("images")] == result
        assert result or not os.path.exists(f"lake{n}/images")
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
                lake.write(f"images/a/{name}{count}", b"")
                lake.delete(f"images/a/{name}{count}")
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
    for act in (lambda: lake.entries("images"), lambda: lake.read("images/x"), lambda: lake.write("images/x", b"")):
        with pytest.raises(LakeError, match=r"lake/images.*(Not a directory|File exists)"):
            act()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named() -> None:
    """A read-only lake fails with its path and reason."""
    os.mkdir("lake", 0o555)
    with pytest.raises(LakeError, match="lake/images/x: Permission denied"):
        LocalStorage("lake").write("images/x", b"")


def test_urls() -> None:
    """A path and a file URL are folders; a kind of storage that there is none for is a setting to mend."""
    assert open_storage("file:///data/lake").url == "/data/lake"
    assert open_storage("data/lake").url == "data/lake"
    with pytest.raises(SettingsError, match="'ftp://host/lake' is neither a folder nor s3://bucket/prefix"):
        open_storage("ftp://host/lake")
