"""Where the bytes of a lake lie: whole files that appear once, under a name nobody had before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from genesis_etl.errors import LakeError
from genesis_etl.settings import lake_url
from genesis_etl.text import shown

# The one form of a temporary name that neither DuckDB's nor pandas' globs match.
TEMPORARY: Final = ".parquet.tmp"
_TRIES: Final = 50
_SEE_TO: Final = "see to the disk or choose another --lake"


@dataclass(frozen=True)
class Entry:
    """A file of the lake: its path below the lake (`/` between the parts) and when it was last written."""

    path: str
    size: int
    written_at: float  # seconds since the epoch


class Storage(Protocol):
    """A folder of whole files; LakeError with the path for whatever the medium refuses."""

    url: str

    def entries(self, below: str) -> list[Entry]: ...
    def read(self, path: str) -> bytes: ...
    def write(self, path: str, data: bytes) -> None: ...
    def delete(self, path: str) -> None: ...
    def lacks(self, path: str) -> bool: ...
    def local(self, path: str, data: bytes | None = None) -> str: ...


def open_storage(url: str) -> Storage:
    """Return the storage behind a lake's folder or URL; SettingsError for what looks like no lake (`lake_url`)."""
    url = lake_url(url)
    if url.startswith("s3://"):
        from genesis_etl.s3 import S3Storage

        return S3Storage(url)
    return LocalStorage(url)


class LocalStorage:
    """A folder on this machine."""

    def __init__(self, root: str) -> None:
        self.url = root
        self._root = Path(root)

    def entries(self, below: str) -> list[Entry]:
        """List every file below a folder, by path; none where there is no such folder."""
        found: list[Entry] = []
        with _mapped("list", self._root / below):
            self._walk(below, found)
        return sorted(found, key=lambda entry: entry.path)

    def _walk(self, below: str, found: list[Entry]) -> None:
        try:
            scan = os.scandir(self._root / below)
        except FileNotFoundError:
            return
        with scan:
            for item in scan:
                path = f"{below}/{item.name}"
                if item.is_dir():
                    self._walk(path, found)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        stat = item.stat()
                        found.append(Entry(path, stat.st_size, stat.st_mtime))

    def read(self, path: str) -> bytes:
        """Return a file's bytes; FileNotFoundError where it is gone."""
        with _mapped("read", self._root / path):
            return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Put a new file in place: whole, on disk, and only then under its name."""
        final = self._root / path
        temporary = final.with_name(f".{final.stem}{TEMPORARY}")
        with _mapped("write", final):
            try:
                with self._created(temporary) as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                if final.exists():
                    raise FileExistsError(17, "a file of this name is there already")
                os.rename(temporary, final)
                try:
                    _sync_folder(final.parent)
                except OSError:
                    # Not known to be on disk is not written.
                    final.unlink()
                    raise
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                self._prune(final.parent)
                raise

    def delete(self, path: str) -> None:
        """Remove a file and the folders that it leaves empty; nothing happens where it is gone already."""
        file = self._root / path
        with _mapped("delete", file):
            file.unlink(missing_ok=True)
        self._prune(file.parent)

    def lacks(self, path: str) -> bool:
        """Tell whether it is certain that a file is not there and, its writing having ended, will not be."""
        return not os.path.lexists(self._root / path)

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

    def local(self, path: str, data: bytes | None = None) -> str:
        """Return a path of this machine under which the file can be opened."""
        return str((self._root / path).resolve())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _mapped(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        if verb == "read":
            raise
        raise LakeError("it is gone", where=f"cannot {verb} {shown(str(path), 300)}", advice=_SEE_TO) from None
    except OSError as error:
        where = f"cannot {verb} {shown(str(path), 300)}"
        raise LakeError(error.strerror or str(error), where=where, advice=_SEE_TO) from None
