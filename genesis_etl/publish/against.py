"""Holds the tables of a lake against its store, both ways: what is behind or damaged, and what the store has lost.

file                            account  status   detail
tables                          default  ok       4 tables of 120 captures, 96,113 bytes, hold the rows of the store
tables/images/default.parquet   default  behind   it holds 119 captures and not 120; `genesis-etl publish` writes it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from genesis_etl.errors import LakeError
from genesis_etl.lake.contents import Contents
from genesis_etl.lake.lake import Lake
from genesis_etl.lake.layout import TABLES, Table, TableFile, is_old, table_folder
from genesis_etl.lake.tables import FoundTable, State, list_tables, published
from genesis_etl.maintenance.verify import FAILURES as OF_STORE
from genesis_etl.maintenance.verify import SCHEMA, Finding, verify
from genesis_etl.publish.made import from_contents
from genesis_etl.publish.publish import lost
from genesis_etl.text import counted, shown
from genesis_etl.times import format_time

# `behind` and `stranger` are failures too: whoever reads the tables gets other numbers than a report.
FAILURES = OF_STORE | {"behind", "stranger"}
_FILES = ["file", "sha256"]  # where the rows of a capture lie, which is all that a compaction changes
_MEND = "`genesis-etl publish` writes it anew"
_LOOKS = 4  # beside neighbours that land, whose tables are newer than the captures that were read before them


def verify_lake(url: str) -> pa.Table:
    """Verify the store of a lake, then its tables: made again, each has to hold the same rows.

    An account that was never published has no row for that. LakeError for a lake that holds nothing.
    """
    lake = Lake(url)
    try:
        rows = verify(url)
    except LakeError:
        if not _has_tables(lake):
            raise
        rows = SCHEMA.empty_table()  # all of the store is lost, and the tables know of it
    is_published = _has_tables(lake)
    found = [*_of_tables(lake, lake.contents(), is_published), *strangers(lake)]
    never = {each.account for each in found} - {file.account for file in list_tables(lake.storage).files}
    told = [each for each in found if each.account is None or each.account not in never]
    told = [each._replace(file=shown(each.file, 5_000), detail=shown(each.detail, 5_000)) for each in told]
    return pa.concat_tables([rows, pa.Table.from_pylist([each._asdict() for each in told], schema=SCHEMA)])


def _of_tables(lake: Lake, contents: Contents, is_published: bool) -> list[Finding]:
    """Hold the tables against the contents; again where an account was captured or compacted meanwhile."""
    found = _looked_at(lake, contents, is_published)
    for _ in range(_LOOKS):
        moved = {each.account for each in found if each.account and each.status != "ok"}
        moved = {account for account in moved if lake.changed_since(contents, account)}
        if not moved:
            break
        contents = lake.contents()
        again = _looked_at(lake, contents, is_published)
        found = [each for each in found if each.account not in moved] + [
            each for each in again if each.account in moved
        ]
    return found


def _looked_at(lake: Lake, contents: Contents, is_published: bool) -> list[Finding]:
    found = [*held(lake, contents)]
    if is_published:
        bad = {each.file for each in found}
        there = {file for file in list_tables(lake.storage).files if file.path not in bad}
        found += _compared(lake, contents, {file.account for file in there}, bad)
    return found


def _has_tables(lake: Lake) -> bool:
    """Tell whether anything is published; no where it cannot be told, as the store then says."""
    try:
        return bool(list_tables(lake.storage).files)
    except LakeError:
        return False


def has_failed(rows: pa.Table) -> bool:
    """Tell whether `verify_lake` found a failure rather than notes."""
    return not FAILURES.isdisjoint(rows["status"].to_pylist())


def held(lake: Lake, contents: Contents) -> Iterator[Finding]:
    """Yield the tables that say they hold other captures than the store, and captures that the store has lost."""
    states = dict(_states(contents))
    damaged = {damage.account for damage in contents.damage}
    listing = list_tables(lake.storage)
    for account in sorted({*states, *(file.account for file in listing.files)}):
        there = published(lake.storage, account)
        path = TableFile("captures", account).path
        if gone := lost(lake, account, contents, there):
            detail = f"it lists {counted(len(gone), 'capture')} up to {format_time(gone[-1])} that the store"
            yield Finding(path, account, "missing", f"{detail} has lost; restore the store from a copy")
        elif account in damaged:
            continue  # its captures cannot be told
        elif account in states:
            yield from _behind(account, states[account], there)
        else:
            detail = f"the store holds no capture of it; `genesis-etl forget --account {account}` removes its tables"
            yield Finding(path, account, "behind", detail)


def strangers(lake: Lake) -> Iterator[Finding]:
    """Yield what lies below the tables and is none; a Parquet file there is counted by whoever reads the folder."""
    for entry in list_tables(lake.storage).strangers:
        if entry.path.endswith(".parquet") and not entry.is_folder:
            detail = "not a table of the lake, and whoever reads the folder counts it; move it away"
            yield Finding(entry.path, None, "stranger", detail)
        elif not entry.path.endswith(".tmp") or is_old(entry):
            yield Finding(entry.path, None, "stray", "not a table of the lake")


def _states(contents: Contents) -> Iterator[tuple[str, State]]:
    """Yield what the tables of every account have to say they hold."""
    order = [("account", "ascending"), ("captured_at", "ascending"), ("capture_id", "ascending")]
    captures = contents.captures.select(["account", "captured_at", "capture_id"]).sort_by(order)
    for account in pc.unique(captures["account"]).to_pylist():
        mine = captures.filter(pc.equal(captures["account"], account))
        yield account, State(mine["capture_id"][-1].as_py(), len(mine))


def _behind(account: str, wanted: State, there: Mapping[Table, FoundTable]) -> Iterator[Finding]:
    for name in TABLES:
        path = TableFile(name, account).path
        if name not in there:
            yield Finding(path, account, "behind", f"it is not there; {_MEND}")
            continue
        table = there[name]
        if table.is_newer:
            yield Finding(path, account, "newer", "a later version of genesis-etl wrote it; upgrade it")
        elif table.is_older:
            yield Finding(path, account, "behind", f"an earlier version of genesis-etl wrote it; {_MEND}")
        elif (state := table.state) is None:
            yield Finding(path, account, "damaged", f"it cannot be read as a table of this version; {_MEND}")
        elif state != wanted:
            here, all = counted(state.captures, "capture"), f"{wanted.captures:,}"
            what = f"it holds {here} up to {state.newest_capture}, the store {all} up to {wanted.newest_capture}"
            yield Finding(path, account, "behind", f"{what}; {_MEND}")


def _compared(lake: Lake, contents: Contents, accounts: Iterable[str], bad: set[str]) -> Iterator[Finding]:
    """Make the tables again and compare rows; those found bad already are left out."""
    damaged = {damage.account for damage in contents.damage}
    made = from_contents(contents)
    for account in sorted(accounts):
        if account not in made or account in damaged:
            continue
        there = published(lake.storage, account)
        whole = 0
        for name in TABLES:
            path = TableFile(name, account).path
            if name not in there or path in bad:
                continue
            try:
                rows = there[name].rows
            except ValueError as error:
                yield Finding(path, account, "damaged", f"{shown(str(error))}; {_MEND}")
                continue
            if rows.equals(made[account][name]):
                whole += 1
            elif name == "captures" and rows.drop(_FILES).equals(made[account][name].drop(_FILES)):
                yield Finding(path, account, "behind", f"it names files that a compaction has replaced; {_MEND}")
            else:
                yield Finding(path, account, "damaged", f"it holds other rows than the store; {_MEND}")
        if whole == len(TABLES):
            size = sum(len(table.data) for table in there.values())
            captures = counted(len(made[account]["captures"]), "capture")
            detail = f"{whole} tables of {captures}, {counted(size, 'byte')}, hold the rows of the store"
            yield Finding(table_folder(), account, "ok", detail)
