"""Reads the files of a lake that are likely to be needed, many together; whoever asks for one finds it read.

What cannot be read is left alone: whoever needs it asks for it alone, and is told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from genesis_etl.errors import LakeError
from genesis_etl.lake.commit import Commit
from genesis_etl.lake.layout import LakeFile
from genesis_etl.lake.storage import Storage

Item = TypeVar("Item")

_BATCH: Final = 32  # a thread that has begun one ends it, whatever happens


class Files(Protocol):
    """Whose files are read: a `Lake`."""

    storage: Storage

    def parse(self, file: LakeFile) -> Commit: ...
    def parse_many(self, files: Sequence[LakeFile]) -> None: ...
    def open(self, commit: Commit) -> str: ...


def read_ahead(lake: Files, files: Iterable[LakeFile], *, opens_rows: bool) -> None:
    """Parse the commits of each account's newest compactions and of captures that they do not list; open their rows."""

    def check(batch: Sequence[Commit]) -> None:
        for commit in batch:
            with contextlib.suppress(FileNotFoundError, ValueError, LakeError):
                lake.open(commit)

    newest: dict[tuple[str, int], LakeFile] = {}
    loose: list[LakeFile] = []
    for file in sorted(files, key=lambda file: file.stem):
        if file.is_compacted:
            newest[file.account, file.year] = file
        else:
            loose.append(file)
    parse_ahead(lake, list(newest.values()))
    commits = _parsed(lake, newest.values())
    listed = {(commit.account, id) for commit in commits for id in commit.capture_ids}
    loose = [file for file in loose if (file.account, file.name) not in listed]
    parse_ahead(lake, loose)
    commits += _parsed(lake, loose)
    if opens_rows:
        _each(lake, check, [commit for commit in commits if commit.rows_file is not None])


def parse_ahead(lake: Files, files: Sequence[LakeFile]) -> None:
    """Parse commits, many together."""

    def parse(batch: Sequence[LakeFile]) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError, LakeError):
            lake.parse_many(batch)

    _each(lake, parse, files)


def _each(lake: Files, work: Callable[[Sequence[Item]], None], items: Sequence[Item]) -> None:
    """Work on all items, in batches, on as many threads as the medium likes."""
    batches = [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
    if len(batches) < 2 or lake.storage.readers < 2:
        for batch in batches:
            work(batch)
        return
    with ThreadPoolExecutor(lake.storage.readers) as threads:
        list(threads.map(work, batches))


def _parsed(lake: Files, files: Iterable[LakeFile]) -> list[Commit]:
    """Return those commits that can be read."""
    commits = []
    for file in files:
        with contextlib.suppress(FileNotFoundError, ValueError, LakeError):
            commits.append(lake.parse(file))
    return commits
