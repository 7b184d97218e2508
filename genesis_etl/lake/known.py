"""What is known of an account's captures before its files are opened: the newest, how many, which are loose."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genesis_etl.errors import LakeError
from genesis_etl.lake.commit import Capture, Commit, Known, parse_rows
from genesis_etl.lake.evidence import Held
from genesis_etl.lake.layout import Dataset, LakeFile, Listing, time_of
from genesis_etl.lake.schema import IMAGES, NewerSchema

_HELD: Final = b"genesis_etl.captures"  # how many captures a compaction's rows file holds, the first and the last


class Lists(Protocol):
    """Whose commits are looked at: a `Lake`."""

    def list(self, dataset: Dataset, account: str | None = None) -> Listing: ...
    def parse(self, file: LakeFile) -> Commit: ...
    def refuse_earlier_layout(self) -> None: ...


def newest_capture(
    lake: Lists, account: str, *, having: str | None, notice: Callable[[str], None] | None
) -> Capture | None:
    """Return the newest capture of an account that can be read, as `Lake.newest` says.

    FileNotFoundError where a commit went since it was listed.
    """
    newest: dict[str, Any] | None = None
    files = lake.list("captures", account).files
    if not files:
        lake.refuse_earlier_layout()
    for file in sorted(files, key=_stem, reverse=True):
        if newest is not None and file.time < newest["captured_at"]:
            break
        try:
            captures = lake.parse(file).captures
        except NewerSchema as error:
            raise LakeError(str(error), where=file.path, advice="upgrade it") from None
        except (ValueError, LakeError) as error:
            if notice is None:
                advice = "restore the file or remove it, `genesis-etl verify` tells more"
                raise LakeError(str(error), where=file.path, advice=advice) from None
            notice(f"{file.path}: {error}; the newest capture that can be read is taken for the newest")
            continue
        if having is not None:
            captures = captures.filter(pc.is_valid(captures[having]))
        if not len(captures):
            continue
        order = pc.sort_indices(captures, [("captured_at", "descending"), ("capture_id", "descending")])
        row = captures.slice(order[0].as_py(), 1).to_pylist()[0]
        if newest is None or _order(row) > _order(newest):
            newest = row
    return None if newest is None else Capture(**newest)


def known_captures(lake: Lists, account: str) -> tuple[dict[str, LakeFile], int]:
    """Return the captures of an account, each with a commit that lists it, and how many were forgotten.

    As far as commits can be read now.
    """
    listed: dict[str, LakeFile] = {}
    replaced: set[str] = set()
    forgotten = 0
    for file in sorted(lake.list("captures", account).files, key=_stem, reverse=True):
        if file.kind == "capture":
            listed[file.name] = file
        elif file.name not in replaced:
            with contextlib.suppress(FileNotFoundError, ValueError, LakeError):
                commit = lake.parse(file)
                for id in commit.capture_ids:
                    listed.setdefault(id, file)
                replaced |= commit.facts.replaced
                forgotten += commit.facts.forgot.captures if commit.facts.forgot else 0
    return listed, forgotten


def newest_known(listed: Collection[str], forgotten: int) -> Known | None:
    """Return the newest of these captures, and how many there are or, with those that were forgotten, were."""
    if not listed:
        return None
    newest = max(listed)
    return Known(newest, time_of(newest), len(listed) + forgotten)


def forgotten_until(lake: Lists, account: str) -> datetime | None:
    """Return the time up to which captures of an account were forgotten, None where none were."""
    times = []
    for file in lake.list("captures", account).files:
        if file.kind == "forget":
            with contextlib.suppress(FileNotFoundError, ValueError, LakeError):
                if (forgot := lake.parse(file).facts.forgot) is not None:
                    times.append(forgot.before)
    return max(times, default=None)


def loose_captures(lake: Lists, account: str, before: datetime) -> set[str]:
    """Return the captures before a time that lie in files of their own and in no compacted one."""
    files = lake.list("captures", account).files
    ids = {file.name for file in files if file.kind == "capture" and file.time < before}
    for file in files:
        if file.is_compacted and ids:
            with contextlib.suppress(FileNotFoundError, ValueError, LakeError):
                ids -= set(lake.parse(file).capture_ids)
    return ids


def telling(rows: pa.Table, captures: pa.Table) -> pa.Table:
    """Return the rows of a compaction with what they hold in the file's metadata: how many captures, first and last."""
    ends = pc.min_max(captures["captured_at"]).as_py()
    told = [len(captures), ends["min"].isoformat(), ends["max"].isoformat()]
    return rows.replace_schema_metadata({**IMAGES.metadata, _HELD: json.dumps(told).encode()})


def held(file: LakeFile, data: bytes) -> Held | None:
    """Return what the bytes of a compaction's rows file say they hold; None for none."""
    if not hashlib.sha256(data).hexdigest().startswith(file.hash):
        return None
    try:
        count, *ends = json.loads(pq.read_schema(pa.BufferReader(data)).metadata[_HELD])
        instants = set(map(datetime.fromisoformat, ends))
        rows = parse_rows(data, IMAGES)
    except (ValueError, KeyError, TypeError, OSError, pa.ArrowException):
        return None
    if set(pc.unique(rows["account"]).to_pylist()) - {file.account}:
        return None
    instants |= {at for name in ("first_seen", "last_seen") for at in pc.unique(rows[name]).to_pylist()}
    return Held(count, tuple(sorted(instants)))


def _stem(file: LakeFile) -> str:
    return file.stem


def _order(row: dict[str, Any]) -> tuple[datetime, str]:
    return row["captured_at"], row["capture_id"]
