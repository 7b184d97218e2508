"""What is left over in an account's folders: by landings that were cut off, and by commits that are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from genesis_etl.errors import LakeError
from genesis_etl.lake.commit import Commit
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import LakeFile, is_old, temporary_path
from genesis_etl.lake.tables import listed_captures, published

Notice = Callable[[str], None]


@dataclass(frozen=True)
class LeftOver:
    """Files that nothing reads: `orphans` (rows files without a commit) and half-written ones, an hour old.

    `kept` are rows files without a commit whose captures were once known: what is left of a lost commit.
    """

    orphans: tuple[LakeFile, ...]
    temporary: tuple[LakeFile, ...]
    kept: tuple[LakeFile, ...]


def left_over(lake: Lake, account: str, commits: Sequence[Commit], contents: Contents, *, is_certain: bool) -> LeftOver:
    """Find what is left over of an account.

    `commits` are all that can be read, `contents` what the lake holds. Where a commit cannot be read it may name any
    rows file, so nothing is an orphan unless `is_certain`.
    """
    rows, records = lake.list("rows", account), lake.list("captures", account)
    temporary = [file for file in (*rows.temporary, *records.temporary) if is_old(file)]
    named = {commit.rows_file for commit in commits} if is_certain else set(rows.files)
    known = {commit.facts.known.capture_id for commit in commits if commit.facts.known}
    forgotten = max((commit.facts.forgot.before for commit in commits if commit.facts.forgot), default=None)
    lost = {damage.path for damage in contents.damage if damage.is_lost}
    is_counted = any(commit.file.path in lost for commit in commits)
    orphans, kept = [], []
    unnamed = [file for file in rows.files if file not in named]
    if unnamed:
        listed = listed_captures(published(lake.storage, account))
        known |= set(listed["capture_id"].to_pylist())
    for file in unnamed:
        is_covered = forgotten is not None and file.time < forgotten
        if file.is_compacted:
            was_known = file.path in lost or lake.held(file) is None
        else:
            was_known = file.name in known or is_counted
        if was_known and not is_covered:
            kept.append(file)
        elif is_old(file):
            orphans.append(file)
    return LeftOver(tuple(orphans), tuple(temporary), tuple(kept))


def sweep(lake: Lake, pairs: Iterable[Commit], rest: LeftOver, notice: Notice) -> list[LakeFile]:
    """Remove commits, each before its rows file, then orphans and half-written files; return what went.

    What the medium refuses to remove is told to `notice` and stays.
    """
    removed: list[LakeFile] = []

    def went(file: LakeFile, path: str) -> bool:
        try:
            lake.storage.delete(path)
        except LakeError as error:
            notice(f"could not be removed: {error}")
            return False
        removed.append(file)
        return True

    for commit in pairs:
        if went(commit.file, commit.file.path) and commit.rows_file is not None:
            went(commit.rows_file, commit.rows_file.path)
    for file in rest.orphans:
        went(file, file.path)
    for file in rest.temporary:
        went(file, temporary_path(file.path))
    return removed
