"""A lake in a folder of this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, MutableSequence
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Final

from genesis_etl.errors import LakeError
from genesis_etl.lake.layout import temporary_path, temporary_table_path
from genesis_etl.lake.storage.medium import Entry
from genesis_etl.outfile import CANNOT_SYNC, sync
from genesis_etl.text import shown

_TRIES: Final = 50
_ADVICE: Final = "check the disk or choose another --lake"
# What is answered where a folder cannot be opened to be synced.
_CANNOT_OPEN: Final = CANNOT_SYNC | {errno.EACCES, errno.EPERM, errno.EISDIR}


class LocalStorage:
    """A folder on this machine."""

    keeps_failed_writes = False
    # Small files keep Python busy, not the disk: a second thread makes it no faster, and costs a third more CPU.
    readers = 1

    def __init__(self, root: str) -> None:
        self.url = root
        self._root = Path(root)
        self._real: dict[str, str] = {}  # paths of folders, looked up once: a lake has many files in each

    def list(self, below: str, enters: Callable[[str], bool]) -> list[Entry]:
        """Return everything below a folder, by path; nothing where there is no such folder."""
        found: list[Entry] = []
        with _lake_errors("list", self._root / below):
            if not self._walk(below, enters, found):
                with contextlib.suppress(FileNotFoundError):
                    os.listdir(self._root)  # a lake that is no folder, or may not be looked into, is an error
        return sorted(found, key=attrgetter("path"))

    def _walk(self, below: str, enters: Callable[[str], bool], found: MutableSequence[Entry]) -> bool:
        """Add what is below a folder to what was found; tell whether there is such a folder."""
        try:
            scan = os.scandir(self._root / below)
        except (FileNotFoundError, NotADirectoryError):
            return False
        with scan:
            for item in scan:
                path = f"{below}/{item.name}"
                try:
                    is_folder = item.is_dir()
                except OSError:  # a link to nowhere, or in a circle
                    is_folder = False
                if is_folder and enters(path):
                    try:
                        self._walk(path, enters, found)
                    except PermissionError:
                        found.append(Entry(path, 0, time.time(), is_folder))
                    continue
                try:
                    stat = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError:  # of a folder that tells names and nothing else
                    found.append(Entry(path, 0, time.time(), is_folder))
                else:
                    found.append(Entry(path, stat.st_size, stat.st_mtime, is_folder))
        return True

    def read(self, path: str) -> bytes:
        """Return a file's bytes; FileNotFoundError where it is gone."""
        file = self._root / path
        with _lake_errors("read", file):
            return file.read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Put a new file in place: whole, on disk, and only then under its name."""
        final = self._root / path
        with self._beside(final, self._root / temporary_path(path), data) as temporary:
            if final.exists():
                raise FileExistsError(17, "a file of this name is there already")
            os.rename(temporary, final)
            try:
                _sync_folder(final.parent)
            except OSError:
                # Not known to be on disk is not written.
                final.unlink()
                raise

    def replace(self, path: str, data: bytes) -> None:
        """Put a file in place of the one that has its name: whole and on disk before it gets it."""
        final = self._root / path
        with self._beside(final, self._root / temporary_table_path(path), data) as temporary:
            os.replace(temporary, final)

    def delete(self, path: str) -> None:
        """Remove a file and the folders that it leaves empty; nothing happens where it is gone already."""
        file = self._root / path
        with _lake_errors("delete", file), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            file.unlink()
        self._prune(file.parent)

    def local_path(self, path: str, data: bytes | None = None) -> str:
        """Return the file's own path."""
        folder, _, name = path.rpartition("/")
        if folder not in self._real:
            self._real[folder] = os.path.realpath(self._root / folder)
        return f"{self._real[folder]}/{name}"

    @contextlib.contextmanager
    def _beside(self, final: Path, temporary: Path, data: bytes) -> Iterator[Path]:
        """Write bytes beside their place, whole and on disk, for the caller to name; nothing stays where that fails."""
        with _lake_errors("write", final):
            try:
                with self._created(temporary) as file:
                    file.write(data)
                    file.flush()
                    sync(file.fileno())
                yield temporary
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                self._prune(final.parent)
                raise

    def _created(self, file: Path) -> BinaryIO:
        """Open a new file, and again where a neighbour has just removed the folder for being empty."""
        for _ in range(_TRIES):
            missing = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
            # mkdir calls a folder that goes between its two looks an existing file.
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                file.parent.mkdir(parents=True, exist_ok=True)
                for folder in missing:
                    _sync_folder(folder.parent)
                return open(file, "xb")
        return open(file, "xb")

    def _prune(self, folder: Path) -> None:
        """Remove a folder and those above it, below the lake's own, as far as they are empty."""
        with contextlib.suppress(OSError):
            while folder != self._root:
                with contextlib.suppress(FileNotFoundError):
                    folder.rmdir()
                folder = folder.parent


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _CANNOT_OPEN:
            return
        raise
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _lake_errors(verb: str, path: Path) -> Iterator[None]:
    """Make a LakeError of what the disk refuses; a file to be read that is gone stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        if verb == "read":
            raise
        raise LakeError(f"cannot {verb} {shown(str(path), 300)}: it is gone", advice=_ADVICE) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise LakeError(f"cannot {verb} {shown(str(path), 300)}: {reason}", advice=_ADVICE) from None
