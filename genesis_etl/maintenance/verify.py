"""Reads every file of a lake against its own name, its commit and its schema, and says what is wrong.

file                           account  status   detail
store/captures/default         default  ok       120 captures in 120 commits, 120 rows files, 482,133 bytes, all whole
store/rows/default/2026/2026…  default  damaged  its bytes are not those its name tells of
store/captures/default/2026/…  default  missing  it knew the capture 2026…, which no commit lists; restore it
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genesis_etl.errors import LakeError
from genesis_etl.lake.ahead import parse_ahead
from genesis_etl.lake.commit import Commit, parse_rows
from genesis_etl.lake.contents import Damage
from genesis_etl.lake.lake import Lake, no_capture
from genesis_etl.lake.layout import ORPHAN_AGE, LakeFile, folder_of, is_old, temporary_path
from genesis_etl.lake.schema import IMAGES, NewerSchema
from genesis_etl.lake.storage import Entry
from genesis_etl.maintenance import runs
from genesis_etl.text import counted, shown
from genesis_etl.times import format_time

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

    `damaged`, `missing` and `newer` are failures; `orphan` (a rows file that no commit names, older than an
    hour) and `stray` (a file that is not the lake's) are notes. LakeError for a lake that holds nothing.
    """
    lake = Lake(url)
    findings = _Findings(lake)
    rows = findings.found()
    if not findings.is_anything:
        lake.refuse_earlier_layout()
        raise no_capture(url)
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
        self._rows = lake.list("rows")
        # Listed later, so that a landing under way shows as a rows file without a commit, never the reverse.
        self._commits = lake.list("captures")
        self.is_anything = bool(self._commits.files or any(file.is_compacted for file in self._rows.files))

    def found(self) -> list[Finding]:
        """Return the findings: per account those that are whole, then the rest by path."""
        commits: list[Commit] = []
        rows: list[Finding] = []
        # Parsed together where that can be; one alone, where not, tells what is wrong with it.
        parse_ahead(self._lake, self._commits.files)
        for file in self._commits.files:
            result = self._commit(file)
            if isinstance(result, Commit):
                commits.append(result)
            elif result is not None:
                rows.append(result)
        by_file = defaultdict(list)
        for commit in commits:
            if commit.rows_file is not None:
                by_file[commit.rows_file].append(commit)
        lost = self._lost()
        lost_paths = {damage.path for damage in lost}
        spoilt = {(row.account, row.file) for row in rows}
        unnamed = {file.name for file in self._commits.files if (file.account, file.path) in spoilt}
        sizes: dict[LakeFile, int] = {}
        for file in self._rows.files:
            finding = self._rows_file(file, by_file.pop(file, []), unnamed, lost_paths)
            if finding is not None:
                rows.append(finding)
            else:
                sizes[file] = file.size
        whole = [commit for commit in commits if commit.rows_file in sizes]
        for file, needing in by_file.items():
            rows += self._missing(file, needing, whole)
        rows += [self._loss(damage) for damage in lost]
        for listing in (self._rows, self._commits):
            rows += filter(None, map(self._stray, listing.strangers))
            rows += [
                Finding(folder.path, folder.account, "damaged", "the folder may not be looked into; see to its rights")
                for folder in listing.closed
            ]
            rows += [
                Finding(
                    temporary_path(file.path),
                    None,
                    "stray",
                    "left by a run that was killed; `genesis-etl compact` removes it",
                )
                for file in listing.temporary
                if is_old(file)
            ]
        return [*self._whole(commits, sizes), *sorted(rows)]

    def _lost(self) -> list[Damage]:
        return [damage for damage in self._lake.contents().damage if damage.is_lost]

    def _loss(self, damage: Damage) -> Finding:
        span = f"captures of {damage.account} up to {format_time(damage.until)} are lost"
        return Finding(damage.path, damage.account, "missing", f"{damage.reason}: {span}; restore the lake from a copy")

    def _commit(self, file: LakeFile) -> Commit | Finding | None:
        try:
            return self._lake.parse(file)
        except FileNotFoundError:
            return None  # swept since it was listed
        except NewerSchema as error:
            return Finding(file.path, file.account, "newer", f"{error}; upgrade it")
        except (LakeError, ValueError) as error:
            return Finding(file.path, file.account, "damaged", str(error))

    def _rows_file(self, file: LakeFile, commits: list[Commit], unnamed: set[str], lost: set[str]) -> Finding | None:
        try:
            data = self._lake.read(file)
        except FileNotFoundError:
            return None
        except LakeError as error:
            return Finding(file.path, file.account, "damaged", str(error))
        try:
            wrong = next(_wrong(data, file.hash, file.account, commits), None)
        except NewerSchema as error:
            return Finding(file.path, file.account, "newer", f"{error}; upgrade it")
        if wrong is not None:
            return Finding(file.path, file.account, "damaged", wrong)
        if not commits and file.path not in lost and file.name not in unnamed and is_old(file):
            detail = "no commit names it: a landing that was cut off; it harms nothing"
            return Finding(file.path, file.account, "orphan", detail)
        return None

    def _missing(self, file: LakeFile, commits: list[Commit], whole: list[Commit]) -> Iterator[Finding]:
        """Look again for a rows file that was not listed: it may have come, or its commits have gone."""
        for commit in commits:
            try:
                self._lake.read(commit.file)
            except FileNotFoundError:
                continue
            try:
                wrong = next(_wrong(self._lake.read(file), "", commit.account, [commit]), None)
            except NewerSchema as error:
                yield Finding(file.path, commit.account, "newer", f"{error}; upgrade it")
            except LakeError as error:
                yield Finding(file.path, commit.account, "damaged", str(error))
            except FileNotFoundError:
                detail = f"the commit {commit.file.path} needs it; restore it"
                later = [each for each in whole if each.account == commit.account and each.file.stem > commit.file.stem]
                if set(commit.capture_ids) <= {id for each in later for id in each.capture_ids}:
                    detail = (
                        "no table needs it, a compacted file has its captures; `genesis-etl compact` clears "
                        f"{commit.file.path}"
                    )
                yield Finding(file.path, commit.account, "missing", detail)
            else:
                if wrong is not None:
                    yield Finding(file.path, commit.account, "damaged", wrong)

    def _stray(self, entry: Entry) -> Finding | None:
        detail = "not a file of the lake; no table reads it"
        if entry.is_folder:
            return Finding(entry.path, None, "stray", "not a folder of the lake; nothing looks into it")
        if entry.path.endswith(".tmp") and time.time() - entry.written_at <= ORPHAN_AGE.total_seconds():
            return None
        if entry.path.endswith(".parquet"):
            try:
                pq.read_schema(pa.BufferReader(self._lake.storage.read(entry.path)))
            except FileNotFoundError:
                return None
            except (pa.ArrowException, LakeError, OSError, ValueError) as error:
                detail += f", but pandas and a glob would fail on it: {shown(str(error))}"
        return Finding(entry.path, None, "stray", detail)

    def _whole(self, commits: list[Commit], sizes: dict[LakeFile, int]) -> Iterator[Finding]:
        by_account: dict[str, list[Commit]] = defaultdict(list)
        for commit in commits:
            by_account[commit.account] += [commit] if commit.rows_file in sizes else []
        for account, mine in sorted(by_account.items()):
            if not mine:
                continue
            captures = len({id for commit in mine for id in commit.capture_ids})
            files = {commit.rows_file for commit in mine if commit.rows_file is not None}
            size = sum(sizes[file] for file in files)
            yield Finding(
                folder_of("captures", account),
                account,
                "ok",
                f"{counted(captures, 'capture')} in {counted(len(mine), 'commit')}, "
                f"{counted(len(files), 'rows file')}, {counted(size, 'byte')}, all whole",
            )


def _wrong(data: bytes, hash: str, account: str, commits: list[Commit]) -> Iterator[str]:
    """Yield what is wrong with a rows file, the gravest first; NewerSchema for one newer than its commits."""
    sha256 = hashlib.sha256(data).hexdigest()
    if not sha256.startswith(hash):
        yield "its bytes are not those its name tells of"
    for commit in commits:
        if sha256 != commit.sha256:
            yield f"its sha256 is not the one in {commit.file.path}"
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
    for commit in commits:
        if not runs.add_up(rows, commit.captures):
            yield f"it holds other numbers of rows than {commit.file.path} says"
