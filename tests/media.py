"""A disk under a lake that fails at any step."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from genesis_etl.lake.storage import local

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
        stack.enter_context(patch.object(local, "open", opened, create=True))
        yield disk


def raises(code: int) -> Callable[[], None]:
    """Return an act that raises an OSError."""

    def act() -> None:
        raise OSError(code, os.strerror(code))

    return act
