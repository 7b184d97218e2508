"""Takes the tables that are there on by the captures that came since, without what they hold already being read again.

Where commits have only come, those alone are parsed; after a compaction or a `forget` all commits of the account are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import pyarrow as pa

from genesis_etl.errors import LakeError
from genesis_etl.lake.commit import Commit, parse_rows
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import TABLES, LakeFile, Table, parsed
from genesis_etl.lake.schema import IMAGES
from genesis_etl.lake.tables import FoundTable, digest_of, sha256_of
from genesis_etl.publish.made import Tables, by_image, captures_table, empty, go_on
from genesis_etl.rows import ROW

_MOST_STEPS: Final = 24  # captures that tables are taken on by; beyond that, a query over all is quicker


class Step(NamedTuple):
    """Tables, and the commits that they are of."""

    tables: Tables
    commit_files: frozenset[LakeFile]


def by_new_commits(lake: Lake, account: str, there: Mapping[Table, FoundTable]) -> Step | None:
    """Take the tables on by the commits that came since they were written; None where anything else has happened.

    Also where a new commit cannot be read, or knew of captures that the tables do not hold: then something is lost.
    """
    tables = _whole(there)
    if tables is None:
        return None
    listing = lake.list("captures", account)
    files = frozenset(listing.files)
    ids = set(tables["captures"]["capture_id"].to_pylist())
    unknown = (file for file in files if file.kind == "capture" and file.name not in ids)
    new = sorted(unknown, key=lambda file: file.stem)
    if listing.closed or len(new) > _MOST_STEPS or digest_of(files.difference(new)) != there["captures"].commits:
        return None
    try:
        commits = [lake.parse(file) for file in new]
        if not all(_knew_no_more(commit, ids) for commit in commits):
            return None
        captures = pa.concat_tables([tables["captures"], *(captures_table(commit.captures) for commit in commits)])
        taken = _go_on(lake, account, tables, captures)
    except (FileNotFoundError, ValueError, LakeError):
        return None  # what is wrong is told where all is read
    return None if taken is None else Step(taken, files)


def by_contents(lake: Lake, account: str, contents: Contents, there: Mapping[Table, FoundTable]) -> Tables | None:
    """Take the tables on by the captures that are newer; None where only the whole store can tell."""
    captures = contents.captures.sort_by([("captured_at", "ascending"), ("capture_id", "ascending")])
    tables = _whole(there) if there else empty()
    if tables is None or len(captures) - len(tables["captures"]) > _MOST_STEPS:
        return None
    return _go_on(lake, account, tables, captures)


def _knew_no_more(commit: Commit, ids: set[str]) -> bool:
    known = commit.facts.known
    is_known = known is None or (known.capture_id in ids and known.captures <= len(ids))
    ids.update(commit.capture_ids)
    return is_known


def _go_on(lake: Lake, account: str, tables: Tables, captures: pa.Table) -> Tables | None:
    """Return the tables of these captures, in order; None unless those that the tables hold are the first of them."""
    count = len(tables["captures"])
    known = captures.slice(0, count)
    if not known["capture_id"].equals(tables["captures"]["capture_id"]):
        return None
    previous = known["captured_at"][-1].as_py() if count else None
    for capture in captures.slice(count).to_pylist():
        at = capture["captured_at"]
        rows = _rows_of(lake, capture) if previous is None or at > previous else None  # runs are told by instants
        if rows is None:
            return None
        tables = go_on(tables, rows, account, capture["capture_id"], at, previous)
        previous = at
    return {**tables, "captures": captures_table(captures)}


def _whole(there: Mapping[Table, FoundTable]) -> Tables | None:
    """Return the tables of an account as they were published together; None where they were not, or are damaged."""
    if set(there) != set(TABLES):
        return None
    hashes = there["captures"].hashes
    states = {table.state for table in there.values()}
    if len(states) != 1 or None in states:
        return None
    if any(hashes.get(name) != table.sha256 for name, table in there.items() if name != "captures"):
        return None
    try:
        return {name: table.rows for name, table in there.items()}
    except ValueError:
        return None


def _rows_of(lake: Lake, capture: dict[str, Any]) -> pa.Table | None:
    """Return the rows of a capture that has a file of its own, by image and region; None for a compacted one."""
    file = parsed(capture["file"])
    if file is None or file.name != capture["capture_id"]:
        return None
    if capture["sha256"] in lake.landed:
        return by_image(lake.landed[capture["sha256"]])
    data = lake.read(file)
    if sha256_of(data) != capture["sha256"]:
        raise LakeError("its sha256 is another than its commit says", where=file.path, advice="restore the file")
    return by_image(parse_rows(data, IMAGES).select(ROW.names))
