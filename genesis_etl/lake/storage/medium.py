"""What every medium of a lake promises: whole files that appear once, under a name nobody had before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


@dataclass(frozen=True)
class Patience:
    """How long a medium that cannot answer for the moment is tried again; a folder always answers.

    A call is given up `seconds` after calls of its kind began to fail. With `until` (on the clock of
    `time.monotonic`) it is tried up to that instant, if the medium has answered before. `wait` sleeps so many seconds
    and tells whether somebody wants an end, as `threading.Event.wait` does.
    """

    seconds: float = 30.0
    until: float | None = None
    wait: Callable[[float], bool] = field(default_factory=lambda: threading.Event().wait)

    def end(self, since: float, *, is_known: bool) -> float:
        """Return the instant up to which calls that fail since `since` are tried again."""
        return since + self.seconds if self.until is None or not is_known else self.until


class Entry(NamedTuple):
    """Something in a lake: its path below it (`/` between the parts), its bytes, and when it was last written.

    `written_at` is in seconds since 1970. A folder is told only where nobody looks into it, or may.
    """

    path: str
    size: int
    written_at: float
    is_folder: bool = False


class Storage(Protocol):
    """A folder of whole files; LakeError, naming the path, for whatever the medium refuses.

    `keeps_failed_writes` tells whether a write that failed may still appear later, as an upload to a store may;
    `readers`, how many threads that read at the same time make it faster.
    """

    url: str
    keeps_failed_writes: bool
    readers: int

    def list(self, below: str, enters: Callable[[str], bool]) -> list[Entry]:
        """Return everything below a folder, by path; nothing where there is no such folder.

        Folders are looked into where `enters(path)` says so; a medium that has none may list what is in them.
        LakeError for a lake that is no folder, or where this folder may not be looked into.
        """

    def read(self, path: str) -> bytes:
        """Return a file's bytes; FileNotFoundError where it is gone."""

    def write(self, path: str, data: bytes) -> None:
        """Put a new file in place, whole and kept, and only then under its name, which nobody had before.

        A medium that can look for nothing refuses a name that is taken. After an error nobody sees the file, unless
        `keeps_failed_writes`.
        """

    def replace(self, path: str, data: bytes) -> None:
        """Put a file in place of the one that has its name, if any: whoever opens it gets the whole old or new one."""

    def delete(self, path: str) -> None:
        """Remove a file, and the folders that it leaves empty; nothing happens where it is gone already."""

    def local_path(self, path: str, data: bytes | None = None) -> str:
        """Return a path of this machine under which the file can be opened as long as this storage is there.

        `data` are its bytes, where they have been read.
        """
