"""Reads every file of a lake against its own name, its commit and its schema, and says what is wrong.

file                       account  status   detail
captures/default           default  ok       120 captures in 120 commits, 120 images files, 482,133 bytes, all whole
images/default/2026/2026…  default  damaged  its bytes are not those its name tells of
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genesis_etl.commit import Commit, file_name, parse_commit, parse_rows
from genesis_etl.errors import LakeError
from genesis_etl.lake import NO_CAPTURE, ORPHAN_AGE, Lake
from genesis_etl.rows import IMAGES, NewerSchema
from genesis_etl.storage import TEMPORARY, Entry
from genesis_etl.text import counted, shown

# `orphan` and `stray` are notes: no table reads such a file.
FAILURES: Final = frozenset(("damaged", "missing", "newer"))
_LONGEST: Final = 5_000  # characters; a path may have 4,096
SCHEMA: Final = pa.schema([(name, pa.string()) for name in ("file", "account", "status", "detail")])


class Finding(NamedTuple):
    """A row of the answer: a file, or for `ok` all whole files of an account."""

    file: str
    account: str | None
    status: str
    detail: str


def verify(url: str) -> pa.Table:
    """Read every file of a lake; return one row per account whose files are whole (`ok`), one per other file.

    `damaged`, `missing` and `newer` are failures; `orphan` (an images file that no commit names, older than an
    hour) and `stray` (a file that is not the lake's) are notes. LakeError for a lake that holds nothing.
    """
    lake = Lake(url)
    findings = _Findings(lake)
    rows = findings.found()
    if not findings.is_anything:
        raise LakeError(NO_CAPTURE.format(url=url))
    # A stranger's name may be no text at all, and no column takes that.
    told = [row._replace(file=shown(row.file, _LONGEST), detail=shown(row.detail, _LONGEST)) for row in rows]
    return pa.Table.from_pylist([row._asdict() for row in told], schema=SCHEMA)


def has_failed(rows: pa.Table) -> bool:
    """Tell whether `verify` found a failure rather than notes."""
    return not FAILURES.isdisjoint(rows["status"].to_pylist())


class _Findings:
    """What a walk over a lake's files has found so far."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._images = lake.files("images")
        # Listed later, so that a landing under way shows as an images file without a commit, never the reverse.
        self._commits = lake.files("captures")
        self.is_anything = any(file_name(entry.path) for entry in self._commits)

    def found(self) -> list[Finding]:
        """Return the findings: per account those that are whole, then the rest by path."""
        commits: list[Commit] = []
        rows: list[Finding] = []
        for entry in self._commits:
            result = self._commit(entry)
            if isinstance(result, Commit):
                commits.append(result)
            elif result is not None:
                rows.append(result)
        by_file = defaultdict(list)
        for commit in commits:
            by_file[commit.file].append(commit)
        spoilt = {match["name"] for row in rows if row.status != "stray" and (match := file_name(row.file))}
        sizes: dict[str, int] = {}
        for entry in self._images:
            finding = self._image(entry, by_file.pop(entry.path, []), spoilt)
            if finding is not None:
                rows.append(finding)
            else:
                sizes[entry.path] = entry.size
        whole = [commit for commit in commits if commit.file in sizes]
        for path, lost in by_file.items():
            rows += self._missing(path, lost, whole)
        return [*self._whole(commits, sizes), *sorted(rows)]

    def _commit(self, entry: Entry) -> Commit | Finding | None:
        if file_name(entry.path) is None:
            return self._stray(entry)
        try:
            return parse_commit(entry.path, self._lake.read(entry.path))
        except FileNotFoundError:
            return None  # swept since it was listed
        except NewerSchema as error:
            return Finding(entry.path, _account(entry.path), "newer", str(error))
        except (LakeError, ValueError) as error:
            return Finding(entry.path, _account(entry.path), "damaged", str(error))

    def _image(self, entry: Entry, commits: list[Commit], spoilt: set[str]) -> Finding | None:
        match = file_name(entry.path)
        if match is None:
            return self._stray(entry)
        try:
            data = self._lake.read(entry.path)
        except FileNotFoundError:
            return None
        except LakeError as error:
            return Finding(entry.path, match["account"], "damaged", str(error))
        try:
            wrong = next(_wrong(data, match["hash"], match["account"], commits), None)
        except NewerSchema as error:
            return Finding(entry.path, match["account"], "newer", str(error))
        if wrong is not None:
            return Finding(entry.path, match["account"], "damaged", wrong)
        if not commits and match["name"] not in spoilt and _age(entry) > ORPHAN_AGE.total_seconds():
            detail = "no commit names it: a landing that was cut off; it harms nothing"
            return Finding(entry.path, match["account"], "orphan", detail)
        return None

    def _missing(self, path: str, commits: list[Commit], whole: list[Commit]) -> Iterator[Finding]:
        """Look again for an images file that was not listed: it may have come, or its commits have gone."""
        for commit in commits:
            try:
                self._lake.read(commit.path)
            except FileNotFoundError:
                continue
            try:
                wrong = next(_wrong(self._lake.read(path), "", commit.account, [commit]), None)
            except NewerSchema as error:
                yield Finding(path, commit.account, "newer", str(error))
            except LakeError as error:
                yield Finding(path, commit.account, "damaged", str(error))
            except FileNotFoundError:
                detail = f"the commit {commit.path} needs it; restore it"
                later = [other for other in whole if other.account == commit.account and other.stem > commit.stem]
                if set(commit.capture_ids) <= {id for other in later for id in other.capture_ids}:
                    detail = f"no table needs it, a fold has its captures; `genesis-etl compact` clears {commit.path}"
                yield Finding(path, commit.account, "missing", detail)
            else:
                if wrong is not None:
                    yield Finding(path, commit.account, "damaged", wrong)

    def _stray(self, entry: Entry) -> Finding | None:
        if entry.path.endswith(TEMPORARY):
            if _age(entry) <= ORPHAN_AGE.total_seconds():
                return None
            return Finding(entry.path, None, "stray", "left by a run that was killed; the next landing removes it")
        detail = "not a file of the lake; no table reads it"
        if entry.path.endswith(".parquet"):
            try:
                pq.read_schema(pa.BufferReader(self._lake.read(entry.path)))
            except FileNotFoundError:
                return None
            except (pa.ArrowException, LakeError, OSError, ValueError) as error:
                detail += f", but pandas and a glob would fail on it: {shown(str(error))}"
        return Finding(entry.path, None, "stray", detail)

    def _whole(self, commits: list[Commit], sizes: dict[str, int]) -> Iterator[Finding]:
        by_account: dict[str, list[Commit]] = defaultdict(list)
        for commit in commits:
            by_account[commit.account] += [commit] if commit.file in sizes else []
        for account, mine in sorted(by_account.items()):
            if not mine:
                continue
            captures = len({id for commit in mine for id in commit.capture_ids})
            files = {commit.file for commit in mine}
            size = sum(sizes[file] for file in files)
            yield Finding(
                f"captures/{account}",
                account,
                "ok",
                f"{counted(captures, 'capture')} in {counted(len(mine), 'commit')}, "
                f"{counted(len(files), 'images file')}, {counted(size, 'byte')}, all whole",
            )


def _wrong(data: bytes, name: str, account: str, commits: list[Commit]) -> Iterator[str]:
    """Yield what is wrong with an images file, the gravest first; NewerSchema for one newer than its commits."""
    sha256 = hashlib.sha256(data).hexdigest()
    if not sha256.startswith(name):
        yield "its bytes are not those its name tells of"
    for commit in commits:
        if sha256 != commit.sha256:
            yield f"its sha256 is not the one in {commit.path}"
    try:
        rows = parse_rows(data, IMAGES)
    except NewerSchema:
        if commits:
            raise
        return  # its commit, which cannot be read either, tells
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        yield f"it cannot be read as rows of images: {shown(str(error))}"
        return
    if set(pc.unique(rows["account"]).to_pylist()) - {account}:
        yield "it holds rows of another account"
    first, last = (np.sort(_micros(rows[name])) for name in ("first_seen", "last_seen"))
    for commit in commits:
        at = _micros(commit.captures["captured_at"])
        counted = np.searchsorted(first, at, "right") - np.searchsorted(last, at, "left")
        if (counted != commit.captures["rows"].to_numpy()).any():
            yield f"it holds other numbers of rows than {commit.path} says"


def _micros(column: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    instants: np.ndarray[tuple[int], np.dtype[np.int64]] = column.cast(pa.int64()).to_numpy()
    return instants


def _account(path: str) -> str | None:
    match = file_name(path)
    return None if match is None else match["account"]


def _age(entry: Entry) -> float:
    return time.time() - entry.written_at
